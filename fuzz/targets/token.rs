//! Tokens: nobody comes in without a good signature, what is signed is believed as it is written, and
//! a request holds nothing of a token afterwards.

use std::io::Write;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::{HeaderValue, Request, Uri};
use ring::hmac;
use scalesocket::auth::{Guard, Identity, Rejection, TokenOptions, Tokens};
use serde_json::Value;

use super::input::Input;

const SECRET: &[u8] = b"a secret of more than 32 bytes, for fuzzing";
const HEADER: &str = r#"{"alg":"HS256"}"#;
const CLAIMS: &str = r#"{"exp":9e9}"#;
/// Longer claims make a token that is too long.
const LONGEST: usize = 5000;
/// Seconds between the two looks at the clock, on a machine that is busy.
const LATELY: f64 = 3600.0;

pub(super) fn run(bytes: &[u8]) {
    static GUARD: OnceLock<Guard> = OnceLock::new();
    let guard = GUARD.get_or_init(|| guard(SECRET, Some("k")).expect("a good secret"));
    let mut input = Input::new(bytes);
    let what = input.byte() & 3;
    let rest = input.rest();
    match (what, std::str::from_utf8(rest)) {
        (3, _) => any_place(guard, rest),
        (_, Err(_)) => {}
        (0, Ok(token)) => any_token(guard, token),
        (1, Ok(claims)) => any_claims(guard, claims),
        (_, Ok(header)) => any_header(guard, header),
    }
}

/// A guard whose keys are in a file of this content; none: that is no file of keys.
pub(super) fn guard(keys: &[u8], cookie: Option<&str>) -> Option<Guard> {
    let mut file = tempfile::NamedTempFile::new().expect("a place for a file");
    file.write_all(keys).expect("room for it");
    // It is gone afterwards: the keys that were read last stay in force.
    let tokens = Tokens::open(TokenOptions {
        file: file.path().to_owned(),
        cookie: cookie.map(str::to_owned),
        ..TokenOptions::default()
    });
    Some(Guard::Tokens(tokens.ok()?))
}

