//! Connections by the thousand that come and are reset, and more of them than there are
//! descriptors.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::time::timeout;

use crate::harness::{Address, PATIENCE, Server, given};
use crate::skip_unless;
use crate::stage::{SOON, begin, begin_with, works};

fn tcp(server: &Server) -> SocketAddr {
    match server.address() {
        Address::Tcp(address) => address,
        Address::Unix(_) => server.fail("listens on no TCP address"),
    }
}

/// Connects and resets; what was sent before differs.
fn resets(to: SocketAddr, times: usize) {
    let request = "GET /storm HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for time in 0..times {
        let mut stream = TcpStream::connect(to).unwrap();
        let sent = match time % 4 {
            0 => &request[..0],
            1 => &request[..40],
            2 => "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
            _ => request,
        };
        stream.write_all(sent.as_bytes()).ok();
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connects_and_resets_leave_nothing_and_disturb_nobody() {
    let (server, start) = begin("puppet echo").await;
    let mut ann = server.join("/x").await;
    let to = tcp(&server);
    let storm = tokio::task::spawn_blocking(move || resets(to, 10_000));
    let mut heard = 0;
    while !storm.is_finished() || heard == 0 {
        ann.says("hello").await;
        ann.hears("hello").await;
        heard += 1;
    }
    storm.await.unwrap();
    ann.leaves().await;
    start.is_back(&server).await;
}

/// Whether somebody who comes now is let in and answered by a new child; who is not is told why.
async fn is_served(server: &Server) -> bool {
    let (mut wire, answer) = server.door("/y").tries().await.unwrap();
    if answer.status != 101 {
        assert_eq!(answer.status, 503);
        return false;
    }
    wire.says(1, b"hello").await;
    let frame = wire.hears_frame().await.expect("a message or a close");
    let said = String::from_utf8_lossy(&frame.payload).into_owned();
    let is_answer = frame.opcode() == 1;
    assert!(
        is_answer && said == "hello" || said.contains("cannot start: out of resources"),
        "{said}"
    );
    is_answer
}

#[tokio::test]
async fn without_descriptors_the_server_says_so_once_serves_who_is_there_and_recovers() {
    skip_unless!(works("prlimit --nofile=64:64 true"), "there is no prlimit");
    // More clients than descriptors are allowed, so that nothing else refuses them.
    let setup = given(format!("{SOON} --max-clients 1000 puppet echo"));
    let (server, start) = begin_with(setup.inside("prlimit --nofile=64:64")).await;
    let mut ann = server.join("/x").await;
    ann.says("hello").await;
    ann.hears("hello").await;
    for _ in 0..2 {
        // The kernel takes them all; the server can accept some.
        let to = tcp(&server);
        let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(to).unwrap()).collect();
        let is_trouble = |line: &str| line.contains("cannot accept connections");
        server
            .logged_where("that there is trouble", &is_trouble)
            .await;
        for _ in 0..20 {
            ann.says("still there").await;
            ann.hears("still there").await;
        }
        drop(crowd);
        // Those who still queue have their turn, and descriptors, first.
        let comes_in = async { while !is_served(&server).await {} };
        timeout(PATIENCE, comes_in).await.expect("nobody comes in");
    }
    let told = server.complaints();
    let troubles = told.iter().filter(|line| line.contains("cannot accept"));
    assert!((1..=20).contains(&troubles.count()), "{told:?}");
    ann.leaves().await;
    start.is_back(&server).await;
}

#[tokio::test]
async fn a_room_that_cannot_have_descriptors_is_refused_and_comes_later() {
    skip_unless!(works("prlimit --nofile=64:64 true"), "there is no prlimit");
    let setup = given(format!("{SOON} --max-clients 1000 puppet echo"));
    let (server, start) = begin_with(setup.inside("prlimit --nofile=64:64")).await;
    let mut people = Vec::new();
    let mut told = None;
    // Three descriptors for each child and one for each client: some day there are none.
    for room in 0..40 {
        let door = server.door(&format!("/{room}"));
        let tried = tokio::select! {
            tried = door.tries() => tried.ok(),
            _ = server.logged("cannot accept connections") => None,
        };
        let Some((mut wire, _)) = tried else {
            told = Some("not accepted".to_owned());
            break;
        };
        wire.says(1, b"hello").await;
        let frame = wire.hears_frame().await.unwrap();
        if frame.opcode() != 1 {
            told = Some(String::from_utf8_lossy(&frame.payload).into_owned());
            break;
        }
        people.push(wire);
    }
    assert!(
        told.is_some() && people.len() >= 5,
        "{told:?} {}",
        people.len()
    );
    for wire in &mut people {
        wire.says(1, b"again").await;
        wire.hears(1, b"again").await;
    }
    drop(people);
    server.has_no_rooms().await;
    let mut bob = server.join("/later").await;
    bob.says("hello").await;
    bob.hears("hello").await;
    bob.leaves().await;
    start.is_back(&server).await;
}
