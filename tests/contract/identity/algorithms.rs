//! Every algorithm that a token may be signed with, by keys in a set (JWKS) and in PEM.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use serde_json::{Value, json};

use super::{SECRET, keys, says, signed, token, token_by};
use crate::harness::{Server, serve};

/// A private key (PKCS#8) that nobody uses elsewhere: `ring` makes none of RSA.
const RSA: &str = include_str!("rsa.base64");

/// What precedes a public key's own bytes in a `SubjectPublicKeyInfo` (RFC 5280, RFC 3279, RFC 8410).
const RSA_INFO: &[u8] = b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00";
const P256_INFO: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const ED25519_INFO: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// Somebody who signs with a key of each kind.
struct Signer {
    random: SystemRandom,
    rsa: rsa::KeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Signer {
    fn new() -> Signer {
        let random = SystemRandom::new();
        let rsa = STANDARD.decode(RSA.replace('\n', "")).unwrap();
        let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let p256 = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Signer {
            rsa: rsa::KeyPair::from_pkcs8(&rsa).unwrap(),
            p256: EcdsaKeyPair::from_pkcs8(curve, p256.as_ref(), &random).unwrap(),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
            random,
        }
    }

    /// A token that says it is signed so, and is.
    fn token(&self, algorithm: &str, name: Option<&str>) -> String {
        self.signed_by(algorithm, algorithm, name)
    }

    /// A token that is signed by one algorithm and says that it is by another.
    fn signed_by(&self, algorithm: &str, said: &str, name: Option<&str>) -> String {
        let mut header = json!({ "alg": said });
        if let Some(name) = name {
            header["kid"] = Value::from(name);
        }
        signed(&header, json!({}), |message| match algorithm {
            "RS256" => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                let by = &RSA_PKCS1_SHA256;
                self.rsa
                    .sign(by, &self.random, message, &mut signature)
                    .unwrap();
                signature
            }
            "ES256" => self
                .p256
                .sign(&self.random, message)
                .unwrap()
                .as_ref()
                .to_vec(),
            "EdDSA" => self.ed25519.sign(message).as_ref().to_vec(),
            other => panic!("no key for {other}"),
        })
    }

    /// The public keys as a set, and the tests' secret with them.
    fn set(&self) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let rsa = rsa::PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let point = self.p256.public_key().as_ref();
        let set = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "one", "x": encode(&point[1..33]), "y": encode(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "two", "x": encode(self.ed25519.public_key().as_ref())},
            {"kty": "oct", "kid": "three", "k": encode(SECRET.as_bytes())},
            {"kty": "RSA", "kid": "four", "n": encode(&rsa.n), "e": encode(&rsa.e)},
        ]});
        set.to_string()
    }

    /// One of them in PEM.
    fn pem(&self, algorithm: &str) -> String {
        let (info, key) = match algorithm {
            "RS256" => (RSA_INFO, self.rsa.public().as_ref()),
            "ES256" => (P256_INFO, self.p256.public_key().as_ref()),
            _ => (ED25519_INFO, self.ed25519.public_key().as_ref()),
        };
        let body = STANDARD.encode([info, key].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }
}

async fn is_judged(server: &Server, token: &str, good: bool) {
    let door = server.door("/x");
    let door = door.header("Authorization", &format!("Bearer {token}"));
    match good {
        true => drop(door.join().await),
        false => says(&door.refused(401).await, "token_invalid"),
    }
}

#[tokio::test]
async fn a_set_of_keys_believes_tokens_of_each_by_its_name() {
    let signer = Signer::new();
    let (_directory, file) = keys(&signer.set());
    let server = serve(format!("--auth-jwt {} cat", file.display())).await;
    for (algorithm, name, good) in [
        ("ES256", Some("one"), true),
        ("EdDSA", Some("two"), true),
        ("RS256", Some("four"), true),
        ("EdDSA", None, true),
        ("RS256", None, true),
        ("EdDSA", Some("one"), false),
        ("ES256", Some("two"), false),
        ("RS256", Some("one"), false),
        ("RS256", Some("five"), false),
    ] {
        is_judged(&server, &signer.token(algorithm, name), good).await;
    }
    is_judged(&server, &token(json!({})), true).await;
}

#[tokio::test]
async fn a_key_in_pem_believes_its_own_algorithm_and_no_other() {
    let (signer, other) = (Signer::new(), Signer::new());
    let all = ["RS256", "ES256", "EdDSA"];
    for algorithm in all {
        let pem = signer.pem(algorithm);
        let (_directory, file) = keys(&pem);
        let server = serve(format!("--auth-jwt {} cat", file.display())).await;
        for by in all {
            is_judged(&server, &signer.token(by, None), by == algorithm).await;
            let lie = signer.signed_by(by, algorithm, None);
            is_judged(&server, &lie, by == algorithm).await;
        }
        // What everybody may know is no secret, whatever the token says.
        is_judged(&server, &token_by(&pem, json!({})), false).await;
        is_judged(&server, &token_by(pem.trim(), json!({})), false).await;
        if algorithm != "RS256" {
            is_judged(&server, &other.token(algorithm, None), false).await;
        }
        // A signature with one bit turned.
        let mut token = signer.token(algorithm, None).into_bytes();
        let middle = token.len() - 20;
        token[middle] = if token[middle] == b'A' { b'B' } else { b'A' };
        is_judged(&server, &String::from_utf8(token).unwrap(), false).await;
    }
}
