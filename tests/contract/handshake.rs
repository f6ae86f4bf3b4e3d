//! The door itself: what a correct handshake gives, what a wrong one gets, and what happens to
//! those who knock and say no more.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{Opcode, Wire, encode, parse_answer, serve};

#[tokio::test]
async fn the_key_is_answered_as_rfc_6455_says() {
    let server = serve("cat").await;
    let (_wire, answer) = server.door("/x").wire().await;
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert!(
        answer
            .header("upgrade")
            .is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
    );
    assert_eq!(answer.header("sec-websocket-extensions"), None);
    assert_eq!(answer.header("sec-websocket-protocol"), None);
}

#[tokio::test]
async fn the_first_offered_subprotocol_that_matches_is_echoed() {
    let server = serve("--subprotocol chat,game cat").await;
    for (offer, chosen) in [
        ("game, chat", Some("game")),
        ("x,chat", Some("chat")),
        ("x", None),
    ] {
        let door = server.door("/x").header("Sec-WebSocket-Protocol", offer);
        let (_wire, answer) = door.wire().await;
        assert_eq!(answer.header("sec-websocket-protocol"), chosen, "{offer}");
    }
}

#[tokio::test]
async fn what_comes_with_the_handshake_in_one_packet_is_not_lost() {
    let server = serve("cat").await;
    let mut request = server.door("/x").request().into_bytes();
    request.extend(encode(0x81, Some([1, 2, 3, 4]), b"early"));
    request.extend(encode(0x81, Some([1, 2, 3, 4]), b"bird"));
    let mut socket = server.connect(&server.address()).await;
    socket.write_all(&request).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\x81\x05early\x81\x04bird") {
        let read = timeout(crate::harness::PATIENCE, socket.read_buf(&mut bytes)).await;
        assert!(read.unwrap().unwrap() > 0, "{}", bytes.escape_ascii());
    }
    assert_eq!(parse_answer(&bytes).unwrap().0.status, 101);
}

#[tokio::test]
async fn a_wrong_handshake_is_refused_with_a_status() {
    let server = serve("cat").await;
    let good = server.door("/x").request();
    for (from, to, statuses) in [
        ("Version: 13", "Version: 12", &[400, 426][..]),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "",
            &[400, 426],
        ),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", &[400]),
        ("Connection: Upgrade\r\n", "", &[400, 426]),
        ("GET /x", "POST /x", &[400, 405, 426]),
    ] {
        let request = good.replace(from, to);
        assert_ne!(request, good);
        let mut socket = server.connect(&server.address()).await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        while parse_answer(&bytes).is_none() {
            assert!(
                socket.read_buf(&mut bytes).await.unwrap() > 0,
                "{to:?} got no answer"
            );
        }
        let status = parse_answer(&bytes).unwrap().0.status;
        assert!(statuses.contains(&status), "{from:?} -> {to:?}: {status}");
    }
    assert!(server.programs().is_empty());
}

#[tokio::test]
async fn bytes_that_are_no_request_never_panic() {
    let server = serve("cat").await;
    for bytes in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ] {
        let mut socket = server.connect(&server.address()).await;
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        timeout(crate::harness::PATIENCE, socket.read_to_end(&mut answer))
            .await
            .unwrap()
            .ok();
    }
    assert_eq!(server.get("/health").await.status, 200);
}

/// Slow by nature: the time-out of ten seconds is not a flag.
#[tokio::test]
async fn half_open_handshakes_are_closed() {
    let server = serve("cat").await;
    let mut sockets = Vec::new();
    for n in 0..40 {
        let mut socket = server.connect(&server.address()).await;
        let half = if n % 2 == 0 {
            ""
        } else {
            "GET /x HTTP/1.1\r\nHost: x\r\nUpgrade: webso"
        };
        socket.write_all(half.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    let all_end = async {
        for socket in &mut sockets {
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).await.ok();
        }
    };
    timeout(Duration::from_secs(15), all_end)
        .await
        .expect("all are closed within 15 s");
}

#[tokio::test]
async fn the_client_is_kept_alive_by_pings_and_let_go_without_pongs() {
    let server =
        serve("--ping 0.1 --ping-timeout 0.2 puppet wait then after 800 then print late").await;
    let (mut mute, _) = server.door("/x").wire().await;
    let mut polite = server.join("/x").await;
    polite.says("go").await;
    // Answers pings while it listens, for many times the time-out.
    polite.hears("late").await;
    let ping = mute.hears_frame().await.unwrap();
    assert_eq!(ping.opcode(), Opcode::PING);
    let mut frames = 0;
    while let Some(frame) = mute.hears_frame().await {
        frames += 1;
        assert_ne!(
            frame.opcode(),
            Opcode::TEXT,
            "one who is gone heard the end: {frame:?}"
        );
    }
    assert!(frames < 4, "went on for {frames} frames");
}

#[tokio::test]
async fn ping_0_sends_none() {
    let server = serve("--ping 0 puppet after 300 then print late").await;
    let (mut wire, _): (Wire, _) = server.door("/x").wire().await;
    wire.hears(Opcode::TEXT, b"late").await;
}
