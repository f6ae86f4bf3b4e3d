//! The environment of a child: CGI/1.1 of the client that opened the room, and what is handed on.
//!
//! RFC 3875 rules the names. Values are bytes as the client sent them where the system allows it;
//! what holds a NUL cannot stand in an environment and is left out.
//! Everything here was chosen by a stranger: it is data for the program, never part of a command.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    os::unix::ffi::{OsStrExt, OsStringExt},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, header};

/// What is known about the request that opened a room.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The client's address; none over a unix socket.
    pub remote: Option<SocketAddr>,
    /// The address it connected to; none over a unix socket.
    pub local: Option<SocketAddr>,
    /// The method, `GET` for every HTTP/1.1 upgrade.
    pub method: &'a str,
    /// The request target as it was sent, query included.
    pub uri: &'a str,
    /// The protocol's name and version: `HTTP/1.1`.
    pub protocol: &'a str,
    /// The room's name, decoded.
    pub room: &'a str,
    /// What follows the room in the path, decoded; empty or starting with `/`.
    pub path_info: &'a str,
    /// The query without its `?`, not decoded.
    pub query: &'a str,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// Whether the client came over TLS.
    pub https: bool,
    /// What the client has proved of itself, by variable.
    pub proved: &'a [(&'static str, &'a str)],
    /// What no other start of any room has; see [`unique_id`].
    pub unique_id: &'a str,
}

/// An id that no other start of a room has, of this server or of another one on this machine.
pub fn unique_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{:x}-{count:x}", since.as_nanos(), process::id())
}

/// The CGI/1.1 environment of the room that `request` opens.
pub fn cgi(request: &Request<'_>) -> Vec<(OsString, OsString)> {
    let mut env = BTreeMap::new();
    http_headers(request.headers, &mut env);

    let remote = request
        .remote
        .map(|addr| addr.ip().to_canonical().to_string());
    let host = request
        .headers
        .get(header::HOST)
        .map(|host| host.as_bytes());
    let mut set = |name: &str, value: &[u8]| env.insert(name.to_owned(), value.to_owned());
    set("GATEWAY_INTERFACE", b"CGI/1.1");
    set(
        "SERVER_SOFTWARE",
        concat!("scalesocket/", env!("CARGO_PKG_VERSION")).as_bytes(),
    );
    set("SERVER_PROTOCOL", request.protocol.as_bytes());
    set("SERVER_NAME", &server_name(host, request.local));
    set("SERVER_PORT", server_port(request).to_string().as_bytes());
    set("REQUEST_METHOD", request.method.as_bytes());
    set("REQUEST_URI", request.uri.as_bytes());
    set("SCRIPT_NAME", format!("/{}", request.room).as_bytes());
    set("PATH_INFO", request.path_info.as_bytes());
    set("QUERY_STRING", request.query.as_bytes());
    set(
        "REMOTE_ADDR",
        remote.as_deref().unwrap_or_default().as_bytes(),
    );
    set(
        "REMOTE_HOST",
        remote.as_deref().unwrap_or_default().as_bytes(),
    );
    if let Some(remote) = request.remote {
        set("REMOTE_PORT", remote.port().to_string().as_bytes());
    }
    set(
        "REQUEST_SCHEME",
        if request.https { b"https" } else { b"http" },
    );
    if request.https {
        set("HTTPS", b"on");
    }
    for (name, value) in request.proved {
        set(name, value.as_bytes());
    }
    set("UNIQUE_ID", request.unique_id.as_bytes());
    set("ROOM", request.room.as_bytes());

    env.into_iter()
        .filter(|(_, value)| !value.contains(&0))
        .map(|(name, value)| (OsString::from(name), OsString::from_vec(value)))
        .collect()
}

fn http_headers(headers: &HeaderMap, env: &mut BTreeMap<String, Vec<u8>>) {
    for name in headers.keys() {
        // SECURITY: HTTP_PROXY is read by HTTP libraries as a setting ("httpoxy"), and a name with
        // an underscore would pass for the one with a dash that a proxy before us has checked.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name == "proxy" || !name.as_str().bytes().all(plain) {
            continue;
        }
        let separator: &[u8] = if name == header::COOKIE { b"; " } else { b", " };
        let values: Vec<&[u8]> = headers
            .get_all(name)
            .iter()
            .map(|value| value.as_bytes())
            .collect();
        let variable = format!(
            "HTTP_{}",
            name.as_str().to_ascii_uppercase().replace('-', "_")
        );
        env.insert(variable, values.join(separator));
    }
}

