//! `scalesocket connect`: a room from a pipe and from a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use crate::harness::{Address, Authority, Server, serve, temporary};

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
        let mut stdin = child.stdin.take().unwrap();
        let typist = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        typist.join().unwrap().unwrap();
        output
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

#[tokio::test]
async fn over_tls_a_server_is_known_by_its_certificate_or_any_will_do() {
    let authority = Authority::new();
    let dir = temporary();
    let (chain, key) = authority.server(&["localhost"]).write(dir.path(), "server");
    let roots = dir.path().join("roots");
    std::fs::write(&roots, authority.pem()).unwrap();
    let line = format!(
        "--tls-cert {} --tls-key {} head -- -n 1",
        chain.display(),
        key.display()
    );
    let server = serve(line).await;
    let there = url(&server, "/x").replace("ws://127.0.0.1", "wss://localhost");
    let mut known = command(&[&there]);
    known.env("SSL_CERT_FILE", &roots);
    let any = command(&[&there, "--insecure"]);
    for command in [known, any] {
        let output = pipes(command, b"hello\n").await;
        assert_eq!(output.stdout, b"hello\n", "{output:?}");
        assert!(output.status.success());
    }
    let mut strange = command(&[&there]);
    strange.env("SSL_CERT_FILE", &chain);
    let told = pipes(strange, b"").await;
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("--insecure takes any certificate"), "{told}");
}

/// Reads what a terminal shows until it holds this.
fn shown_until(terminal: &mut File, shown: &mut String, part: &str) {
    let mut piece = [0; 1024];
    while !shown.contains(part) {
        // Where we hold its other end, too, a terminal that shows nothing more does not end.
        let mut more = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
        let more = poll(&mut more, PollTimeout::from(60_000_u16));
        assert_eq!(more, Ok(1), "{part:?} is not in {shown:?}");
        match terminal.read(&mut piece) {
            Ok(read) if read > 0 => shown.push_str(&String::from_utf8_lossy(&piece[..read])),
            end => panic!("{end:?} before {part:?} in {shown:?}"),
        }
    }
}

/// A client at a terminal, until it asks for a line.
fn at_terminal(there: &str, state: &Path) -> (Child, File, OwnedFd) {
    let pty = nix::pty::openpty(None, None).unwrap();
    let slave = || pty.slave.try_clone().unwrap();
    let mut command = command(&[there]);
    command
        .env("XDG_STATE_HOME", state)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(slave())
        .stdout(slave())
        .stderr(slave());
    let client = command.spawn().unwrap();
    let mut terminal = File::from(pty.master);
    shown_until(&mut terminal, &mut String::new(), "/term> ");
    (client, terminal, pty.slave)
}

#[tokio::test]
async fn at_a_terminal_lines_are_remembered_and_json_is_coloured() {
    let server = serve("cat").await;
    let there = url(&server, "/term");
    let home = temporary();
    let state = home.path().to_owned();
    let talk = move || {
        let (mut client, mut terminal, _slave) = at_terminal(&there, &state);
        let mut shown = String::new();
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

/// Whoever uses the terminal next finds it as it was, however the talk ended.
#[tokio::test]
async fn a_terminal_is_given_back_behind_the_last_words() {
    let server = serve("sh -- -c 'read line; seq 500; echo \"last $line\"; exit 3'").await;
    let there = url(&server, "/term");
    let home = temporary();
    let state = home.path().to_owned();
    let talk = move || {
        for end in ["closed", "left", "terminated"] {
            let (mut client, mut terminal, slave) = at_terminal(&there, &state);
            let mut shown = String::new();
            match end {
                "closed" => {
                    terminal.write_all(b"words\r").unwrap();
                    shown_until(&mut terminal, &mut shown, "last words\r\n");
                    shown_until(&mut terminal, &mut shown, "closed: 1011 exit 3");
                    assert_eq!(client.wait().unwrap().code(), Some(1));
                }
                "left" => {
                    terminal.write_all(b"half\x03").unwrap();
                    assert_eq!(client.wait().unwrap().code(), Some(0));
                }
                _ => {
                    terminal.write_all(b"half").unwrap();
                    shown_until(&mut terminal, &mut shown, "half");
                    let pid = Pid::from_raw(client.id().try_into().unwrap());
                    kill(pid, Signal::SIGTERM).unwrap();
                    assert_eq!(client.wait().unwrap().code(), Some(0));
                }
            }
            // Pasted text is no longer marked, and lines are edited by the terminal again.
            shown_until(&mut terminal, &mut shown, "\x1b[?2004l");
            let lines = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
            assert!(
                tcgetattr(&slave).unwrap().local_flags.contains(lines),
                "{end}"
            );
        }
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
}

/// Who says more than it hears soon has more to say than all that lies between can hold, and hears
/// nothing more before it is heard.
#[tokio::test]
async fn neither_side_waits_for_the_other() {
    const LINE: usize = 100_000;
    let program = "head -c 16000000 | sed \"p;p;p;p;p\"";
    let server = serve(format!(
        "--inbox 64KiB --backlog 512KiB sh -- -c '{program}'"
    ))
    .await;
    let line = |n: u8| [&vec![b'!' + n % 90; LINE - 1][..], b"\n"].concat();
    let flood: Vec<u8> = (0..160).flat_map(line).collect();
    let output = pipes(command(&[&url(&server, "/flood")]), &flood).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("closed: 1000"), "{told}");
    assert_eq!(output.stdout.len(), 6 * flood.len());
    for (n, lines) in (0..).zip(output.stdout.chunks(6 * LINE)) {
        assert!(lines == line(n).repeat(6), "line {n} is another");
    }
}
