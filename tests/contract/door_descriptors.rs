//! A server that has run out of descriptors: those inside notice nothing, others are told.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{Opcode, PATIENCE, Server, Socket, given, parse_answer, take_frame};

/// With so few descriptors that they run out before any other limit is reached.
async fn poor(flags: &str) -> Server {
    given(format!(
        "--max-connections 1000 --max-clients 1000 {flags} cat"
    ))
    .inside(r#"sh -c 'ulimit -n 48; exec "$0" "$@"'"#)
    .serve()
    .await
}

/// Lets people into the lobby until nobody gets in any more, and says what the last one read.
async fn fill(server: &Server) -> (Vec<Socket>, Value) {
    let mut crowd = Vec::new();
    loop {
        let mut socket = server.door("/lobby").connects().await.unwrap();
        let request = server.door("/lobby").request();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        let read = timeout(PATIENCE, socket.read_exact(&mut start)).await;
        read.expect("an answer in time").expect("an answer");
        if &start == b"HTTP/1.1 101" {
            crowd.push(socket);
            assert!(crowd.len() < 48, "the descriptors do not run out");
            continue;
        }
        assert_eq!(&start, b"HTTP/1.1 503");
        let mut rest = String::new();
        let read = timeout(PATIENCE, socket.read_to_string(&mut rest)).await;
        read.expect("it hangs up").expect("without a reset");
        let (_, body) = rest.split_once("\r\n\r\n").expect("a body");
        return (crowd, serde_json::from_str(body).expect("JSON"));
    }
}

/// How often the log says this.
fn said(server: &Server, what: &str) -> usize {
    let lines = server.log();
    lines.iter().filter(|line| line.contains(what)).count()
}

const FAILS: &str = "cannot accept connections";
const AGAIN: &str = "accepting connections again";

#[tokio::test]
async fn those_inside_go_on_and_others_are_told() {
    let server = poor("").await;
    let mut ann = server.join("/lobby").await;
    let mut bob = server.join("/lobby").await;
    // Connected already, before there was want, and about to open another room.
    let mut early = Vec::new();
    for _ in 0..2 {
        early.push(server.door("/other").connects().await.unwrap());
    }
    let before = server.descriptors();
    let (crowd, told) = fill(&server).await;
    assert_eq!(told["error"], "no_descriptors");
    for _ in 0..5 {
        let (more, told) = fill(&server).await;
        assert!(more.is_empty());
        assert_eq!(told["error"], "no_descriptors");
    }
    ann.says("still here").await;
    bob.hears("still here").await;

    // A room needs descriptors too: who wants another one reads that there are none, and may try again.
    for _ in 0..2 {
        let Some(knock) = early.pop() else { break };
        let (code, reason) = reads_close(&server, knock).await;
        assert_eq!(code, 1013);
        assert!(
            reason.starts_with("cannot start: out of resources: "),
            "{reason}"
        );
    }
    ann.says("and still").await;
    bob.hears("and still").await;

    drop(crowd);
    server.has_descriptors(before).await;
    let again = server.logged(AGAIN).await;
    assert!(again["failed"].as_u64() >= Some(6), "{again}");
    let mut carol = server.join("/other").await;
    carol.says("hello").await;
    carol.hears("hello").await;
    let mut dave = server.join("/lobby").await;
    dave.says("me too").await;
    ann.hears("still here").await;
    ann.hears("and still").await;
    ann.hears("me too").await;
    assert_eq!((said(&server, FAILS), said(&server, AGAIN)), (1, 1));
}

/// What the client of a handshake at `/other` is told when its room has ended.
async fn reads_close(server: &Server, mut socket: Socket) -> (u16, String) {
    let request = server.door("/other").request();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = async {
        loop {
            if let Some((_, end)) = parse_answer(&bytes)
                && let Some(frame) = take_frame(&mut bytes[end..].to_vec())
            {
                return frame;
            }
            assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "cut off");
        }
    };
    let frame = timeout(PATIENCE, read).await.expect("a frame in time");
    assert_eq!(frame.opcode(), Opcode::CLOSE);
    let (code, reason) = frame.payload.split_at(2);
    let code = u16::from_be_bytes([code[0], code[1]]);
    (code, String::from_utf8_lossy(reason).into_owned())
}

#[tokio::test]
async fn operators_come_in_all_the_same() {
    let server = poor("--admin-addr 127.0.0.1:0").await;
    let _ann = server.join("/lobby").await;
    let (crowd, _) = fill(&server).await;
    let admin = server.addresses(Some("admin"))[0].clone();
    for path in ["/health", "/ready", "/stats", "/health"] {
        let answer = server.request_at(&admin, "GET", path, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    drop(crowd);
}

#[tokio::test]
async fn by_default_others_are_refused_before_descriptors_run_out() {
    let server = given("--admin-addr 127.0.0.1:0 cat")
        .inside(r#"sh -c 'ulimit -n 256; exec "$0" "$@"'"#)
        .serve()
        .await;
    let _ann = server.join("/lobby").await;
    let mut crowd = Vec::new();
    // They say nothing at all, and are more than there are descriptors.
    for _ in 0..300 {
        crowd.push(server.door("/lobby").connects().await.unwrap());
    }
    let answer = server.door("/lobby").refused(503).await;
    assert_eq!(answer.json()["error"], "too_many_connections");
    assert_eq!(said(&server, FAILS), 0);
    assert!(server.descriptors() < 256 - 32, "rooms need some too");
}
