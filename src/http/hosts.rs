//! Which hosts are this server, for pages that operators and their own pages read.
//!
//! SECURITY: a page of a stranger may point its own name at an address of ours (DNS rebinding); to the
//! visitor's browser that page and our answers are then of one origin, and only `Host` tells. Names
//! that nobody can own in the public DNS are safe; of others we know those that we were told.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, header};
use rustls::pki_types::ServerName;
use tracing::debug;

use super::answer::Denied;
use super::origin::parse_authority;
use super::{Door, Ends};

/// What names of no public domain end with: of the machine itself (RFC 6761), of a network (ICANN,
/// 2024), and of services in Kubernetes.
const PRIVATE: [&str; 4] = [".localhost", ".internal", ".svc", ".cluster.local"];

/// The names that the server was told to be its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Names without ports.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        // The dot at the end says that nothing follows, and browsers do not send it.
        let plain = |name: String| name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase();
        let names = names.into_iter().map(plain);
        Hosts(names.collect())
    }

    /// Whether it is one of them, or one that needs no telling.
    fn has(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let literal = name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok();
        literal
            || !name.contains('.')
            || PRIVATE.iter().any(|suffix| name.ends_with(suffix))
            || self.0.iter().any(|ours| ours == name)
    }
}

/// Lets those pass who ask for a host of ours, from none but a page that may.
pub(super) async fn ours_only(
    State(door): State<Arc<Door>>,
    request: Request,
    next: Next,
) -> Response {
    let ends = request.extensions().get::<Ends>().copied();
    // What tells of rooms is for those who may join them.
    let is_lobby = request.uri().path().starts_with("/api/");
    let https = ends.unwrap_or_default().https;
    match check(&door, request.headers(), https, is_lobby) {
        Ok(()) => next.run(request).await,
        Err(denied) => {
            door.metrics.refused(denied.label());
            debug!(
                reason = denied.label(),
                path = request.uri().path(),
                "request refused"
            );
            denied.into_response()
        }
    }
}

fn check(door: &Door, headers: &HeaderMap, https: bool, is_lobby: bool) -> Result<(), Denied> {
    let options = &door.options;
    let text = |name: HeaderName, otherwise: Denied| match headers.get(name) {
        Some(value) => value.to_str().map(Some).map_err(|_| otherwise),
        None => Ok(None),
    };
    // Every browser sends one.
    let host = text(header::HOST, Denied::Host)?;
    if let Some(host) = host {
        let (name, _) = parse_authority(host).ok_or(Denied::Host)?;
        let has_certificate = || {
            let tls = options.tls.as_ref();
            let name = ServerName::try_from(name.as_str()).ok();
            tls.zip(name).is_some_and(|(tls, name)| tls.is_for(&name))
        };
        if !options.hosts.has(&name) && !options.origin.names(&name) && !has_certificate() {
            return Err(Denied::Host);
        }
    }
    let origin = text(header::ORIGIN, Denied::Origin)?;
    let allowed = match is_lobby {
        true => options.origin.allows_reading(origin, host, https),
        false => options.origin.allows_operating(origin, host, https),
    };
    allowed.then_some(()).ok_or(Denied::Origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_private_names_and_those_that_were_told_are_ours() {
        let hosts = Hosts::new(["Play.Example".to_owned(), "full.example.".to_owned()]);
        for (name, expected) in [
            ("127.0.0.1", true),
            ("[::1]", true),
            ("localhost", true),
            ("game.localhost", true),
            ("scalesocket", true),
            ("scalesocket.games.svc", true),
            ("scalesocket.games.svc.cluster.local", true),
            ("metadata.internal", true),
            ("play.example", true),
            ("play.example.", true),
            ("full.example", true),
            ("full.example.", true),
            ("evil.play.example", false),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("1.2.3", false),
            ("svc.example", false),
        ] {
            assert_eq!(hosts.has(name), expected, "{name}");
        }
    }
}
