//! What one pod says to another of a client, and how it is believed: headers, signed with a secret of the fleet.
//!
//! The signature is HMAC-SHA256 over the method, the path with its query, `Sec-WebSocket-Key` and every other peer header; among those
//! are the time, good for 30 s either way, the session of the pod it is meant for, and a nonce that is taken once. So what was
//! overheard opens no second connection, here or at another pod, nor after this one has started again. It hides nothing, and does not
//! cover what is said after the handshake: that is the network's business.

mod replay;
mod secrets;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::Sha256;

pub use secrets::Secrets;

use super::chance;
use crate::auth::{Identity, Scheme};
use crate::http::Subject;
use crate::http::gate::{Forwarded, PEER_PREFIX, strip};
use replay::Replays;
use secrets::Secret;

/// How far the clocks of two pods may be apart, the way between them included.
const WINDOW: Duration = Duration::from_secs(30);
/// Signed first, so that no other use of the secret, nor another version of this, signs the same.
const PURPOSE: &[u8] = b"scalesocket-peer 1\n";
/// Bytes of a nonce.
const NONCE: usize = 16;

const CLIENT: HeaderName = HeaderName::from_static("scalesocket-peer-client");
const SERVER: HeaderName = HeaderName::from_static("scalesocket-peer-server");
const HTTPS: HeaderName = HeaderName::from_static("scalesocket-peer-https");
const SUBJECT: HeaderName = HeaderName::from_static("scalesocket-peer-subject");
const USER: HeaderName = HeaderName::from_static("scalesocket-peer-user");
const AUTH: HeaderName = HeaderName::from_static("scalesocket-peer-auth");
const UNTIL: HeaderName = HeaderName::from_static("scalesocket-peer-until");
const HOPS: HeaderName = HeaderName::from_static("scalesocket-peer-hops");
const SESSION: HeaderName = HeaderName::from_static("scalesocket-peer-session");
const TIME: HeaderName = HeaderName::from_static("scalesocket-peer-time");
const NONCE_HEADER: HeaderName = HeaderName::from_static("scalesocket-peer-nonce");
const SIGNATURE: HeaderName = HeaderName::from_static("scalesocket-peer-signature");

/// Why what a peer says is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Nothing is signed.
    #[error("the request is not signed: this port is for the pods of the fleet")]
    Unsigned,
    /// Another secret, or something was changed on the way.
    #[error("the signature is wrong: do all pods have the same --peer-secret-file?")]
    Forged,
    /// Signed too long ago, or in the future.
    #[error("the signature's time is more than 30 s away: are the clocks of the nodes right?")]
    Untimely,
    /// It was here before.
    #[error("the request was here before")]
    Replayed,
    /// Well signed, but it makes no sense: another version of this server may have signed it.
    #[error("a peer header is missing, doubled, or not of its form")]
    Malformed,
}

/// Signs what this pod says, and believes what others say.
#[derive(Debug)]
pub struct Authority {
    secrets: Secrets,
    replays: Mutex<Replays>,
}

/// What is signed of a request, beside its peer headers.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// `GET`.
    pub method: &'a Method,
    /// Of which the path and the query are signed.
    pub uri: &'a Uri,
}

impl Authority {
    /// Signs with the first of `secrets`, and believes all.
    pub fn new(secrets: Secrets) -> Self {
        Authority {
            secrets,
            replays: Mutex::default(),
        }
    }

    /// Puts `forwarded` and its signature into the headers of a handshake, in place of any peer headers there.
    ///
    /// # Errors
    ///
    /// Something of `forwarded` that no header can hold.
    pub fn sign(
        &self,
        target: Target<'_>,
        headers: &mut HeaderMap,
        forwarded: &Forwarded,
        now: SystemTime,
    ) -> Result<(), http::Error> {
        strip(headers);
        let mut put = |name: HeaderName, value: &str| -> Result<(), http::Error> {
            headers.insert(name, HeaderValue::from_str(value)?);
            Ok(())
        };
        if let Some(remote) = forwarded.remote {
            put(CLIENT, &remote.to_string())?;
        }
        if let Some(local) = forwarded.local {
            put(SERVER, &local.to_string())?;
        }
        if forwarded.https {
            put(HTTPS, "on")?;
        }
        if let Some(subject) = &forwarded.subject {
            put(SUBJECT, &subject.to_header())?;
        }
        if let Some(identity) = &forwarded.identity {
            put(AUTH, identity.scheme.as_str())?;
            if let Some(user) = &identity.user {
                // A header holds no more than ASCII for sure.
                put(
                    USER,
                    &utf8_percent_encode(user, NON_ALPHANUMERIC).to_string(),
                )?;
            }
            if let Some(until) = identity.until {
                put(UNTIL, &since_epoch(until).as_millis().to_string())?;
            }
        }
        put(HOPS, &forwarded.hops.to_string())?;
        put(SESSION, &format!("{:032x}", forwarded.session))?;
        put(TIME, &since_epoch(now).as_millis().to_string())?;
        put(
            NONCE_HEADER,
            &STANDARD.encode(chance::unique().to_be_bytes()),
        )?;
        let secrets = self.secrets.current();
        let first = secrets.first().map(|secret| mac(secret, target, headers));
        if let Some(mac) = first {
            let signature = STANDARD.encode(mac.finalize().into_bytes());
            headers.insert(SIGNATURE, HeaderValue::from_str(&signature)?);
        }
        Ok(())
    }

