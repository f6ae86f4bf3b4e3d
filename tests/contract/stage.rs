//! The stage itself: what the other tests lean on must hold without a server.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use futures_util::{SinkExt, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::harness::{
    Address, Diary, Frame, Person, Socket, Wire, encode, parse_answer, processes_marked, puppet,
    split, take_frame, temporary,
};

/// Runs the puppet with this stdin to its end.
fn plays(steps: &str, stdin: &[u8]) -> Output {
    let mut child = Command::new(puppet())
        .args(split(steps))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A puppet that does not read leaves a broken pipe behind, which is its business.
    child.stdin.take().unwrap().write_all(stdin).ok();
    child.wait_with_output().unwrap()
}

#[test]
fn a_line_is_split_at_spaces_and_quotes_hold_words_together() {
    assert_eq!(
        split(r#"--a="b c" 'd "e' ''  f"#),
        ["--a=b c", r#"d "e"#, "", "f"]
    );
}

#[test]
fn the_puppet_does_its_steps_in_order() {
    let told = plays(
        "wait then print two words then bytes a\\n\\0\\x7f then exit 3",
        b"x\n",
    );
    assert_eq!(told.stdout, b"two words\na\n\0\x7f");
    assert_eq!(told.status.code(), Some(3));
}

#[test]
fn the_puppet_echoes_counts_and_shows_bytes() {
    assert_eq!(plays("echo", b"a\nb").stdout, b"a\nb");
    assert_eq!(plays("echo-raw", b"a\0b").stdout, b"a\0b");
    assert_eq!(plays("count", b"a\nb\n").stdout, b"1\n2\n");
    assert_eq!(plays("hex 2", b"a\nbc").stdout, b"610a\n6263\n");
    assert_eq!(plays("mute", b"a\n").stdout, b"");
    assert_eq!(plays("flood 3 4", b"").stdout, b"1..\n2..\n3..\n");
    assert_eq!(plays("args a 'b c'", b"").stdout, b"[\"a\", \"b c\"]\n");
    assert_eq!(plays("whispers psst", b"").stderr, b"psst\n");
}

#[test]
fn the_puppet_speaks_packets() {
    let packet = b"\0\0\0\x07\0\0\0\x01\0\0\0\x02a\n";
    assert_eq!(plays("packets", packet).stdout, packet);
    assert_eq!(plays("describe", packet).stdout, b"7 1 2 a\\n\n");
    assert_eq!(plays("packet 7 1 a\\n", b"").stdout, packet);
    let all = plays("packets-to-all", packet).stdout;
    assert_eq!(all, b"\0\0\0\0\0\0\0\x01\0\0\0\x02a\n");
}

#[test]
fn the_puppet_dies_as_told_and_saves_at_the_end() {
    assert_eq!(plays("dies SEGV", b"").status.signal(), Some(11));
    // Whoever started the tests may have left descriptors of theirs open to us.
    assert!(plays("fds", b"").stdout.starts_with(b"0 1 2"));
    let directory = temporary();
    let file = directory.path().join("saved");
    plays(&format!("mute then save {}", file.display()), b"");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "saved");
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_is_found_by_its_mark_also_when_it_is_a_daemon() {
    let mark = format!("ss-stage-{}.", std::process::id());
    let told = Command::new(puppet())
        .arg("quiet-daemon")
        .env("MARK", &mark)
        .output()
        .unwrap();
    let daemon: i32 = String::from_utf8(told.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let found = processes_marked(&mark);
    kill(Pid::from_raw(daemon), Signal::SIGKILL).unwrap();
    assert_eq!(
        found.iter().map(|process| process.pid).collect::<Vec<_>>(),
        [daemon]
    );
}

#[test]
fn a_frame_is_read_as_it_was_written_and_never_before_it_is_whole() {
    for size in [0, 1, 125, 126, 0xffff, 0x1_0000] {
        let payload = vec![b'x'; size];
        for mask in [None, Some([1, 2, 3, 4])] {
            let bytes = encode(0x82, mask, &payload);
            let mut part = bytes[..bytes.len() - 1].to_vec();
            assert_eq!(take_frame(&mut part), None);
            let mut whole = [bytes.as_slice(), b"rest"].concat();
            let frame = Frame {
                first: 0x82,
                masked: mask.is_some(),
                payload: payload.clone(),
            };
            assert_eq!(take_frame(&mut whole), Some(frame));
            assert_eq!(whole, b"rest");
        }
    }
}

#[test]
fn a_head_is_parsed_once_it_is_whole() {
    let bytes = b"HTTP/1.1 404 Not Found\r\nContent-Length:  3 \r\n\r\nabc";
    assert!(parse_answer(&bytes[..40]).is_none());
    let (answer, end) = parse_answer(bytes).unwrap();
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (404, Some("3"))
    );
    assert_eq!(&bytes[end..], b"abc");
}

#[test]
fn addresses_are_read_as_the_log_writes_them() {
    assert_eq!(
        Address::parse("unix:/a b"),
        Some(Address::Unix("/a b".into()))
    );
    assert_eq!(
        Address::parse("127.0.0.1:9"),
        Some(Address::Tcp("127.0.0.1:9".parse().unwrap()))
    );
    assert_eq!(Address::parse("nonsense"), None);
}

/// Two ends of one connection.
async fn pair() -> (Socket, tokio::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(Socket::connect(&address, None), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn person() -> (Person, WebSocketStream<tokio::net::TcpStream>) {
    let (near, far) = pair().await;
    let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    (
        Person::new(near, Diary::default().person("ann".to_owned())),
        far,
    )
}

#[tokio::test]
async fn a_person_hears_what_is_said_in_order() {
    let (mut ann, mut far) = person().await;
    for word in ["one", "two", "three"] {
        far.send(Message::text(word)).await.unwrap();
    }
    far.send(Message::binary(vec![0, 255])).await.unwrap();
    ann.hears_all_of(["one", "two"].map(String::from)).await;
    ann.hears("three").await;
    ann.hears_bytes(&[0, 255]).await;
    ann.says("four").await;
    assert_eq!(far.next().await.unwrap().unwrap(), Message::text("four"));
}

#[tokio::test]
#[should_panic(expected = "expected nothing before the fence but heard Text(\"secret\")")]
async fn a_person_who_hears_something_does_not_hear_nothing() {
    let (mut ann, mut far) = person().await;
    far.send(Message::text("secret")).await.unwrap();
    ann.hears_nothing().await;
}

#[tokio::test]
async fn a_fence_is_answered_by_the_other_side() {
    let (mut ann, mut far) = person().await;
    tokio::select! {
        () = ann.hears_nothing() => {}
        ended = far.next() => if let Some(Err(error)) = ended { panic!("{error}") },
    }
}

#[tokio::test]
#[should_panic(expected = "expected two but heard Text(\"one\")")]
async fn a_wrong_word_fails() {
    let (mut ann, mut far) = person().await;
    far.send(Message::text("one")).await.unwrap();
    ann.hears("two").await;
}

#[tokio::test]
async fn a_wire_sends_any_bytes_and_shows_every_frame() {
    let (near, mut far) = pair().await;
    let mut wire = Wire::new(near, Vec::new(), Diary::default().person("eve".to_owned()));
    wire.sends(b"\xff\0").await;
    let mut bytes = [0; 2];
    far.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"\xff\0");
    far.write_all(&encode(0x88, None, b"\x03\xeatoo wrong"))
        .await
        .unwrap();
    assert_eq!(wire.hears_close(1002).await, "too wrong");
    drop(far);
    wire.is_dropped().await;
}

#[tokio::test]
async fn a_person_who_vanishes_leaves_a_reset() {
    let (mut ann, far) = person().await;
    ann.says("x").await;
    ann.vanishes();
    let mut far = far.into_inner();
    let mut bytes = Vec::new();
    let ended = far.read_to_end(&mut bytes).await;
    assert_eq!(
        ended.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
}
