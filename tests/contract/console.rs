//! The console: who may see what, what is seen of rooms, and what operators do with them.

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

/// Somebody who watches a room.
struct Watcher {
    socket: Socket,
    read: Vec<u8>,
    /// All that was shown.
    seen: Vec<Value>,
    /// How much passed, as it was told last.
    passed: Value,
    shown: Value,
    ended: bool,
}

impl Watcher {
    /// Watches, from when it was told that it does.
    async fn of(server: &Server, room: &str) -> Watcher {
        let address: Address = server.address();
        let mut socket = server.connect(&address).await;
        let request = format!(
            "GET /console/rooms/{room}/watch HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
            address.host()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut watcher = Watcher {
            socket,
            read: Vec::new(),
            seen: Vec::new(),
            passed: Value::Null,
            shown: Value::Null,
            ended: false,
        };
        watcher
            .until("the first look", |w| !w.passed.is_null())
            .await;
        watcher
    }

    async fn until(&mut self, what: &str, is_so: impl Fn(&Watcher) -> bool) {
        let wait = async {
            while !is_so(self) {
                let read = self.socket.read_buf(&mut self.read).await.unwrap();
                assert!(read > 0, "the watch ended before {what}");
                self.take_in();
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("no {what}; seen: {:?}, passed: {}", self.seen, self.passed);
        }
    }

    /// Whole events of what was read; chunks of HTTP around them are lines of their own.
    fn take_in(&mut self) {
        while let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = self.read.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event).into_owned();
            self.ended |= event.contains("event: ended");
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            let Some(data) = data.and_then(|data| serde_json::from_str::<Value>(data).ok()) else {
                continue;
            };
            if let Some(seen) = data["seen"].as_array() {
                self.seen.extend(seen.iter().cloned());
                self.passed = data["passed"].clone();
                self.shown = data["shown"].clone();
            }
        }
    }

    fn has(&self, expected: &Value) -> bool {
        let fits = |seen: &Value| {
            let expected = expected.as_object().into_iter().flatten();
            expected
                .into_iter()
                .all(|(name, value)| seen[name] == *value)
        };
        self.seen.iter().any(fits)
    }

    async fn sees(&mut self, expected: Value) {
        self.until(&expected.to_string(), |watcher| watcher.has(&expected))
            .await;
    }
}

