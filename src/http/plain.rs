//! What plain HTTP gets where TLS is spoken: the way there, or a sentence that says so.

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderValue, StatusCode, Uri, header};
use rustls::pki_types::ServerName;
use serde_json::json;

use super::answer::json_response;
use super::{Door, Ends};

/// The port of plain HTTP, and that of HTTP over TLS.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// Sends everybody to TLS at `port`.
pub(super) fn redirects(port: u16, door: &Arc<Door>) -> Router {
    let redirect = move |State(door): State<Arc<Door>>, request: Request| async move {
        redirect(port, &door, &request)
    };
    Router::new()
        .fallback(redirect)
        .with_state(Arc::clone(door))
}

/// For a port that speaks TLS and hears plain HTTP.
pub(super) fn refuses() -> Router {
    Router::new().fallback(async || {
        let message = "this port speaks TLS: connect to it with https:// or wss://";
        let body = json!({ "error": "plain_http", "message": message });
        json_response(StatusCode::BAD_REQUEST, &body)
    })
}

fn redirect(port: u16, door: &Door, request: &Request) -> Response {
    let is_ours = |host: &ServerName<'_>| {
        let tls = door.options.tls.as_ref();
        tls.is_some_and(|tls| tls.is_for(host))
    };
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let ends = request
        .extensions()
        .get::<Ends>()
        .copied()
        .unwrap_or_default();
    let here = ends.local.map_or(HTTP, |local| local.port());
    let target = host.and_then(|host| target(host, request.uri(), here, port, is_ours));
    match target.and_then(|target| HeaderValue::try_from(target).ok()) {
        // 308, not 301: a request with a body comes again as it was.
        Some(target) => {
            (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, target)]).into_response()
        }
        None => {
            let message = "no certificate of this server is for the host that was asked for";
            let body = json!({ "error": "unknown_host", "message": message });
            json_response(StatusCode::MISDIRECTED_REQUEST, &body)
        }
    }
}

/// Where a request goes that came to port `here` and should have come over TLS to port `there`.
///
/// SECURITY: `Host` is what a client says. It is followed only to a host that is ours, so that
/// neither a cache nor a client can be sent to somebody else's.
fn target(
    host: &str,
    uri: &Uri,
    here: u16,
    there: u16,
    is_ours: impl Fn(&ServerName<'_>) -> bool,
) -> Option<String> {
    let asked = Authority::from_str(host)
        .ok()
        .filter(|asked| !asked.as_str().contains('@'))?;
    let name = asked.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    if !is_ours(&ServerName::try_from(bare).ok()?) {
        return None;
    }
    // A whole URL may stand in the request too, and must not name somebody else.
    if uri
        .authority()
        .is_some_and(|said| !said.host().eq_ignore_ascii_case(name))
    {
        return None;
    }
    // Who names no port came to 80. If we do not listen there, somebody maps ports for us, and 443
    // is where TLS is expected.
    let is_mapped = asked.port().is_none() && here != HTTP;
    let port = match there {
        HTTPS => String::new(),
        _ if is_mapped => String::new(),
        port => format!(":{port}"),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    Some(format!("https://{name}{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(host: &str, uri: &str, here: u16, there: u16) -> Option<String> {
        let is_ours = |name: &ServerName<'_>| {
            ["play.example", "192.0.2.1", "2001:db8::1"].contains(&name.to_str().as_ref())
        };
        target(host, &uri.parse().unwrap(), here, there, is_ours)
    }

    #[test]
    fn host_path_and_query_stay() {
        for (host, uri, here, there, target) in [
            (
                "play.example",
                "/a%20b?c=d&e",
                80,
                443,
                "https://play.example/a%20b?c=d&e",
            ),
            ("play.example:80", "/", 80, 443, "https://play.example/"),
            ("play.example", "/", 80, 8443, "https://play.example:8443/"),
            (
                "play.example:8080",
                "/",
                8080,
                8443,
                "https://play.example:8443/",
            ),
            ("play.example", "/", 8080, 8443, "https://play.example/"),
            ("192.0.2.1:80", "/x", 80, 443, "https://192.0.2.1/x"),
            ("[2001:db8::1]:80", "/x", 80, 443, "https://[2001:db8::1]/x"),
            (
                "play.example",
                "//evil.example/x",
                80,
                443,
                "https://play.example//evil.example/x",
            ),
            (
                "play.example",
                "http://play.example/x",
                80,
                443,
                "https://play.example/x",
            ),
            ("play.example", "*", 80, 443, "https://play.example/"),
        ] {
            assert_eq!(
                from(host, uri, here, there).as_deref(),
                Some(target),
                "{host} {uri}"
            );
        }
    }

    #[test]
    fn nobody_is_sent_to_a_host_that_is_not_ours() {
        for host in [
            "evil.example",
            "play.example.evil.example",
            "play.example@evil.example",
            "play.example/evil",
            "play.example:80:80",
            "play.example\\evil",
            "",
            ":80",
            "[::1",
        ] {
            assert_eq!(from(host, "/", 80, 443), None, "{host}");
        }
        assert_eq!(from("play.example", "http://evil.example/", 80, 443), None);
    }
}
