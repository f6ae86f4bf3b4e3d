//! Who a client is, is asked at the pod that it comes to, and known at the pod that has its room.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::auth::{Guard, TokenOptions, Tokens};

const SECRET: &str = "a secret of the tests, of more than 32 bytes";

fn guarded(told: Told) -> Told {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    std::fs::write(&file, SECRET).unwrap();
    let options = TokenOptions {
        file,
        ..TokenOptions::default()
    };
    Told {
        guard: Some(Arc::new(Guard::Tokens(Tokens::open(options).unwrap()))),
        ..told
    }
}

fn token(room: &str, seconds: f64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now.as_secs_f64() + seconds;
    let claims = format!(r#"{{"sub":"ann é","room":"{room}","exp":{end}}}"#);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let message = format!(
        "{}.{}",
        encode(br#"{"alg":"HS256"}"#),
        encode(claims.as_bytes())
    );
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", encode(signature.as_ref()))
}

#[tokio::test]
async fn a_user_is_known_and_goes_when_its_time_is_over_wherever_its_room_is() {
    let stage = Stage::new().await;
    let pods: [_; 2] = stage.pods(&guarded(Told::default())).await;
    // The file of the keys is gone by now: what was read once stays in force.
    let (owner, entry) = owner_and_other(&pods, "lobby");
    assert_eq!(
        turned_away(entry.public, "/lobby").await.error,
        "token_missing"
    );
    let other = format!("/lobby?token={}", token("other", 60.0));
    assert_eq!(
        turned_away(entry.public, &other).await.error,
        "room_not_permitted"
    );
    let path = |seconds| format!("/lobby?x=1&token={}", token("lob*", seconds));
    let mut bob = join(owner.public, &path(60.0)).await;
    let joined = "ann%20%C3%A9|Bearer|x%3D1|%2Flobby%3Fx%3D1";
    bob.hears(joined).await;
    let mut ann = join(entry.public, &path(2.0)).await;
    ann.hears(joined).await;
    assert_eq!(entry.router.transits().len(), 1);
    let users = |pod: &OnePod| pod.rooms.get("lobby").map(|room| room.stats().users);
    assert_eq!(
        (users(owner), users(entry)),
        (Some(vec!["ann é".to_owned()]), None)
    );
    assert_eq!(ann.closed().await, (4401, "token expired".to_owned()));
    bob.says("still here").await;
    bob.hears("still here").await;
}

#[tokio::test]
async fn a_pod_that_asks_nobody_brings_nobody_to_one_that_does() {
    let stage = Stage::new().await;
    let told = Told {
        route_timeout: Duration::from_millis(400),
        ..Told::default()
    };
    let careless = stage.pod(&told).await;
    let careful = stage.pod(&guarded(told)).await;
    let _ann = join(
        careful.public,
        &format!("/lobby?token={}", token("*", 60.0)),
    )
    .await;
    let me = Owner {
        endpoint: careful.peer,
        session: careful.session,
    };
    let room = RoomName::parse("lobby").unwrap();
    stage.table.claims.lock().insert(room, me);
    let no = turned_away(careless.public, "/lobby").await;
    assert_eq!((no.status, no.error.as_str()), (503, "owner_unreachable"));
    assert_eq!(
        careful.rooms.get("lobby").map(|room| room.connections()),
        Some(1)
    );
}