pub(super) fn signed(secret: &[u8], header: &str, claims: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(header);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn admit(guard: &Guard, parts: &mut Parts) -> Result<Identity, Rejection> {
    let admitted = guard.admit(parts, None, false).now_or_never();
    admitted.expect("a look at a token waits for nobody")
}

fn request(uri: &str) -> Parts {
    let request = Request::get(uri).body(()).expect("a good request");
    request.into_parts().0
}

fn judged(guard: &Guard, token: &str) -> Result<Identity, Rejection> {
    let mut parts = request("/room");
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let Ok(value) = value else {
        return Err(Rejection::Missing);
    };
    parts.headers.insert(AUTHORIZATION, value);
    admit(guard, &mut parts)
}

pub(super) fn admits(guard: &Guard, token: &str) -> bool {
    judged(guard, token).is_ok()
}

/// Whatever somebody says it is: it is let in only with our signature.
fn any_token(guard: &Guard, token: &str) {
    if judged(guard, token).is_err() {
        return;
    }
    let (message, signature) = token.trim().rsplit_once('.').expect("a signature");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("in base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    hmac::verify(&key, message.as_bytes(), &signature).expect("a token that we have signed");
}

/// Claims that we have signed.
fn any_claims(guard: &Guard, claims: &str) {
    let judged_as = |claims: &str| judged(guard, &signed(SECRET, HEADER, claims));
    let Ok(value) = serde_json::from_str::<Value>(claims) else {
        // What serde_json cannot hold it may still pass over.
        let grammatical = serde_json::from_str::<serde::de::IgnoredAny>(claims).is_ok();
        assert!(grammatical || judged_as(claims).is_err(), "claims are JSON");
        return;
    };
    // Written anew each name is there once; a text with two of one may only be refused besides.
    let anew = value.to_string();
    if anew.len() > LONGEST {
        return;
    }
    let identity = judged_as(&anew);
    if let Ok(as_written) = judged_as(claims) {
        assert_eq!(
            identity.as_ref().map(|anew| &anew.user),
            Ok(&as_written.user)
        );
    }
    let exp = value.get("exp").and_then(Value::as_f64);
    let nbf = value.get("nbf").and_then(Value::as_f64);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs_f64();
    let near = |time: Option<f64>| time.is_some_and(|time| (time - now).abs() < LATELY);
    if near(exp) || near(nbf) {
        return;
    }
    if let Ok(identity) = &identity {
        assert!(exp.is_some_and(|exp| exp > now), "it is over");
        assert!(nbf.is_none_or(|nbf| nbf < now), "it has not begun");
        assert!(value.get("aud").is_none(), "it is for somebody else");
        let null = |name: &&str| value.get(*name).is_some_and(Value::is_null);
        assert_eq!(["room", "sub", "nbf"].iter().find(|name| null(name)), None);
        let sub = value.get("sub").and_then(Value::as_str);
        assert_eq!(identity.user.as_deref(), sub);
        assert!(sub.is_none_or(|user| !user.is_empty() && !user.contains(char::is_control)));
        if let Some(room) = value.get("room").and_then(Value::as_str)
            && !room.contains(['*', '?'])
        {
            assert!(identity.may_enter(room));
            assert!(!identity.may_enter(&format!("{room}x")));
        }
    }
    let simple = value.as_object().is_some_and(|claims| {
        claims.iter().all(|(name, claim)| match &**name {
            "exp" | "nbf" => claim.is_number(),
            "sub" => claim.as_str().is_some_and(|user| {
                (1..=256).contains(&user.len()) && !user.contains(char::is_control)
            }),
            "room" => claim.is_string(),
            "aud" | "iss" => false,
            _ => true,
        })
    });
    if simple && exp.is_some_and(|exp| exp > now) && nbf.is_none_or(|nbf| nbf < now) {
        assert!(identity.is_ok(), "{identity:?} of {value}");
    }
}

/// A header that we have signed, which should not happen: it decides nothing but to refuse.
fn any_header(guard: &Guard, header: &str) {
    if admits(guard, &signed(SECRET, header, CLAIMS)) {
        let Ok(header) = serde_json::from_str::<Value>(header) else {
            return assert!(serde_json::from_str::<serde::de::IgnoredAny>(header).is_ok());
        };
        assert_eq!(header.get("alg").and_then(Value::as_str), Some("HS256"));
        assert!(header.get("crit").is_none());
    }
}

/// A token amid anything, in each of the places where one may be.
fn any_place(guard: &Guard, around: &[u8]) {
    let mut parts = around.split(|byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (before, after) = (part(), part());
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let uri = format!("/x?{}&token=SECRET&{}", text(before), text(after));
    // What ends a query would leave the token behind it, and what is no address is no request.
    if before.contains(&b'#') || uri.parse::<Uri>().is_err() {
        return;
    }
    let mut request = request(&uri);
    for (name, wrapped) in [
        (COOKIE, [before, b"; k=SECRET; ", after].concat()),
        (
            SEC_WEBSOCKET_PROTOCOL,
            [before, b", bearer.SECRET, ", after].concat(),
        ),
        (AUTHORIZATION, [before, b" SECRET ", after].concat()),
    ] {
        let Ok(value) = HeaderValue::from_bytes(&wrapped) else {
            return;
        };
        request.headers.append(name, value);
    }
    assert!(admit(guard, &mut request).is_err());
    let values = request.headers.values().flat_map(|value| value.as_bytes());
    let left: Vec<u8> = values.copied().collect();
    let left = format!("{} {}", String::from_utf8_lossy(&left), request.uri);
    let count = [before, after].map(|part| text(part).matches("SECRET").count());
    if count == [0, 0] {
        assert!(!left.contains("SECRET"), "{left}");
    }
}
