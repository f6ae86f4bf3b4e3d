//! `scalesocket connect`: a room from a pipe and from a terminal.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use crate::harness::{Address, Server, serve, temporary};

fn command(line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalesocket"));
    // Longer than any test: where a program ends, the end is heard.
    command.arg("connect").args(line).args(["--wait", "60s"]);
    command
}

fn url(server: &Server, path: &str) -> String {
    match server.address() {
        Address::Tcp(address) => format!("ws://{address}{path}"),
        Address::Unix(path) => panic!("no URL leads to {path:?}"),
    }
}

/// What comes out when this goes in, once all is over.
async fn pipes(mut command: Command, input: &[u8]) -> Output {
    let input = input.to_vec();
    let run = move || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn in_a_pipe_each_line_is_a_message_and_each_message_a_line() {
    let thrice = "for n in 1 2 3; do read -r line; echo \"$line\"; done";
    let server = serve(format!("sh -- -c '{thrice}'")).await;
    let there = url(&server, "/pipe");
    let mut bob = server.join("/pipe").await;
    let output = pipes(command(&[&there]), b"hello\r\n{\"a\":1}\nlast").await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello\n{\"a\":1}\nlast\n"
    );
    assert!(output.status.success());
    for text in ["hello", "{\"a\":1}", "last"] {
        bob.hears(text).await;
    }
}

#[tokio::test]
async fn raw_messages_are_their_bytes() {
    let server = serve("--binary head -- -c 5").await;
    let bytes = b"\xff\x00\x1b[2";
    let output = pipes(command(&[&url(&server, "/a"), "--raw"]), bytes).await;
    assert_eq!(output.stdout, bytes);
    let output = pipes(command(&[&url(&server, "/b")]), bytes).await;
    assert_eq!(output.stdout, b"<5 bytes: ff 00 1b 5b 32>\n");
}

#[tokio::test]
async fn a_refusal_and_a_close_are_told_with_their_reasons() {
    let server = serve("--rooms here sh -- -c 'read line; exit 3'").await;
    let output = pipes(command(&[&url(&server, "/there")]), b"").await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.starts_with("scalesocket: refused: 403 Forbidden: "),
        "{told}"
    );
    let output = pipes(command(&[&url(&server, "/here")]), b"go\n").await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("closed: 1011 exit 3"), "{told}");
}

#[tokio::test]
async fn headers_and_subprotocols_reach_the_program() {
    let server = serve("--subprotocol chat sh -- -c 'echo $HTTP_X_COLOUR'").await;
    let there = url(&server, "/x");
    let line = [&*there, "-H", "X-Colour: red", "--subprotocol", "chat"];
    let output = pipes(command(&line), b"").await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "red\n");
}

#[tokio::test]
async fn who_is_no_server_is_told_from_who_speaks_tls() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let output = pipes(command(&[&format!("ws://{address}/x")]), b"").await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains(&format!("cannot connect to {address}")),
        "{told}"
    );
    let server = serve("cat").await;
    let there = url(&server, "/x").replace("ws://", "wss://");
    let output = pipes(command(&[&there]), b"").await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("cannot speak TLS with "), "{told}");
    assert_eq!(output.status.code(), Some(1));
}

/// Reads what a terminal shows until it holds this.
fn shown_until(terminal: &mut std::fs::File, shown: &mut String, part: &str) {
    let mut piece = [0; 1024];
    while !shown.contains(part) {
        match terminal.read(&mut piece) {
            Ok(read) if read > 0 => shown.push_str(&String::from_utf8_lossy(&piece[..read])),
            end => panic!("{end:?} before {part:?} in {shown:?}"),
        }
    }
}

#[tokio::test]
async fn at_a_terminal_lines_are_remembered_and_json_is_coloured() {
    let server = serve("cat").await;
    let there = url(&server, "/term");
    let home = temporary();
    let state = home.path().to_owned();
    let talk = move || {
        let pty = nix::pty::openpty(None, None).unwrap();
        let mut command = command(&[&there]);
        command
            .env("XDG_STATE_HOME", &state)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR");
        let mut client = command
            .stdin(pty.slave.try_clone().unwrap())
            .stdout(pty.slave.try_clone().unwrap())
            .stderr(pty.slave)
            .spawn()
            .unwrap();
        drop(command);
        let mut terminal = std::fs::File::from(pty.master);
        let mut shown = String::new();
        shown_until(&mut terminal, &mut shown, "/term> ");
        terminal.write_all(b"{\"k\":\"v\"}\r").unwrap();
        shown_until(
            &mut terminal,
            &mut shown,
            "{\x1b[34m\"k\"\x1b[0m:\x1b[32m\"v\"\x1b[0m}",
        );
        // The line before this one, as every shell has it on that key.
        shown.clear();
        terminal.write_all(b"\x1b[A").unwrap();
        shown_until(&mut terminal, &mut shown, "{\"k\":\"v\"}");
        terminal.write_all(b"\x15\x04").unwrap();
        client.wait().unwrap()
    };
    let status = tokio::task::spawn_blocking(talk).await.unwrap();
    assert!(status.success());
    let kept = std::fs::read_to_string(home.path().join("scalesocket/history")).unwrap();
    assert!(kept.contains("{\"k\":\"v\"}"), "{kept}");
}
