//! Which tokens are believed, and what is made of what they say.

use proptest::prelude::*;
use ring::hmac;
use serde_json::json;

use super::super::keys::{self, tests as fixtures};
use super::*;

const SECRET: &[u8] = b"a secret of more than 32 bytes, for tests";
/// What time it is in these tests.
const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn signed(header: &Value, claims: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(&header.to_string()), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn judged_by(rules: &Rules, claims: &str) -> Result<Identity, Rejection> {
    let keys = keys::parse(SECRET).unwrap();
    verify(
        &signed(&json!({"alg": "HS256"}), claims),
        &keys,
        rules,
        now(),
    )
}

fn judged(claims: &Value) -> Result<Identity, Rejection> {
    judged_by(&Rules::default(), &claims.to_string())
}

/// Claims that are good, with these instead or besides.
fn claims(others: Value) -> Value {
    let mut claims = json!({"sub": "ann", "exp": NOW + 60});
    if let (Value::Object(claims), Value::Object(others)) = (&mut claims, others) {
        claims.extend(others);
    }
    claims
}

#[track_caller]
fn is_invalid(judged: Result<Identity, Rejection>, part: &str) {
    match judged {
        Err(Rejection::Invalid(why)) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_of_the_standards_are_good_until_their_end() {
    let keys = keys::parse(fixtures::JWKS.as_bytes()).unwrap();
    let rules = Rules::default();
    let end = UNIX_EPOCH + Duration::from_secs(1_300_819_380);
    let before = end - Duration::from_millis(1);
    for token in &fixtures::tokens()[..3] {
        let identity = verify(token, &keys, &rules, before).unwrap();
        assert_eq!((identity.user, identity.until), (None, Some(end)));
        assert_eq!(verify(token, &keys, &rules, end), Err(Rejection::Expired));
    }
    // Its payload is no JSON: what is signed must make sense too.
    let last = verify(&fixtures::tokens()[3], &keys, &rules, before);
    is_invalid(last, "a claim of the token");
}

#[test]
fn the_key_decides_the_algorithm_and_not_the_token() {
    // The oldest trick: a public key's text as the secret of HS256.
    let keys = keys::parse(fixtures::PEM.as_bytes()).unwrap();
    let claims = claims(json!({})).to_string();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(&claims));
    for secret in [fixtures::PEM, fixtures::PEM.trim()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = hmac::sign(&key, message.as_bytes());
        let token = format!("{message}.{}", encode_bytes(signature.as_ref()));
        is_invalid(
            verify(&token, &keys, &Rules::default(), now()),
            "no key is there",
        );
    }
    let keys = keys::parse(SECRET).unwrap();
    for alg in ["RS256", "ES256", "EdDSA"] {
        let token = signed(&json!({"alg": alg}), &claims);
        is_invalid(
            verify(&token, &keys, &Rules::default(), now()),
            "no key is there",
        );
    }
    for alg in ["none", "None", "NONE", "", "HS384", "hs256", "RS512"] {
        let token = signed(&json!({"alg": alg}), &claims);
        is_invalid(verify(&token, &keys, &Rules::default(), now()), "algorithm");
        let bare = format!("{}.", token.rsplit_once('.').unwrap().0);
        is_invalid(verify(&bare, &keys, &Rules::default(), now()), "algorithm");
    }
}

fn encode_bytes(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn a_key_is_found_by_its_name_and_a_nameless_one_always() {
    let set = |names: &[Option<&str>]| {
        let key =
            |name: &Option<&str>| json!({"kty": "oct", "kid": name, "k": encode_bytes(SECRET)});
        let keys: Vec<Value> = names.iter().map(key).collect();
        keys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    };
    let claims = claims(json!({})).to_string();
    let judge = |keys: &[Key], header: Value| {
        verify(&signed(&header, &claims), keys, &Rules::default(), now())
    };
    let named = json!({"alg": "HS256", "kid": "b"});
    let nameless = json!({"alg": "HS256"});
    assert!(judge(&set(&[Some("a"), Some("b")]), named.clone()).is_ok());
    assert!(judge(&set(&[Some("a")]), nameless).is_ok());
    assert!(judge(&set(&[None]), named.clone()).is_ok());
    is_invalid(judge(&set(&[Some("a")]), named), "no key is there");
    let critical = json!({"alg": "HS256", "crit": ["b64"], "b64": false});
    is_invalid(judge(&set(&[None]), critical), "extension");
}

#[test]
fn a_token_is_good_from_its_beginning_to_its_end() {
    let exact = Rules::default();
    let lenient = Rules {
        leeway: Duration::from_secs(5),
        ..Rules::default()
    };
    let with = |rules: &Rules, others: Value| judged_by(rules, &claims(others).to_string());
    let until = |rules: &Rules, others: Value| with(rules, others).unwrap().until;
    assert_eq!(with(&exact, json!({"exp": NOW})), Err(Rejection::Expired));
    assert_eq!(with(&exact, json!({"exp": -1})), Err(Rejection::Expired));
    assert_eq!(
        with(&exact, json!({"exp": -1e300})),
        Err(Rejection::Expired)
    );
    assert_eq!(
        until(&exact, json!({"exp": NOW as f64 + 0.5})),
        Some(now() + Duration::from_millis(500))
    );
    assert_eq!(
        until(&lenient, json!({"exp": NOW - 4})),
        Some(now() + Duration::from_secs(1))
    );
    assert_eq!(
        with(&lenient, json!({"exp": NOW - 5})),
        Err(Rejection::Expired)
    );
    assert!(until(&exact, json!({"exp": 1e300})).is_some());
    assert!(with(&exact, json!({"nbf": NOW})).is_ok());
    is_invalid(with(&exact, json!({"nbf": NOW + 1})), "not valid yet");
    assert!(with(&lenient, json!({"nbf": NOW + 5})).is_ok());
    is_invalid(with(&lenient, json!({"nbf": NOW + 6})), "not valid yet");
    is_invalid(with(&exact, json!({"nbf": 1e300})), "not valid yet");
    is_invalid(judged(&json!({"sub": "ann"})), "exp");
    is_invalid(with(&exact, json!({"exp": "soon"})), "not of its type");
}

#[test]
fn audience_and_issuer_are_those_that_were_named() {
    let rules = Rules {
        audiences: vec!["us".to_owned(), "we".to_owned()],
        issuers: vec!["joe".to_owned()],
        ..Rules::default()
    };
    let with = |rules: &Rules, others: Value| judged_by(rules, &claims(others).to_string());
    assert!(with(&rules, json!({"aud": "we", "iss": "joe"})).is_ok());
    assert!(with(&rules, json!({"aud": ["them", "us"], "iss": "joe"})).is_ok());
    for aud in [json!("them"), json!([]), json!(["Us"])] {
        is_invalid(with(&rules, json!({"aud": aud, "iss": "joe"})), "audience");
    }
    is_invalid(with(&rules, json!({"aud": "us", "iss": "jim"})), "issuer");
    is_invalid(with(&rules, json!({"aud": "us"})), "issuer");
    // RFC 7519 section 4.1.3: for somebody, and we are not told that it is us.
    is_invalid(judged(&claims(json!({"aud": "us"}))), "audience");
    assert!(judged(&claims(json!({"iss": "anybody"}))).is_ok());
}

#[test]
fn the_claims_name_the_user_and_the_rooms() {
    let enters = |room: Value, name: &str| {
        judged(&claims(json!({"room": room})))
            .unwrap()
            .may_enter(name)
    };
    assert!(enters(json!("a*"), "abc") && !enters(json!("a*"), "b"));
    assert!(enters(json!(["b", "c*"]), "cd") && !enters(json!(["b", "c*"]), "bd"));
    assert!(!enters(json!([]), "a") && !enters(json!(""), "a"));
    assert!(judged(&claims(json!({}))).unwrap().may_enter("any"));
    is_invalid(judged(&claims(json!({"room": 7}))), "not of its type");
    is_invalid(judged(&claims(json!({"room": [7]}))), "not of its type");
    assert_eq!(
        judged(&claims(json!({}))).unwrap().user.as_deref(),
        Some("ann")
    );
    let anybody = judged(&json!({"exp": NOW + 1})).unwrap();
    assert_eq!(anybody.user, None);
    for sub in ["", "a\0b", "a\nb", &"x".repeat(257)] {
        is_invalid(judged(&claims(json!({"sub": sub}))), "sub");
    }
    is_invalid(judged(&claims(json!({"sub": 7}))), "not of its type");
    let twice = format!(r#"{{"sub": "ann", "sub": "root", "exp": {}}}"#, NOW + 1);
    is_invalid(judged_by(&Rules::default(), &twice), "not of its type");
}

#[test]
fn null_is_no_value_and_a_list_no_object() {
    // Least of all is it "any room".
    for name in ["room", "sub", "aud", "iss", "exp", "nbf"] {
        is_invalid(judged(&claims(json!({name: null}))), "not of its type");
    }
    let list = format!("[\"ann\",null,null,{},null,null]", NOW + 60);
    is_invalid(judged_by(&Rules::default(), &list), "not of its type");
    let keys = keys::parse(SECRET).unwrap();
    for (header, part) in [
        (json!({"alg": "HS256", "crit": null}), "extension"),
        (json!(["HS256", null, null]), "no JWT"),
    ] {
        let token = signed(&header, &claims(json!({})).to_string());
        is_invalid(verify(&token, &keys, &Rules::default(), now()), part);
    }
}

#[test]
fn what_was_changed_on_the_way_is_not_believed() {
    let keys = keys::parse(SECRET).unwrap();
    let token = signed(&json!({"alg": "HS256"}), &claims(json!({})).to_string());
    let judge = |token: &str| verify(token, &keys, &Rules::default(), now());
    assert!(judge(&token).is_ok());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(judge(&changed).is_err(), "the change at {at}");
    }
    for end in 0..token.len() {
        assert!(judge(&token[..end]).is_err());
    }
    assert_eq!(judge(""), Err(Rejection::Missing));
    is_invalid(judge(&format!("{token}=")), "JWT");
    is_invalid(judge(&"x".repeat(LONGEST + 1)), "too long");
}

proptest! {
    #[test]
    fn no_token_makes_it_panic(token in "[A-Za-z0-9_.-]{0,80}", header in any::<Vec<u8>>(), claims in "[ -~]{0,60}") {
        let keys = keys::parse(SECRET).unwrap();
        let _ = verify(&token, &keys, &Rules::default(), now());
        let odd = format!("{}.{}.{}", encode_bytes(&header), token, token);
        let _ = verify(&odd, &keys, &Rules::default(), now());
        let _ = judged_by(&Rules::default(), &claims);
    }

    #[test]
    fn no_numbers_make_it_panic(exp in any::<f64>(), nbf in any::<f64>()) {
        let _ = judged(&json!({"exp": exp, "nbf": nbf}));
    }
}
