//! The flags that say how clients prove who they are, and what they come to: `Flags` -> [`Identity`], pure.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::{HeaderName, Uri};

use super::values;

/// How long the service may take, unless it is said.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The header in which services such as Authelia name the user.
const USER_HEADER: HeaderName = HeaderName::from_static("remote-user");
/// Where clients carry what a service knows them by.
const FORWARD: [HeaderName; 2] = [http::header::AUTHORIZATION, http::header::COOKIE];

// Groups are named after their structs, and this name is taken.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(next_help_heading = "Identity")]
pub(super) struct Flags {
    /// Clients need a token (JWT) that a key of this file has signed
    ///
    /// A secret for HS256 (the file's bytes without the last line break, at least 32), public keys in PEM, or a JWKS; read again
    /// when it changes and on SIGHUP. RS256, ES256 and EdDSA are known too; the key decides which. The token comes in the header
    /// Authorization, as a subprotocol bearer.TOKEN, as ?token= or in a cookie, and the program never sees it. Its `sub` is
    /// the user, `room` the rooms that it may enter (patterns with * and ?), and at `exp` the connection is closed with code 4401.
    #[arg(long, value_name = "FILE", value_parser = values::file)]
    pub auth_jwt: Option<PathBuf>,

    /// The cookie that may hold the token; needs --same-origin or --origin
    #[arg(long, value_name = "NAME", value_parser = values::cookie)]
    pub auth_cookie: Option<String>,

    /// Tokens must be for one of these audiences [default: for none]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::claim)]
    pub auth_aud: Vec<String>,

    /// Tokens must be of one of these issuers [default: any]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::claim)]
    pub auth_iss: Vec<String>,

    /// How far the issuer's clock may be off [default: 0s]
    ///
    /// A token is good so much before its `nbf` and so much after its `exp`.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub auth_leeway: Option<Duration>,

    /// Ask this service about every client
    ///
    /// A GET with X-Forwarded-Method, -Proto, -Host, -Uri and -For. 2xx lets the client in; 401 and 403 are passed on;
    /// anything else is 503. Needs --same-origin or --origin as long as cookies are handed on.
    #[arg(long, value_name = "URL", value_parser = values::service)]
    pub auth_url: Option<Uri>,

    /// Headers that the service gets, and nobody else [default: authorization,cookie]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::header_name)]
    pub auth_forward: Vec<HeaderName>,

    /// The header of its answer that names the user [default: remote-user]
    #[arg(long, value_name = "NAME", value_parser = values::header_name)]
    pub auth_user_header: Option<HeaderName>,

    /// Headers of its answer that the program gets, in place of the client's
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::header_name)]
    pub auth_copy: Vec<HeaderName>,

    /// How long its answer may take [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = values::span)]
    pub auth_timeout: Option<Duration>,
}

/// How clients prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// By a token.
    Token {
        /// The keys.
        file: PathBuf,
        /// The cookie that may hold it.
        cookie: Option<String>,
        /// Of which it must name one; empty: it must name none.
        audiences: Vec<String>,
        /// Of which one must have made it; empty: any.
        issuers: Vec<String>,
        /// How far clocks may be apart.
        leeway: Duration,
    },
    /// A service is asked.
    Service {
        /// Where it is: an http or https URL with a host.
        url: Uri,
        /// Headers of the client that it gets.
        forward: Vec<HeaderName>,
        /// The header of its answer that names the user.
        user_header: HeaderName,
        /// Headers of its answer for the program.
        copy: Vec<HeaderName>,
        /// How long it may take. Never 0.
        timeout: Duration,
    },
}

/// What the flags come to: nothing without --auth-jwt and --auth-url. `pages`: whether it is said which pages may connect.
pub(super) fn validate(flags: &Flags, pages: bool) -> Result<Option<Identity>, String> {
    let of_tokens = [
        (flags.auth_cookie.is_some(), "--auth-cookie"),
        (!flags.auth_aud.is_empty(), "--auth-aud"),
        (!flags.auth_iss.is_empty(), "--auth-iss"),
        (flags.auth_leeway.is_some(), "--auth-leeway"),
    ];
    let of_services = [
        (!flags.auth_forward.is_empty(), "--auth-forward"),
        (flags.auth_user_header.is_some(), "--auth-user-header"),
        (!flags.auth_copy.is_empty(), "--auth-copy"),
        (flags.auth_timeout.is_some(), "--auth-timeout"),
    ];
    // Refused, not warned of: who writes these believes that somebody is kept out.
    let alone = |flags: [(bool, &str); 4], main: &str| {
        let idle = flags.into_iter().find(|(given, _)| *given);
        let sentence =
            |(_, flag)| format!("{flag} does nothing without {main}: add that, or leave it out");
        idle.map_or(Ok(()), |idle| Err(sentence(idle)))
    };
    if flags.auth_jwt.is_none() {
        alone(of_tokens, "--auth-jwt")?;
    }
    if flags.auth_url.is_none() {
        alone(of_services, "--auth-url")?;
    }
    let ambient = |flag: &str| {
        format!(
            "{flag} lets any web page connect as its visitor, since browsers add cookies by \
             themselves: add --same-origin, or --origin with the pages that may, and not null, which any page can be"
        )
    };
    match (&flags.auth_jwt, &flags.auth_url) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(
            "--auth-jwt cannot go with --auth-url: the service can check tokens too, so leave \
             out one of the two"
                .into(),
        ),
        (Some(_), None) if flags.auth_cookie.is_some() && !pages => Err(ambient("--auth-cookie")),
        (Some(file), None) => Ok(Some(Identity::Token {
            file: file.clone(),
            cookie: flags.auth_cookie.clone(),
            audiences: flags.auth_aud.clone(),
            issuers: flags.auth_iss.clone(),
            leeway: flags.auth_leeway.unwrap_or_default(),
        })),
        (None, Some(url)) => {
            let forward = match flags.auth_forward.is_empty() {
                true => FORWARD.to_vec(),
                false => flags.auth_forward.clone(),
            };
            if forward.contains(&http::header::COOKIE) && !pages {
                return Err(ambient("--auth-url"));
            }
            Ok(Some(Identity::Service {
                url: url.clone(),
                forward,
                user_header: flags.auth_user_header.clone().unwrap_or(USER_HEADER),
                copy: flags.auth_copy.clone(),
                timeout: flags.auth_timeout.unwrap_or(TIMEOUT),
            }))
        }
    }
}
