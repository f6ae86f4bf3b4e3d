//! Who a client is: proved by a token that it brings, or asked of a service that knows.
//!
//! A [`Guard`] looks at one request before anything else of it is used. It takes off the request
//! whatever proves who somebody is, whether it was good or not, and gives back an [`Identity`] or a
//! [`Rejection`] with a reason. It knows no rooms, sends no answers and keeps nothing of a client:
//! the door holds the identity against the room, and the connection against its end.

mod credential;
mod glob;
mod keyring;
mod keys;
mod service;
mod token;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use glob::Glob;
use keyring::Keyring;
pub use service::{Service, ServiceOptions};
use token::Rules;

/// The subprotocol that a page offers beside its token, so that there is one to be agreed on:
/// browsers fail a connection that was offered some and names none.
pub const SUBPROTOCOL: &str = "scalesocket";
/// Headers by which a proxy tells a program who somebody is. Where we do, nobody else does.
const CLAIMED: [HeaderName; 4] = [
    HeaderName::from_static("auth-type"),
    HeaderName::from_static("remote-user"),
    HeaderName::from_static("x-forwarded-user"),
    HeaderName::from_static("x-remote-user"),
];
/// Longest name of a user, in bytes.
const USER_MAX: usize = 256;

/// How somebody has proved to be who it is: `AUTH_TYPE` (RFC 3875 section 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// By a token.
    Bearer,
    /// A service said so.
    Forward,
}

impl Scheme {
    /// As programs and other servers read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Bearer => "Bearer",
            Scheme::Forward => "Forward",
        }
    }

    /// The scheme of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Scheme::Bearer, Scheme::Forward]
            .into_iter()
            .find(|scheme| scheme.as_str() == name)
    }
}

/// What is known of a client that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, without control characters; none if it proved something else, such as a right to a room.
    pub user: Option<Arc<str>>,
    /// How it proved that.
    pub scheme: Scheme,
    /// When that is over; none: it is not.
    pub until: Option<SystemTime>,
    /// The rooms that it may enter; none: any.
    rooms: Option<Vec<Glob>>,
}

impl Identity {
    /// Of a client that another server let in, for the room that it comes to; none if the user's
    /// name cannot be one.
    pub fn passed_on(
        name: Option<&str>,
        scheme: Scheme,
        until: Option<SystemTime>,
    ) -> Option<Self> {
        let user = match name {
            Some(name) => Some(user(name)?),
            None => None,
        };
        Some(Identity {
            user,
            scheme,
            until,
            rooms: None,
        })
    }

    /// Whether it may enter the room of that name.
    pub fn may_enter(&self, room: &str) -> bool {
        match &self.rooms {
            Some(globs) => globs.iter().any(|glob| glob.matches(room)),
            None => true,
        }
    }

    /// When it is over by the clock that no one sets; none: never.
    pub fn ends(&self) -> Option<Instant> {
        let left = self.until?.duration_since(SystemTime::now());
        // A clock that holds no such time never gets there.
        Instant::now().checked_add(left.unwrap_or_default())
    }
}

/// What was asked for, as an extension of a request whose path is only the rest of that.
#[derive(Debug, Clone)]
pub struct Target(pub PathAndQuery);

/// Why a client is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// It brings no token.
    Missing,
    /// Its token is none of ours, or not for us; why.
    Invalid(&'static str),
    /// Its token was good once.
    Expired,
    /// Its token is for other rooms.
    OtherRoom,
    /// The service does not know it: 401, with the challenge that the service sent.
    Unknown(Option<HeaderValue>),
    /// The service does not let it in: 403.
    Forbidden,
    /// The service does not answer, or not as one can use it.
    Unavailable,
}

