//! Health, stats, metrics and the rooms' list: what an operator sees of the rooms that live, and
//! that what is over vanishes.

use std::io::Write;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{PATIENCE, Server, serve};

#[tokio::test]
async fn health_and_readiness_answer_on_every_listener() {
    let server = serve("--admin-addr 127.0.0.1:0 cat").await;
    let public = server.address();
    let admin = server.addresses(Some("admin")).remove(0);
    for address in [&public, &admin] {
        for path in ["/health", "/healthz", "/livez"] {
            let answer = server.request_at(address, "GET", path, &[]).await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, r#"{"status":"ok"}"#)
            );
        }
        for path in ["/ready", "/readyz"] {
            assert_eq!(
                server.request_at(address, "GET", path, &[]).await.status,
                200
            );
        }
    }
}

#[tokio::test]
async fn with_an_admin_address_the_public_one_shows_nothing() {
    let server = serve("--admin-addr 127.0.0.1:0 cat").await;
    let admin = server.addresses(Some("admin")).remove(0);
    let _ann = server.join("/x").await;
    for path in ["/metrics", "/stats", "/x/stats"] {
        assert_eq!(
            server.request_at(&admin, "GET", path, &[]).await.status,
            200,
            "{path}"
        );
        let status = server.get(path).await.status;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn without_the_flags_there_is_nothing_to_see() {
    let server = serve("cat").await;
    let _ann = server.join("/x").await;
    for path in [
        "/metrics",
        "/stats",
        "/x/stats",
        "/api/rooms/",
        "/api/events",
    ] {
        let status = server.get(path).await.status;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn a_rooms_figures_are_right() {
    let server = serve("--stats cat").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    ann.says("12345").await;
    ann.hears("12345").await;
    bob.hears("12345").await;
    let stats = server
        .waits_for_json("/x/stats", |stats| {
            stats["messages_in"] == 1 && stats["messages_out"] == 1
        })
        .await;
    assert_eq!(stats["connections"], 2);
    assert_eq!(stats["unique_connections"], 1);
    assert!(stats["bytes_in"].as_u64().unwrap() >= 5 && stats["bytes_out"].as_u64().unwrap() >= 5);
    assert!(stats["age_seconds"].as_f64().unwrap() >= 0.0);
    assert!(stats["state"].is_string());
    let pid = stats["pid"].as_i64().unwrap();
    if cfg!(target_os = "linux") {
        let pids: Vec<i64> = server
            .programs()
            .iter()
            .map(|program| program.pid.into())
            .collect();
        assert_eq!(pids, [pid]);
    }
    bob.leaves().await;
    server
        .waits_for_json("/x/stats", |stats| stats["connections"] == 1)
        .await;
}

#[tokio::test]
async fn a_key_gives_its_value_alone() {
    let server = serve("--stats cat").await;
    let _ann = server.join("/x").await;
    let answer = server.get("/x/stats/connections").await;
    assert_eq!((answer.status, answer.text().trim()), (200, "1"));
    assert!(server.get("/x/stats/state").await.json().is_string());
    assert_eq!(server.get("/x/stats/nothing").await.status, 404);
    assert_eq!(server.get("/y/stats").await.status, 404);
    assert_eq!(server.get("/y/stats/connections").await.status, 404);
}

#[tokio::test]
async fn the_server_tells_of_all_its_rooms_and_of_none_that_ended() {
    let server = serve("--stats cat").await;
    let ann = server.join("/caf%C3%A9").await;
    let stats = server.get("/stats").await;
    assert!(
        stats.json().to_string().contains("café"),
        "{}",
        stats.text()
    );
    assert_eq!(server.get("/caf%C3%A9/stats").await.status, 200);
    ann.leaves().await;
    server.has_programs(0).await;
    server
        .waits_for_json("/stats", |stats| stats["rooms"] == serde_json::json!([]))
        .await;
    assert_eq!(server.get("/caf%C3%A9/stats").await.status, 404);
}

#[tokio::test]
async fn isolated_people_are_rooms_named_by_their_ids() {
    let server = serve("--stats --isolate cat").await;
    let (_ann, _bob) = (server.join("/x").await, server.join("/x").await);
    let stats = server.get("/stats").await.text();
    assert!(
        stats.contains("\"~1\"") && stats.contains("\"~2\""),
        "{stats}"
    );
}

/// The value of a series, if it is there.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn metrics_follow_rooms() {
    let server = serve("--metrics cat").await;
    let (mut ann, bob) = (server.join("/x").await, server.join("/x").await);
    let eve = server.join("/we\"ird%5C").await;
    ann.says("hi").await;
    ann.hears("hi").await;
    let text = server.get("/metrics").await.text();
    assert_eq!(
        value(&text, r#"scalesocket_connections{room="x"}"#),
        Some(2.0),
        "{text}"
    );
    assert_eq!(
        value(&text, r#"scalesocket_unique_connections{room="x"}"#),
        Some(1.0)
    );
    assert_eq!(
        value(&text, r#"scalesocket_connections{room="we\"ird\\"}"#),
        Some(1.0)
    );
    assert_eq!(value(&text, "scalesocket_rooms"), Some(2.0));
    bob.leaves().await;
    eve.leaves().await;
    server
        .waits_for_metric("one room", |line| line == "scalesocket_rooms 1")
        .await;
    let text = server.get("/metrics").await.text();
    assert_eq!(
        value(&text, r#"scalesocket_connections{room="x"}"#),
        Some(1.0)
    );
    assert!(
        !text.contains("ird"),
        "the series of a room that ended is still there: {text}"
    );
}

async fn series_of_rooms(server: &Server) -> usize {
    let text = server.get("/metrics").await.text();
    assert!(!text.contains("otel_metric_overflow"), "{text}");
    text.lines()
        .filter(|line| line.starts_with("scalesocket_connections{"))
        .count()
}

#[tokio::test]
async fn every_room_up_to_the_limit_has_series_of_its_own() {
    let server = serve("--metrics --metrics-rooms 30 cat").await;
    let mut people = Vec::new();
    for n in 0..32 {
        people.push(server.join(&format!("/{n}")).await);
    }
    assert_eq!(series_of_rooms(&server).await, 30);
    for person in people {
        person.leaves().await;
    }
    server
        .waits_for_metric("no room", |line| line == "scalesocket_rooms 0")
        .await;
    assert_eq!(series_of_rooms(&server).await, 0);
}

#[tokio::test]
async fn metrics_rooms_0_means_none() {
    let server = serve("--metrics --metrics-rooms 0 cat").await;
    let _ann = server.join("/x").await;
    assert_eq!(series_of_rooms(&server).await, 0);
}

#[tokio::test]
async fn metrics_are_negotiated() {
    let server = serve("--metrics cat").await;
    let _ann = server.join("/x").await;
    let plain = server.get("/metrics").await;
    assert!(
        plain
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
    assert!(!plain.text().contains("# EOF"));
    let accept = "application/openmetrics-text; version=1.0.0,text/plain;q=0.5";
    let open = server
        .request("GET", "/metrics", &[("Accept", accept)])
        .await;
    let kind = open.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(open.text().ends_with("# EOF\n"));
}

/// Where promtool is installed; elsewhere the format is held by the exporter's own tests.
#[tokio::test]
async fn promtool_accepts_the_metrics() {
    let server = serve("--metrics cat").await;
    let mut ann = server.join("/x").await;
    ann.says("hi").await;
    ann.hears("hi").await;
    let text = server.get("/metrics").await.text();
    assert!(
        text.contains("# HELP scalesocket_connections ") && text.contains("# TYPE"),
        "{text}"
    );
    let mut command = Command::new("promtool");
    command
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut promtool) = command.spawn() else {
        eprintln!("promtool is not installed: not asked");
        return;
    };
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let told = promtool.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.success(), "{complaints}");
}

#[tokio::test]
async fn the_api_lists_rooms_as_0_2_4_did_and_only_those_that_live() {
    let server = serve("--api cat").await;
    assert_eq!(
        server.get("/api/rooms/").await.json(),
        serde_json::json!([])
    );
    let ann = server.join("/x").await;
    let rooms = server.get("/api/rooms/").await.json();
    assert_eq!(rooms.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&rooms[0]["name"], &rooms[0]["connections"]),
        (&"x".into(), &1.into())
    );
    let room = server.get("/api/x/").await.json();
    assert_eq!(
        (&room["name"], &room["connections"]),
        (&"x".into(), &1.into())
    );
    assert_eq!(server.get("/api/x/connections").await.text().trim(), "1");
    assert_eq!(server.get("/api/y/").await.status, 404);
    ann.leaves().await;
    server.has_programs(0).await;
    server
        .waits_for_json("/api/rooms/", |rooms| *rooms == serde_json::json!([]))
        .await;
}

#[tokio::test]
async fn events_tell_of_rooms_coming_and_going() {
    let server = serve("--api cat").await;
    let mut socket = server.connect(&server.address()).await;
    socket
        .write_all(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut heard = Vec::new();
    let mut hears = async |part: &str| {
        let wait = async {
            while !String::from_utf8_lossy(&heard).contains(part) {
                assert!(
                    socket.read_buf(&mut heard).await.unwrap() > 0,
                    "the events ended"
                );
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("no {part:?} in {}", String::from_utf8_lossy(&heard));
        }
        let end = String::from_utf8_lossy(&heard).find(part).unwrap() + part.len();
        heard.drain(..end);
    };
    hears("200 OK").await;
    hears("text/event-stream").await;
    let ann = server.join("/duel").await;
    hears("duel").await;
    ann.leaves().await;
    hears("duel").await;
}

#[tokio::test]
async fn what_is_dropped_is_counted_by_reason() {
    let server = serve("--metrics --frame=json puppet echo").await;
    let mut ann = server.join("/x").await;
    ann.says("not json").await;
    ann.says("{}").await;
    ann.hears(r#"{"id":1}"#).await;
    server
        .waits_for_metric("one dropped", |line| {
            line.starts_with("scalesocket_") && line.contains("dropped") && line.ends_with(" 1")
        })
        .await;
}
