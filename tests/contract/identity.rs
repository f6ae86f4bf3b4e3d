//! Who is let in by a token, until when, into which rooms; and that nobody behind the door sees it.

mod algorithms;
mod service;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::sys::signal::Signal;
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Answer, PATIENCE, Server, fails, parse_answer, serve, temporary};

const SECRET: &str = "a secret of the tests, of more than 32 bytes";

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64()
}

/// A token with these claims, good for an hour unless they say otherwise.
fn token_by(secret: &str, claims: Value) -> String {
    let sign = |message: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::sign(&key, message).as_ref().to_vec()
    };
    signed(&json!({"alg": "HS256"}), claims, sign)
}

fn signed(header: &Value, claims: Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let mut all = json!({"sub": "ann", "exp": now() + 3600.0});
    if let (Value::Object(all), Value::Object(claims)) = (&mut all, claims) {
        all.extend(claims);
    }
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(header.to_string().as_bytes());
    let message = format!("{header}.{}", encode(all.to_string().as_bytes()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", encode(&signature))
}

fn token(claims: Value) -> String {
    token_by(SECRET, claims)
}

fn bearer(claims: Value) -> String {
    format!("Bearer {}", token(claims))
}

/// A file of keys, which goes away with the directory.
fn keys(content: &str) -> (TempDir, PathBuf) {
    let directory = temporary();
    let file = directory.path().join("keys");
    std::fs::write(&file, content).unwrap();
    (directory, file)
}

/// A server that believes what the secret has signed.
async fn guarded(line: &str) -> (Server, TempDir) {
    let (directory, file) = keys(SECRET);
    let server = serve(format!("--auth-jwt {} {line}", file.display())).await;
    (server, directory)
}

#[track_caller]
fn says(answer: &Answer, error: &str) {
    let body = answer.json();
    assert_eq!(body["error"], error, "{body}");
    assert!(
        body["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
}

#[tokio::test]
async fn a_token_for_rooms_that_begin_with_a_opens_no_other() {
    let (server, _keys) = guarded("cat").await;
    let to_a = bearer(json!({"room": "a*"}));
    let mut ann = server
        .door("/abc")
        .header("Authorization", &to_a)
        .join()
        .await;
    ann.says("in").await;
    ann.hears("in").await;
    let answer = server
        .door("/b")
        .header("Authorization", &to_a)
        .refused(403)
        .await;
    says(&answer, "room_not_permitted");
    assert!(
        answer
            .header("www-authenticate")
            .unwrap()
            .contains("insufficient_scope")
    );
    // The name counts, however it is written.
    server
        .door("/%61bc")
        .header("Authorization", &to_a)
        .join()
        .await;
    server
        .door("/b%2Fabc")
        .header("Authorization", &to_a)
        .refused(400)
        .await;
    let two = bearer(json!({"room": ["x", "b?"]}));
    server
        .door("/b1")
        .header("Authorization", &two)
        .join()
        .await;
    server
        .door("/b12")
        .header("Authorization", &two)
        .refused(403)
        .await;
    let any = bearer(json!({}));
    server.door("/b").header("Authorization", &any).join().await;
}

#[tokio::test]
async fn without_a_good_token_nobody_comes_in() {
    let (server, _keys) = guarded("--metrics cat").await;
    let answer = server.door("/x").refused(401).await;
    says(&answer, "token_missing");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let cases = [
        (
            token_by("another secret that is long enough, too", json!({})),
            "token_invalid",
        ),
        (token(json!({"exp": now() - 1.0})), "token_expired"),
        (token(json!({"nbf": now() + 600.0})), "token_invalid"),
        (token(json!({"aud": "others"})), "token_invalid"),
        (token(json!({"exp": null})), "token_invalid"),
        (token(json!({"sub": "a\u{0}b"})), "token_invalid"),
        ("nonsense".to_owned(), "token_invalid"),
        (
            signed(&json!({"alg": "none"}), json!({}), |_| Vec::new()),
            "token_invalid",
        ),
    ];
    for (token, error) in &cases {
        let bearer = format!("Bearer {token}");
        let answer = server
            .door("/x")
            .header("Authorization", &bearer)
            .refused(401)
            .await;
        says(&answer, error);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(
            challenge.contains(r#"error="invalid_token""#),
            "{challenge}"
        );
        assert!(!answer.text().contains(token.as_str()));
        // A bad token that was given on purpose is not made good by another one.
        let path = format!("/x?token={}", self::token(json!({})));
        server
            .door(&path)
            .header("Authorization", &bearer)
            .refused(401)
            .await;
    }
    assert!(server.programs().is_empty(), "a refusal started a program");
    let counted = |reason: &str, times: usize| {
        let (reason, times) = (format!("reason=\"{reason}\""), format!(" {times}"));
        move |line: &str| line.contains(&reason) && line.ends_with(&times)
    };
    server
        .waits_for_metric("one without", counted("token_missing", 1))
        .await;
    server
        .waits_for_metric("two expired", counted("token_expired", 2))
        .await;
}

#[tokio::test]
async fn the_connection_is_closed_when_the_token_expires() {
    let (server, _keys) = guarded("--metrics cat").await;
    let mut people = Vec::new();
    let mut end = 0.0;
    for _ in 0..20 {
        // Each their own, so that on a busy machine nobody comes too late for what all have.
        end = now() + 2.5;
        let bearer = bearer(json!({"exp": end}));
        people.push(
            server
                .door("/x")
                .header("Authorization", &bearer)
                .join()
                .await,
        );
    }
    let lasting = bearer(json!({}));
    let mut eve = server
        .door("/x")
        .header("Authorization", &lasting)
        .join()
        .await;
    for person in &mut people {
        person.hears_close(4401, "token expired").await;
    }
    assert!(now() >= end, "it was closed too early");
    eve.says("still here").await;
    eve.hears("still here").await;
    let expired = |line: &str| line.contains(r#"code="4401""#) && line.ends_with(" 20");
    server.waits_for_metric("twenty closed", expired).await;
}

#[tokio::test]
async fn leeway_is_given_at_both_ends() {
    let (server, _keys) = guarded("--auth-leeway 100s cat").await;
    for claims in [json!({"exp": now() - 50.0}), json!({"nbf": now() + 50.0})] {
        server
            .door("/x")
            .header("Authorization", &bearer(claims))
            .join()
            .await;
    }
    let late = bearer(json!({"exp": now() - 101.0}));
    server
        .door("/x")
        .header("Authorization", &late)
        .refused(401)
        .await;
}

#[tokio::test]
async fn refuse_close_tells_browsers_which_it_is() {
    let (server, _keys) = guarded("--refuse close cat").await;
    assert_eq!(
        server.join("/x").await.hears_close_code(4401).await,
        "a token is needed to come in"
    );
    let path = format!("/b?token={}", token(json!({"room": "a"})));
    server.join(&path).await.hears_close_code(4403).await;
    assert!(server.programs().is_empty());
}

#[tokio::test]
async fn every_way_of_bringing_a_token_is_a_way_in_and_none_reaches_anybody() {
    let joined = "'#USER|#QUERY_TOKEN|#QUERY_STRING|#REQUEST_URI|#HTTP_AUTHORIZATION|#HTTP_COOKIE|\
                  #HTTP_SEC_WEBSOCKET_PROTOCOL|#HTTP_REMOTE_USER'";
    let line = format!(
        "-vv --stats --api --isolate --auth-cookie session --origin '*' --joinmsg {joined} \
         puppet env then echo"
    );
    let (server, _keys) = guarded(&line).await;
    let sub = "ann é/1";
    let secrets: Vec<String> = (0..5).map(|n| token(json!({"sub": sub, "n": n}))).collect();
    let [header, offer, query, cookie, other] = secrets.as_slice() else {
        panic!("five secrets");
    };
    let doors = [
        server
            .door(&format!("/x?a=1&token={other}&b=2"))
            .header("Authorization", &format!("bearer {header}")),
        server.door("/x?a=1&b=2").header(
            "Sec-WebSocket-Protocol",
            &format!("scalesocket, bearer.{offer}"),
        ),
        server.door(&format!("/x?a=1&t%6Fken={query}&b=2")),
        server
            .door("/x?a=1&b=2")
            .header("Cookie", &format!("a=b; session={cookie}; c=d")),
    ];
    let mut people = Vec::new();
    for (at, door) in doors.into_iter().enumerate() {
        // What a client says of itself is not believed.
        let mut person = door
            .header("Remote-User", "root")
            .header("X-Remote-User", "root")
            .header("X-Forwarded-User", "root")
            .join()
            .await;
        let env = person.hears_json().await;
        assert_eq!(env["REMOTE_USER"], sub);
        assert_eq!(env["AUTH_TYPE"], "Bearer");
        assert_eq!(env["QUERY_STRING"], "a=1&b=2");
        assert_eq!(env["REQUEST_URI"], "/x?a=1&b=2");
        assert_eq!(env["HTTP_AUTHORIZATION"], Value::Null);
        for name in [
            "HTTP_REMOTE_USER",
            "HTTP_X_REMOTE_USER",
            "HTTP_X_FORWARDED_USER",
        ] {
            assert_eq!(env[name], Value::Null);
        }
        let (kept, offered) = match at {
            1 => (Value::Null, json!("scalesocket")),
            3 => (json!("a=b; c=d"), Value::Null),
            _ => (Value::Null, Value::Null),
        };
        assert_eq!(env["HTTP_COOKIE"], kept);
        assert_eq!(env["HTTP_SEC_WEBSOCKET_PROTOCOL"], offered);
        // The program's whole stdin, which it repeats.
        let told = person.hears_text().await;
        assert!(
            told.starts_with("ann%20%C3%A9%2F1||a%3D1%26b%3D2|%2Fx%3Fa%3D1%26b%3D2||"),
            "{told}"
        );
        for secret in &secrets {
            assert!(!env.to_string().contains(secret) && !told.contains(secret));
        }
        people.push(person);
    }
    let stats = server
        .waits_for_json("/stats", |stats| stats["rooms_live"] == 4)
        .await;
    assert_eq!(stats["rooms"][0]["users"], json!([sub]));
    let mut environments = 0;
    for process in server.programs() {
        let environment = std::fs::read(format!("/proc/{}/environ", process.pid));
        environments += usize::from(environment.is_ok());
        let environment = String::from_utf8_lossy(&environment.unwrap_or_default()).into_owned();
        for secret in secrets.iter().map(String::as_str).chain([SECRET]) {
            assert!(!environment.contains(secret));
        }
    }
    assert!(environments == 4 || cfg!(not(target_os = "linux")));
    for person in people {
        person.leaves().await;
    }
    server.has_no_rooms().await;
    let log = server.log().join("\n");
    for secret in secrets.iter().map(String::as_str).chain([SECRET]) {
        assert!(!log.contains(secret), "the log holds a secret");
        assert!(!stats.to_string().contains(secret));
    }
}

#[tokio::test]
async fn a_page_offers_a_protocol_beside_its_token_and_that_is_agreed_on() {
    let (server, _keys) = guarded("--subprotocol chat cat").await;
    let offer = |others: &str| {
        let offered = format!("{others}bearer.{}", token(json!({})));
        server.door("/x").header("Sec-WebSocket-Protocol", &offered)
    };
    for (others, agreed) in [
        ("scalesocket, ", Some("scalesocket")),
        ("chat, scalesocket, ", Some("chat")),
        ("unknown, ", None),
        ("", None),
    ] {
        let (_, answer) = offer(others).wire().await;
        assert_eq!(answer.header("sec-websocket-protocol"), agreed, "{others}");
    }
}

#[tokio::test]
async fn a_cookie_is_a_token_only_where_it_is_said_which_pages_may_connect() {
    let refused = fails("--auth-jwt keys --auth-cookie session cat").await;
    assert_eq!(refused.status.code(), Some(2));
    let (server, _keys) = guarded("--auth-cookie session --same-origin cat").await;
    let cookie = format!("session={}", token(json!({})));
    let door = |origin: &str| {
        let door = server.door("/x").header("Cookie", &cookie);
        door.header("Origin", origin)
    };
    door(&format!("http://{}", server.address().host()))
        .join()
        .await;
    says(
        &door("http://evil.example").refused(403).await,
        "origin_not_allowed",
    );
}

#[tokio::test]
async fn audience_and_issuer_are_asked_for() {
    let (server, _keys) = guarded("--auth-aud us,we --auth-iss joe cat").await;
    let good = bearer(json!({"aud": ["we"], "iss": "joe"}));
    server
        .door("/x")
        .header("Authorization", &good)
        .join()
        .await;
    for claims in [
        json!({"aud": "us"}),
        json!({"iss": "joe"}),
        json!({"aud": "me", "iss": "joe"}),
    ] {
        let bad = bearer(claims);
        says(
            &server
                .door("/x")
                .header("Authorization", &bad)
                .refused(401)
                .await,
            "token_invalid",
        );
    }
}

#[tokio::test]
async fn new_keys_are_in_force_at_once_and_broken_ones_never() {
    let (directory, file) = keys(SECRET);
    let server = serve(format!("--auth-jwt {} cat", file.display())).await;
    let old = bearer(json!({}));
    let mut ann = server.door("/x").header("Authorization", &old).join().await;
    std::fs::write(&file, "short").unwrap();
    server.door("/x").header("Authorization", &old).join().await;
    server.door("/x").header("Authorization", &old).join().await;
    server.logged("the keys of tokens stay as they were").await;
    assert_eq!(
        server.complaints().len(),
        1,
        "said once: {:?}",
        server.complaints()
    );
    // As the kubelet does it: a link takes the place of the file.
    let fresh = "the secret of tomorrow, which is as long as it must be";
    let (one, two) = (
        directory.path().join("fresh"),
        directory.path().join("link"),
    );
    std::fs::write(&one, fresh).unwrap();
    std::os::unix::fs::symlink(&one, &two).unwrap();
    std::fs::rename(&two, &file).unwrap();
    let new = format!("Bearer {}", token_by(fresh, json!({})));
    server.door("/x").header("Authorization", &new).join().await;
    server
        .door("/x")
        .header("Authorization", &old)
        .refused(401)
        .await;
    ann.says("who is in stays in").await;
    ann.hears("who is in stays in").await;
    std::fs::remove_file(&one).unwrap();
    server.signal(Signal::SIGHUP);
    let gone = |line: &str| line.contains("stay as they were") && line.contains("cannot read");
    server.logged_where("that the file is gone", &gone).await;
    server.door("/x").header("Authorization", &new).join().await;
}

#[tokio::test]
async fn a_file_that_is_none_ends_the_start_with_a_sentence() {
    let (_directory, file) = keys("too short");
    let output = fails(format!("--auth-jwt {} cat", file.display())).await;
    assert_ne!(output.status.code(), Some(0));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("at least 32 bytes") && !told.contains("too short"),
        "{told}"
    );
}

#[tokio::test]
async fn the_api_needs_a_token_too_and_shows_the_rooms_that_it_opens() {
    let site = temporary();
    std::fs::write(site.path().join("index.html"), "hello").unwrap();
    let line = format!("--api --staticdir {} cat", site.path().display());
    let (server, _keys) = guarded(&line).await;
    let all = bearer(json!({}));
    let _ann = server
        .door("/abc")
        .header("Authorization", &all)
        .join()
        .await;
    let _bob = server.door("/b").header("Authorization", &all).join().await;
    says(&server.get("/api/rooms/").await, "token_missing");
    let to_a = bearer(json!({"room": "a*"}));
    let asks = async |path: &str| {
        let headers = [("Authorization", to_a.as_str())];
        server.request("GET", path, &headers).await
    };
    let rooms = asks("/api/rooms/").await.json();
    assert_eq!(rooms.as_array().map(Vec::len), Some(1), "{rooms}");
    assert_eq!(rooms[0]["name"], "abc");
    assert_eq!(asks("/api/abc/connections").await.status, 200);
    assert_eq!(asks("/api/b/").await.status, 403);
    assert_eq!(asks("/api/b/connections").await.status, 403);
    let path = format!("/api/abc/?token={}", token(json!({})));
    assert_eq!(server.get(&path).await.status, 200);
    for open in ["/", "/health", "/ready"] {
        assert_eq!(server.get(open).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn operators_need_no_token_on_their_own_listener() {
    let (server, _keys) = guarded("--api --admin-addr 127.0.0.1:0 cat").await;
    let admin = server.addresses(Some("admin"));
    for path in ["/api/rooms/", "/stats", "/metrics"] {
        let answer = server.request_at(&admin[0], "GET", path, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_listener_of_events_hears_of_its_rooms_until_its_token_expires() {
    let (server, _keys) = guarded("--api cat").await;
    let short = token(json!({"exp": now() + 2.0}));
    let until_the_end = server.get(&format!("/api/events?token={short}")).await;
    assert_eq!(until_the_end.status, 200);
    assert!(
        server
            .get(&format!("/api/events?token={short}"))
            .await
            .status
            == 401
    );

    let mut listener = server.connect(&server.address()).await;
    let to_a = bearer(json!({"room": "a*"}));
    let request = format!("GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: {to_a}\r\n\r\n");
    listener.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while parse_answer(&heard).is_none() {
        listener.read_buf(&mut heard).await.unwrap();
    }
    let all = bearer(json!({}));
    for room in ["/b", "/abc"] {
        server
            .door(room)
            .header("Authorization", &all)
            .join()
            .await
            .leaves()
            .await;
    }
    let last = async {
        while !String::from_utf8_lossy(&heard).contains(r#"event: ended"#) {
            listener.read_buf(&mut heard).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, last)
        .await
        .expect("the room ends");
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.contains(r#""name":"abc""#), "{heard}");
    assert!(!heard.contains(r#""name":"b""#), "{heard}");
}
