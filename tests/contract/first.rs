//! The first ten minutes: what the server says when it is ready, and one sentence that says what to
//! do for each mistake that newcomers make.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::harness::{PATIENCE, fails, given, serve, temporary};

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
    let unknown = script("unknown", "#!/usr/bin/env no-such-runtime\n", 0o755);
    let two = script("two", "#!/usr/bin/env no-such-runtime -u\n", 0o755);
    let none = script("none.py", "#!/usr/bin/env\n", 0o755);
    let marked = script("marked.py", "\u{feff}#!/usr/bin/env python3\n", 0o755);
    let source = script("source.rs", "fn main() {}\n", 0o644);
    let here = std::env::current_dir().unwrap();
    let here = here.display();
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
            unknown.clone(),
            format!(
                "`{unknown}` asks for `no-such-runtime` in its first line, which is not in PATH: install that, or correct the line"
            ),
        ),
        (
            two.clone(),
            format!(
                "`{two}` gives env more than one word in its first line: write `#!/usr/bin/env -S no-such-runtime -u`"
            ),
        ),
        (
            none.clone(),
            format!("`{none}` names nothing behind env in its first line: make it `#!/usr/bin/env python3`"),
        ),
        (
            marked.clone(),
            format!(
                "`{marked}` begins with a byte order mark, which hides its first line: save it as UTF-8 without one"
            ),
        ),
        (
            source.clone(),
            format!("`{source}` is source: compile it, and serve what comes of that"),
        ),
        (
            "./no-such-program".to_owned(),
            format!("`./no-such-program` does not exist, seen from `{here}`: write the path of a program"),
        ),
    ] {
        assert_eq!(complaint(&line).await, format!("scalesocket: {sentence}"));
    }
}

#[tokio::test]
async fn every_slip_of_the_first_command_line_is_answered_with_the_right_words() {
    for (line, sentence) in [
        (
            "no-such-program",
            "`no-such-program` is not in PATH: install it, or write the path of a program",
        ),
        (
            "'python3 game.py'",
            "`python3 game.py` is one name and is not in PATH: write the program's arguments behind --, as in \
             `scalesocket python3 -- game.py`",
        ),
        (
            "'cat | grep x'",
            "`cat | grep x` is no program's name: for a line of shell write `scalesocket sh -- -c 'cat | grep x'`",
        ),
        (
            "python3 game.py",
            "`game.py` is one word too many: put -- before the program's own arguments, as in \
             `scalesocket python3 -- game.py`",
        ),
        (
            "cat -n",
            "`-n` is not a known option: put -- before the program's own arguments, as in `scalesocket cat -- -n`",
        ),
        (
            "cat --fram=json",
            "`--fram` is not a known option: write `--frame` if it is meant for scalesocket, or put -- before the \
             program's own arguments, as in `scalesocket cat -- --fram=json`",
        ),
        (
            "cat --port 80",
            "`--port` is not a known option: write `--addr 0.0.0.0:PORT` if it is meant for scalesocket, or put -- \
             before the program's own arguments, as in `scalesocket cat -- --port 80`",
        ),
        (
            "--port 9000 cat",
            "`--port` is not a known option: here it is `--addr 0.0.0.0:PORT`",
        ),
        (
            "-staticdir public cat",
            "`-staticdir` is not a known option: did you mean `--staticdir`?",
        ),
        (
            "\u{2013}\u{2013}staticdir public cat",
            "`\u{2013}\u{2013}staticdir` begins with a dash that is no hyphen: write `--staticdir`",
        ),
        (
            "--frame json cat",
            "`--frame` takes its value behind a =: write `--frame=json`",
        ),
        (
            "--staticdir public",
            "there is no program to serve: `public` was taken for the value of `--staticdir`; name the program behind \
             it, as in `scalesocket --staticdir public cat`",
        ),
        (
            "run ./game.py",
            "`run` was taken for the program: leave it out, as in `scalesocket ./game.py`",
        ),
        ("help", "`help` is not in PATH: write `scalesocket --help`"),
        (
            "--addr http://localhost:9000 cat",
            "`--addr http://localhost:9000` is not valid: write HOST:PORT, like 127.0.0.1:9000, [::1]:9000 or localhost:9000",
        ),
        (
            "--staticdir no-such-directory cat",
            "`--staticdir no-such-directory` is no directory: write the one that has the page, from where you are or from /",
        ),
    ] {
        assert_eq!(complaint(line).await, format!("scalesocket: {sentence}"));
    }
}

