//! Who is believed, and who is not.

use proptest::prelude::*;

use super::*;

struct Pod {
    authority: Authority,
    _dir: tempfile::TempDir,
}

fn pod(secrets: &str) -> Pod {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, secrets).unwrap();
    Pod {
        authority: Authority::new(Secrets::open(&path).unwrap()),
        _dir: dir,
    }
}

const OLD: &str = "the secret of yesterday";
const NEW: &str = "the secret of tomorrow";

fn forwarded() -> Forwarded {
    Forwarded {
        remote: Some("192.0.2.7:40000".parse().unwrap()),
        local: Some("[2001:db8::1]:9000".parse().unwrap()),
        https: true,
        subject: Some(Subject {
            dn: "CN=ann & co=1,O=Exämple".to_owned(),
            cn: Some("ann & co=1".to_owned()),
            dns: None,
            uri: Some("spiffe://example/ann".to_owned()),
        }),
        identity: Identity::passed_on(
            Some("ann é, 100 %"),
            Scheme::Bearer,
            Some(UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)),
        ),
        hops: 2,
        session: 0x0b1c_9a5e_3c5e_4f2e,
    }
}

/// A handshake as it goes to another pod.
#[derive(Clone)]
struct Handshake {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Handshake {
    fn by(pod: &Pod, forwarded: &Forwarded, now: SystemTime) -> Self {
        let mut headers = HeaderMap::new();
        let key = HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA==");
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
        let mut made = Handshake {
            method: Method::GET,
            uri: Uri::from_static("/lobby/door?open=1"),
            headers,
        };
        let target = Target {
            method: &made.method,
            uri: &made.uri,
        };
        pod.authority
            .sign(target, &mut made.headers, forwarded, now)
            .unwrap();
        made
    }

    fn at(&self, pod: &Pod, now: SystemTime) -> Result<Forwarded, Distrust> {
        let target = Target {
            method: &self.method,
            uri: &self.uri,
        };
        pod.authority.verify(target, &self.headers, now)
    }
}

#[test]
fn what_a_peer_says_is_believed_word_for_word_and_once() {
    let (entry, owner) = (pod(OLD), pod(OLD));
    let now = SystemTime::now();
    let made = Handshake::by(&entry, &forwarded(), now);
    assert_eq!(made.at(&owner, now), Ok(forwarded()));
    assert_eq!(made.at(&owner, now), Err(Distrust::Replayed));
    let bare = Forwarded {
        remote: None,
        local: None,
        https: false,
        subject: None,
        identity: None,
        ..forwarded()
    };
    assert_eq!(Handshake::by(&entry, &bare, now).at(&owner, now), Ok(bare));
}

#[test]
fn while_the_secret_is_changed_old_and_new_pods_believe_each_other() {
    let pods = [
        pod(OLD),
        pod(&format!("{OLD}\n{NEW}")),
        pod(&format!("{NEW}\n{OLD}")),
        pod(NEW),
    ];
    let now = SystemTime::now();
    for (entry, owner) in [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)] {
        let made = Handshake::by(&pods[entry], &forwarded(), now);
        assert_eq!(
            made.at(&pods[owner], now),
            Ok(forwarded()),
            "{entry} to {owner}"
        );
    }
    let made = Handshake::by(&pods[3], &forwarded(), now);
    assert_eq!(made.at(&pods[0], now), Err(Distrust::Forged));
}

#[test]
fn a_signature_is_good_for_thirty_seconds_either_way() {
    let (entry, owner) = (pod(OLD), pod(OLD));
    let now = SystemTime::now();
    let second = Duration::from_secs(1);
    for (then, good) in [
        (now + 29 * second, true),
        (now - 29 * second, true),
        (now + 31 * second, false),
        (now - 31 * second, false),
    ] {
        let result = Handshake::by(&entry, &forwarded(), then).at(&owner, now);
        let expected = if good {
            Ok(forwarded())
        } else {
            Err(Distrust::Untimely)
        };
        assert_eq!(result, expected);
    }
}