#[tokio::test]
async fn the_page_is_for_everybody_and_what_it_shows_for_whoever_has_the_token() {
    let (server, _dir) = with_console("--console cat").await;
    for path in ["/console", "/console/"] {
        let page = server.get(path).await;
        assert_eq!(page.status, 200);
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(!page.text().contains(TOKEN));
    }
    let _ann = server.join("/x").await;
    for path in [
        "/console/overview",
        "/console/rooms/x",
        "/console/rooms/x/watch",
        "/console/fleet",
    ] {
        for token in [
            "",
            "Bearer a-token-of-the-test",
            "Bearer a-token-of-the-tests2",
            TOKEN,
        ] {
            let answer = server
                .request("GET", path, &[("Authorization", token)])
                .await;
            assert_eq!(answer.status, 401, "{path} with {token:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(answer.json()["error"], "no_console_token");
        }
    }
    assert_eq!(
        sees(&server, "/console/overview").await["rooms_matching"],
        1
    );
}

#[tokio::test]
async fn without_the_flag_there_is_no_console() {
    let server = serve("--stats --api cat").await;
    for path in ["/console", "/console/overview"] {
        let status = server.get(path).await.status;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn with_an_admin_address_the_console_is_there_alone_and_knows_where_rooms_are() {
    let (server, _dir) = with_console("--console --admin-addr 127.0.0.1:0 cat").await;
    let admin = server.addresses(Some("admin")).remove(0);
    assert!((400..500).contains(&server.get("/console").await.status));
    assert_eq!(
        server
            .request_at(&admin, "GET", "/console", &[])
            .await
            .status,
        200
    );
    let header = bearer(TOKEN);
    let overview = server
        .request_at(
            &admin,
            "GET",
            "/console/overview",
            &[("Authorization", &header)],
        )
        .await
        .json();
    let port = server
        .address()
        .host()
        .rsplit_once(':')
        .map(|(_, port)| port.to_owned());
    assert_eq!(overview["join"]["port"].to_string(), port.unwrap());
}

#[tokio::test]
async fn no_strangers_page_and_no_strangers_name_gets_anything_with_the_token_either() {
    let (server, _dir) = with_console("--console cat").await;
    let token = bearer(TOKEN);
    let origin = [
        ("Authorization", token.as_str()),
        ("Origin", "https://evil.example"),
    ];
    let answer = server.request("GET", "/console/overview", &origin).await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (403, Some("origin_not_allowed"))
    );
    let address = server.address();
    let mut socket = server.connect(&address).await;
    let request = format!(
        "GET /console/overview HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nAuthorization: {token}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 421"));
}

#[tokio::test]
async fn a_token_that_nobody_gave_is_made_and_said() {
    let server = serve("--console cat").await;
    let ready = server.logged(r#""message":"ready""#).await;
    let url = ready["console"].as_str().expect("where the console is");
    let (_, token) = url.split_once("/console#token=").expect("the token");
    assert!(token.len() >= 32, "{token}");
    let header = bearer(token);
    let answer = server
        .request("GET", "/console/overview", &[("Authorization", &header)])
        .await;
    assert_eq!(answer.status, 200);
    let (given, _dir) = with_console("--console cat").await;
    given.logged(r#""message":"ready""#).await;
    assert!(given.log().iter().all(|line| !line.contains(TOKEN)));
}

#[tokio::test]
async fn what_cannot_be_a_token_ends_the_start() {
    let dir = temporary();
    let file = dir.path().join("token");
    std::fs::write(&file, "short\n").unwrap();
    let output = fails(format!(
        "--console --admin-token-file {} cat",
        file.display()
    ))
    .await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("--admin-token-file") && said.contains("16"),
        "{said}"
    );
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
async fn who_watches_sees_both_ways_and_stderr_and_that_the_room_ended() {
    let (server, _dir) = with_console(
        "--console sh -- -c 'while read line; do echo \"$line\" >&2; echo \"<$line>\"; done'",
    )
    .await;
    let mut ann = server.join("/x").await;
    let mut watcher = Watcher::of(&server, "x").await;
    ann.says("hello").await;
    ann.hears("<hello>").await;
    watcher
        .sees(json!({"way": "in", "text": "hello", "whom": {"from": 1}}))
        .await;
    watcher
        .sees(json!({"way": "out", "text": "<hello>", "whom": "everyone", "bytes": 7}))
        .await;
    watcher
        .sees(json!({"way": "stderr", "text": "hello", "whom": "nobody"}))
        .await;
    assert_eq!(watcher.passed, json!({"in": 1, "out": 1, "stderr": 1}));
    assert_eq!(watcher.shown, watcher.passed);
    ann.leaves().await;
    watcher.until("the end", |watcher| watcher.ended).await;
}

#[tokio::test]
async fn who_watches_sees_whom_the_program_spoke_to() {
    let (server, _dir) = with_console("--console --frame=json puppet echo").await;
    let mut ann = server.join("/x").await;
    let mut watcher = Watcher::of(&server, "x").await;
    // Echoed with the sender's id, which makes it an answer.
    ann.says(r#"{"hi":1}"#).await;
    ann.hears(r#"{"hi":1,"id":1}"#).await;
    watcher
        .sees(json!({"way": "out", "text": r#"{"hi":1,"id":1}"#, "whom": {"only": [1]}}))
        .await;
}

#[tokio::test]
async fn a_flood_is_heard_whole_and_counted_exactly_while_somebody_watches() {
    const MANY: u64 = 5000;
    let (server, _dir) = with_console("--console cat").await;
    let mut ann = server.join("/x").await;
    let mut bob = server.join("/x").await;
    let mut watcher = Watcher::of(&server, "x").await;
    let texts: Vec<String> = (0..MANY)
        .map(|number| format!("message {number}"))
        .collect();
    tokio::join!(
        ann.says_and_later_hears(&texts, async {}),
        bob.hears_all_of(texts.iter().cloned())
    );
    watcher
        .until("all of them", |w| {
            w.passed["in"] == MANY && w.passed["out"] == MANY
        })
        .await;
    let shown = watcher.shown["out"].as_u64().unwrap();
    assert!((1..=MANY).contains(&shown));
    assert_eq!(
        watcher
            .seen
            .iter()
            .filter(|one| one["way"] == "out")
            .count() as u64,
        shown
    );
}

#[tokio::test]
async fn a_console_that_looks_cannot_act() {
    let (server, _dir) = with_console("--console cat").await;
    let mut ann = server.join("/x").await;
    for (action, body) in [
        ("input", json!({"text": "x"})),
        ("say", json!({"text": "x"})),
        ("kick", json!({"client": 1})),
        ("end", json!({})),
    ] {
        let (status, _) = posts(&server, &format!("/console/rooms/x/{action}"), body).await;
        assert!((400..500).contains(&status), "{action}: {status}");
    }
    ann.hears_nothing().await;
}

#[tokio::test]
async fn an_operator_speaks_to_the_program_and_to_clients() {
    let (server, _dir) = with_console("--console=write cat").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    let mut watcher = Watcher::of(&server, "x").await;
    let done = (200, json!({"status": "done"}));
    assert_eq!(
        posts(
            &server,
            "/console/rooms/x/input",
            json!({"text": "to the program"})
        )
        .await,
        done
    );
    watcher
        .sees(json!({"way": "in", "text": "to the program", "whom": "operator"}))
        .await;
    ann.hears("to the program").await;
    bob.hears("to the program").await;
    assert_eq!(
        posts(&server, "/console/rooms/x/say", json!({"text": "to all"})).await,
        done
    );
    ann.hears("to all").await;
    bob.hears("to all").await;
    assert_eq!(
        posts(
            &server,
            "/console/rooms/x/say",
            json!({"hex": "00 ff", "to": [2]})
        )
        .await,
        done
    );
    bob.hears_bytes(&[0, 255]).await;
    ann.hears_nothing().await;
    for (path, body, status) in [
        ("/console/rooms/x/say", json!({"text": "x", "to": [3]}), 404),
        ("/console/rooms/x/say", json!({"text": "x", "to": []}), 400),
        (
            "/console/rooms/x/say",
            json!({"text": "x", "hex": "00"}),
            400,
        ),
        ("/console/rooms/x/say", json!({"hex": "0"}), 400),
        (
            "/console/rooms/x/input",
            json!({"text": "x", "to": [1]}),
            400,
        ),
        ("/console/rooms/y/input", json!({"text": "x"}), 404),
        ("/console/rooms/y/end", json!({}), 404),
        ("/console/rooms/x/kick", json!({"client": 3}), 404),
    ] {
        assert_eq!(
            posts(&server, path, body.clone()).await.0,
            status,
            "{path} {body}"
        );
    }
    ann.hears_nothing().await;
}

#[tokio::test]
async fn input_of_an_operator_is_a_packet_of_nobody_where_there_are_packets() {
    // cat gives it back, and what is for 0 is for everybody.
    let (server, _dir) = with_console("--console=write --frame=binary cat").await;
    let mut ann = server.join("/x").await;
    let body = json!({"text": "two\nlines"});
    assert_eq!(posts(&server, "/console/rooms/x/input", body).await.0, 200);
    ann.hears("two\nlines").await;
}

#[tokio::test]
async fn an_operator_kicks_one_client_and_the_others_stay() {
    let (server, _dir) = with_console("--console=write cat").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    let body = json!({"client": 1, "reason": "out"});
    assert_eq!(posts(&server, "/console/rooms/x/kick", body).await.0, 200);
    ann.hears_close(4000, "out").await;
    bob.says("still here").await;
    bob.hears("still here").await;
    let body = json!({"client": 2});
    assert_eq!(posts(&server, "/console/rooms/x/kick", body).await.0, 200);
    bob.hears_close(4000, "kicked by an operator").await;
}

#[tokio::test]
async fn an_operator_ends_a_room_and_its_clients_read_why() {
    let (server, _dir) = with_console("--console=write --metrics cat").await;
    let mut ann = server.join("/x").await;
    let _bob = server.join("/y").await;
    assert_eq!(
        posts(&server, "/console/rooms/x/end", json!({})).await.0,
        202
    );
    ann.hears_close(1001, "ended by an operator").await;
    let seen = waits_to_see(&server, "/console/overview", |seen| {
        seen["server"]["rooms_live"] == 1
    })
    .await;
    assert_eq!(seen["last_ends"][0]["reason"], "ended by an operator");
    let metrics = server.get("/metrics").await.text();
    assert!(
        metrics.contains(r#"scalesocket_rooms_ended_total{reason="operator"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_acts_wants_the_token_json_and_no_stranger() {
    let (server, _dir) = with_console("--console=write cat").await;
    let mut ann = server.join("/x").await;
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let json = "Content-Type: application/json\r\n";
    for (headers, body, status) in [
        (json.to_owned(), r#"{"text":"x"}"#, 401),
        (
            format!("{token}Content-Type: text/plain\r\n"),
            r#"{"text":"x"}"#,
            415,
        ),
        (
            format!("{token}{json}Origin: https://evil.example\r\n"),
            r#"{"text":"x"}"#,
            403,
        ),
        (format!("{token}{json}"), r#"{"text":"#, 400),
        (format!("{token}{json}"), r#"{"text":7}"#, 422),
        (format!("{token}{json}"), r#"{"words":"x"}"#, 422),
    ] {
        for action in ["input", "say"] {
            let path = format!("/console/rooms/x/{action}");
            let (got, _) = posts_as(&server, &path, &headers, body).await;
            assert_eq!(got, status, "{headers}{body}");
        }
    }
    ann.hears_nothing().await;
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
