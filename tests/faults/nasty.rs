//! Heads, names, queries, frames and messages from a generator of nasty input: every one is
//! answered or hung up on, none is a fault of the server's, and those who behave notice nothing.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::generator::Generator;
use crate::harness::{Authority, Person, Server, Socket, given, parse_answer, temporary};
use crate::stage::{Peak, SOON, Start, begin};

/// Each part ends after so long at the latest, on a slow machine with fewer cases.
const TIME: Duration = Duration::from_secs(2);
const CASES: usize = 400;
/// And so many at the least, however busy the machine is.
const LEAST: usize = 21;

/// Reads until something says how it went on: bytes of an answer, or the end.
async fn answer(socket: &mut Socket, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !enough(&bytes) {
        match socket.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    bytes
}

/// A head is never answered with a fault of ours. A head without its end is waited for, which is
/// what the client's own end of the connection shows.
async fn heads(server: &Server, generator: &mut Generator) -> usize {
    let begun = Instant::now();
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    // The generator gets in, and is refused: else it tests nothing.
    let is_tried = |statuses: &std::collections::BTreeMap<u16, usize>| {
        statuses.contains_key(&101) && statuses.keys().any(|status| (400..500).contains(status))
    };
    for case in 0..CASES {
        if case >= LEAST && is_tried(&statuses) && begun.elapsed() > TIME {
            break;
        }
        let head = generator.head();
        let mut socket = server.connect(&server.address()).await;
        socket.write_all(&head).await.ok();
        let whole = timeout(
            Duration::from_millis(40),
            answer(&mut socket, |bytes| parse_answer(bytes).is_some()),
        );
        let status = match whole.await {
            Ok(bytes) => parse_answer(&bytes).map_or(0, |(answer, _)| answer.status),
            Err(_) => 1,
        };
        *statuses.entry(status).or_default() += 1;
        if status == 500 || (502..600).contains(&status) {
            server.fail(&format!(
                "FAULTS_SEED={} case {case}: {status} for {}",
                generator.seed(),
                head.escape_ascii()
            ));
        }
    }
    assert!(is_tried(&statuses), "{statuses:?}");
    statuses.values().sum()
}

/// Behind a right handshake.
async fn frames(server: &Server, generator: &mut Generator) -> usize {
    let begun = Instant::now();
    let mut cases = 0;
    while cases < LEAST || (cases < CASES && begun.elapsed() < TIME) {
        let (mut wire, _) = server.door(&format!("/nasty-{}", cases % 3)).wire().await;
        let count = 1 + generator.below(12);
        let bytes: Vec<u8> = (0..count).flat_map(|_| generator.frame()).collect();
        if generator.one_in(3) {
            let cut = generator.below(bytes.len());
            let (first, rest) = bytes.split_at(cut);
            wire.sends(first).await;
            wire.sends(rest).await;
        } else {
            wire.sends(&bytes).await;
        }
        if generator.one_in(2) {
            wire.socket.will_reset().ok();
        }
        cases += 1;
    }
    cases
}

async fn is_served(server: &Server, ann: &mut Person, text: &str) {
    ann.says(text).await;
    ann.hears_text().await;
    let answer = server.get("/health").await;
    assert_eq!(answer.status, 200);
}

/// All of it against one server.
async fn endures(server: &Server, start: &Start, text: &str, what: &str) {
    let mut generator = Generator::new(what);
    let peak = Peak::of(server);
    let mut ann = server.join("/x-ann").await;
    let heads = heads(server, &mut generator).await;
    is_served(server, &mut ann, text).await;
    let frames = frames(server, &mut generator).await;
    is_served(server, &mut ann, text).await;
    assert!(
        heads >= LEAST && frames >= LEAST,
        "{heads} heads, {frames} frames"
    );
    ann.leaves().await;
    peak.at_most(server, start, 32 << 20);
    start.is_back(server).await;
}

#[tokio::test]
async fn lines_endure_nasty_input() {
    let (server, start) = begin("--compress --api puppet echo").await;
    endures(&server, &start, "hello", "lines").await;
}

#[tokio::test]
async fn json_endures_nasty_input() {
    let (server, start) = begin("--json puppet echo").await;
    endures(&server, &start, r#"{"a":1}"#, "json").await;
}

#[tokio::test]
async fn packets_endure_nasty_input() {
    let (server, start) = begin("--frame=gwsocket puppet packets-to-all").await;
    endures(&server, &start, "hello", "packets").await;
}

#[tokio::test]
async fn tls_endures_nasty_input_inside_and_out() {
    let directory = temporary();
    let authority = Authority::new();
    let (chain, key) = authority
        .server(&["localhost"])
        .write(directory.path(), "server");
    let line = format!(
        "{SOON} --admin-addr unix:{}/admin --tls-cert {} --tls-key {} puppet echo",
        directory.path().display(),
        chain.display(),
        key.display()
    );
    let server = given(line).serve().await.trusted(authority.trust());
    let start = Start::of(&server).await;
    endures(&server, &start, "hello", "tls").await;
    // What is no TLS, or begins like it.
    let mut generator = Generator::new("before tls");
    let begun = Instant::now();
    for _ in 0..CASES {
        if begun.elapsed() > TIME {
            break;
        }
        let mut socket = Socket::connect(&server.address(), None).await.unwrap();
        let mut bytes = match generator.below(3) {
            0 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            1 => generator.head(),
            _ => Vec::new(),
        };
        bytes.extend(generator.bytes(2_000));
        socket.write_all(&bytes).await.ok();
        if generator.one_in(2) {
            socket.will_reset().ok();
        }
    }
    let mut ann = server.join("/x-ann").await;
    is_served(&server, &mut ann, "hello").await;
    ann.leaves().await;
    start.is_back(&server).await;
}
