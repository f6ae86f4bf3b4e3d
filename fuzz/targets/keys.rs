//! Files of keys: any content is refused or taken for what it is. A secret is what it says, and what
//! everybody may know (public keys in whatever form) never serves as one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::token::{admits, guard, signed};

/// Long enough for a set of keys.
const LONGEST: usize = 4096;

pub(super) fn run(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    let guard = guard(bytes, None);
    let text = bytes.trim_ascii();
    let is_json = text.starts_with(b"{");
    let is_pem = text.windows(11).any(|eleven| eleven == b"-----BEGIN ");
    let Some(guard) = guard else { return };
    if is_json {
        let grammatical = serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
        assert!(grammatical, "a set of keys is JSON");
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let secret = line.strip_suffix(b"\r").unwrap_or(line);
    for secret in [bytes, text, secret] {
        let token = signed(secret, r#"{"alg":"HS256"}"#, r#"{"exp":9e9}"#);
        if is_json || is_pem {
            assert!(
                !admits(&guard, &token),
                "a file that everybody may read was its own secret"
            );
        }
    }
    if !is_json && !is_pem {
        assert!(secret.len() >= 32, "a secret of {} bytes", secret.len());
        let token = signed(secret, r#"{"alg":"HS256"}"#, r#"{"exp":9e9}"#);
        assert!(admits(&guard, &token), "the secret is the file's content");
        assert!(!bytes.starts_with(b"ssh-"));
    }
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    assert!(!admits(
        &guard,
        &format!("{unsigned}.{}.", URL_SAFE_NO_PAD.encode(r#"{"exp":9e9}"#))
    ));
}
