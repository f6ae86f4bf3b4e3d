//! The console: who may see what, what is seen of rooms, and what operators do with them.

mod acting;
mod strangers;
mod watching;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{Address, PATIENCE, Server, Socket, fails, given, serve, temporary};

const TOKEN: &str = "a-token-of-the-tests";

/// A server whose console has that token.
async fn with_console(line: &str) -> (Server, tempfile::TempDir) {
    let dir = temporary();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let server = serve(format!("--admin-token-file {} {line}", file.display())).await;
    (server, dir)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// What the console answers whoever has the token.
async fn sees(server: &Server, path: &str) -> Value {
    let answer = server
        .request("GET", path, &[("Authorization", &bearer(TOKEN))])
        .await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// Waits until the console shows that.
async fn waits_to_see(server: &Server, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let seen = sees(server, path).await;
            if is_so(&seen) {
                return seen;
            }
        }
    };
    match timeout(PATIENCE, wait).await {
        Ok(seen) => seen,
        Err(_) => server.fail(&format!("{path} never shows it")),
    }
}

/// Sends a body and reads what comes back: the status, and JSON if it is some.
async fn posts_as(server: &Server, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let address = server.address();
    let mut socket = server.connect(&address).await;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        address.host(),
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (
        status.expect("a status"),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

async fn posts(server: &Server, path: &str, body: Value) -> (u16, Value) {
    let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    posts_as(server, path, &headers, &body.to_string()).await
}

#[tokio::test]
async fn the_overview_sorts_searches_and_says_how_many_there_are() {
    let (server, _dir) = with_console("--console cat").await;
    let mut people = Vec::new();
    for room in ["/chess-1", "/chess-2", "/chess-2", "/Chess-3", "/go"] {
        people.push(server.join(room).await);
    }
    let names = |seen: &Value| -> Vec<String> {
        let rooms = seen["rooms"].as_array().unwrap().iter();
        rooms
            .map(|room| room["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let seen = waits_to_see(
        &server,
        "/console/overview?search=chess&sort=clients&order=desc&limit=2",
        |seen| seen["rooms_matching"] == 3 && seen["rooms"][0]["connections"] == 2,
    )
    .await;
    assert_eq!(names(&seen), ["chess-2", "Chess-3"]);
    assert_eq!(
        (&seen["server"]["rooms_live"], &seen["write"]),
        (&json!(4), &json!(false))
    );
    let next = sees(
        &server,
        "/console/overview?search=chess&sort=clients&order=desc&limit=2&offset=2",
    )
    .await;
    assert_eq!(names(&next), ["chess-1"]);
    let last = sees(&server, "/console/overview?sort=name&order=desc&limit=1").await;
    assert_eq!(names(&last), ["go"]);
    for sort in ["messages", "bytes", "lag", "cpu", "memory", "age", "state"] {
        let seen = sees(&server, &format!("/console/overview?sort={sort}")).await;
        assert_eq!(names(&seen).len(), 4, "{sort}");
    }
    let header = bearer(TOKEN);
    let wrong = server
        .request(
            "GET",
            "/console/overview?sort=colour",
            &[("Authorization", &header)],
        )
        .await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn how_rooms_ended_is_told_with_the_last_line_of_stderr() {
    let (server, _dir) = with_console(
        "--console sh -- -c 'echo first >&2; echo it is broken >&2; read line; exit 3'",
    )
    .await;
    let mut ann = server.join("/x").await;
    ann.says("go").await;
    ann.hears_close(1011, "exit 3").await;
    let seen = waits_to_see(&server, "/console/overview", |seen| {
        !seen["last_ends"][0].is_null()
    })
    .await;
    let end = &seen["last_ends"][0];
    assert_eq!(end["room"], "x");
    assert_eq!(
        (&end["reason"], &end["code"]),
        (&json!("exit 3"), &json!(1011))
    );
    assert_eq!(end["stderr"], "it is broken");
}

#[tokio::test]
async fn a_room_is_seen_with_its_clients_its_history_and_its_metadata() {
    let (server, _dir) = with_console("--console --frame=json --cache 2 puppet echo").await;
    let mut ann = server.join("/x").await;
    ann.says(r#"{"_id":0}"#).await;
    let seen = waits_to_see(&server, "/console/rooms/x", |seen| {
        seen["stats"]["messages_in"] == 1
    })
    .await;
    assert_eq!(seen["name"], "x");
    assert_eq!(seen["clients"].as_array().map(Vec::len), Some(1));
    let client = &seen["clients"][0];
    assert_eq!(
        (&client["id"], &client["address"]),
        (&json!(1), &json!("127.0.0.1"))
    );
    assert_eq!(client["lag_bytes"], 0);
    let header = bearer(TOKEN);
    let none = server
        .request("GET", "/console/rooms/y", &[("Authorization", &header)])
        .await;
    assert_eq!(none.status, 404);
    ann.leaves().await;
}

#[tokio::test]
async fn late_joiners_history_is_shown() {
    let (server, _dir) = with_console("--console --cache 2 cat").await;
    let mut ann = server.join("/x").await;
    for text in ["one", "two", "three"] {
        ann.says(text).await;
        ann.hears(text).await;
    }
    ann.says_bytes(&[0, 255]).await;
    ann.hears_bytes(&[0, 255]).await;
    let seen = sees(&server, "/console/rooms/x").await;
    assert_eq!(seen["history_kept"], 2);
    assert_eq!(
        seen["history"],
        json!([{"text": "three", "bytes": 5}, {"hex": "00ff", "bytes": 2}])
    );
}

#[tokio::test]
async fn the_console_is_below_the_base_path() {
    let dir = temporary();
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let line = format!(
        "--console --base-path /games --admin-token-file {} cat",
        file.display()
    );
    let server = given(line).serve().await;
    assert_eq!(server.get("/games/console").await.status, 200);
    assert_eq!(
        sees(&server, "/games/console/overview").await["join"]["base_path"],
        "/games"
    );
}

#[tokio::test]
async fn rooms_with_any_name_are_seen_and_reached() {
    let (server, _dir) = with_console("--console=write cat").await;
    // What a browser's encodeURIComponent makes of them, but for the dots.
    for (name, component, asked) in [
        (
            "<img src=x onerror=alert(1)>",
            "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
            None,
        ),
        ("\"'&`", "%22'%26%60", None),
        ("a?b#c%2fd;e", "a%3Fb%23c%252fd%3Be", None),
        (
            "caf\u{e9} \u{65e5}\u{672c}",
            "caf%C3%A9%20%E6%97%A5%E6%9C%AC",
            None,
        ),
        ("\u{202e}abc", "%E2%80%AEabc", None),
        ("__proto__", "__proto__", None),
        (".", "%2E", Some("~.")),
        ("..", "%2e%2e", Some("~..")),
        ("...", "...", None),
    ] {
        let mut ann = server.join(&format!("/{component}")).await;
        let path = format!("/console/rooms/{}", asked.unwrap_or(component));
        let seen = sees(&server, &path).await;
        assert_eq!(seen["name"], name);
        let overview = waits_to_see(&server, "/console/overview", |seen| {
            seen["rooms"]
                .as_array()
                .is_some_and(|rooms| rooms.iter().any(|room| room["name"] == name))
        })
        .await;
        assert!(overview["rooms_matching"].as_u64() >= Some(1));
        let body = json!({"text": "hello"});
        assert_eq!(posts(&server, &format!("{path}/say"), body).await.0, 200);
        ann.hears("hello").await;
    }
}

#[tokio::test]
async fn how_busy_programs_and_the_server_are_is_seen_and_sorts() {
    let (server, _dir) = with_console("--console sh -- -c 'read line; while :; do :; done'").await;
    let _idle = server.join("/idle").await;
    let mut busy = server.join("/busy").await;
    busy.says("go").await;
    let seen = waits_to_see(&server, "/console/overview?sort=cpu&order=desc", |seen| {
        seen["rooms"][0]["cpu_cores"].as_f64() > Some(0.0) && seen["rooms"][1]["cpu_cores"].is_f64()
    })
    .await;
    assert_eq!(seen["rooms"][0]["name"], "busy");
    assert!(seen["rooms"][1]["cpu_cores"].as_f64() <= seen["rooms"][0]["cpu_cores"].as_f64());
    assert!(seen["server"]["cpu_seconds"].as_f64() > Some(0.0));
    assert!(seen["server"]["memory_bytes"].as_u64() > Some(1 << 20));
}
