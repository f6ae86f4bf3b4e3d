//! The console: a page for operators that shows every room, live, and with `--console=write` acts on
//! them.
//!
//! The page is one file without secrets, and everybody may load it; all that it shows comes from
//! endpoints below `/console/`, which want the console's token in a header. A page of a stranger has no
//! token, and cannot make a browser add one.

mod act;
mod overview;
mod page;
mod room;
mod sampler;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use http_body::Body as _;
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::Door;
use super::answer::{Denied, json_response};
use crate::room::Room;
use sampler::Sampler;

/// Longest body of an action: a message in hexadecimal digits.
const BODY: usize = 4 << 20;
/// The shortest token that is taken: what a file holds by mistake is shorter.
const TOKEN_LEAST: usize = 16;

/// What whoever has the token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look.
    Read,
    /// Look and act.
    Write,
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the console's token must have at least {TOKEN_LEAST} characters, all of them ASCII and visible"
)]
pub struct BadToken;

/// See the module's documentation.
pub struct Console {
    access: Access,
    /// Of the token: equal texts have equal digests, and how long a comparison takes tells of nothing else.
    token: [u8; 32],
    /// The public port, where the console is not there too.
    pub public_port: Option<u16>,
    /// The token, where nobody gave one: it is to be told.
    pub made: Option<String>,
    sampler: Sampler,
    watchers: Arc<AtomicUsize>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl Console {
    /// A console whose token is this.
    ///
    /// # Errors
    ///
    /// It cannot be one.
    pub fn new(access: Access, token: &str) -> Result<Self, BadToken> {
        if token.len() < TOKEN_LEAST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadToken);
        }
        Ok(Console {
            access,
            token: hash(token.as_bytes()),
            public_port: None,
            made: None,
            sampler: Sampler::default(),
            watchers: Arc::default(),
        })
    }

    fn knows(&self, request: &Request) -> bool {
        let given = request.headers().get(header::AUTHORIZATION);
        // RFC 7235, section 2.1: the scheme in any case.
        let token = given.and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        token.is_some_and(|token| hash(token) == self.token)
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// The room of a path. No path can name `.` or `..`, which whoever asks takes for ways in a tree: they are
/// `~.` and `~..` here, where no other name begins so but those of isolated clients, which are numbers.
fn find(door: &Door, name: &str) -> Option<Arc<Room>> {
    door.rooms.get(match name {
        "~." => ".",
        "~.." => "..",
        name => name,
    })
}

/// The page, and all that it asks.
pub(super) fn routes(console: &Console, door: &Arc<Door>) -> Router<Arc<Door>> {
    let mut routes = Router::new()
        .route("/console/overview", get(overview::overview))
        .route("/console/fleet", get(overview::fleet))
        .route("/console/rooms/{room}", get(room::details))
        .route("/console/rooms/{room}/watch", get(room::watch));
    let writes = console.access == Access::Write;
    for (path, act) in [
        ("/console/rooms/{room}/input", post(act::input)),
        ("/console/rooms/{room}/say", post(act::say)),
        ("/console/rooms/{room}/kick", post(act::kick)),
        ("/console/rooms/{room}/end", post(act::end)),
    ] {
        routes = routes.route(path, if writes { act } else { post(act::refused) });
    }
    let known = middleware::from_fn_with_state(Arc::clone(door), known_only);
    routes
        .layer(DefaultBodyLimit::max(BODY))
        .route_layer(known)
        .route("/console", get(page::page))
        .route("/console/", get(page::page))
}

/// Lets those pass who have the token.
async fn known_only(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let console = door.options.console.as_ref();
    if console.is_some_and(|console| console.knows(&request)) {
        // Said before anybody sends it; of a body that does not tell its length so much is read.
        if request.body().size_hint().lower() > BODY as u64 {
            let message = format!("an action takes {BODY} bytes at the most");
            let body = json!({ "error": "bad_request", "message": message });
            return json_response(StatusCode::PAYLOAD_TOO_LARGE, &body);
        }
        return next.run(request).await;
    }
    let denied = Denied::Console;
    door.metrics.refused(denied.label());
    denied.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(header: Option<&str>) -> Request {
        let mut request = Request::new(axum::body::Body::empty());
        if let Some(header) = header {
            let value = header.parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        request
    }

    #[test]
    fn only_the_token_itself_is_known() {
        let console = Console::new(Access::Read, "0123456789abcdef").unwrap();
        for (header, expected) in [
            (Some("Bearer 0123456789abcdef"), true),
            (Some("bearer 0123456789abcdef"), true),
            (Some("Bearer 0123456789abcdeF"), false),
            (Some("Bearer 0123456789abcdef "), false),
            (Some("Bearer 0123456789abcde"), false),
            (Some("Bearer "), false),
            (Some("Bearer"), false),
            (Some("Basic 0123456789abcdef"), false),
            (Some("0123456789abcdef"), false),
            (None, false),
        ] {
            assert_eq!(console.knows(&with(header)), expected, "{header:?}");
        }
    }

    #[test]
    fn what_is_short_or_cannot_be_a_header_is_no_token() {
        for bad in ["", "short", "with a space inside", "with-ümlauts-inside-it"] {
            assert_eq!(
                Console::new(Access::Read, bad).err(),
                Some(BadToken),
                "{bad}"
            );
        }
    }
}
