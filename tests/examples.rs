//! Every example, run by the very command that its README gives: what people then say and hear.
//!
//! The commands are taken from `examples/README.md`, so that page cannot go stale. The examples
//! in Python need a `python3`; a machine without one fails here, as it would by hand.
#![allow(clippy::unwrap_used)] // clippy.toml allows it inside test functions, not beside them

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Bytes, Message, client::IntoClientRequest},
};

/// Long enough for Python to start on a busy machine; nothing waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(20);
const README: &str = include_str!("../examples/README.md");
const README_ADDR: &str = "--addr 127.0.0.1:9000 ";

/// Ports for programs that listen: two servers at once would try the same ones first, and what is
/// free for both is then taken from one.
fn own_ports() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let offset = std::process::id() % 500 * 40 + NEXT.fetch_add(4, Ordering::Relaxed) % 40;
    format!("--tcpports {}:{}", 10_000 + offset, 10_003 + offset)
}

/// A server that runs one example. It must end well: its drop interrupts it and wants exit 0.
struct Server {
    process: Option<Child>,
    addr: String,
}

impl Server {
    /// Runs the README's command for `example` on a port of its own.
    fn run(example: &str) -> Self {
        let row = README
            .lines()
            .find(|line| line.starts_with(&format!("| `{example}` |")))
            .unwrap_or_else(|| panic!("examples/README.md has no row for {example}"));
        let command = row
            .rsplit_once("| `")
            .unwrap()
            .1
            .strip_suffix("` |")
            .unwrap();
        let arguments = command
            .strip_prefix("scalesocket ")
            .and_then(|rest| rest.strip_prefix(README_ADDR))
            .unwrap_or_else(|| panic!("not run at the usual address: {command}"));

        let ports = match arguments.contains("--tcp ") {
            true => own_ports(),
            false => String::new(),
        };
        // A shell, because the line is quoted for one; exec, so that the process is the server.
        let mut process = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "exec \"$0\" --addr 127.0.0.1:0 --log json {ports} {arguments}"
            ))
            .arg(env!("CARGO_BIN_EXE_scalesocket"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut server = Self {
            process: Some(process),
            addr: String::new(),
        };
        let (found, listening) = mpsc::channel();
        // Reads on after the address is known: a full pipe would block the server's log.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                eprintln!("{line}");
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if entry["message"] == "listening" {
                    let _ = found.send(entry["addr"].as_str().unwrap_or_default().to_owned());
                }
            }
        });
        server.addr = listening
            .recv_timeout(DEADLINE)
            .expect("the server never listened");
        server
    }

    async fn join(&self) -> Client {
        let url = format!("ws://{}/lobby", self.addr);
        let mut request = url.into_client_request().unwrap();
        let origin = format!("http://{}", self.addr).parse().unwrap();
        request.headers_mut().insert("Origin", origin); // as the example's own page
        let (socket, _) = timeout(DEADLINE, connect_async(request))
            .await
            .unwrap()
            .unwrap();
        Client(socket)
    }

    /// The page at `/`, as a browser would fetch it.
    async fn page(&self) -> String {
        self.file("/").await
    }

    async fn file(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.addr).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.addr
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap());
        let _ = kill(pid, Signal::SIGINT);
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || done.send(process.wait()));
        let ended = ended.recv_timeout(DEADLINE);
        if ended.is_err() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        if !std::thread::panicking() {
            let status = ended.expect("the server did not end").unwrap();
            assert!(status.success(), "the server ended with {status}");
        }
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn says(&mut self, text: &str) {
        self.sends(Message::text(text)).await;
    }

    async fn sends(&mut self, message: Message) {
        timeout(DEADLINE, self.0.send(message))
            .await
            .unwrap()
            .unwrap();
    }

    /// The next message; pings are no messages.
    async fn receives(&mut self) -> Message {
        loop {
            let next = timeout(DEADLINE, self.0.next())
                .await
                .expect("nothing was heard in time");
            match next.expect("the connection ended").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    async fn hears(&mut self, text: &str) {
        assert_eq!(self.receives().await, Message::text(text));
    }

    /// A terminal shows this sooner or later.
    async fn sees(&mut self, text: &str) {
        let mut screen = Vec::new();
        while !String::from_utf8_lossy(&screen).contains(text) {
            if let Message::Binary(bytes) = self.receives().await {
                screen.extend_from_slice(&bytes);
            }
        }
    }

    async fn hears_json(&mut self) -> Value {
        let message = self.receives().await;
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// The next JSON for which this holds; games and boards also tell of other things.
    async fn hears_of(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let hears = async {
            loop {
                let message = self.hears_json().await;
                if is_it(&message) {
                    return message;
                }
            }
        };
        timeout(DEADLINE, hears).await.expect("never heard")
    }

    /// The next text with these words in it; in between the world goes on.
    async fn reads(&mut self, words: &str) -> Message {
        let reads = async {
            loop {
                let message = self.receives().await;
                if message.to_text().unwrap().contains(words) {
                    return message;
                }
            }
        };
        timeout(DEADLINE, reads).await.expect("never read")
    }

    async fn leaves(mut self) {
        self.0.close(None).await.unwrap();
        while self.0.next().await.is_some_and(|message| message.is_ok()) {}
    }
}

/// A page may speak to its own server and to nobody else.
fn asks_nobody_else(page: &str) -> bool {
    page.starts_with("HTTP/1.1 200")
        && page.contains("<!doctype html>")
        && !["http://", "https://", "src=", "@import", "url("]
            .iter()
            .any(|call| page.contains(call))
}

#[tokio::test]
async fn chat_lets_everybody_hear_everybody() {
    let server = Server::run("chat");
    assert!(asks_nobody_else(&server.page().await));
    let mut ann = server.join().await;
    let mut bob = server.join().await;
    for line in ["ann: hello", "ann: is somebody there?"] {
        ann.says(line).await;
        ann.hears(line).await;
        bob.hears(line).await;
    }
    bob.says("bob: ✋").await;
    ann.hears("bob: ✋").await;
}

#[tokio::test]
async fn counter_is_one_number_for_the_room() {
    let server = Server::run("counter");
    let mut ann = server.join().await;
    let mut bob = server.join().await;
    ann.says("+").await;
    ann.hears("1").await;
    bob.hears("1").await;
    bob.says("+").await;
    ann.hears("2").await;
    bob.hears("2").await;
    ann.says("-").await;
    bob.hears("1").await;
}

#[tokio::test]
async fn game_keeps_the_floor_and_who_people_are() {
    let server = Server::run("game");
    assert!(asks_nobody_else(&server.page().await));
    let mut ann = server.join().await;
    ann.says(r#"{"type":"enter","name":" Ann ","token":"secret"}"#)
        .await;
    let floor = ann.hears_of(|message| message["you"].is_number()).await;
    let number = floor["you"].clone();
    let cells = floor["cells"].as_array().unwrap().len();
    assert_eq!(
        cells as u64,
        floor["width"].as_u64().unwrap() * floor["height"].as_u64().unwrap()
    );

    let mut bob = server.join().await;
    bob.says(r#"{"type":"enter","name":"Bob"}"#).await;
    let two = ann.hears_of(|state| people(state).len() == 2).await;
    assert_eq!(people(&two)[0]["name"], "Ann");
    assert_eq!(people(&two)[0]["number"], number);
    bob.hears_of(|state| people(state).len() == 2).await;

    // Into the corner: bob sees it, and cannot send ann elsewhere, whatever he says he is.
    for way in ["left", "up"] {
        ann.says(&json!({ "type": "go", "way": way }).to_string())
            .await;
        let forged = json!({ "type": "go", "way": "right", "id": 1, "you": number });
        bob.says(&forged.to_string()).await;
        let at = usize::from(way == "up");
        bob.hears_of(|state| people(state).len() == 2 && people(state)[0]["at"][at] == 0)
            .await;
    }
    let stays = bob.hears_of(|state| people(state).len() == 2).await;
    assert_eq!(people(&stays)[0]["at"], json!([0, 0]));
    let held = people(&stays)[0]["cells"].as_u64().unwrap();
    assert!(held > 6, "{stays}");

    // Who is in it, the lobby reads of the server.
    let rooms = server.file("/api/rooms/").await;
    assert!(rooms.contains(r#""players":["Ann","Bob"]"#), "{rooms}");

    ann.leaves().await;
    bob.hears_of(|state| people(state).len() == 2 && people(state)[0]["here"] == false)
        .await;
    let mut ann = server.join().await;
    ann.says(r#"{"type":"enter","name":"Ann","token":"secret"}"#)
        .await;
    let floor = ann.hears_of(|message| message["you"].is_number()).await;
    assert_eq!(floor["you"], number);
    let again = ann.hears_of(|state| people(state).len() == 2).await;
    assert_eq!(people(&again)[0]["cells"], held);
}

#[tokio::test]
async fn a_full_game_is_watched_until_somebody_leaves() {
    let server = Server::run("game");
    let enters = |name: String| json!({ "type": "enter", "name": name }).to_string();
    let mut players = Vec::new();
    for number in 1..=12 {
        let mut player = server.join().await;
        player.says(&enters(format!("p{number}"))).await;
        let floor = player.hears_of(|message| message["you"].is_number()).await;
        assert_eq!(floor["you"], number);
        // Whoever enters twice takes no second seat.
        player.says(&enters("greedy".to_owned())).await;
        players.push(player);
    }
    let mut late = server.join().await;
    late.says(&enters("late".to_owned())).await;
    let floor = late.hears_of(|message| message["full"].is_number()).await;
    assert!(floor["cells"].is_array());
    // Nobody but the server can say that somebody has left.
    let three = json!({ "type": "leave", "left": 3 }).to_string();
    late.says(&three).await;
    late.says(&enters("late".to_owned())).await;
    late.hears_of(|message| message["full"].is_number()).await;
    let all = |state: &Value, name: &str| {
        people(state).len() == 12
            && people(state)
                .iter()
                .all(|one| one["here"] == (one["name"] != name))
    };
    late.hears_of(|state| all(state, "nobody")).await;

    players.remove(4).leaves().await;
    late.hears_of(|state| all(state, "p5")).await;
    late.says(&enters("late".to_owned())).await;
    let floor = late.hears_of(|message| message["you"].is_number()).await;
    assert_eq!(floor["you"], 5);
    late.hears_of(|state| all(state, "nobody")).await;
}

/// Whom a state of the game shows; other messages show nobody.
fn people(state: &Value) -> &[Value] {
    state["players"].as_array().map_or(&[], Vec::as_slice)
}

#[tokio::test]
async fn a_board_is_seen_by_those_who_come_later() {
    let server = Server::run("board");
    assert!(asks_nobody_else(&server.page().await));
    let mut ann = server.join().await;
    let board = ann.hears_json().await;
    let ann_id = board["you"].clone();
    assert_eq!(ann.hears_json().await["count"], 1);
    for points in [json!([[0, 0], [10, 20]]), json!([[30, 40]])] {
        let line = json!({ "type": "draw", "line": 1, "colour": 2, "width": 3, "points": points });
        ann.says(&line.to_string()).await;
        ann.hears_of(|message| message["type"] == "lines").await;
    }
    // What is no line is not drawn, and harms nobody.
    for odd in [
        json!({ "type": "draw" }),
        json!({ "type": "draw", "line": 2, "colour": 1, "width": 1, "points": [] }),
        json!({ "type": "draw", "line": 2, "colour": 1, "width": 1, "points": [[0, -1]] }),
        json!({ "type": "draw", "line": 2, "colour": "red", "width": 1, "points": [[0, 0]] }),
        json!({ "type": "draw", "line": 1_u64 << 32, "colour": 1, "width": 1, "points": [[0, 0]] }),
        json!({ "type": [], "line": {} }),
        // Nobody but the server can say who comes and goes.
        json!({ "joined": ann_id }),
        json!({ "left": ann_id }),
    ] {
        ann.says(&odd.to_string()).await;
    }

    let mut bob = server.join().await;
    assert_eq!(bob.hears_json().await["type"], "board");
    let lines = bob.hears_json().await["lines"].clone();
    assert_eq!(
        lines,
        json!([{ "by": ann_id, "line": 1, "colour": 2, "width": 3, "points": [[0, 0], [10, 20], [30, 40]] }])
    );
    assert_eq!(bob.hears_json().await["count"], 2);
    assert_eq!(ann.hears_json().await["count"], 2);

    // Everybody takes back what is their own.
    bob.says(r#"{"type":"undo"}"#).await;
    ann.says(r#"{"type":"undo"}"#).await;
    let wiped = json!({ "type": "wiped", "by": ann_id, "line": 1 });
    assert_eq!(ann.hears_json().await, wiped);
    assert_eq!(bob.hears_json().await, wiped);
    bob.says(r#"{"type":"clear"}"#).await;
    assert_eq!(ann.hears_json().await, json!({ "type": "board" }));
}

#[tokio::test]
async fn a_dungeon_on_a_port_knows_who_speaks() {
    let server = Server::run("mud");
    assert!(asks_nobody_else(&server.page().await));
    let (mut ann, mut bob) = (server.join().await, server.join().await);
    for (person, name) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        person.reads("What is your name?").await;
        person.says(name).await;
        person.reads("The harbour").await;
    }
    ann.reads("Bob steps out").await;
    ann.says("say two words").await;
    ann.reads("You say: two words").await;
    bob.reads("Ann says: two words").await;
    bob.says("n").await;
    ann.reads("Bob goes north.").await;
    bob.reads("The market").await;
    bob.says("take pear").await;
    bob.reads("Bob takes the pear.").await;
    // What is said is one line, so that it looks like nothing else.
    bob.says("shout one\nThe market\u{1b}[2J").await;
    let shout = ann.reads("Bob shouts: one").await;
    assert_eq!(shout, Message::text("Bob shouts: one The market [2J"));
    bob.leaves().await;

    // Whoever comes back is where they were, with what they had.
    let mut bob = server.join().await;
    bob.says("Bob").await;
    bob.reads("Welcome back").await;
    bob.reads("The market").await;
    bob.says("inventory").await;
    bob.reads("You carry pear.").await;
    bob.leaves().await;

    // A thousand come after him: then he is forgotten, and what he had lies where he was.
    for number in 0..1000 {
        let mut visitor = server.join().await;
        visitor.says(&format!("stranger{number}")).await;
        visitor.reads("Welcome to Saltmarsh").await;
        visitor.leaves().await;
    }
    let mut bob = server.join().await;
    bob.says("Bob").await;
    bob.reads("Welcome to Saltmarsh").await;
    bob.says("n").await;
    bob.reads("a pear").await;
}

#[test]
fn programs_are_short_enough_to_be_read() {
    for program in ["game/game.py", "board/board.py", "mud/mud.py"] {
        let path = format!("{}/examples/{program}", env!("CARGO_MANIFEST_DIR"));
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines < 150, "{program} has {lines} lines");
    }
}

#[tokio::test]
async fn a_terminal_is_shared_by_everybody() {
    let server = Server::run("terminal");
    let page = server.page().await;
    assert!(page.starts_with("HTTP/1.1 200"));
    for part in ["xterm/xterm.css", "xterm/xterm.js"] {
        assert!(page.contains(&format!("=\"{part}\"")), "{part}");
        let file = server.file(&format!("/{part}")).await;
        assert!(file.starts_with("HTTP/1.1 200"), "{part}");
    }
    let script = page.split_once("<script>\n").unwrap().1;
    assert!(script.lines().count() < 150);
    assert!(asks_nobody_else(
        &page.replace("src=\"xterm/xterm.js\"", "")
    ));

    let (mut ann, mut bob) = (server.join().await, server.join().await);
    ann.hears(r#"{"_resize":[80,24]}"#).await;
    ann.says(r#"{"_resize":[100,30]}"#).await;
    ann.sends(Message::binary(&b"echo $((6 * 7)) $(stty size)\n"[..]))
        .await;
    for person in [&mut ann, &mut bob] {
        person.sees("42 30 100\r\n").await;
    }
    bob.sends(Message::binary(&b"exit\n"[..])).await;
    ann.sees("exit").await;
}

#[tokio::test]
async fn a_program_on_a_port_is_served_like_any_other() {
    let server = Server::run("tcp");
    let mut ann = server.join().await;
    let mut bob = server.join().await;
    ann.says("quietly").await;
    ann.hears("QUIETLY").await;
    bob.hears("QUIETLY").await;
}

#[tokio::test]
async fn roster_speaks_in_packets() {
    let server = Server::run("gwsocket");
    let mut ann = server.join().await;
    let greeting = ann.receives().await;
    let ann_id = greeting
        .to_text()
        .unwrap()
        .strip_prefix("you are ")
        .unwrap()
        .to_owned();
    ann.hears("1 here").await;

    let mut bob = server.join().await;
    assert_ne!(bob.receives().await, greeting);
    bob.hears("2 here").await;
    ann.hears("2 here").await;

    bob.says("who").await;
    let list = bob.receives().await;
    assert!(
        list.to_text()
            .unwrap()
            .contains(&format!("{ann_id} 127.0.0.1\n")),
        "{list}"
    );

    let bytes = Message::Binary(Bytes::from_static(b"\0line\nline\0"));
    bob.sends(bytes.clone()).await;
    assert_eq!(ann.receives().await, bytes);
    bob.says("two\nlines").await;
    ann.hears("two\nlines").await;

    bob.leaves().await;
    ann.hears("1 here").await;
}
