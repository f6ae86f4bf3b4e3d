//! Who is not let in, and what they are told: every refusal has a status, a JSON body with a
//! reason, and comes before the upgrade.

use crate::harness::{Answer, serve};

/// A refusal's body is an object with a readable sentence in it.
#[track_caller]
fn has_a_reason(answer: &Answer) {
    let body = answer.json();
    let members = body
        .as_object()
        .unwrap_or_else(|| panic!("{body} is no object"));
    let told = |value: &serde_json::Value| value.as_str().is_some_and(|text| !text.is_empty());
    assert!(members.values().any(told), "{body} gives no reason");
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.contains("json"))
    );
}

#[tokio::test]
async fn names_that_cannot_be_rooms_are_400() {
    let server = serve("cat").await;
    let long = format!("/{}", "x".repeat(129));
    let paths = [
        "/",
        "/~1",
        "/%7E1",
        "/a%00b",
        "/a%0ab",
        "/a%2Fb",
        "/%ff",
        "/%c3",
        "/%7f",
        long.as_str(),
    ];
    for path in paths {
        has_a_reason(&server.door(path).refused(400).await);
    }
    server.logged("ready").await;
    assert!(server.programs().is_empty(), "a refusal started a child");
}

#[tokio::test]
async fn reserved_names_are_400() {
    let server = serve("cat").await;
    let reserved = "api metrics stats health healthz livez ready readyz console resolve drain static \
                    upload favicon.ico robots.txt %6detrics";
    for name in reserved.split_whitespace() {
        has_a_reason(&server.door(&format!("/{name}")).refused(400).await);
    }
}

#[tokio::test]
async fn names_are_percent_decoded_and_may_be_128_bytes_long() {
    let server = serve("cat").await;
    let mut ann = server.join("/caf%C3%A9").await;
    let mut bob = server.join("/%63af%c3%a9/path?query").await;
    ann.says("same room").await;
    bob.hears("same room").await;
    let long = "x".repeat(128);
    let mut eve = server.join(&format!("/{long}")).await;
    eve.says("in").await;
    eve.hears("in").await;
}

#[tokio::test]
async fn rooms_that_are_not_on_the_list_are_403() {
    let server = serve("--rooms red,blue cat").await;
    let mut ann = server.join("/red").await;
    ann.says("in").await;
    ann.hears("in").await;
    has_a_reason(&server.door("/green").refused(403).await);
}

#[tokio::test]
async fn pages_from_elsewhere_are_403() {
    let server = serve("--origin https://example.com cat").await;
    let door = |origin: &str| server.door("/x").header("Origin", origin);
    has_a_reason(&door("https://evil.example").refused(403).await);
    has_a_reason(&door("http://example.com").refused(403).await);
    has_a_reason(&door("null").refused(403).await);
    door("https://example.com").join().await;
    server.join("/x").await;
}

#[tokio::test]
async fn same_origin_means_this_host() {
    let server = serve("--same-origin cat").await;
    let host = server.address().host();
    server
        .door("/x")
        .header("Origin", &format!("http://{host}"))
        .join()
        .await;
    has_a_reason(
        &server
            .door("/x")
            .header("Origin", "http://example.com")
            .refused(403)
            .await,
    );
}

#[tokio::test]
async fn a_plain_request_for_a_room_is_426() {
    let server = serve("cat").await;
    let answer = server.get("/lobby").await;
    assert_eq!(answer.status, 426);
    assert!(
        answer
            .header("upgrade")
            .is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
    );
    assert!(server.programs().is_empty());
}

#[tokio::test]
async fn a_full_server_is_503_with_a_time_to_come_back() {
    for (flag, second) in [
        ("--max-clients 1", "/x"),
        ("--max-clients-per-room 1", "/x"),
        ("--maxrooms 1", "/y"),
        ("--maxforks 1", "/y"),
    ] {
        let server = serve(format!("--stats {flag} cat")).await;
        let ann = server.join("/x").await;
        let answer = server.door(second).refused(503).await;
        has_a_reason(&answer);
        let seconds = answer
            .header("retry-after")
            .and_then(|value| value.parse::<u32>().ok());
        assert!(seconds.is_some(), "{flag}: {answer:?}");
        assert_eq!(server.get("/ready").await.status, 200, "full is ready");
        ann.leaves().await;
        server.has_no_rooms().await;
        let mut bob = server.join(second).await;
        bob.says("now").await;
        bob.hears("now").await;
    }
}

#[tokio::test]
async fn too_many_from_one_address_are_429() {
    let server = serve("--max-clients-per-ip 2 cat").await;
    let _ann = server.join("/x").await;
    let bob = server.join("/y").await;
    has_a_reason(&server.door("/z").refused(429).await);
    bob.leaves().await;
    server.has_programs(1).await;
    server.join("/z").await;
}

#[tokio::test]
async fn refuse_close_lets_a_browser_read_the_reason() {
    let server = serve("--refuse close --max-clients-per-room 1 --rooms x cat").await;
    let _ann = server.join("/x").await;
    let reason = server.join("/x").await.hears_close_code(1013).await;
    assert!(!reason.is_empty());
    let reason = server.join("/y").await.hears_close_code(1008).await;
    assert!(!reason.is_empty());
    server.has_programs(1).await;
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let server = serve("--metrics --rooms x cat").await;
    server.door("/y").refused(403).await;
    server.door("/y").refused(403).await;
    server
        .waits_for_metric("two refusals", |line| {
            line.starts_with("scalesocket_") && line.contains("refused") && line.ends_with(" 2")
        })
        .await;
}
