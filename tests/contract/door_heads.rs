//! How long the head of a request may be, and how many headers it may have: to the byte.

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{Authority, PATIENCE, Server, Socket, fails, parse_answer, serve, temporary};

/// The same server over TCP and over TLS.
async fn both(flags: &str) -> ([Server; 2], TempDir) {
    let authority = Authority::new();
    let directory = temporary();
    let pair = authority.server(&["localhost"]);
    let (chain, key) = pair.write(directory.path(), "server");
    let secure = format!("--tls-cert {} --tls-key {}", chain.display(), key.display());
    let plain = serve(format!("{flags} cat")).await;
    let secure = serve(format!("{secure} {flags} cat")).await;
    ([plain, secure.trusted(authority.trust())], directory)
}

/// One more answer on this connection.
async fn answered(socket: &mut Socket) -> (u16, Value) {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            if let Some((answer, end)) = parse_answer(&bytes) {
                let length = answer.header("content-length").unwrap().parse::<usize>();
                if bytes.len() >= end + length.unwrap() {
                    let body = serde_json::from_slice(&bytes[end..]).expect("JSON");
                    return (answer.status, body);
                }
            }
            let read = socket.read_buf(&mut bytes).await.expect("an answer");
            assert!(read > 0, "cut off: {}", String::from_utf8_lossy(&bytes));
        }
    };
    timeout(PATIENCE, read).await.expect("an answer in time")
}

async fn asked(server: &Server, request: &[u8]) -> (u16, Value) {
    let mut socket = server.connect(&server.address()).await;
    socket.write_all(request).await.unwrap();
    answered(&mut socket).await
}

/// A request whose head has exactly so many bytes, in one long header.
fn long(bytes: usize) -> Vec<u8> {
    let (start, end) = ("GET /health HTTP/1.1\r\nHost: localhost\r\nA: ", "\r\n\r\n");
    let filling = "x".repeat(bytes - start.len() - end.len());
    [start, &filling, end].concat().into_bytes()
}

/// A request with exactly so many headers.
fn many(headers: usize) -> Vec<u8> {
    let more: String = (1..headers).map(|n| format!("A{n}: x\r\n")).collect();
    format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").into_bytes()
}

/// A request whose first line has exactly so many bytes, its end included.
fn long_line(bytes: usize) -> Vec<u8> {
    let (start, end) = ("GET /health?", " HTTP/1.1\r\n");
    let query = "x".repeat(bytes - start.len() - end.len());
    [start, &query, end, "Host: localhost\r\n\r\n"]
        .concat()
        .into_bytes()
}

#[tokio::test]
async fn a_head_of_the_limit_passes_and_one_byte_more_is_431() {
    for (flags, limit) in [("", 32 << 10), ("--max-header-size 2KiB", 2 << 10)] {
        let (servers, _directory) = both(flags).await;
        for server in &servers {
            assert_eq!(asked(server, &long(limit)).await.0, 200, "{limit}");
            let (status, body) = asked(server, &long(limit + 1)).await;
            assert_eq!(status, 431, "{limit}");
            assert_eq!(body["error"], "head_too_large");
            // Far more of it, which nobody reads to its end.
            assert_eq!(asked(server, &long(limit * 3)).await.0, 431, "{limit}");
        }
    }
}

#[tokio::test]
async fn as_many_headers_as_the_limit_pass_and_one_more_is_431() {
    for (flags, limit) in [("", 100), ("--max-headers 8", 8)] {
        let (servers, _directory) = both(flags).await;
        for server in &servers {
            assert_eq!(asked(server, &many(limit)).await.0, 200, "{limit}");
            for more in [1, 2, 50] {
                let (status, body) = asked(server, &many(limit + more)).await;
                assert_eq!(status, 431, "{limit}");
                assert_eq!(body["error"], "too_many_headers");
            }
        }
    }
}

#[tokio::test]
async fn a_request_line_longer_than_a_head_may_be_is_414() {
    let (servers, _directory) = both("--max-header-size 2KiB").await;
    for server in &servers {
        for (bytes, expected) in [(2 << 10, 431), ((2 << 10) + 1, 414), (9 << 10, 414)] {
            let (status, body) = asked(server, &long_line(bytes)).await;
            assert_eq!(status, expected, "{bytes}");
            let label = match expected {
                414 => "uri_too_long",
                _ => "head_too_large",
            };
            assert_eq!(body["error"], label, "{bytes}");
        }
        let fits = (2 << 10) - "Host: localhost\r\n\r\n".len();
        assert_eq!(asked(server, &long_line(fits)).await.0, 200);
    }
}

#[tokio::test]
async fn later_requests_of_a_connection_are_held_to_the_same() {
    let (servers, _directory) = both("--max-header-size 2KiB --max-headers 8").await;
    let limit = 2 << 10;
    for server in &servers {
        for (request, expected) in [
            (long(limit), 200),
            (long(limit + 1), 431),
            (many(8), 200),
            (many(9), 431),
            (long_line(limit), 431),
            (long_line(limit + 1), 414),
        ] {
            let mut socket = server.connect(&server.address()).await;
            socket.write_all(&many(1)).await.unwrap();
            assert_eq!(answered(&mut socket).await.0, 200);
            socket.write_all(&request).await.unwrap();
            let (status, body) = answered(&mut socket).await;
            assert_eq!(status, expected, "{body}");
        }
    }
}

#[tokio::test]
async fn it_does_not_matter_in_which_pieces_a_head_comes() {
    let (servers, _directory) = both("--max-header-size 1KiB --max-headers 20").await;
    for server in &servers {
        for (request, expected) in [
            (long(1 << 10), 200),
            (long((1 << 10) + 1), 431),
            (many(20), 200),
            (many(21), 431),
            (long_line((1 << 10) + 1), 414),
        ] {
            let mut socket = server.connect(&server.address()).await;
            for piece in request.chunks(7) {
                // It may have been refused before its end.
                if socket.write_all(piece).await.is_err() {
                    break;
                }
                socket.flush().await.ok();
            }
            assert_eq!(answered(&mut socket).await.0, expected);
        }
    }
}

#[tokio::test]
async fn a_handshake_is_held_to_it_and_refusals_are_counted() {
    let server = serve("--metrics --max-headers 10 cat").await;
    let mut door = server.door("/x");
    for _ in 0..5 {
        door = door.header("A", "b");
    }
    door.join().await;
    let mut door = server.door("/x");
    for _ in 0..6 {
        door = door.header("A", "b");
    }
    let answer = door.refused(431).await;
    assert_eq!(answer.json()["error"], "too_many_headers");
    assert_eq!(answer.header("connection"), Some("close"));
    let line = r#"scalesocket_connections_refused_total{reason="too_many_headers"} 1"#;
    server.waits_for_metric(line, |have| have == line).await;
}

#[tokio::test]
async fn limits_that_no_request_could_keep_are_refused() {
    for flags in [
        "--max-header-size 100",
        "--max-header-size 2MiB",
        "--max-headers 0",
        "--max-headers 5000",
    ] {
        let output = fails(format!("{flags} cat")).await;
        assert_eq!(output.status.code(), Some(2), "{flags}");
    }
}
