//! Files of TLS and certificates of clients: what is taken for a certificate, a key or an authority holds
//! one, a key is taken for its own certificate only, and nothing of a key stands in an error.

use std::path::PathBuf;
use std::sync::OnceLock;

use rustls_pki_types::CertificateDer;
use scalesocket::http::tls::Files;
use scalesocket::http::{Subject, Tls};
use tempfile::TempDir;

use super::input::Input;

/// A certificate and its key (Ed25519), made for this and trusted by nobody.
const CERTIFICATE: &str = include_str!("certificate.crt");
const KEY: &str = include_str!("certificate.key");
/// The key itself and the public one, in what the two hold.
const SECRET: [u8; 4] = [0xb4, 0x3e, 0x80, 0xef];
const PUBLIC: [u8; 4] = [0x68, 0xf4, 0x72, 0x71];
/// Bytes of either.
const LENGTH: usize = 32;
/// Characters of a file that would tell of its content.
const TELLING: usize = 12;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let what = input.byte() & 3;
    let content = input.rest();
    let names = ["chain", "key", "authorities"];
    let Some(name) = names.get(usize::from(what)) else {
        return subject(content);
    };
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let place = tempfile::tempdir().expect("a place for files");
        std::fs::write(place.path().join("good-chain"), CERTIFICATE).expect("room for it");
        std::fs::write(place.path().join("good-key"), KEY).expect("room for it");
        place
    });
    let path = |name: &str| place.path().join(name);
    std::fs::write(path(name), content).expect("room for it");
    let file = |role: &str| -> PathBuf {
        if role == *name {
            path(role)
        } else {
            path(&format!("good-{role}"))
        }
    };
    let read = Tls::read(Files {
        pairs: vec![(file("chain"), file("key"))],
        client_ca: (*name == "authorities").then(|| file("authorities")),
    });
    match read {
        Ok(tls) => {
            let held = blocks(content);
            let of = |label: &'static str| held.iter().filter(move |(of, _)| of.ends_with(label));
            match *name {
                "chain" => {
                    let (_, first) = of("CERTIFICATE").next().expect("a certificate");
                    assert!(
                        holds(first, &known(CERTIFICATE, PUBLIC)),
                        "its own is first"
                    );
                }
                "key" => {
                    let secret = known(KEY, SECRET);
                    let mut keys = of("PRIVATE KEY");
                    assert!(keys.any(|(_, key)| holds(key, &secret)), "another's key");
                }
                _ => assert!(of("CERTIFICATE").next().is_some()),
            }
            says_nothing(&format!("{tls:?}"), content);
        }
        Err(error) => {
            let error = format!("{error:#}");
            assert!(error.contains(name), "it does not name the file: {error}");
            assert!(!error.contains('\n'), "one sentence: {error}");
            says_nothing(&error, content);
        }
    }
}

/// No part of the file's own stands in a sentence, as text or as numbers.
fn says_nothing(sentence: &str, content: &[u8]) {
    let secret = KEY.lines().nth(1).expect("a line of base64").as_bytes();
    for telling in secret.windows(TELLING) {
        if !holds(content, telling) {
            continue;
        }
        let numbers: Vec<String> = telling.iter().map(u8::to_string).collect();
        let text = String::from_utf8_lossy(telling);
        let tells = sentence.contains(&*text) || sentence.contains(&numbers.join(", "));
        assert!(!tells, "a part of the key stands in: {sentence}");
    }
}

/// 32 bytes that begin so, within what is in that file.
fn known(pem: &str, start: [u8; 4]) -> Vec<u8> {
    let (_, der) = blocks(pem.as_bytes()).remove(0);
    let at = der
        .windows(4)
        .position(|four| four == start)
        .expect("they are there");
    der[at..at + LENGTH].to_vec()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What stands between the lines of PEM (RFC 7468), by its label. Whatever is no base64 is passed over.
fn blocks(content: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8_lossy(content);
    let mut found = Vec::new();
    for part in text.split("-----BEGIN ").skip(1) {
        let Some((label, rest)) = part.split_once("-----") else {
            continue;
        };
        let body = rest.split("-----END").next().unwrap_or_default();
        let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
        for c in body.bytes() {
            let digit = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => continue,
            };
            bits = (bits << 6 | u32::from(digit)) & 0xff_ffff;
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count & 0xff) as u8);
            }
        }
        found.push((label.to_owned(), bytes));
    }
    found
}

/// A certificate that some authority has signed: who is named in it comes to the program as one line each.
fn subject(der: &[u8]) {
    let Ok(subject) = Subject::of(&CertificateDer::from(der)) else {
        return;
    };
    for (name, text) in subject.variables() {
        assert!(!text.contains(char::is_control), "{name}={text:?}");
    }
    assert_eq!(Subject::from_header(&subject.to_header()), Some(subject));
}
