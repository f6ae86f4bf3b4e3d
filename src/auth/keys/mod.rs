//! The keys that tokens are checked with, as a file holds them.
//!
//! A file is a JWKS or one JWK (it begins with `{`), PEM with one or more public keys, or else the
//! secret of HS256 itself: its bytes, without one line break at the end. Each key is for one algorithm,
//! which follows from the key and never from a token (RFC 8725 section 3.1). What looks like a
//! public key in another form is refused, since as a secret it would be one that everybody knows.

mod der;
mod jwk;

use std::fmt;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

/// Shortest secret, in bytes: the size of the hash (RFC 7518 section 3.2).
const SECRET_MIN: usize = 32;
/// Bits of an RSA key (RFC 7518 section 3.3; more than the most takes too long to check).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Most keys of a file: each may be tried for a token that names none.
const KEYS_MAX: usize = 32;

/// What a key is for (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// By the name in a token or a JWK; `Ed25519` is RFC 9864's name for what EdDSA is here.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Algorithm::Hs256),
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" | "Ed25519" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

/// One key, with its name if it has one.
pub(super) struct Key {
    pub(super) id: Option<String>,
    material: Material,
}

enum Material {
    Hmac(hmac::Key),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.algorithm(), self.id)
    }
}

impl Key {
    fn secret(id: Option<String>, bytes: &[u8]) -> anyhow::Result<Self> {
        if bytes.len() < SECRET_MIN {
            bail!(
                "a secret has at least {SECRET_MIN} bytes, and this one {}",
                bytes.len()
            );
        }
        let material = Material::Hmac(hmac::Key::new(hmac::HMAC_SHA256, bytes));
        Ok(Key { id, material })
    }

    fn rsa(id: Option<String>, n: &[u8], e: &[u8]) -> anyhow::Result<Self> {
        let bare = |number: &[u8]| -> Vec<u8> {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number.iter().skip(zeros).copied().collect()
        };
        let (n, e) = (bare(n), bare(e));
        let spare = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = (n.len() * 8).saturating_sub(spare);
        if !RSA_BITS.contains(&bits) {
            bail!("an RSA key has 2048 to 8192 bits, and this one {bits}");
        }
        Ok(Key {
            id,
            material: Material::Rsa { n, e },
        })
    }

    /// `point`: uncompressed, with its leading 4 (SEC 1 section 2.3.3).
    fn p256(id: Option<String>, point: Vec<u8>) -> anyhow::Result<Self> {
        if point.len() != 65 || point.first() != Some(&4) {
            bail!("a key of P-256 is an uncompressed point of 65 bytes");
        }
        Ok(Key {
            id,
            material: Material::P256(point),
        })
    }

    fn ed25519(id: Option<String>, bytes: Vec<u8>) -> anyhow::Result<Self> {
        if bytes.len() != 32 {
            bail!("a key of Ed25519 has 32 bytes");
        }
        Ok(Key {
            id,
            material: Material::Ed25519(bytes),
        })
    }

    /// The only algorithm it is for.
    pub(super) fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Hmac(_) => Algorithm::Hs256,
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Whether its owner has signed this. For a secret that takes the same time wherever the
    /// signatures differ.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.material {
            Material::Hmac(key) => hmac::verify(key, message, signature),
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(bytes) => {
                UnparsedPublicKey::new(&ED25519, bytes).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

/// All keys of a file's content.
///
/// # Errors
///
/// What is wrong with it, without a word of what is in it.
pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Vec<Key>> {
    let trimmed = bytes.trim_ascii();
    let keys = if trimmed.starts_with(b"{") {
        jwk::parse(trimmed)?
    } else if memchr::memmem::find(bytes, b"-----BEGIN ").is_some() {
        pem(bytes)?
    } else {
        vec![Key::secret(None, secret(bytes)?)?]
    };
    if keys.len() > KEYS_MAX {
        bail!("it holds more than {KEYS_MAX} keys");
    }
    Ok(keys)
}

/// The bytes of a secret: as they are, but for the line break that editors leave.
fn secret(bytes: &[u8]) -> anyhow::Result<&[u8]> {
    if is_public(bytes) {
        bail!(
            "it looks like public keys, not like a secret: write them as PEM \
             (`-----BEGIN PUBLIC KEY-----`) or as a JWKS, which begins with `{{`"
        );
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    Ok(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Whether these are public keys in a wrapping that is not read here, or a page that says there are none.
///
/// SECURITY: as a secret they would be one that everybody knows, and everybody could sign with it.
fn is_public(bytes: &[u8]) -> bool {
    // Without line breaks, a mark of the byte order, and what UTF-16 puts between ASCII.
    let idle = |c: &char| c.is_whitespace() || matches!(c, '\0' | '\u{feff}' | '\u{fffd}');
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !idle(c))
        .collect();
    let marks = [
        "\"kty\"",
        "ssh-rsaAAAA",
        "ssh-ed25519AAAA",
        "ecdsa-sha2-nistp256AAAA",
        "BEGINSSH2",
        "BEGINPUBLICKEY",
    ];
    let page = text.get(..5).is_some_and(|start| {
        start.eq_ignore_ascii_case("<!doc") || start.eq_ignore_ascii_case("<html")
    });
    let bare = text.trim_matches(['"', '\'', '=']);
    let is_key = |engine: &GeneralPurpose| engine.decode(bare).is_ok_and(|der| der::is_key(&der));
    page || der::is_key(bytes)
        || marks.iter().any(|mark| text.contains(mark))
        || [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD].into_iter().any(is_key)
        || hex(bare).is_some_and(|der| der::is_key(&der))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let pairs = digits?;
    let pairs = pairs.chunks(2);
    Some(
        pairs
            .map(|pair| pair.iter().fold(0, |sum, digit| sum << 4 | *digit as u8))
            .collect(),
    )
}

fn pem(bytes: &[u8]) -> anyhow::Result<Vec<Key>> {
    for (mark, what) in [
        (&b"PRIVATE KEY-----"[..], "a private key"),
        (b"BEGIN CERTIFICATE", "a certificate"),
        (b"BEGIN RSA PUBLIC KEY", "a key in PKCS#1"),
    ] {
        if memchr::memmem::find(bytes, mark).is_some() {
            bail!("it holds {what}: put the public key there (`-----BEGIN PUBLIC KEY-----`)");
        }
    }
    let mut keys = Vec::new();
    for info in SubjectPublicKeyInfoDer::pem_slice_iter(bytes) {
        let info = info.ok().context("its PEM cannot be read")?;
        keys.push(der::key(&info)?);
    }
    match keys.is_empty() {
        true => bail!("its PEM holds no public key"),
        false => Ok(keys),
    }
}

#[cfg(test)]
pub(super) mod tests;