/// The host the client asked for, without its port, else the address it came to.
fn server_name(host: Option<&[u8]>, local: Option<SocketAddr>) -> Vec<u8> {
    let named = host
        .map(|host| split_port(host).0)
        .filter(|name| !name.is_empty());
    match (named, local) {
        (Some(name), _) => name.to_owned(),
        (None, Some(local)) => match local.ip().to_canonical() {
            IpAddr::V4(ip) => ip.to_string().into_bytes(),
            IpAddr::V6(ip) => format!("[{ip}]").into_bytes(), // RFC 3875, 4.1.14
        },
        (None, None) => b"localhost".to_vec(),
    }
}

fn server_port(request: &Request<'_>) -> u16 {
    if let Some(local) = request.local {
        return local.port();
    }
    let host = request
        .headers
        .get(header::HOST)
        .map(|host| host.as_bytes());
    host.and_then(|host| split_port(host).1)
        .unwrap_or(if request.https { 443 } else { 80 })
}

/// `host:port` cut in two; a colon inside the brackets of an IPv6 address is none of ours.
fn split_port(host: &[u8]) -> (&[u8], Option<u16>) {
    let Some(colon) = memchr::memrchr(b':', host) else {
        return (host, None);
    };
    let (name, port) = host.split_at(colon);
    let port = port
        .get(1..)
        .and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
    match port {
        Some(port) => (name, Some(port)),
        None => (host, None),
    }
}

