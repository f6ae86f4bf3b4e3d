//! A public key as X.509 writes it: `SubjectPublicKeyInfo` (RFC 5280 section 4.1), as much of DER
//! as that takes. Only the three kinds of keys that tokens may be checked with are known.

use anyhow::{Context, bail};

use super::Key;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// What stands in the algorithm's sequence: rsaEncryption and NULL (RFC 3279 section 2.3.1),
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// id-ecPublicKey and prime256v1 (RFC 5480 section 2.1.1),
const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// id-Ed25519 (RFC 8410 section 3).
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";

/// Whether this begins as keys do: a sequence in a sequence, or one of integers.
pub(super) fn is_key(bytes: &[u8]) -> bool {
    let Some((SEQUENCE, inside, _)) = take(bytes) else {
        return false;
    };
    matches!(take(inside), Some((SEQUENCE | INTEGER, _, _)))
}

/// The key in a `SubjectPublicKeyInfo`.
pub(super) fn key(info: &[u8]) -> anyhow::Result<Key> {
    let broken = || "its public key is cut off or broken";
    let (inside, _) = part(info, SEQUENCE).with_context(broken)?;
    let (algorithm, rest) = part(inside, SEQUENCE).with_context(broken)?;
    let (bits, _) = part(rest, BIT_STRING).with_context(broken)?;
    // All of them count: the last byte is whole.
    let bits = bits.strip_prefix(&[0]).with_context(broken)?;
    match algorithm {
        RSA => {
            let (numbers, _) = part(bits, SEQUENCE).with_context(broken)?;
            let (n, rest) = part(numbers, INTEGER).with_context(broken)?;
            let (e, _) = part(rest, INTEGER).with_context(broken)?;
            Key::rsa(None, n, e)
        }
        P256 => Key::p256(None, bits.to_vec()),
        ED25519 => Key::ed25519(None, bits.to_vec()),
        _ => bail!("its public key is none of RSA, P-256 and Ed25519"),
    }
}

fn part(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = take(bytes)?;
    (found == tag).then_some((content, rest))
}

/// The first value: its tag, its content, and what follows it.
fn take(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            let number = |sum: usize, digit: &u8| sum << 8 | usize::from(*digit);
            (digits.iter().fold(0, number), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = key(&bytes);
            let _ = is_key(&bytes);
            let mut framed = vec![SEQUENCE, 0x81, bytes.len().min(255) as u8, SEQUENCE];
            framed.extend(&bytes);
            let _ = key(&framed);
        }
    }
}
