//! Answers of our own: JSON bodies, and refusals with a status, a label and a reason.

use std::net::SocketAddr;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde_json::json;
use tracing::{debug, info};

use super::connections::Crowded;
use super::gate::{ENDPOINT, Mistrust, OWNER, REASON, SESSION, Turned};
use super::head::{Limits, TooLong};
use crate::auth::Rejection;
use crate::room::{BadName, Close, Refusal};

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denied {
    /// The path names no room.
    Name(BadName),
    /// The page may not connect.
    Origin,
    /// The host that was asked for is none of ours.
    Host,
    /// The path is not below that of the server.
    Outside,
    /// The handshake is wrong (RFC 6455 section 4.2.1).
    Handshake(&'static str),
    /// The handshake is of another version of the protocol.
    Version,
    /// Not a websocket request, where only that makes sense; what a URL of a room begins with.
    NotWebsocket(String),
    /// As many are connected as may be.
    Crowded(Crowded),
    /// There is no descriptor for its connection.
    NoDescriptors,
    /// The head of its request is longer than it may be.
    TooLong(TooLong, Limits),
    /// A trusted proxy says of the client what cannot be.
    Forwarded(&'static str),
    /// It does not prove who it is, or may not come in.
    Auth(Rejection),
    /// It has not the console's token.
    Console,
    /// The server is still starting.
    Starting,
    /// The rooms said no.
    Room(Refusal),
    /// The room is on the server of that public address.
    At(SocketAddr),
    /// No server of the fleet takes another room.
    NoServer,
    /// The server that has the room does not answer.
    Unreachable,
    /// Not a peer, on the peers' listener.
    NotAPeer(&'static str),
    /// A peer that means another session.
    SessionOver,
}

impl From<Turned> for Denied {
    fn from(turned: Turned) -> Self {
        match turned {
            Turned::Room(refusal) => Denied::Room(refusal),
            Turned::At(endpoint) => Denied::At(endpoint),
            Turned::NoServer => Denied::NoServer,
            Turned::Unreachable => Denied::Unreachable,
        }
    }
}

impl From<Rejection> for Denied {
    fn from(rejection: Rejection) -> Self {
        Denied::Auth(rejection)
    }
}

impl From<Mistrust> for Denied {
    fn from(mistrust: Mistrust) -> Self {
        match mistrust {
            Mistrust::Unproven(why) => Denied::NotAPeer(why),
            Mistrust::SessionOver => Denied::SessionOver,
        }
    }
}

impl Denied {
    fn status(&self) -> StatusCode {
        match self {
            Denied::Auth(rejection) => rejection.status(),
            Denied::Name(_) | Denied::Handshake(_) | Denied::Forwarded(_) => {
                StatusCode::BAD_REQUEST
            }
            Denied::Origin | Denied::Room(Refusal::NotAllowed) => StatusCode::FORBIDDEN,
            Denied::Console => StatusCode::UNAUTHORIZED,
            Denied::Host => StatusCode::MISDIRECTED_REQUEST,
            Denied::Outside => StatusCode::NOT_FOUND,
            Denied::Version | Denied::NotWebsocket(_) => StatusCode::UPGRADE_REQUIRED,
            Denied::TooLong(TooLong::Line, _) => StatusCode::URI_TOO_LONG,
            Denied::TooLong(TooLong::Bytes | TooLong::Headers, _) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Denied::Room(Refusal::PerAddress) | Denied::Crowded(Crowded::Address) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Denied::Room(Refusal::Elsewhere(_)) | Denied::At(_) => StatusCode::MISDIRECTED_REQUEST,
            Denied::NotAPeer(_) => StatusCode::FORBIDDEN,
            Denied::SessionOver => StatusCode::GONE,
            Denied::Starting
            | Denied::Crowded(Crowded::Server)
            | Denied::NoDescriptors
            | Denied::Room(_)
            | Denied::NoServer
            | Denied::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The label in metrics, and `error` in the body.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Denied::Auth(rejection) => rejection.label(),
            Denied::Name(BadName::Reserved) => "reserved_name",
            Denied::Name(_) => "bad_room_name",
            Denied::Origin => "origin_not_allowed",
            Denied::Console => "no_console_token",
            Denied::Host => "unknown_host",
            Denied::Outside => "outside_base_path",
            Denied::Handshake(_) => "bad_handshake",
            Denied::Version => "bad_version",
            Denied::Forwarded(_) => "bad_forwarded",
            Denied::NotWebsocket(_) => "not_a_websocket_request",
            Denied::Starting => "starting",
            Denied::Crowded(Crowded::Server) => "too_many_connections",
            Denied::Crowded(Crowded::Address) => "too_many_connections_from_address",
            Denied::NoDescriptors => "no_descriptors",
            Denied::TooLong(TooLong::Line, _) => "uri_too_long",
            Denied::TooLong(TooLong::Bytes, _) => "head_too_large",
            Denied::TooLong(TooLong::Headers, _) => "too_many_headers",
            Denied::Room(refusal) => refusal.label(),
            Denied::At(_) => "elsewhere",
            Denied::NoServer => "no_server",
            Denied::Unreachable => "owner_unreachable",
            Denied::NotAPeer(_) => "not_a_peer",
            Denied::SessionOver => "session_over",
        }
    }

    /// Tells the log that somebody was refused: of the first for a reason what they were told, because
    /// browsers show it to nobody; of the others only those who want to hear of each client.
    pub(super) fn tell(&self) {
        static TOLD: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
        let reason = self.label();
        let is_first = {
            let mut told = TOLD.lock();
            let is_first = !told.contains(&reason);
            if is_first {
                told.push(reason);
            }
            is_first
        };
        match is_first {
            true => info!(
                reason,
                "a client was refused: {}; of others for this reason -v tells",
                self.reason()
            ),
            false => debug!(reason, "client refused"),
        }
    }

    fn reason(&self) -> String {
        match self {
            Denied::Auth(rejection) => rejection.reason().to_owned(),
            Denied::Name(bad) => bad.to_string(),
            Denied::Origin => "pages of this origin may not connect".to_owned(),
            Denied::Console => {
                "the console wants its token: in the header Authorization, as `Bearer TOKEN`"
                    .to_owned()
            }
            Denied::Host => "the host that was asked for is not known to be this server: name it \
                             with --host"
                .to_owned(),
            Denied::Outside => "everything here is below another path".to_owned(),
            Denied::Handshake(what) => (*what).to_owned(),
            Denied::Version => "the protocol version is 13 (RFC 6455)".to_owned(),
            Denied::Forwarded(what) => {
                format!("{what}: a proxy should set them anew, and remove what it does not set")
            }
            Denied::NotWebsocket(start) => {
                format!("this is a websocket server: connect to {start}/<room>")
            }
            Denied::Starting => "the server is starting".to_owned(),
            Denied::Crowded(Crowded::Server) => {
                "the server has as many connections as it takes".to_owned()
            }
            Denied::Crowded(Crowded::Address) => {
                "there are as many connections from this address as the server takes".to_owned()
            }
            Denied::NoDescriptors => "the server has no descriptor left; try again".to_owned(),
            Denied::TooLong(TooLong::Line | TooLong::Bytes, limits) => format!(
                "the request line and headers may have at most {} bytes",
                limits.bytes
            ),
            Denied::TooLong(TooLong::Headers, limits) => {
                format!("a request may have at most {} headers", limits.headers)
            }
            Denied::Room(refusal) => refusal.to_string(),
            Denied::At(endpoint) => format!("the room is on another server: connect to {endpoint}"),
            Denied::NoServer => "no server takes another room at present; try again".to_owned(),
            Denied::Unreachable => {
                "the server that has the room does not answer; try again".to_owned()
            }
            Denied::NotAPeer(why) => (*why).to_owned(),
            Denied::SessionOver => "this server is another one than was meant".to_owned(),
        }
    }

    /// Seconds until another try can be worth it.
    fn again(self) -> u64 {
        match self {
            Denied::Room(refusal) => refusal.again(),
            _ => 1,
        }
    }

    /// Whether only an HTTP status says it, whatever `--refuse` asks for.
    pub(super) fn is_http(&self) -> bool {
        matches!(self, Denied::At(_))
    }

    /// The answer to a peer, who reads the headers.
    pub(super) fn to_peer(&self) -> Response {
        let mut response = self.clone().into_response();
        let headers = response.headers_mut();
        headers.insert(REASON, HeaderValue::from_static(self.label()));
        if let Denied::Room(Refusal::Elsewhere(owner)) = self {
            let said = [
                (OWNER, owner.endpoint.to_string()),
                (SESSION, format!("{:032x}", owner.session)),
            ];
            for (name, value) in said {
                headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
            }
        }
        response
    }

    /// With `--refuse close`: what the client reads after 101.
    pub(super) fn close(&self) -> Close {
        let code = match self {
            Denied::Auth(rejection) => match rejection.status() {
                StatusCode::UNAUTHORIZED => Close::UNAUTHORIZED,
                StatusCode::FORBIDDEN => Close::FORBIDDEN,
                _ => Close::TRY_LATER,
            },
            Denied::Room(Refusal::Draining | Refusal::Ending) => Close::RESTART,
            Denied::Room(Refusal::NotAllowed) => Close::POLICY,
            Denied::Room(_) | Denied::Starting | Denied::NoServer | Denied::Unreachable => {
                Close::TRY_LATER
            }
            _ => Close::POLICY,
        };
        Close::new(code, self.reason())
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.label(), "message": self.reason() });
        let mut response = json_response(self.status(), &body);
        let headers = response.headers_mut();
        if let Denied::At(endpoint) = self {
            headers.extend(endpoint_header(endpoint));
        }
        if let Denied::Auth(rejection) = &self {
            let challenge = rejection.challenge();
            headers.extend(challenge.map(|challenge| (header::WWW_AUTHENTICATE, challenge)));
        }
        if self == Denied::Console {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(self.again()));
            }
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(
                    header::SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static("13"),
                );
            }
            _ => {}
        }
        response
    }
}

/// Where clients reach the server that has a room.
pub(super) fn endpoint_header(endpoint: SocketAddr) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::try_from(endpoint.to_string()).ok()?;
    Some((ENDPOINT, value))
}

/// A JSON body that no cache keeps.
pub(super) fn json_response(status: StatusCode, body: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let headers = [
                (header::CONTENT_TYPE, "application/json"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (status, headers, Body::from(bytes)).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// 404 with a JSON body.
pub(super) fn not_found(what: &str) -> Response {
    json_response(
        StatusCode::NOT_FOUND,
        &json!({ "error": "not_found", "message": what }),
    )
}
