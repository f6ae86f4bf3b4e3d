//! What passes in a room, as somebody sees it who watches.

use nix::sys::signal::Signal;

use super::*;

/// Somebody who watches a room.
pub(super) struct Watcher {
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
    pub(super) async fn of(server: &Server, room: &str) -> Watcher {
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

    pub(super) async fn sees(&mut self, expected: Value) {
        self.until(&expected.to_string(), |watcher| watcher.has(&expected))
            .await;
    }
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
async fn what_is_refused_is_not_seen_to_reach_the_program() {
    let (server, _dir) = with_console("--console --frame=json puppet echo").await;
    let mut ann = server.join("/x").await;
    let mut watcher = Watcher::of(&server, "x").await;
    ann.says("this is no JSON").await;
    ann.says(r#"{"hi":1}"#).await;
    ann.hears(r#"{"hi":1,"id":1}"#).await;
    watcher.sees(json!({"way": "out"})).await;
    assert!(!watcher.has(&json!({"text": "this is no JSON"})));
    assert_eq!(watcher.passed["in"], 1);
}

#[tokio::test]
async fn what_an_operator_says_is_seen_before_its_answer() {
    let (server, _dir) = with_console("--console=write cat").await;
    let _ann = server.join("/x").await;
    let mut watcher = Watcher::of(&server, "x").await;
    for number in 0..50 {
        let text = format!("number {number}");
        let body = json!({"text": text});
        assert_eq!(posts(&server, "/console/rooms/x/input", body).await.0, 200);
        watcher.sees(json!({"way": "out", "text": text})).await;
    }
    let ways = watcher.seen.iter().filter_map(|one| one["way"].as_str());
    assert_eq!(ways.collect::<Vec<_>>(), ["in", "out"].repeat(50));
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
async fn only_so_many_watch_at_once_and_who_leaves_makes_room() {
    let (server, _dir) = with_console("--console cat").await;
    let _ann = server.join("/x").await;
    let mut watchers = Vec::new();
    for _ in 0..32 {
        watchers.push(Watcher::of(&server, "x").await);
    }
    let header = bearer(TOKEN);
    for _ in 0..20 {
        let answer = server
            .request(
                "GET",
                "/console/rooms/x/watch",
                &[("Authorization", &header)],
            )
            .await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (503, Some("too_many_watchers"))
        );
    }
    watchers.truncate(20);
    // The server notices with its next sign of life, or with what passes.
    let mut ben = server.join("/x").await;
    ben.says("a word").await;
    ben.hears("a word").await;
    let again = async {
        loop {
            let address = server.address();
            let mut socket = server.connect(&address).await;
            let request = format!(
                "GET /console/rooms/x/watch HTTP/1.1\r\nHost: {}\r\nAuthorization: {header}\r\n\r\n",
                address.host()
            );
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut start = [0; 12];
            socket.read_exact(&mut start).await.unwrap();
            if &start == b"HTTP/1.1 200" {
                return;
            }
            ben.says("another").await;
            ben.hears("another").await;
        }
    };
    timeout(PATIENCE, again)
        .await
        .expect("a place to watch from");
}

#[tokio::test]
async fn who_watches_and_never_reads_delays_nobody_and_fills_no_memory() {
    const MANY: usize = 20_000;
    let (server, _dir) = with_console("--console cat").await;
    let mut ann = server.join("/x").await;
    let mut watchers = Vec::new();
    for _ in 0..8 {
        watchers.push(Watcher::of(&server, "x").await);
    }
    let before = server.memory_bytes();
    let texts: Vec<String> = (0..MANY).map(|n| format!("{n:04000}")).collect();
    ann.says_and_later_hears(&texts, async {}).await;
    let grown = server.memory_bytes().saturating_sub(before);
    // 80 MB passed each way; what is kept for those who watch has 2 MiB, and each of them one look at it.
    assert!(grown < 64 << 20, "{grown} bytes more");
    let mut last = watchers.remove(0);
    last.until("what it missed", |w| {
        w.passed["in"] == MANY && w.passed["out"] == MANY
    })
    .await;
}

#[tokio::test]
async fn of_what_is_large_the_beginning_is_shown_and_how_much_there_was() {
    const LARGE: usize = 1 << 20;
    let (server, _dir) = with_console("--console --cache 1 cat").await;
    let mut ann = server.join("/x").await;
    let mut watcher = Watcher::of(&server, "x").await;
    let large = "é".repeat(LARGE / 2);
    ann.says(&large).await;
    ann.hears(&large).await;
    for way in ["in", "out"] {
        watcher
            .sees(json!({"way": way, "bytes": LARGE, "cut": true}))
            .await;
    }
    let longest = watcher
        .seen
        .iter()
        .map(|one| one["text"].as_str().unwrap().len());
    assert!(longest.max() <= Some(4 << 10));
    let details = sees(&server, "/console/rooms/x").await;
    let kept = &details["history"][0];
    assert_eq!(
        (&kept["bytes"], &kept["cut"]),
        (&json!(LARGE), &json!(true))
    );
    assert!(kept["text"].as_str().unwrap().len() <= 4 << 10);
}

#[tokio::test]
async fn what_would_command_a_terminal_or_turn_a_line_around_arrives_as_it_is() {
    let (server, _dir) = with_console("--console cat").await;
    let mut ann = server.join("/x").await;
    let mut watcher = Watcher::of(&server, "x").await;
    let text = "\u{1b}[2J\u{1b}]0;title\u{7}\u{202e}dlrow\u{202c}</script><img src=x>\u{0}";
    ann.says(text).await;
    watcher.sees(json!({"way": "in", "text": text})).await;
}

#[tokio::test]
async fn a_room_that_opens_again_is_another_one_to_watch() {
    let (server, _dir) = with_console("--console cat").await;
    let mut ann = server.join("/x").await;
    let mut first = Watcher::of(&server, "x").await;
    ann.says("first").await;
    first.sees(json!({"way": "out", "text": "first"})).await;
    ann.leaves().await;
    first.until("the end", |watcher| watcher.ended).await;
    let mut ben = server.join("/x").await;
    let mut second = Watcher::of(&server, "x").await;
    ben.says("second").await;
    second.sees(json!({"way": "out", "text": "second"})).await;
    assert_eq!(second.passed, json!({"in": 1, "out": 1, "stderr": 0}));
    assert!(!second.has(&json!({"text": "first"})));
}

#[tokio::test]
async fn a_server_ends_although_somebody_watches_and_although_somebody_does_not_read() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (server, _dir) = with_console("--console --drain-timeout 1s cat").await;
        let mut ann = server.join("/x").await;
        let mut reads = Watcher::of(&server, "x").await;
        let _never_reads = Watcher::of(&server, "x").await;
        let texts: Vec<String> = (0..500).map(|n| format!("{n:04000}")).collect();
        ann.says_and_later_hears(&texts, async {}).await;
        reads
            .until("all", |watcher| watcher.passed["out"] == 500)
            .await;
        server.signal(signal);
        ann.hears_close(1012, "server draining").await;
        server.exits_with(0).await;
    }
}

#[tokio::test]
async fn rooms_are_watched_to_their_end_while_the_server_drains() {
    let (server, _dir) = with_console("--console --drain-timeout 1h cat").await;
    let mut ann = server.join("/x").await;
    let mut watcher = Watcher::of(&server, "x").await;
    server.signal(Signal::SIGTERM);
    waits_to_see(&server, "/console/overview", |seen| {
        seen["server"]["draining"] == true
    })
    .await;
    ann.says("still here").await;
    watcher
        .sees(json!({"way": "out", "text": "still here"}))
        .await;
    ann.leaves().await;
    watcher.until("the end", |watcher| watcher.ended).await;
    server.exits_with(0).await;
}