impl Rejection {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Rejection::Missing
            | Rejection::Invalid(_)
            | Rejection::Expired
            | Rejection::Unknown(_) => StatusCode::UNAUTHORIZED,
            Rejection::OtherRoom | Rejection::Forbidden => StatusCode::FORBIDDEN,
            Rejection::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The label in metrics, and `error` in the body.
    pub fn label(&self) -> &'static str {
        match self {
            Rejection::Missing => "token_missing",
            Rejection::Invalid(_) => "token_invalid",
            Rejection::Expired => "token_expired",
            Rejection::OtherRoom => "room_not_permitted",
            Rejection::Unknown(_) => "not_authenticated",
            Rejection::Forbidden => "not_authorized",
            Rejection::Unavailable => "auth_unavailable",
        }
    }

    /// For people. It never quotes what the client brought.
    pub fn reason(&self) -> &'static str {
        match self {
            Rejection::Missing => "a token is needed to come in",
            Rejection::Invalid(why) => why,
            Rejection::Expired => "the token has expired",
            Rejection::OtherRoom => "the token is for other rooms",
            Rejection::Unknown(_) => "the authentication service does not know who this is",
            Rejection::Forbidden => "the authentication service does not let this client in",
            Rejection::Unavailable => "the authentication service does not answer; try again",
        }
    }

    /// `WWW-Authenticate` (RFC 6750 section 3; for a service, what it said itself).
    pub fn challenge(&self) -> Option<HeaderValue> {
        let bearer = |error: &str| {
            let reason = self.reason();
            let text = format!("Bearer error=\"{error}\", error_description=\"{reason}\"");
            HeaderValue::from_str(&text).ok()
        };
        match self {
            Rejection::Missing => Some(HeaderValue::from_static("Bearer")),
            Rejection::Invalid(_) | Rejection::Expired => bearer("invalid_token"),
            Rejection::OtherRoom => bearer("insufficient_scope"),
            Rejection::Unknown(challenge) => challenge.clone(),
            Rejection::Forbidden | Rejection::Unavailable => None,
        }
    }
}

/// What a guard of tokens is told.
#[derive(Debug, Clone, Default)]
pub struct TokenOptions {
    /// The keys: a JWKS, public keys in PEM, or a secret.
    pub file: PathBuf,
    /// The cookie that may hold a token.
    pub cookie: Option<String>,
    /// Of which a token's `aud` must name one; empty: it must have none.
    pub audiences: Vec<String>,
    /// Of which a token's `iss` must be one; empty: any.
    pub issuers: Vec<String>,
    /// How far the issuer's clock may be off, for `exp` and `nbf`.
    pub leeway: Duration,
}

/// See the module's documentation.
#[derive(Debug)]
pub enum Guard {
    /// Tokens are checked here.
    Tokens(Tokens),
    /// A service is asked.
    Service(Box<Service>),
}

/// Checks tokens (RFC 7519).
#[derive(Debug)]
pub struct Tokens {
    keyring: Keyring,
    cookie: Option<String>,
    rules: Rules,
}

impl Tokens {
    /// Reads the keys for the first time.
    ///
    /// # Errors
    ///
    /// One sentence for the user: no such file, or no key in it.
    pub fn open(options: TokenOptions) -> anyhow::Result<Self> {
        Ok(Tokens {
            keyring: Keyring::open(&options.file)?,
            cookie: options.cookie,
            rules: Rules {
                audiences: options.audiences,
                issuers: options.issuers,
                leeway: options.leeway,
            },
        })
    }

    fn admit(&self, parts: &mut Parts) -> Result<Identity, Rejection> {
        let token = credential::take(parts, self.cookie.as_deref()).ok_or(Rejection::Missing)?;
        token::verify(
            &token,
            &self.keyring.current(),
            &self.rules,
            SystemTime::now(),
        )
    }
}

impl Guard {
    /// Who sent this request, if it may come in; `address` is the client's. Afterwards the request
    /// holds nothing that proves who somebody is, and nothing by which it could seem to be another.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub async fn admit(
        &self,
        parts: &mut Parts,
        address: Option<IpAddr>,
        https: bool,
    ) -> Result<Identity, Rejection> {
        strip_claims(&mut parts.headers);
        match self {
            Guard::Tokens(tokens) => tokens.admit(parts),
            Guard::Service(service) => service.admit(parts, address, https).await,
        }
    }

    /// Looks at what is read from files, whether it seems to have changed or not.
    pub fn reload(&self) {
        if let Guard::Tokens(tokens) = self {
            tokens.keyring.reload();
        }
    }
}

fn strip_claims(headers: &mut HeaderMap) {
    for name in &CLAIMED {
        headers.remove(name);
    }
}

/// A user's name as it may stand in environments, logs and statistics: none that is not.
fn user(name: &str) -> Option<Arc<str>> {
    let fits = !name.is_empty() && name.len() <= USER_MAX && !name.chars().any(char::is_control);
    fits.then(|| name.into())
}