#[tokio::test]
async fn a_program_that_keeps_its_output_back_is_told_of_after_ten_seconds() {
    let advice = "the program was sent messages and has said nothing for 10 s: if it prints, its runtime keeps that \
                  back because stdout is a pipe: flush stdout after each message, or run it under `stdbuf -oL`";
    let server = serve("puppet mute").await;
    let mut ann = server.join("/lobby").await;
    ann.says("hello?").await;
    // Its ten seconds come before ours.
    let told = server
        .logged_in(3 * PATIENCE, advice, &|line| line.contains(advice))
        .await;
    assert_eq!(
        (&told["level"], &told["room"]),
        (&"WARN".into(), &"lobby".into())
    );
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
async fn an_address_that_is_not_ours_is_named_with_what_to_do() {
    // For documentation (RFC 5737): nobody has it.
    let output = fails("--addr 192.0.2.1:9000 cat").await;
    let sentence = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "scalesocket: cannot listen on 192.0.2.1:9000: it is not an address of this machine; write one of its \
                    own, or 0.0.0.0 for all\n";
    assert!(sentence.ends_with(expected), "{sentence}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_port_that_only_root_may_take_is_named_with_what_to_do() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.is_ok_and(|first| first.trim().parse().is_ok_and(|first: u16| first < 2)) {
        eprintln!("skipped: every port is everybody's here");
        return;
    }
    let mut command = std::process::Command::new("setpriv");
    if nix::unistd::geteuid().is_root() {
        command.args([
            "--bounding-set=-net_bind_service",
            "--inh-caps=-net_bind_service",
        ]);
    }
    let output = command
        .arg(env!("CARGO_BIN_EXE_scalesocket"))
        .args(["--addr", "127.0.0.1:1", "cat"])
        .output()
        .unwrap();
    let sentence = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "scalesocket: cannot listen on 127.0.0.1:1: this user may not take that port; choose one from 1024 \
                    on, or let systemd hand it over (docs/deploy.md)\n";
    assert!(sentence.ends_with(expected), "{sentence}");
    assert_ne!(output.status.code(), Some(0));
}

#[tokio::test]
async fn a_page_asked_for_by_https_where_there_is_none_is_told_of_in_the_log() {
    let server = serve("cat").await;
    let mut socket = server.connect(&server.address()).await;
    // What every TLS client says first (RFC 8446 section 5.1).
    socket.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let told = server.logged("speaks TLS where there is none").await;
    assert_eq!(
        told["message"],
        "a client speaks TLS where there is none: let it write http:// or ws://, or set --tls-cert and --tls-key"
    );
}

#[tokio::test]
async fn why_somebody_is_refused_is_in_the_log_where_no_browser_shows_it() {
    let server = serve("--rooms lobby --origin https://ours.example cat").await;
    server.door("/").refused(400).await;
    server.door("/loby").refused(403).await;
    server
        .door("/lobby")
        .header("Origin", "http://localhost:5173")
        .refused(403)
        .await;
    for sentence in [
        "the room name is empty: connect to /<room>",
        "there is no such room here",
        "pages of this origin may not connect",
    ] {
        let told = server.logged(sentence).await;
        assert_eq!(
            told["message"],
            format!("a client was refused: {sentence}; of others for this reason -v tells")
        );
    }
    // Once each: a page that tries again and again fills no log.
    server.door("/loby").refused(403).await;
    server.door("/lobby").join().await;
    server.logged("child started").await;
    let told = server.log();
    let told = told
        .iter()
        .filter(|line| line.contains("was refused"))
        .count();
    assert_eq!(told, 3);
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