/// The variables of ours that a child gets: those that `list` names, or with `*` all but our own
/// settings and what service manager and Kubernetes tell us about ourselves.
pub fn passenv(
    list: &[String],
    vars: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    const DOWNWARD: [&str; 5] = [
        "POD_NAME",
        "POD_NAMESPACE",
        "POD_UID",
        "POD_IP",
        "NODE_NAME",
    ];
    let all = list.iter().any(|name| name == "*");
    // SECURITY: they say of a client what nobody but us has found out; where we have not, they are unset.
    const PROVED: [&str; 3] = ["AUTH_TYPE", "HTTPS", "REMOTE_USER"];
    vars.filter(|(name, _)| {
        let proved =
            PROVED.iter().any(|known| name == known) || name.as_bytes().starts_with(b"SSL_CLIENT_");
        let ours = name.as_bytes().starts_with(b"SCALESOCKET_")
            || name == "NOTIFY_SOCKET"
            || DOWNWARD.iter().any(|known| name == known);
        !proved && (list.iter().any(|listed| name == listed.as_str()) || (all && !ours))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn opened<'a>(headers: &'a HeaderMap) -> Request<'a> {
        Request {
            remote: Some("[::ffff:192.0.2.7]:40000".parse().unwrap()),
            local: Some("[::1]:9000".parse().unwrap()),
            method: "GET",
            uri: "/chess%20club/a?b=c",
            protocol: "HTTP/1.1",
            room: "chess club",
            path_info: "/a",
            query: "b=c",
            headers,
            https: false,
            proved: &[],
            unique_id: "u-1",
        }
    }

    fn value(env: &[(OsString, OsString)], name: &str) -> Option<Vec<u8>> {
        let found = env
            .iter()
            .filter(|(key, _)| key == name)
            .collect::<Vec<_>>();
        assert!(found.len() <= 1, "{name} stands twice");
        found.first().map(|(_, value)| value.clone().into_vec())
    }

    #[test]
    fn the_variables_of_cgi_describe_the_opener() {
        let headers = HeaderMap::new();
        let env = cgi(&opened(&headers));
        for (name, expected) in [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_NAME", "[::1]"),
            ("SERVER_PORT", "9000"),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/chess%20club/a?b=c"),
            ("SCRIPT_NAME", "/chess club"),
            ("PATH_INFO", "/a"),
            ("QUERY_STRING", "b=c"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("REMOTE_PORT", "40000"),
            ("UNIQUE_ID", "u-1"),
            ("ROOM", "chess club"),
            ("REQUEST_SCHEME", "http"),
        ] {
            assert_eq!(
                value(&env, name).as_deref(),
                Some(expected.as_bytes()),
                "{name}"
            );
        }
        assert_eq!(value(&env, "HTTPS"), None);
        assert_eq!(
            value(
                &cgi(&Request {
                    https: true,
                    ..opened(&headers)
                }),
                "HTTPS"
            )
            .unwrap(),
            b"on"
        );
    }

    #[test]
    fn what_a_client_has_proved_is_no_header() {
        let mut headers = HeaderMap::new();
        headers.insert("ssl-client-s-dn", HeaderValue::from_static("CN=mallory"));
        let env = cgi(&Request {
            https: true,
            proved: &[("SSL_CLIENT_S_DN", "CN=ann")],
            ..opened(&headers)
        });
        assert_eq!(value(&env, "SSL_CLIENT_S_DN").unwrap(), b"CN=ann");
        assert_eq!(value(&env, "REQUEST_SCHEME").unwrap(), b"https");
        assert_eq!(value(&env, "HTTP_SSL_CLIENT_S_DN").unwrap(), b"CN=mallory");
        assert_eq!(value(&cgi(&opened(&headers)), "SSL_CLIENT_S_DN"), None);
    }

    #[test]
    fn over_a_unix_socket_the_address_is_empty_and_the_host_names_the_port() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("[2001:db8::1]:8443"));
        let env = cgi(&Request {
            remote: None,
            local: None,
            ..opened(&headers)
        });
        assert_eq!(value(&env, "REMOTE_ADDR").unwrap(), b"");
        assert_eq!(value(&env, "REMOTE_PORT"), None);
        assert_eq!(value(&env, "SERVER_NAME").unwrap(), b"[2001:db8::1]");
        assert_eq!(value(&env, "SERVER_PORT").unwrap(), b"8443");
    }

    #[test]
    fn headers_are_handed_on_whole_but_never_proxy() {
        let mut headers = HeaderMap::new();
        for (name, bytes) in [
            ("proxy", &b"http://evil"[..]),
            ("x_forwarded_for", b"10.0.0.1"),
            ("x-forwarded-for", b"192.0.2.1"),
            ("x-raw", b"caf\xe9"),
            ("x-twice", b"a"),
            ("x-twice", b"b"),
            ("cookie", b"a=1"),
            ("cookie", b"b=2"),
            ("host", b"play.example:80"),
        ] {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_bytes(bytes).unwrap());
        }
        let env = cgi(&opened(&headers));
        assert_eq!(value(&env, "HTTP_PROXY"), None);
        assert_eq!(value(&env, "HTTP_X_FORWARDED_FOR").unwrap(), b"192.0.2.1");
        assert_eq!(value(&env, "HTTP_X_RAW").unwrap(), b"caf\xe9");
        assert_eq!(value(&env, "HTTP_X_TWICE").unwrap(), b"a, b");
        assert_eq!(value(&env, "HTTP_COOKIE").unwrap(), b"a=1; b=2");
        assert_eq!(value(&env, "SERVER_NAME").unwrap(), b"play.example");
    }

    #[test]
    fn what_holds_a_nul_is_left_out() {
        let headers = HeaderMap::new();
        let env = cgi(&Request {
            path_info: "/a\0b",
            ..opened(&headers)
        });
        assert_eq!(value(&env, "PATH_INFO"), None);
        assert!(value(&env, "ROOM").is_some());
    }

    #[test]
    fn a_star_passes_all_but_ours_and_the_pods() {
        let vars = [
            "PATH",
            "SCALESOCKET_TOKEN",
            "POD_IP",
            "NODE_NAME",
            "NOTIFY_SOCKET",
            "ODD",
        ];
        let pass = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
            let vars = vars
                .iter()
                .map(|name| (OsString::from(name), OsString::from("1")));
            passenv(&list, vars)
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(pass(&["PATH", "HOME"]), ["PATH"]);
        assert_eq!(pass(&["*"]), ["PATH", "ODD"]);
        assert_eq!(pass(&["*", "POD_IP"]), ["PATH", "POD_IP", "ODD"]);
        assert!(pass(&[]).is_empty());
    }

    #[test]
    fn nobody_is_a_user_because_our_own_environment_says_so() {
        let vars = [
            "REMOTE_USER",
            "AUTH_TYPE",
            "HTTPS",
            "SSL_CLIENT_S_DN",
            "USER",
        ];
        let vars = vars.map(|name| (OsString::from(name), OsString::from("1")));
        let list = ["*".to_owned(), "REMOTE_USER".to_owned()];
        let passed = passenv(&list, vars.into_iter());
        assert_eq!(passed, [(OsString::from("USER"), OsString::from("1"))]);
    }

    #[test]
    fn no_two_ids_are_the_same() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| unique_id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
