//! The first ten minutes: what the server says when it is ready, and one sentence that says what to
//! do for each mistake that newcomers make.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::harness::{fails, given, serve, temporary};

/// What is said about a command line that cannot work.
async fn complaint(line: &str) -> String {
    let output = fails(line).await;
    assert_eq!(output.status.code(), Some(2), "{line}");
    String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned()
}

#[tokio::test]
async fn every_first_mistake_has_a_sentence_that_says_what_to_do() {
    let dir = temporary();
    let script = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let plain = script("plain.py", "#!/usr/bin/env python3\n", 0o644);
    let bare = script("bare.py", "print(1)\n", 0o755);
    let shell = script("bare", "echo hi\n", 0o755);
    let dos = script("dos.py", "#!/usr/bin/env python3\r\n", 0o755);
    let lost = script("lost", "#!/no/such/interpreter\n", 0o755);
    for (line, sentence) in [
        (
            String::new(),
            "there is no program to serve: name one, as in `scalesocket cat`, or see `scalesocket --help`".to_owned(),
        ),
        (plain.clone(), format!("`{plain}` is not executable: run `chmod +x {plain}`")),
        (
            bare.clone(),
            format!("`{bare}` does not say what runs it: make `#!/usr/bin/env python3` its first line"),
        ),
        (
            shell.clone(),
            format!("`{shell}` does not say what runs it: make `#!/bin/sh` its first line"),
        ),
        (
            dos.clone(),
            format!(
                "`{dos}` has lines that end in CR LF: save it with Unix line ends, or run `sed -i 's/\\r$//' {dos}`"
            ),
        ),
        (
            lost.clone(),
            format!(
                "`{lost}` asks for `/no/such/interpreter` in its first line, which does not exist: install that, or correct the line"
            ),
        ),
        (
            "no-such-program".to_owned(),
            "`no-such-program` is not in PATH: install it, or write the path of a program".to_owned(),
        ),
        (
            "'python3 game.py'".to_owned(),
            "`python3 game.py` is one name and is not in PATH: write the program's arguments behind --, as in \
             `scalesocket python3 -- game.py`"
                .to_owned(),
        ),
        (
            "python3 game.py".to_owned(),
            "`game.py` is one word too many: put -- before the program's own arguments, as in \
             `scalesocket python3 -- game.py`"
                .to_owned(),
        ),
        (
            "cat -n".to_owned(),
            "`-n` is not a known option: put -- before the program's own arguments, as in `scalesocket cat -- -n`"
                .to_owned(),
        ),
        (
            "--port 9000 cat".to_owned(),
            "`--port` is not a known option: here it is `--addr 0.0.0.0:PORT`".to_owned(),
        ),
    ] {
        assert_eq!(complaint(&line).await, format!("scalesocket: {sentence}"));
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = fails(format!("--addr {address} cat")).await;
    let sentence = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!(
        "scalesocket: cannot listen on {address}: the port is in use; choose another with --addr\n"
    );
    assert!(sentence.ends_with(&expected), "{sentence}");
    assert_ne!(output.status.code(), Some(0));
}

#[tokio::test]
async fn a_log_says_in_fields_where_a_room_is_and_what_is_on() {
    let server = serve("--stats --frame=json cat -- secret").await;
    let ready = server.logged(r#""message":"ready""#).await;
    let listening = server.logged(r#""message":"listening""#).await;
    let address = listening["addr"].as_str().unwrap();
    assert_eq!(ready["room"], format!("ws://{address}/lobby"));
    assert_eq!(ready["page"], format!("http://{address}/lobby"));
    assert_eq!(ready["on"], "JSON framing, stats");
    assert_eq!(ready["program"], "cat");
    assert!(!ready.to_string().contains("secret"), "{ready}");
}

#[test]
fn people_at_a_terminal_are_shown_a_room_to_try() {
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_scalesocket"));
    let mut server = command
        .args(["--addr", "127.0.0.1:0", "cat", "--", "-u"])
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(pty.slave)
        .spawn()
        .unwrap();
    drop(command);
    let mut terminal = std::fs::File::from(pty.master);
    let mut shown = Vec::new();
    let mut piece = [0; 1024];
    let text = loop {
        let text = String::from_utf8_lossy(&shown).replace('\r', "");
        if text.contains("Ctrl-C\n") {
            break text;
        }
        match terminal.read(&mut piece) {
            Ok(read) if read > 0 => shown.extend_from_slice(&piece[..read]),
            end => panic!("{end:?} after {text}"),
        }
    };
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(text.contains(" serves cat -u\n"), "{text}");
    assert!(text.contains("  room  ws://127.0.0.1:"), "{text}");
    assert!(text.contains("  open  http://127.0.0.1:"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[tokio::test]
async fn a_browser_that_opens_a_room_as_a_page_is_shown_what_it_is() {
    let server = given("--base-path /games cat").serve().await;
    let accept = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    for path in ["/games/lobby", "/games/", "/games/%3Cscript%3E"] {
        let answer = server.request("GET", path, &accept).await;
        assert_eq!(answer.status, 426, "{path}");
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-"),
            "{policy}"
        );
        assert!(answer.text().contains("is a room of a websocket server"));
    }
    let plain = server
        .request("GET", "/games/lobby", &[("Accept", "*/*")])
        .await;
    assert_eq!(plain.status, 426);
    assert_eq!(
        plain.json()["message"],
        "this is a websocket server: connect to ws://<host>/games/<room>"
    );
}
