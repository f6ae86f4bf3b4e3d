//! What variables may say, and what they may not.

use super::*;

#[test]
fn the_command_line_wins_over_the_environment() {
    let env: Env<'_> = &[
        ("SCALESOCKET_LINGER", "5m"),
        ("SCALESOCKET_ADDR", "127.0.0.1:1,127.0.0.1:2"),
        ("SCALESOCKET_FRAME", "gwsocket"),
        ("SCALESOCKET_BACKLOG", "nonsense"),
        ("SCALESOCKET_DELAY", "9"),
    ];
    let line = "--linger 1 --addr 127.0.0.1:3 --frame --backlog 1MiB --cmd-attach-delay 2 cat";
    let c = config_in(env, line);
    assert_eq!(
        (c.linger, c.addr, c.backlog),
        (secs(1), vec![tcp("127.0.0.1:3")], 1 << 20)
    );
    assert_eq!(
        (c.client_framing, c.cmd_attach_delay),
        (ClientFraming::Json, Some(secs(2)))
    );
}

#[test]
fn booleans_in_the_environment_are_words_or_digits() {
    for on in ["true", "1"] {
        let c = config_in(
            &[("SCALESOCKET_METRICS", on), ("SCALESOCKET_FRAME", on)],
            "cat",
        );
        assert!(c.metrics && c.client_framing == ClientFraming::Json);
        assert_eq!(
            config_in(&[("SCALESOCKET_VERBOSE", on)], "cat").verbosity,
            1
        );
    }
    for off in ["false", "0", ""] {
        let c = config_in(
            &[("SCALESOCKET_METRICS", off), ("SCALESOCKET_FRAME", off)],
            "cat",
        );
        assert!(!c.metrics && c.client_framing == ClientFraming::Lines);
        assert_eq!(
            config_in(&[("SCALESOCKET_VERBOSE", off)], "cat").verbosity,
            0
        );
    }
    for bad in ["yes", "on", "True", " true", "2"] {
        let sentence = refused_in(&[("SCALESOCKET_METRICS", bad)], "cat");
        assert!(sentence.contains("SCALESOCKET_METRICS"), "{sentence}");
    }
    refused_in(&[("SCALESOCKET_VERBOSE", "10")], "cat");
}

#[test]
fn an_empty_variable_is_unset() {
    let names: Vec<String> = cli::command()
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .map(|long| format!("SCALESOCKET_{}", long.replace('-', "_").to_uppercase()))
        .collect();
    let env: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(
        format!("{:?}", config_in(&env, "cat")),
        format!("{:?}", config("cat"))
    );
}

#[test]
fn variables_of_no_flag_are_ignored() {
    let env: Env<'_> = &[
        ("SCALESOCKET_HELP", "true"),
        ("SCALESOCKET_VERSION", "0.3.0"),
        ("SCALESOCKET_CMD", "rm"),
        ("SCALESOCKET_ARGS", "x"),
        ("SCALESOCKET_PORT", "tcp://10.0.0.1:9000"),
        ("SCALESOCKET_SERVICE_HOST", "10.0.0.1"),
        ("LINGER", "nonsense"),
    ];
    assert_eq!(
        format!("{:?}", config_in(env, "cat")),
        format!("{:?}", config("cat"))
    );
}

#[test]
fn no_flag_reads_a_variable_that_kubernetes_injects() {
    // A Service `scalesocket-x` gives SCALESOCKET_X_PORT, …_SERVICE_HOST and the like.
    for arg in cli::command().get_arguments() {
        let long = arg.get_long().unwrap_or_default();
        let injected = long == "port"
            || long.ends_with("-port")
            || long.contains("port-")
            || long.contains("service-");
        assert!(!injected, "--{long}");
    }
}

#[test]
fn a_variable_that_is_not_utf8_is_refused_and_not_guessed() {
    use std::os::unix::ffi::OsStringExt;
    let env =
        |name: &str| (name == "SCALESOCKET_JOINMSG").then(|| OsString::from_vec(vec![b'a', 0xff]));
    match cli::parse(words("cat"), &env) {
        Err(exit @ Exit::Refusal(_)) => assert!(sentence(&exit).contains("UTF-8")),
        other => panic!("{other:?}"),
    }
}
