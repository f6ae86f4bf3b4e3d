//! `probe --pid`: where a server of this command line tells its health.

use scalesocket::cli::{Health, health};

use super::*;

fn asked_in(env: Env<'_>, line: &str) -> Result<Health, String> {
    let lookup = |name: &str| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    health(&words(line), &lookup)
}

fn at(target: Listen) -> Health {
    Health {
        target,
        secure: false,
        wants_certificate: false,
    }
}

#[test]
fn it_is_asked_where_it_listens() {
    let tls = "--tls-cert c --tls-key k";
    let secure = |address: &str| Health {
        secure: true,
        ..at(tcp(address))
    };
    for (line, expected) in [
        ("cat", at(tcp("127.0.0.1:9000"))),
        ("--base-path /games cat", at(tcp("127.0.0.1:9000"))),
        ("--addr 0.0.0.0:80 cat", at(tcp("127.0.0.1:80"))),
        ("--addr [::]:80 cat", at(tcp("[::1]:80"))),
        ("--addr 10.1.2.3:80 cat", at(tcp("10.1.2.3:80"))),
        ("--addr play.example:80 cat", at(tcp("play.example:80"))),
        (
            "--addr 127.0.0.1:0 --addr 127.0.0.1:1 cat",
            at(tcp("127.0.0.1:1")),
        ),
        ("--addr unix:/s cat", at(Listen::Unix("/s".into()))),
        (&format!("{tls} cat"), secure("127.0.0.1:9000")),
        (
            &format!("{tls} --addr 0.0.0.0:443 cat"),
            secure("127.0.0.1:443"),
        ),
        (
            &format!("{tls} --tls-client-ca a cat"),
            Health {
                wants_certificate: true,
                ..secure("127.0.0.1:9000")
            },
        ),
        // Where nobody needs a certificate.
        (
            &format!("{tls} --tls-client-ca a --admin-addr 0.0.0.0:9090 cat"),
            at(tcp("127.0.0.1:9090")),
        ),
        (
            &format!("{tls} --addr 0.0.0.0:443 --addr unix:/s cat"),
            at(Listen::Unix("/s".into())),
        ),
    ] {
        assert_eq!(asked_in(&[], line).as_ref(), Ok(&expected), "{line}");
    }
    let variables = [
        ("SCALESOCKET_ADDR", "0.0.0.0:8080"),
        ("SCALESOCKET_TLS_CERT", "c"),
        ("SCALESOCKET_TLS_KEY", "k"),
    ];
    assert_eq!(asked_in(&variables, "cat"), Ok(secure("127.0.0.1:8080")));
}

#[test]
fn an_init_before_it_is_passed_over() {
    let none = |_: &str| None;
    let mut line: Vec<OsString> = vec!["/sbin/docker-init".into(), "--".into()];
    line.extend(["/usr/local/bin/scalesocket", "--addr", "[::1]:1", "cat"].map(OsString::from));
    assert_eq!(health(&line, &none), Ok(at(tcp("[::1]:1"))));
}

#[test]
fn whoever_serves_nothing_that_can_be_known_is_told_so() {
    let none = |_: &str| None;
    let other: Vec<OsString> = vec!["/bin/sh".into(), "-c".into(), "true".into()];
    assert!(health(&other, &none).unwrap_err().contains("name a URL"));
    assert!(health(&[], &none).is_err());
    for line in [
        "--help",
        "probe",
        "--nonsense cat",
        "--addr 127.0.0.1:0 cat",
    ] {
        assert!(
            asked_in(&[], line).unwrap_err().contains("name a URL"),
            "{line}"
        );
    }
}
