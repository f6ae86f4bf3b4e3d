//! Every example, run by the very command that its README gives: what people then say and hear.
//!
//! The commands are taken from `examples/README.md`, so that page cannot go stale. The examples
//! in Python need a `python3`; a machine without one fails here, as it would by hand.
#![allow(clippy::unwrap_used)] // clippy.toml allows it inside test functions, not beside them

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
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

        // A shell, because the line is quoted for one; exec, so that the process is the server.
        let mut process = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "exec \"$0\" --addr 127.0.0.1:0 --log json {arguments}"
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
async fn game_keeps_the_board_and_knows_who_moves() {
    let server = Server::run("game");
    assert!(asks_nobody_else(&server.page().await));
    let mut ann = server.join().await;
    let welcome = ann.hears_json().await;
    let ann_id = welcome["you"].clone();
    assert_eq!(welcome["type"], "welcome");
    assert_eq!(ann.hears_json().await["players"][0]["player"], ann_id);

    let mut bob = server.join().await;
    let bob_id = bob.hears_json().await["you"].clone();
    assert_ne!(ann_id, bob_id);
    let board = bob.hears_json().await;
    assert_eq!(ann.hears_json().await, board);
    assert_eq!(board["players"].as_array().unwrap().len(), 2);

    // To the far edge: bob forges ann's number, and it is bob who moves.
    for _ in 0..16 {
        bob.says(&json!({ "type": "move", "dir": "left", "id": ann_id }).to_string())
            .await;
        let moved = bob.hears_json().await;
        assert_eq!(ann.hears_json().await, moved);
        assert_eq!(moved["players"][0]["at"], board["players"][0]["at"]);
    }
    bob.says(r#"{"type":"move","dir":"left"}"#).await;
    assert_eq!(bob.hears_json().await["players"][1]["at"][0], 0);
    ann.hears_json().await;

    bob.leaves().await;
    let alone = ann.hears_json().await;
    assert_eq!(alone["players"].as_array().unwrap().len(), 1);
    assert_eq!(alone["players"][0]["player"], ann_id);
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
