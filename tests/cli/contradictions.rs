//! What may not stand together, wherever it was said.

use super::*;

/// The refused combinations of the contract, and the two flags that the sentence must name.
const CONTRADICTIONS: &[(&str, &str, &str)] = &[
    ("--isolate --linger 0", "--isolate", "--linger"),
    ("--isolate --cache 8", "--isolate", "--cache"),
    ("--isolate --cachepersist", "--isolate", "--cachepersist"),
    ("--isolate --restart never", "--isolate", "--restart"),
    ("--isolate --rooms a", "--isolate", "--rooms"),
    ("--oneshot --restart on-failure", "--oneshot", "--restart"),
    ("--oneshot --maxrooms 2", "--oneshot", "--maxrooms"),
    ("--null --frame", "--null", "--frame"),
    ("--null --server-frame=json", "--null", "--server-frame"),
    ("--null --json", "--null", "--json"),
    ("--delimiters=; --frame=binary", "--delimiters", "--frame"),
    (
        "--delimiters=; --server-frame=gwsocket",
        "--delimiters",
        "--server-frame",
    ),
    ("--delimiters=; --json", "--delimiters", "--json"),
    ("--binary --frame=gwsocket", "--binary", "--frame"),
    (
        "--binary --server-frame=binary",
        "--binary",
        "--server-frame",
    ),
    ("--binary --json", "--binary", "--json"),
    ("--binary --null", "--binary", "--null"),
    ("--binary --delimiters=x", "--binary", "--delimiters"),
    ("--json --frame", "--json", "--frame"),
    ("--json --client-frame=json", "--json", "--client-frame"),
    ("--json --server-frame=json", "--json", "--server-frame"),
    ("--frame --client-frame=json", "--frame", "--client-frame"),
    ("--frame --server-frame=json", "--frame", "--server-frame"),
    ("--connect a:1 --tcp", "--connect", "--tcp"),
    ("--connect a:1 --restart never", "--connect", "--restart"),
    ("--connect a:1 --stderr log", "--connect", "--stderr"),
    ("--pty --tcp", "--pty", "--tcp"),
    ("--pty --connect a:1", "--pty", "--connect"),
    ("--pty --json", "--pty", "--json"),
    ("--pty --frame", "--pty", "--frame"),
    ("--pty --client-frame json", "--pty", "--client-frame"),
    ("--pty --server-frame json", "--pty", "--server-frame"),
    ("--pty --null", "--pty", "--null"),
    ("--pty --delimiters x", "--pty", "--delimiters"),
    ("--pty --stderr log", "--pty", "--stderr"),
    ("--pty --joinmsg x", "--pty", "--joinmsg"),
    ("--pty --leavemsg x", "--pty", "--leavemsg"),
    ("--tcpports 1:2", "--tcpports", "--tcp"),
    ("--verbose --quiet", "--verbose", "--quiet"),
    (
        "--auth-jwt k --auth-url http://a/ --same-origin",
        "--auth-jwt",
        "--auth-url",
    ),
    (
        "--auth-jwt k --auth-cookie c",
        "--auth-cookie",
        "--same-origin",
    ),
    ("--auth-url http://a/", "--auth-url", "--same-origin"),
    (
        "--auth-url http://a/ --auth-forward x,Cookie",
        "--auth-url",
        "--origin",
    ),
    (
        "--auth-cookie c --same-origin",
        "--auth-cookie",
        "--auth-jwt",
    ),
    ("--auth-aud us", "--auth-aud", "--auth-jwt"),
    ("--admin-token-file t", "--admin-token-file", "--console"),
    ("--auth-iss joe", "--auth-iss", "--auth-jwt"),
    ("--auth-leeway 5s", "--auth-leeway", "--auth-jwt"),
    ("--auth-forward x", "--auth-forward", "--auth-url"),
    ("--auth-user-header x", "--auth-user-header", "--auth-url"),
    ("--auth-copy x", "--auth-copy", "--auth-url"),
    (
        "--auth-timeout 1s --auth-jwt k",
        "--auth-timeout",
        "--auth-url",
    ),
    (
        "--addr 127.0.0.1:80 --addr 127.0.0.1:80",
        "127.0.0.1:80",
        "--addr",
    ),
    (
        "--addr unix:/s --admin-addr unix:/s",
        "--addr",
        "--admin-addr",
    ),
    ("--tls-cert a", "--tls-cert", "--tls-key"),
    ("--tls-key a", "--tls-cert", "--tls-key"),
    (
        "--tls-cert a --tls-cert b --tls-key c",
        "--tls-cert",
        "--tls-key",
    ),
    ("--tls-client-ca a", "--tls-client-ca", "--tls-cert"),
    (
        "--redirect-addr 127.0.0.1:80",
        "--redirect-addr",
        "--tls-cert",
    ),
    (
        "--tls-cert a --tls-key b --redirect-addr unix:/s",
        "--redirect-addr",
        "HOST:PORT",
    ),
    (
        "--tls-cert a --tls-key b --addr unix:/s",
        "--tls-cert",
        "--addr",
    ),
    (
        "--tls-cert a --tls-key b --addr 127.0.0.1:80 --redirect-addr 127.0.0.1:80",
        "--redirect-addr",
        "127.0.0.1:80",
    ),
    ("--proxy-protocol", "--proxy-protocol", "--trusted-proxy"),
    (
        "--max-message 4GiB --frame=gwsocket",
        "--max-message",
        "4GiB",
    ),
];

#[test]
fn contradictions_are_refused_with_both_names() {
    for (flags, one, other) in CONTRADICTIONS {
        let sentence = refused(&with_cat(flags));
        assert!(
            sentence.contains(one) && sentence.contains(other),
            "{flags}: {sentence}"
        );
    }
    for line in ["--connect a:1 cat", "--connect a:1 -- cat"] {
        let sentence = refused(line);
        assert!(
            sentence.contains("--connect") && sentence.contains("a program"),
            "{sentence}"
        );
    }
}

#[test]
fn contradictions_count_from_the_environment_too_and_name_their_source() {
    for (flags, _, _) in CONTRADICTIONS {
        let line = if flags.contains("--connect") {
            ""
        } else {
            "cat"
        };
        let variables = as_variables(flags);
        let sentence = refused_in(&borrowed(&variables), line);
        let named = variables
            .iter()
            .any(|(name, _)| sentence.contains(name.as_str()));
        assert!(named, "{flags}: {sentence}");
    }
    let sentence = refused_in(&[("SCALESOCKET_FRAME", "json")], "--json cat");
    assert!(
        sentence.ends_with("(--frame is set by SCALESOCKET_FRAME)"),
        "{sentence}"
    );
    refused_in(&[("SCALESOCKET_CONNECT", "a:1")], "cat");
}

#[test]
fn flags_without_effect_are_warnings() {
    for (line, flag) in [
        ("--cachepersist cat", "--cachepersist"),
        ("--cache tagged:8 cat", "--cache tagged:"),
        ("--from-field x cat", "--from-field"),
        ("--to-field x --client-frame=json cat", "--to-field"),
        ("--unix-mode 600 cat", "--unix-mode"),
        (
            "--tls-cert a --tls-key b --origin https://x.example,y.example cat",
            "--origin y.example",
        ),
    ] {
        let warnings = config(line).warnings;
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(flag),
            "{line}: {warnings:?}"
        );
    }
}
