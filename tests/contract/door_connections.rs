//! How many may be connected at once, in all and from one address, whatever they say or do not.

use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::{
    Address, Answer, Authority, PATIENCE, Server, Socket, given, parse_answer, serve, temporary,
};

/// All that comes before the server hangs up.
async fn hears_all(socket: &mut Socket) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
    read.expect("the server hangs up").expect("without a reset");
    bytes
}

/// What somebody is told who connects and says nothing.
async fn told(server: &Server) -> (Answer, Value) {
    let mut socket = Socket::connect(&server.address(), None).await.unwrap();
    let bytes = hears_all(&mut socket).await;
    let (answer, end) = parse_answer(&bytes).expect("an answer");
    let body = serde_json::from_slice(&bytes[end..]).expect("JSON");
    (answer, body)
}

fn admin(server: &Server) -> Address {
    server.addresses(Some("admin"))[0].clone()
}

/// Asks the operator's listener until `/metrics` has this line.
async fn has_metric(server: &Server, line: &str) {
    let start = Instant::now();
    loop {
        let answer = server
            .request_at(&admin(server), "GET", "/metrics", &[])
            .await;
        if answer.text().lines().any(|have| have == line) {
            return;
        }
        if start.elapsed() > PATIENCE {
            server.fail(&format!("no {line} in\n{}", answer.text()));
        }
    }
}

async fn has_open(server: &Server, count: usize) {
    has_metric(server, &format!("scalesocket_open_connections {count}")).await;
}

const ADMIN: &str = "--admin-addr 127.0.0.1:0";

#[tokio::test]
async fn who_comes_when_the_server_is_full_is_told_so_at_once() {
    let server = serve(format!(
        "{ADMIN} --max-connections 3 --header 'X-Mine: 1' cat"
    ))
    .await;
    let mut ann = server.join("/lobby").await;
    // Who says nothing counts, and who only asked for a page and stays.
    let silent = server.door("/lobby").connects().await.unwrap();
    let mut reader = server.door("/lobby").connects().await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    reader.write_all(request).await.unwrap();
    reader.read_u8().await.unwrap();
    has_open(&server, 3).await;

    let (answer, body) = told(&server).await;
    assert_eq!(answer.status, 503);
    assert_eq!(body["error"], "too_many_connections");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-mine"), Some("1"));
    let answer = server.door("/lobby").refused(503).await;
    assert_eq!(answer.json()["error"], "too_many_connections");
    has_metric(
        &server,
        r#"scalesocket_connections_refused_total{reason="too_many_connections"} 2"#,
    )
    .await;
    // Those inside go on, and operators are never kept out.
    ann.says("still here").await;
    ann.hears("still here").await;
    let operator = admin(&server);
    let health = server.request_at(&operator, "GET", "/health", &[]);
    assert_eq!(health.await.status, 200);

    drop(silent);
    has_open(&server, 2).await;
    let mut bob = server.join("/lobby").await;
    drop(reader);
    has_open(&server, 2).await;
    bob.says("hello").await;
    ann.hears("hello").await;
}

#[tokio::test]
async fn a_client_counts_until_its_websocket_has_ended() {
    let server = serve(format!("{ADMIN} --max-connections 1 cat")).await;
    for _ in 0..3 {
        let mut ann = server.join("/lobby").await;
        ann.says("hi").await;
        ann.hears("hi").await;
        has_open(&server, 1).await;
        server.door("/lobby").refused(503).await;
        drop(ann);
        has_open(&server, 0).await;
    }
}

#[tokio::test]
async fn those_turned_away_leave_nothing_behind() {
    let server = serve(format!("{ADMIN} --max-connections 1 cat")).await;
    let _ann = server.join("/lobby").await;
    has_open(&server, 1).await;
    let before = server.descriptors();
    // They neither read nor go, and are more than those who are waited for.
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(server.door("/lobby").connects().await.unwrap());
    }
    has_metric(
        &server,
        r#"scalesocket_connections_refused_total{reason="too_many_connections"} 200"#,
    )
    .await;
    server.has_descriptors(before).await;
    has_open(&server, 1).await;
}

