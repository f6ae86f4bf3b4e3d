//! A token: a JWT (RFC 7519) in the compact form of JWS (RFC 7515), held against keys and rules.
//!
//! Nothing that it says is used before its signature was found good. The key decides the algorithm; what a
//! token calls its algorithm only has to agree (RFC 8725 section 3.1), so `none` never does.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::glob::Glob;
use super::keys::{Algorithm, Key};
use super::{Identity, Rejection, Scheme, user};

/// Longest token, in bytes.
const LONGEST: usize = 8 << 10;
/// Where time ends: the year 9999, which every clock can hold.
const DOOMSDAY: f64 = 253_402_300_799.0;

/// What a token has to say, beside what is always asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pub(super) audiences: Vec<String>,
    pub(super) issuers: Vec<String>,
    pub(super) leeway: Duration,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: we know none (RFC 7515 section 4.1.11).
    #[serde(default, deserialize_with = "there")]
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default, deserialize_with = "there")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "there")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "there")]
    aud: Option<OneOrMany>,
    #[serde(default, deserialize_with = "there")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "there")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "there")]
    room: Option<OneOrMany>,
}

/// SECURITY: a member that is there has a value of its type, and `null` is none. An issuer that writes
/// `"room": null` for somebody without rooms must not open all of them.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A JSON object of that shape; serde takes lists for one too.
fn object<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let is_object = text.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(text).ok())?
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// Who brought this token, at this time.
pub(super) fn verify(
    token: &str,
    keys: &[Key],
    rules: &Rules,
    now: SystemTime,
) -> Result<Identity, Rejection> {
    let no_jwt = || Rejection::Invalid("the token is no JWT");
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| no_jwt());
    if token.is_empty() {
        return Err(Rejection::Missing);
    }
    if token.len() > LONGEST {
        return Err(Rejection::Invalid("the token is too long"));
    }
    let (message, signature) = token.rsplit_once('.').ok_or_else(no_jwt)?;
    let (header, claims) = message.split_once('.').ok_or_else(no_jwt)?;
    let header: Header = object(&decode(header)?).ok_or_else(no_jwt)?;
    if header.crit.is_some() {
        return Err(Rejection::Invalid(
            "the token needs an extension that is not known",
        ));
    }
    let signature = decode(signature)?;
    let algorithm = Algorithm::named(&header.alg).ok_or(Rejection::Invalid(
        "the token's algorithm is none of those that are believed",
    ))?;
    let fits = |key: &&Key| {
        // A key without a name may be any; so may the one of a token that names none.
        let named = key.id.is_none() || header.kid.is_none() || key.id == header.kid;
        named && key.algorithm() == algorithm
    };
    let mut candidates = keys.iter().filter(fits).peekable();
    if candidates.peek().is_none() {
        return Err(Rejection::Invalid(
            "no key is there for the token's algorithm and key id",
        ));
    }
    if !candidates.any(|key| key.has_signed(message.as_bytes(), &signature)) {
        return Err(Rejection::Invalid("the token's signature is not good"));
    }
    let claims: Claims = object(&decode(claims)?).ok_or(Rejection::Invalid(
        "a claim of the token is not of its type",
    ))?;
    judge(claims, rules, now)
}

fn judge(claims: Claims, rules: &Rules, now: SystemTime) -> Result<Identity, Rejection> {
    let exp = claims.exp.ok_or(Rejection::Invalid(
        "the token has no end: it needs the claim exp",
    ))?;
    let until = time(exp)
        .checked_add(rules.leeway)
        .unwrap_or_else(|| time(exp));
    if now >= until {
        return Err(Rejection::Expired);
    }
    if claims.nbf.is_some_and(|nbf| now + rules.leeway < time(nbf)) {
        return Err(Rejection::Invalid("the token is not valid yet"));
    }
    let meant = match &claims.aud {
        Some(aud) => aud
            .as_slice()
            .iter()
            .any(|one| rules.audiences.contains(one)),
        None => rules.audiences.is_empty(),
    };
    if !meant {
        return Err(Rejection::Invalid("the token is for another audience"));
    }
    let issued = claims.iss.is_some_and(|iss| rules.issuers.contains(&iss));
    if !issued && !rules.issuers.is_empty() {
        return Err(Rejection::Invalid("the token is of another issuer"));
    }
    let user: Option<Arc<str>> = match &claims.sub {
        None => None,
        Some(sub) => Some(user(sub).ok_or(Rejection::Invalid(
            "the token's sub is empty, too long, or holds control characters",
        ))?),
    };
    let globs = |room: &OneOrMany| room.as_slice().iter().map(|one| Glob::new(one)).collect();
    Ok(Identity {
        user,
        scheme: Scheme::Bearer,
        until: Some(until),
        rooms: claims.room.as_ref().map(globs),
    })
}

/// Seconds since 1970, which may have a fraction (RFC 7519 section 2); what no clock holds is as
/// near to it as one can come.
fn time(seconds: f64) -> SystemTime {
    let since = Duration::try_from_secs_f64(seconds.clamp(0.0, DOOMSDAY));
    UNIX_EPOCH + since.unwrap_or_default()
}

#[cfg(test)]
mod tests;
