//! Which files are keys, and which signatures they believe: those printed in RFC 7515 and RFC 8037.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;

/// RFC 7515, appendix A.1, A.2 and A.3; RFC 8037, appendix A.4.
pub(in crate::auth) const JWKS: &str = r#"{"keys": [
    {"kty": "oct", "kid": "hs", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
    {"kty": "RSA", "kid": "rs", "use": "sig", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
    {"kty": "EC", "kid": "es", "alg": "ES256", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "key_ops": ["verify"], "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
]}"#;

/// The claims of the first three: issuer `joe`, until 1300819380.
const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

/// The tokens of those keys, in the same order.
pub(in crate::auth) fn tokens() -> [String; 4] {
    let of = |header: &str, signature: &str| format!("{header}.{CLAIMS}.{signature}");
    [
        of(
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        of(
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        of(
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg".to_owned(),
    ]
}

/// The public keys among them, in PEM.
pub(in crate::auth) const PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj
NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz
P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo
9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB
EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX
FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp
oQIDAQAB
-----END PUBLIC KEY-----
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7
6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==
-----END PUBLIC KEY-----
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";

/// What each key says of each token.
fn believed(keys: &[Key]) -> Vec<Vec<bool>> {
    let says = |key: &Key, token: &String| {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        key.has_signed(message.as_bytes(), &signature)
    };
    let of = |key| tokens().iter().map(|token| says(key, token)).collect();
    keys.iter().map(of).collect()
}

#[test]
fn each_key_of_a_set_believes_its_own_signature_and_no_other() {
    let keys = parse(JWKS.as_bytes()).unwrap();
    let own = |at: usize| (0..4).map(|other| other == at).collect::<Vec<_>>();
    assert_eq!(believed(&keys), (0..4).map(own).collect::<Vec<_>>());
}

#[test]
fn keys_in_pem_are_those_of_the_set() {
    let keys = parse(PEM.as_bytes()).unwrap();
    let set = parse(JWKS.as_bytes()).unwrap();
    assert_eq!(believed(&keys), &believed(&set)[1..]);
    let alone = JWKS.find("{\"kty\": \"EC\"").unwrap()..JWKS.find("{\"kty\": \"OKP\"").unwrap();
    let alone = JWKS[alone].trim().trim_end_matches(',');
    let alone = parse(alone.as_bytes()).unwrap();
    assert_eq!(alone.len(), 1);
    assert_eq!(believed(&alone)[0], believed(&set)[2]);
}

#[test]
fn a_secret_is_the_bytes_of_the_file_without_its_line_break() {
    let secret = b"not a word of English, but bytes\xff\0\n";
    for (file, expected) in [
        (&secret[..secret.len() - 1], true),
        (secret, true),
        (&[&secret[..secret.len() - 1], b"\r\n"].concat(), true),
        (&[&secret[..], b"\n"].concat(), false),
        (&[b" ", &secret[..]].concat(), false),
    ] {
        let keys = parse(file).unwrap();
        let signer = hmac::Key::new(hmac::HMAC_SHA256, &secret[..secret.len() - 1]);
        let signature = hmac::sign(&signer, b"message");
        assert_eq!(keys[0].has_signed(b"message", signature.as_ref()), expected);
    }
}

#[test]
fn what_is_no_file_of_keys_is_refused_with_a_sentence() {
    let says = |bytes: &[u8]| format!("{:#}", parse(bytes).unwrap_err());
    let der = base64::engine::general_purpose::STANDARD
        .decode("MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
        .unwrap();
    for (file, part) in [
        (&b""[..], "at least 32 bytes"),
        (b"thirty-one bytes, one too short", "at least 32 bytes"),
        (&der, "looks like"),
        (
            b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxxxxxxxxxxxxxxx ann@host",
            "looks like",
        ),
        (
            b"-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----",
            "a private key",
        ),
        (
            b"-----BEGIN CERTIFICATE-----\nMC4=\n-----END CERTIFICATE-----",
            "a certificate",
        ),
        (
            b"-----BEGIN RSA PUBLIC KEY-----\nMC4=\n-----END RSA PUBLIC KEY-----",
            "PKCS#1",
        ),
        (
            b"-----BEGIN PUBLIC KEY-----\nMC4=\n-----END PUBLIC KEY-----",
            "cut off or broken",
        ),
        (
            b"-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----",
            "cannot be read",
        ),
        (
            b"-----BEGIN THING-----\nMC4=\n-----END THING-----",
            "no public key",
        ),
        (b"{", "broken"),
        (b"{}", "neither"),
        (br#"{"keys": {}}"#, "no array"),
        (br#"{"keys": []}"#, "no key for"),
        (br#"{"keys": [1]}"#, "no JWK"),
        (br#"{"kty": "oct", "k": "c2hvcnQ"}"#, "at least 32 bytes"),
        (br#"{"kty": "oct", "k": "?"}"#, "base64url"),
        (
            br#"{"kty": "RSA", "n": "AQAB", "e": "AQAB"}"#,
            "2048 to 8192",
        ),
        (
            br#"{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}"#,
            "65 bytes",
        ),
        (
            br#"{"kty": "OKP", "crv": "Ed25519", "x": "AA"}"#,
            "32 bytes",
        ),
        (
            br#"{"kty": "OKP", "crv": "Ed25519", "x": "AA", "d": "AA"}"#,
            "private",
        ),
        // For something else, or of another kind: passed over.
        (br#"{"kty": "oct", "use": "enc", "k": "AA"}"#, "no key for"),
        (
            br#"{"kty": "oct", "key_ops": ["sign"], "k": "AA"}"#,
            "no key for",
        ),
        (
            br#"{"kty": "oct", "alg": "HS512", "k": "AA"}"#,
            "no key for",
        ),
        (
            br#"{"kty": "oct", "alg": "RS256", "k": "AA"}"#,
            "no key for",
        ),
        (br#"{"kty": "EC", "crv": "P-384"}"#, "no key for"),
    ] {
        let said = says(file);
        assert!(said.contains(part), "{}: {said}", file.escape_ascii());
    }
    let many = format!(
        "{{\"keys\": [{}]}}",
        vec![r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr8"}"#; 33].join(",")
    );
    assert!(says(many.as_bytes()).contains("more than 32 keys"));
}

#[test]
fn public_keys_in_no_matter_which_wrapping_are_no_secret() {
    // As a secret each of these would be one that everybody knows.
    let spki = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let wide: Vec<u8> = JWKS.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hex =
        "302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    for file in [
        spki.as_bytes().to_vec(),
        format!("{}\n{}\n", &spki[..30], &spki[30..]).into_bytes(),
        format!("\"{}\"\r\n", spki.trim_end_matches('=')).into_bytes(),
        spki.replace('/', "_").into_bytes(),
        hex.as_bytes().to_vec(),
        format!("BEGIN PUBLIC KEY\n{spki}\nEND PUBLIC KEY\n").into_bytes(),
        format!("\u{feff}{JWKS}").into_bytes(),
        format!("[{JWKS}]").into_bytes(),
        [&b"\xff\xfe"[..], &wide].concat(),
        b"\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxxxxxxxxxxxxxxx".to_vec(),
        b"no-pty ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7xxxxxxxx".to_vec(),
        b"<!doctype html><title>404</title><p>There are no keys here</p>".to_vec(),
    ] {
        let said = format!("{:#}", parse(&file).expect_err("public keys are a secret"));
        assert!(
            said.contains("looks like"),
            "{}: {said}",
            file.escape_ascii()
        );
    }
    for secret in [
        "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA==",
        "5f4dcc3b5aa765d61d8327deb882cf995f4dcc3b5aa765d61d8327deb882cf99",
        "keys of a kind, and words about [ssh-rsa] and <b>",
    ] {
        assert!(parse(secret.as_bytes()).is_ok(), "{secret}");
    }
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(bytes in any::<Vec<u8>>(), text in "(\\{\"keys\":\\[)?[ -~]{0,80}") {
        let _ = parse(&bytes);
        let _ = parse(text.as_bytes());
        let _ = parse(format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----").as_bytes());
    }
}