#[test]
fn nothing_that_is_signed_can_be_changed_added_or_left_out() {
    let (entry, owner) = (pod(OLD), pod(OLD));
    let now = SystemTime::now();
    let made = Handshake::by(&entry, &forwarded(), now);
    let names: Vec<HeaderName> = made.headers.keys().cloned().collect();
    for name in &names {
        let mut changed = made.clone();
        changed.headers.insert(name, HeaderValue::from_static("7"));
        assert_eq!(
            changed.at(&owner, now),
            Err(Distrust::Forged),
            "{name} changed"
        );
        let mut doubled = made.clone();
        doubled.headers.append(name, made.headers[name].clone());
        assert_eq!(
            doubled.at(&owner, now),
            Err(Distrust::Forged),
            "{name} doubled"
        );
        let mut missing = made.clone();
        missing.headers.remove(name);
        let why = if *name == SIGNATURE {
            Distrust::Unsigned
        } else {
            Distrust::Forged
        };
        assert_eq!(missing.at(&owner, now), Err(why), "{name} missing");
    }
    let mut added = made.clone();
    let name = HeaderName::from_static("scalesocket-peer-later");
    added.headers.insert(name, HeaderValue::from_static("1"));
    assert_eq!(added.at(&owner, now), Err(Distrust::Forged));
    let mut elsewhere = made.clone();
    elsewhere.uri = Uri::from_static("/lobby/door?open=2");
    assert_eq!(elsewhere.at(&owner, now), Err(Distrust::Forged));
    let mut posted = made.clone();
    posted.method = Method::POST;
    assert_eq!(posted.at(&owner, now), Err(Distrust::Forged));
    // All that did not use it up.
    assert_eq!(made.at(&owner, now), Ok(forwarded()));
}

#[test]
fn what_a_client_says_of_itself_is_replaced_when_it_is_sent_on() {
    let (entry, owner) = (pod(OLD), pod(OLD));
    let now = SystemTime::now();
    let mut made = Handshake::by(&entry, &forwarded(), now);
    made.headers.insert(USER, HeaderValue::from_static("root"));
    made.headers
        .insert("scalesocket-peer-other", HeaderValue::from_static("x"));
    let quiet = Forwarded {
        identity: None,
        ..forwarded()
    };
    let target = Target {
        method: &made.method,
        uri: &made.uri,
    };
    entry
        .authority
        .sign(target, &mut made.headers, &quiet, now)
        .unwrap();
    assert_eq!(made.at(&owner, now), Ok(quiet));
    strip(&mut made.headers);
    assert_eq!(made.headers.len(), 1, "the key alone stays");
}

proptest! {
    #[test]
    fn whatever_headers_say_nothing_panics_and_nobody_is_believed(
        values in proptest::collection::vec("[\\x20-\\x7e]{0,30}|[0-9]{1,20}|[A-Za-z0-9+/]{43}=", 12),
    ) {
        let owner = pod(OLD);
        let mut headers = HeaderMap::new();
        let names = [
            CLIENT, SERVER, HTTPS, SUBJECT, AUTH, USER, UNTIL, HOPS, SESSION, TIME, NONCE_HEADER,
            SIGNATURE,
        ];
        for (name, value) in names.into_iter().zip(&values) {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let target = Target { method: &Method::GET, uri: &Uri::from_static("/room") };
        prop_assert_eq!(
            owner.authority.verify(target, &headers, SystemTime::now()),
            Err(Distrust::Forged)
        );
    }

    #[test]
    fn well_signed_nonsense_is_refused_without_a_panic(
        name in 0usize..11, value in "[\\x20-\\x7e]{0,30}|[0-9]{1,20}",
    ) {
        let owner = pod(OLD);
        let now = SystemTime::now();
        let mut made = Handshake::by(&owner, &forwarded(), now);
        let names = [
            CLIENT, SERVER, HTTPS, SUBJECT, AUTH, USER, UNTIL, HOPS, SESSION, TIME, NONCE_HEADER,
        ];
        made.headers.insert(&names[name], HeaderValue::from_str(&value).unwrap());
        let target = Target { method: &made.method, uri: &made.uri };
        let signature = mac(&owner.authority.secrets.current()[0], target, &made.headers);
        let signature = STANDARD.encode(signature.finalize().into_bytes());
        made.headers.insert(SIGNATURE, HeaderValue::from_str(&signature).unwrap());
        // It may still make sense by chance: then it is taken as it is.
        if let Err(why) = made.at(&owner, now) {
            prop_assert!(matches!(why, Distrust::Malformed | Distrust::Untimely), "{why:?}");
        }
    }
}
