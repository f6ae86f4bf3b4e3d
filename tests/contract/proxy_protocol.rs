//! The PROXY protocol at the door: who is believed to have come, before TLS and HTTP, and who is not let
//! in for want of a good header.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{Address, Authority, Door, PATIENCE, Server, fails, serve, temporary};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 1, as the specification has it.
const LINE: &[u8] = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";

/// Version 2, with additions that nobody knows.
fn binary(command: u8, way: u8, addresses: &[u8]) -> Vec<u8> {
    let additions = b"\xE0\0\x05hello";
    let length = (addresses.len() + additions.len()) as u16;
    let length = length.to_be_bytes();
    [SIGNATURE, &[command, way], &length, addresses, additions].concat()
}

/// Of somebody at that last byte of 192.0.2.0/24.
fn client(last: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, last, 198, 51, 100, 1, 0x12, 0x67, 0x20, 0xFB];
    binary(0x21, 0x11, &addresses)
}

fn own() -> Vec<u8> {
    binary(0x20, 0x00, b"")
}

async fn environment(door: Door<'_>) -> Value {
    door.join().await.hears_json().await
}

fn admin(server: &Server) -> Address {
    server.addresses(Some("admin")).remove(0)
}

/// How many connections failed for that reason.
async fn failed(server: &Server, reason: &str) -> u32 {
    let admin = admin(server);
    let page = server.request_at(&admin, "GET", "/metrics", &[]);
    let page = page.await.text();
    let series = format!("scalesocket_proxy_headers_failed_total{{reason=\"{reason}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&*series));
    line.map_or(0, |count| count.parse().unwrap())
}

/// Is closed without a word; some systems reset a connection of which something is unread.
async fn is_closed(door: Door<'_>) {
    let mut socket = door.connects().await.unwrap();
    let mut told = Vec::new();
    let end = timeout(PATIENCE, socket.read_to_end(&mut told)).await;
    end.expect("the connection stays open").ok();
    assert_eq!(told, b"");
}

#[tokio::test]
async fn a_proxy_names_the_client_in_either_version() {
    let server = serve("--trusted-proxy loopback --proxy-protocol puppet env then mute").await;
    let mut ipv6 = [0; 36];
    ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
    ipv6[15] = 7;
    ipv6[33] = 9;
    for (header, address, port, server_port) in [
        (LINE.to_vec(), "192.168.0.1", "56324", "443"),
        (client(7), "192.0.2.7", "4711", "8443"),
        (binary(0x21, 0x21, &ipv6), "2001:db8::7", "9", "0"),
    ] {
        let env = environment(server.door(&format!("/x{port}")).first(&header)).await;
        assert_eq!(env["REMOTE_ADDR"], address);
        assert_eq!(env["REMOTE_PORT"], port);
        assert_eq!(env["SERVER_PORT"], server_port);
        assert_eq!(env["REQUEST_SCHEME"], "http");
    }
}

#[tokio::test]
async fn a_connection_counts_for_whom_its_header_names() {
    let line = "--trusted-proxy loopback --proxy-protocol --max-connections-per-address 1 cat";
    let server = serve(line).await;
    let ann = server.door("/x").first(&client(7)).join().await;
    let refused = server.door("/x").first(&client(7)).refused(429).await;
    assert_eq!(refused.json()["error"], "too_many_connections_from_address");
    let mut bob = server.door("/x").first(&client(8)).join().await;
    // The proxy itself counts for nobody.
    let _health = server.door("/x").first(&own()).join().await;
    let mut another = server.door("/x").first(&own()).join().await;
    another.says("ok").await;
    bob.hears("ok").await;
    ann.leaves().await;
}

#[tokio::test]
async fn a_header_comes_before_tls_in_any_pieces() {
    let authority = Authority::new();
    let place = temporary();
    let (chain, key) = authority.server(&["localhost"]).write(place.path(), "x");
    let flags = format!("--tls-cert {} --tls-key {}", chain.display(), key.display());
    let line = format!("{flags} --trusted-proxy loopback --proxy-protocol puppet env then mute");
    let server = serve(line).await.trusted(authority.trust());
    for (room, header) in [("/a", client(7)), ("/b", LINE.to_vec())] {
        let env = environment(server.door(room).first(&header)).await;
        assert_eq!(env["HTTPS"], "on");
        let expected = if room == "/a" {
            "192.0.2.7"
        } else {
            "192.168.0.1"
        };
        assert_eq!(env["REMOTE_ADDR"], expected);
    }
    // A byte at a time, and then the handshake of TLS.
    let door = server.door("/c").plain();
    let mut socket = door.connects().await.unwrap();
    for byte in client(7) {
        socket.write_all(&[byte]).await.unwrap();
        socket.flush().await.unwrap();
    }
    let trust = std::sync::Arc::new(authority.trust());
    let secured = timeout(PATIENCE, socket.secured(trust, "localhost")).await;
    secured.expect("in time").expect("a handshake");
}

#[tokio::test]
async fn a_connection_of_the_proxys_own_has_its_address_and_its_word() {
    let line = "--trusted-proxy loopback --proxy-protocol puppet env then mute";
    let server = serve(line).await;
    let own = server.door("/x").first(&own());
    let env = environment(own.header("X-Forwarded-For", "192.0.2.9")).await;
    assert_eq!(
        env["REMOTE_ADDR"], "192.0.2.9",
        "a health check says so itself"
    );
    // Whoever is passed on unnamed may say what they like.
    for (room, header) in [
        ("/a", b"PROXY UNKNOWN\r\n".to_vec()),
        ("/b", binary(0x21, 0x00, b"")),
        ("/c", binary(0x21, 0x31, &[b'/'; 216])),
    ] {
        let door = server.door(room).first(&header);
        let env = environment(door.header("Forwarded", "for=192.0.2.9;proto=https")).await;
        assert_eq!(env["REMOTE_ADDR"], "127.0.0.1", "{room}");
        assert_eq!(env["HTTPS"], Value::Null, "{room}");
    }
}

#[tokio::test]
async fn the_client_that_is_named_is_believed_only_if_it_is_a_trusted_proxy_too() {
    let flags = "--trusted-proxy loopback,192.0.2.8 --proxy-protocol";
    let server = serve(format!("{flags} puppet env then mute")).await;
    for (last, address) in [(7, "192.0.2.7"), (8, "203.0.113.5")] {
        let door = server.door(&format!("/x{last}")).first(&client(last));
        let env = environment(door.header("X-Forwarded-For", "203.0.113.5")).await;
        assert_eq!(env["REMOTE_ADDR"], address);
    }
}

#[tokio::test]
async fn limits_of_an_address_are_those_of_the_client_that_is_named() {
    let flags = "--trusted-proxy loopback --proxy-protocol --max-clients-per-ip 1";
    let server = serve(format!("{flags} cat")).await;
    let _ann = server.door("/x").first(&client(1)).join().await;
    let _bob = server.door("/x").first(&client(2)).join().await;
    server.door("/x").first(&client(1)).refused(429).await;
}

#[tokio::test]
async fn nobody_comes_in_without_a_good_header() {
    let flags = "--trusted-proxy loopback --proxy-protocol --admin-addr 127.0.0.1:0";
    let server = serve(format!("{flags} cat")).await;
    let bad = [
        &b"GET /x HTTP/1.1\r\n"[..],
        b"\x16\x03\x01\x02\x00",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
        &binary(0x22, 0x11, &[0; 12]),
        &binary(0x31, 0x11, &[0; 12]),
        &binary(0x21, 0x41, &[0; 216]),
        &binary(0x21, 0x11, &[0; 5000]),
    ];
    for header in bad {
        is_closed(server.door("/x").first(header)).await;
    }
    assert_eq!(failed(&server, "malformed").await, bad.len() as u32);
    for header in [&LINE[..20], &client(1)[..20]] {
        let mut socket = server.door("/x").first(header).connects().await.unwrap();
        socket.shutdown().await.unwrap();
        let read = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await;
        assert_eq!(read.expect("it is closed").unwrap(), 0);
    }
    assert_eq!(failed(&server, "truncated").await, 2);
    // Who only looks whether the port is open is no failure; and all of it is told once.
    drop(server.connect(&server.address()).await);
    server.door("/x").first(&client(1)).join().await;
    assert_eq!(server.complaints().len(), 1, "{:?}", server.complaints());
    assert!(server.complaints()[0].contains("PROXY"));
}

#[tokio::test]
async fn nobody_is_listened_to_who_is_no_trusted_proxy() {
    for trusted in ["192.0.2.0/24", "unix"] {
        let flags = format!("--trusted-proxy {trusted} --proxy-protocol --admin-addr 127.0.0.1:0");
        let server = serve(format!("{flags} cat")).await;
        for header in [&client(7), LINE, b"GET / HTTP/1.1\r\n\r\n", b""] {
            is_closed(server.door("/x").first(header)).await;
        }
        assert_eq!(failed(&server, "untrusted").await, 4);
        assert_eq!(server.complaints().len(), 1, "{:?}", server.complaints());
    }
}

/// Slow by nature: the time-out is not a flag.
#[tokio::test]
async fn a_header_that_never_ends_is_not_waited_for() {
    let flags = "--trusted-proxy loopback --proxy-protocol --admin-addr 127.0.0.1:0";
    let server = serve(format!("{flags} cat")).await;
    let mut silent = server.door("/x").connects().await.unwrap();
    let mut slow = server
        .door("/x")
        .first(&LINE[..9])
        .connects()
        .await
        .unwrap();
    // Its header is whole, and its request is not: the time is one for both.
    let begun = [&client(7), &b"GET /x HT"[..]].concat();
    let mut third = server.door("/x").first(&begun).connects().await.unwrap();
    for socket in [&mut silent, &mut slow, &mut third] {
        let mut told = Vec::new();
        let end = timeout(Duration::from_secs(15), socket.read_to_end(&mut told)).await;
        end.expect("all are closed within 15 s").ok();
    }
    assert_eq!(failed(&server, "timeout").await, 2);
}

#[tokio::test]
async fn a_unix_socket_may_be_a_proxys_too() {
    let place = temporary();
    let socket = place.path().join("s");
    let flags = format!("--addr unix:{} --trusted-proxy unix", socket.display());
    let server = serve(format!("{flags} --proxy-protocol puppet env then mute")).await;
    let env = environment(server.door("/x").first(&client(7))).await;
    assert_eq!(env["REMOTE_ADDR"], "192.0.2.7");
    assert_eq!(env["REMOTE_PORT"], "4711");
    // Nobody can be told whose address that is, and nobody's word is taken for it.
    let unnamed = server.door("/y").first(b"PROXY UNKNOWN\r\n");
    let env = environment(unnamed.header("X-Forwarded-For", "192.0.2.9")).await;
    assert_eq!(env["REMOTE_ADDR"], "");
}

#[tokio::test]
async fn the_way_to_tls_has_headers_and_the_operators_address_has_none() {
    let authority = Authority::new();
    let place = temporary();
    let (chain, key) = authority.server(&["localhost"]).write(place.path(), "x");
    let flags = format!(
        "--tls-cert {} --tls-key {} --redirect-addr 127.0.0.1:0 --admin-addr 127.0.0.1:0",
        chain.display(),
        key.display()
    );
    let server = serve(format!(
        "{flags} --trusted-proxy loopback --proxy-protocol cat"
    ))
    .await;
    let redirect = server.addresses(Some("redirect")).remove(0);
    let door = || server.door("/x").at(&redirect);
    let answer = door().first(&client(7)).refused(421).await;
    assert_eq!(answer.json()["error"], "unknown_host");
    is_closed(door().first(b"GET / HTTP/1.1\r\n")).await;
    let admin = admin(&server);
    let health = server.request_at(&admin, "GET", "/health", &[]);
    assert_eq!(health.await.status, 200);
    let url = format!("http://{}", admin.host());
    assert!(fails(format!("probe {url}")).await.status.success());
    let url = format!("https://{}", server.address().host());
    assert!(!fails(format!("probe {url}")).await.status.success());
}

#[tokio::test]
async fn a_health_check_of_the_proxy_is_answered() {
    let server = serve("--trusted-proxy loopback --proxy-protocol cat").await;
    let door = server.door("/x").first(&own());
    let mut socket = door.connects().await.unwrap();
    let request = b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, socket.read_to_string(&mut answer)).await;
    read.expect("an answer in time").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
