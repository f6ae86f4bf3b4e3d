//! The answers of another pod, as they come over a socket.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "play.example"),
        (
            "connection",
            "Upgrade, X-Mine, Sec-WebSocket-Key, Sec-WebSocket-Extensions",
        ),
        ("upgrade", "websocket"),
        ("keep-alive", "5"),
        ("x-mine", "of this connection"),
        ("x-theirs", "for the child"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("sec-websocket-version", "13"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits",
        ),
        ("scalesocket-peer-hops", "1"),
    ] {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

/// A pod that answers every request with these bytes, and then hangs up; what it was asked comes back too.
async fn asked(answer: &'static [u8]) -> (Result<Answer, Failure>, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await.unwrap();
            request.push(byte);
        }
        for byte in answer {
            // The peer may have heard enough.
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        String::from_utf8(request).unwrap()
    };
    let uri = Uri::from_static("http://ignored.example/lobby/a?b=c");
    let headers = headers();
    tokio::join!(call(address, &uri, &headers, PATIENCE), serve)
}

#[tokio::test]
async fn a_pod_that_takes_the_client_hands_over_its_connection() {
    let (answer, request) = asked(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
          Date: today\r\nSec-WebSocket-Accept: abc\r\nSec-WebSocket-Protocol: chat\r\n\
          Sec-WebSocket-Extensions: permessage-deflate\r\n\
          Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n\x81\x02hi",
    )
    .await;
    let Ok(Answer::Taken(mut line)) = answer else {
        panic!("{answer:?}");
    };
    let mut said: Vec<_> = line
        .headers
        .iter()
        .map(|(n, v)| format!("{n}: {}", v.to_str().unwrap()))
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            "sec-websocket-accept: abc",
            "sec-websocket-extensions: permessage-deflate",
            "sec-websocket-protocol: chat",
            "set-cookie: a=1",
            "set-cookie: b=2"
        ]
    );
    let mut rest = line.early;
    line.stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"\x81\x02hi");
    let (first, fields) = request.split_once("\r\n").unwrap();
    assert_eq!(first, "GET /lobby/a?b=c HTTP/1.1");
    let mut fields: Vec<_> = fields.trim_end().lines().collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "connection: upgrade",
            "host: play.example",
            "scalesocket-peer-hops: 1",
            "sec-websocket-extensions: permessage-deflate; client_max_window_bits",
            "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
            "sec-websocket-version: 13",
            "upgrade: websocket",
            "x-theirs: for the child",
        ]
    );
}

#[tokio::test]
async fn each_refusal_is_told_apart() {
    let (answer, _) = asked(
        b"HTTP/1.1 421 Misdirected Request\r\nScalesocket-Owner: [2001:db8::1]:7900\r\n\
          Scalesocket-Session: 1234\r\nContent-Length: 2\r\n\r\n{}",
    )
    .await;
    assert!(matches!(
        answer,
        Ok(Answer::Elsewhere { owner, session })
            if owner == "[2001:db8::1]:7900".parse().unwrap() && session == 0x1234
    ));
    let (answer, _) = asked(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n").await;
    assert!(matches!(answer, Ok(Answer::SessionOver)));
    let (answer, _) = asked(
        b"HTTP/1.1 503 Service Unavailable\r\nScalesocket-Reason: too_many_rooms\r\n\
          Content-Length: 0\r\n\r\n",
    )
    .await;
    assert!(matches!(
        answer,
        Ok(Answer::Refused { status: StatusCode::SERVICE_UNAVAILABLE, reason }) if reason == "too_many_rooms"
    ));
    // Where an answer misses what makes it that answer, it is a refusal like any other.
    let (answer, _) = asked(
        b"HTTP/1.1 421 Misdirected Request\r\nScalesocket-Owner: nowhere\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert!(matches!(
        answer,
        Ok(Answer::Refused {
            status: StatusCode::MISDIRECTED_REQUEST,
            ..
        })
    ));
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure() {
    for nonsense in [
        &b""[..],
        b"\x00\xff\x00",
        b"HTTP/1.1 101",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let (answer, _) = asked(nonsense).await;
        assert!(matches!(answer, Err(Failure::Broken(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_pod_that_is_not_there_is_told_from_one_that_does_not_answer() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let uri = Uri::from_static("/lobby");
    // It takes the connection, by its queue, and says nothing.
    let mute = call(address, &uri, &headers(), Duration::from_millis(50)).await;
    assert!(matches!(mute, Err(Failure::Broken(_))), "{mute:?}");
    drop(listener);
    let gone = call(address, &uri, &headers(), PATIENCE).await;
    assert!(matches!(gone, Err(Failure::Unreachable(_))), "{gone:?}");
}
