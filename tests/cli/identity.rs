//! The flags by which clients prove who they are.

use scalesocket::cli::Identity;

use super::*;

fn names(names: &[http::HeaderName]) -> Vec<&str> {
    names.iter().map(http::HeaderName::as_str).collect()
}

/// What is said of tokens: the file, the cookie, audiences, issuers and leeway in milliseconds.
fn token(c: &Config) -> Option<(String, Option<&str>, String, String, u128)> {
    match &c.identity {
        Some(Identity::Token {
            file,
            cookie,
            audiences,
            issuers,
            leeway,
        }) => Some((
            file.display().to_string(),
            cookie.as_deref(),
            audiences.join(" "),
            issuers.join(" "),
            leeway.as_millis(),
        )),
        _ => None,
    }
}

/// What is said of a service: its address, three kinds of headers, and its time.
fn service(c: &Config) -> Option<(String, String, &str, String, Duration)> {
    match &c.identity {
        Some(Identity::Service {
            url,
            forward,
            user_header,
            copy,
            timeout,
        }) => Some((
            url.to_string(),
            names(forward).join(" "),
            user_header.as_str(),
            names(copy).join(" "),
            *timeout,
        )),
        _ => None,
    }
}

type Holds = fn(&Config) -> bool;

/// Every form of every flag, and what it means.
pub(super) const FORMS: &[(&str, Holds)] = &[
    ("--auth-jwt /etc/keys", |c| {
        token(c) == Some(("/etc/keys".into(), None, String::new(), String::new(), 0))
    }),
    ("--auth-jwt k --auth-cookie s --same-origin", |c| {
        token(c).is_some_and(|token| token.1 == Some("s"))
    }),
    ("--auth-jwt k --auth-cookie s --origin *", |c| {
        token(c).is_some_and(|token| token.1 == Some("s"))
    }),
    ("--auth-jwt k --auth-cookie s --origin *,null", |c| {
        token(c).is_some_and(|token| token.1 == Some("s"))
    }),
    (
        "--auth-jwt k --auth-aud us,we --auth-iss https://a/,b --auth-leeway 1.5",
        |c| {
            token(c)
                == Some((
                    "k".into(),
                    None,
                    "us we".into(),
                    "https://a/ b".into(),
                    1500,
                ))
        },
    ),
    (
        "--auth-url http://127.0.0.1:9091/verify?a=b --same-origin",
        |c| {
            service(c)
                == Some((
                    "http://127.0.0.1:9091/verify?a=b".into(),
                    "authorization cookie".into(),
                    "remote-user",
                    String::new(),
                    secs(5),
                ))
        },
    ),
    (
        "--auth-url https://a --auth-forward X-Key,authorization",
        |c| service(c).is_some_and(|service| service.1 == "x-key authorization"),
    ),
    (
        "--auth-url https://a/ --auth-forward x --auth-user-header X-User --auth-copy X-A,x-b --auth-timeout 1s",
        |c| {
            service(c)
                == Some((
                    "https://a/".into(),
                    "x".into(),
                    "x-user",
                    "x-a x-b".into(),
                    secs(1),
                ))
        },
    ),
    ("--auth-jwt k --stats", |c| c.warnings.len() == 1),
    ("--auth-jwt k --stats --admin-addr unix:a", |c| {
        c.warnings.is_empty()
    }),
];

/// Values that nobody can mean.
pub(super) const BAD: &[&str] = &[
    "--auth-jwt -",
    "--auth-cookie 'a b'",
    "--auth-cookie a=b",
    "--auth-aud a,,b",
    "--auth-iss 'a,,b'",
    "--auth-leeway soon",
    "--auth-url example.com",
    "--auth-url ftp://example.com/",
    "--auth-url /verify",
    "--auth-url http://ann:secret@example.com/",
    "--auth-forward 'a b'",
    "--auth-forward host",
    "--auth-forward x-forwarded-for",
    "--auth-user-header 'a:'",
    "--auth-user-header connection",
    "--auth-copy sec-websocket-key",
    "--auth-copy scalesocket-peer-user",
    "--auth-timeout 0",
];

#[test]
fn nobody_is_asked_unless_it_is_said() {
    assert_eq!(config("cat").identity, None);
}
