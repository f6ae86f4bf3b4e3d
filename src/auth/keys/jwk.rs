//! A JWKS, or a JWK alone (RFC 7517). Keys that are for something else, or of a kind that we do not
//! know, are passed over (section 5), because sets are shared by many; a key of ours that is broken
//! is an error, and so is a set without any.

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::{Algorithm, Key};

/// The members that matter (RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    k: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<Value>,
}

/// All keys that tokens can be checked with.
pub(super) fn parse(text: &[u8]) -> anyhow::Result<Vec<Key>> {
    // Serde's errors quote what they found: the secret may be there.
    let set: Value = serde_json::from_slice(text)
        .ok()
        .context("its JSON is broken")?;
    let all = match set.get("keys") {
        Some(Value::Array(keys)) => keys.clone(),
        Some(_) => bail!("its member `keys` is no array"),
        None if set.get("kty").is_some() => vec![set],
        None => bail!("its JSON is neither a JWKS nor a JWK"),
    };
    let mut keys = Vec::new();
    for one in all {
        let jwk: Jwk = serde_json::from_value(one)
            .ok()
            .context("one of its keys is no JWK")?;
        keys.extend(key(jwk)?);
    }
    match keys.is_empty() {
        true => bail!("it holds no key for HS256, RS256, ES256 or EdDSA"),
        false => Ok(keys),
    }
}

fn key(jwk: Jwk) -> anyhow::Result<Option<Key>> {
    let algorithm = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("oct", _) => Algorithm::Hs256,
        ("RSA", _) => Algorithm::Rs256,
        ("EC", Some("P-256")) => Algorithm::Es256,
        ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
        _ => return Ok(None),
    };
    let checks = |operations: &Vec<String>| operations.iter().any(|one| one == "verify");
    if jwk
        .purpose
        .as_deref()
        .is_some_and(|purpose| purpose != "sig")
        || jwk.key_ops.as_ref().is_some_and(|all| !checks(all))
        || jwk
            .alg
            .is_some_and(|name| Algorithm::named(&name) != Some(algorithm))
    {
        return Ok(None);
    }
    if jwk.d.is_some() {
        bail!("one of its keys is private: only the public part belongs here");
    }
    let bytes = |member: Option<String>| {
        let member = member.unwrap_or_default();
        let decoded = URL_SAFE_NO_PAD.decode(member.trim_end_matches('='));
        decoded
            .ok()
            .context("a number of one of its keys is not in base64url")
    };
    let id = jwk.kid;
    Ok(Some(match algorithm {
        Algorithm::Hs256 => Key::secret(id, &bytes(jwk.k)?)?,
        Algorithm::Rs256 => Key::rsa(id, &bytes(jwk.n)?, &bytes(jwk.e)?)?,
        Algorithm::Es256 => {
            let (x, y) = (bytes(jwk.x)?, bytes(jwk.y)?);
            Key::p256(id, [&[4][..], &x, &y].concat())?
        }
        Algorithm::EdDsa => Key::ed25519(id, bytes(jwk.x)?)?,
    }))
}