#[cfg(target_os = "linux")] // elsewhere 127.0.0.2 is nobody's
#[tokio::test]
async fn one_address_has_a_limit_of_its_own() {
    let server = serve(format!("{ADMIN} --max-connections-per-address 2 cat")).await;
    let ann = server.join("/lobby").await;
    let _silent = server.door("/lobby").connects().await.unwrap();
    has_open(&server, 2).await;
    let (answer, body) = told(&server).await;
    assert_eq!(answer.status, 429);
    assert_eq!(body["error"], "too_many_connections_from_address");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let Address::Tcp(to) = server.address() else {
        panic!("not over TCP");
    };
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other: TcpStream = other.connect(to).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    other.write_all(request).await.unwrap();
    let mut start = [0; 12];
    other.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    drop((ann, other));
    has_open(&server, 1).await;
    server.join("/lobby").await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_address_is_whom_the_request_names() {
    let server = serve(format!(
        "{ADMIN} --trusted-proxy loopback --max-connections-per-address 1 cat"
    ))
    .await;
    let from = |address: &str| server.door("/lobby").header("X-Forwarded-For", address);
    // The proxy itself may have any number.
    let _first = server.join("/lobby").await;
    let _second = server.join("/lobby").await;
    let ann = from("192.0.2.1").join().await;
    let answer = from("192.0.2.1").refused(429).await;
    assert_eq!(answer.json()["error"], "too_many_connections_from_address");
    let bob = from("192.0.2.2").join().await;
    // Of IPv6 the first 64 bits are the address: they are what one household has.
    let _carol = from("2001:db8::1").join().await;
    from("2001:db8::ffff:1:2:3").refused(429).await;
    let _dave = from("2001:db8:0:1::1").join().await;
    has_open(&server, 6).await;
    drop((ann, bob));
    has_open(&server, 4).await;
    let _ann = from("192.0.2.1").join().await;
}

#[tokio::test]
async fn what_a_proxy_keeps_open_counts_for_nobody_between_requests() {
    let server = serve("--trusted-proxy loopback --max-connections-per-address 1 cat").await;
    let mut kept = server.door("/lobby").connects().await.unwrap();
    for client in ["192.0.2.1", "192.0.2.2"] {
        let request =
            format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\r\n");
        kept.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            kept.read_buf(&mut bytes).await.unwrap();
        }
        let door = server.door("/lobby").header("X-Forwarded-For", client);
        door.join().await;
    }
    // A refused request ends nothing either: the next one is somebody else's.
    let _ann = server
        .door("/lobby")
        .header("X-Forwarded-For", "192.0.2.3")
        .join()
        .await;
    for (client, status) in [("192.0.2.3", "429"), ("192.0.2.4", "200")] {
        let request =
            format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\r\n");
        kept.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            kept.read_buf(&mut bytes).await.unwrap();
        }
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
    }
}

#[tokio::test]
async fn who_shakes_hands_counts_and_a_full_server_says_so_in_an_alert() {
    let authority = Authority::new();
    let directory = temporary();
    let pair = authority.server(&["localhost"]);
    let (chain, key) = pair.write(directory.path(), "server");
    let server = given(format!(
        "{ADMIN} --tls-cert {} --tls-key {} --max-connections 1 cat",
        chain.display(),
        key.display()
    ))
    .serve()
    .await
    .trusted(authority.trust());
    let silent = server.door("/x").plain().connects().await.unwrap();
    has_open(&server, 1).await;
    let mut raw = server.door("/x").plain().connects().await.unwrap();
    // A fatal alert, internal_error (RFC 8446 section 6.2): no handshake is paid for.
    assert_eq!(hears_all(&mut raw).await, [21, 3, 3, 0, 2, 2, 80]);
    let error = server.door("/x").connects().await.err().unwrap();
    assert!(error.to_string().contains("InternalError"), "{error}");
    drop(silent);
    has_open(&server, 0).await;
    let mut ann = server.join("/x").await;
    ann.says("hello").await;
    ann.hears("hello").await;
    has_open(&server, 1).await;
}

#[tokio::test]
async fn whoever_comes_over_a_unix_socket_counts_in_all_and_for_no_address() {
    let directory = temporary();
    let socket = directory.path().join("s");
    let server = serve(format!(
        "{ADMIN} --addr unix:{} --max-connections 2 --max-connections-per-address 1 cat",
        socket.display()
    ))
    .await;
    let _ann = server.join("/lobby").await;
    let _bob = server.join("/lobby").await;
    has_open(&server, 2).await;
    let (answer, _) = told(&server).await;
    assert_eq!(answer.status, 503);
}