    /// What a peer says of its client, if it is a peer, and says it now and for the first time.
    pub fn verify(
        &self,
        target: Target<'_>,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Forwarded, Distrust> {
        let signature = only(headers, &SIGNATURE)
            .map_err(|_| Distrust::Forged)?
            .ok_or(Distrust::Unsigned)?;
        let signature = STANDARD.decode(signature).map_err(|_| Distrust::Forged)?;
        // `verify_slice` takes the same time wherever the difference is.
        let is_by = |secret: &Secret| {
            mac(secret, target, headers)
                .verify_slice(&signature)
                .is_ok()
        };
        if !self.secrets.current().iter().any(is_by) {
            return Err(Distrust::Forged);
        }
        let time: u64 = needed(headers, &TIME)?;
        let (said, now) = (Duration::from_millis(time), since_epoch(now));
        if said.abs_diff(now) > WINDOW {
            return Err(Distrust::Untimely);
        }
        let forwarded = Forwarded {
            remote: parsed(headers, &CLIENT)?,
            local: parsed(headers, &SERVER)?,
            https: match only(headers, &HTTPS)? {
                None => false,
                Some("on") => true,
                Some(_) => return Err(Distrust::Malformed),
            },
            subject: match only(headers, &SUBJECT)?.map(Subject::from_header) {
                Some(None) => return Err(Distrust::Malformed),
                subject => subject.flatten(),
            },
            identity: identity(headers)?,
            hops: needed(headers, &HOPS)?,
            session: u128::from_str_radix(&needed::<String>(headers, &SESSION)?, 16)
                .map_err(|_| Distrust::Malformed)?,
        };
        let nonce: String = needed(headers, &NONCE_HEADER)?;
        let nonce = STANDARD.decode(nonce).map_err(|_| Distrust::Malformed)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| Distrust::Malformed)?;
        // Last, so that only what is otherwise good is remembered; for as long as its time is good.
        let first = self.replays.lock().is_first(nonce, said, now, WINDOW);
        first.then_some(forwarded).ok_or(Distrust::Replayed)
    }
}

/// Who the client has proved to be, at the pod that it came to.
fn identity(headers: &HeaderMap) -> Result<Option<Identity>, Distrust> {
    let Some(scheme) = only(headers, &AUTH)? else {
        return Ok(None);
    };
    let scheme = Scheme::named(scheme).ok_or(Distrust::Malformed)?;
    let name = only(headers, &USER)?.map(|name| percent_decode_str(name).decode_utf8());
    let name = name.transpose().map_err(|_| Distrust::Malformed)?;
    let until = parsed::<u64>(headers, &UNTIL)?.map(Duration::from_millis);
    let until = until.and_then(|since| UNIX_EPOCH.checked_add(since));
    let identity = Identity::passed_on(name.as_deref(), scheme, until);
    identity.map(Some).ok_or(Distrust::Malformed)
}

/// Neither method, target nor header values hold a line break, so the parts cannot run into each other.
fn mac(secret: &Secret, target: Target<'_>, headers: &HeaderMap) -> Hmac<Sha256> {
    let mut mac = secret.mac();
    mac.update(PURPOSE);
    mac.update(target.method.as_str().as_bytes());
    mac.update(b"\n");
    let path = target.uri.path_and_query();
    mac.update(path.map_or("/", |path| path.as_str()).as_bytes());
    let mut signed: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .filter(|(name, _)| {
            name.starts_with(PEER_PREFIX) && *name != SIGNATURE.as_str()
                || *name == header::SEC_WEBSOCKET_KEY.as_str()
        })
        .collect();
    signed.sort_unstable();
    for (name, value) in signed {
        for part in [b"\n", name.as_bytes(), b":", value] {
            mac.update(part);
        }
    }
    mac
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The only value of a header.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Distrust> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Distrust::Malformed),
        (Some(_), Some(_)) => Err(Distrust::Malformed),
    }
}

fn parsed<T: std::str::FromStr>(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<T>, Distrust> {
    let value = only(headers, name)?.map(str::parse);
    value.transpose().map_err(|_| Distrust::Malformed)
}

fn needed<T: std::str::FromStr>(headers: &HeaderMap, name: &HeaderName) -> Result<T, Distrust> {
    parsed(headers, name)?.ok_or(Distrust::Malformed)
}

#[cfg(test)]
mod tests;
