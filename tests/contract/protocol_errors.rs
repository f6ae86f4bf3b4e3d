//! RFC 6455 at its edges: what breaks the protocol gets the right close code, what only looks odd
//! is understood, and nobody else in the room notices.

use crate::harness::{Opcode, Server, Wire, encode, serve};

const MASK: Option<[u8; 4]> = Some([0xde, 0xad, 0xbe, 0xef]);

async fn wire(flags: &str) -> (Server, Wire) {
    let server = serve(format!("{flags} cat")).await;
    let (wire, _) = server.door("/x").wire().await;
    (server, wire)
}

/// These bytes get this close code; somebody else in the room goes on.
async fn is_closed(bytes: &[u8], code: u16) {
    let (server, mut eve) = wire("--max-message 1KiB").await;
    let mut ann = server.join("/x").await;
    eve.sends(bytes).await;
    let reason = eve.hears_close(code).await;
    assert!(reason.len() <= 123);
    ann.says("unharmed").await;
    ann.hears("unharmed").await;
}

#[tokio::test]
async fn unmasked_frames_are_1002() {
    is_closed(&encode(0x81, None, b"naked"), 1002).await;
}

#[tokio::test]
async fn reserved_bits_are_1002() {
    for bit in [0x40, 0x20, 0x10] {
        is_closed(&encode(0x81 | bit, MASK, b"x"), 1002).await;
    }
}

#[tokio::test]
async fn unknown_opcodes_are_1002() {
    for opcode in [3, 7, 11, 15] {
        is_closed(&encode(0x80 | opcode, MASK, b"x"), 1002).await;
    }
}

#[tokio::test]
async fn broken_control_frames_are_1002() {
    is_closed(&encode(0x09, MASK, b"fragmented ping"), 1002).await;
    is_closed(&encode(0x89, MASK, &[b'x'; 126]), 1002).await;
    is_closed(&encode(0x88, MASK, b"\x03"), 1002).await;
    for code in [999_u16, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        is_closed(&encode(0x88, MASK, &code.to_be_bytes()), 1002).await;
    }
}

#[tokio::test]
async fn fragments_out_of_order_are_1002() {
    is_closed(&encode(0x80, MASK, b"no beginning"), 1002).await;
    let two_beginnings = [encode(0x01, MASK, b"a"), encode(0x81, MASK, b"b")].concat();
    is_closed(&two_beginnings, 1002).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_1007() {
    is_closed(&encode(0x81, MASK, b"\xff"), 1007).await;
    is_closed(&encode(0x81, MASK, b"cut \xc3"), 1007).await;
    is_closed(&encode(0x81, MASK, b"\xed\xa0\x80"), 1007).await;
    is_closed(&encode(0x88, MASK, b"\x03\xe8\xff"), 1007).await;
    let fragments = [encode(0x01, MASK, b"ok"), encode(0x80, MASK, b"\xc0\x80")].concat();
    is_closed(&fragments, 1007).await;
}

#[tokio::test]
async fn messages_over_the_limit_are_1009() {
    is_closed(&encode(0x81, MASK, &[b'x'; 1025]), 1009).await;
    // The head alone tells: nothing of the body is waited for.
    is_closed(&encode(0x82, MASK, &[b'x'; 2000])[..20], 1009).await;
    is_closed(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009).await;
    let fragments = [
        encode(0x01, MASK, &[b'x'; 800]),
        encode(0x80, MASK, &[b'x'; 800]),
    ]
    .concat();
    is_closed(&fragments, 1009).await;
}

#[tokio::test]
async fn a_message_as_long_as_the_limit_passes() {
    let (_server, mut eve) = wire("--max-message 1KiB").await;
    eve.says(Opcode::TEXT, &[b'x'; 1024]).await;
    eve.hears(Opcode::TEXT, &[b'x'; 1024]).await;
}

#[tokio::test]
async fn fragments_become_one_message_and_pings_pass_between_them() {
    let (_server, mut eve) = wire("").await;
    eve.sends(&encode(0x01, MASK, b"gr\xc3")).await;
    eve.says(Opcode::PING, b"here?").await;
    eve.hears(Opcode::PONG, b"here?").await;
    eve.sends(&encode(0x00, MASK, b"\xbc")).await;
    eve.sends(&encode(0x80, MASK, b"n")).await;
    eve.hears(Opcode::TEXT, "grün".as_bytes()).await;
}

#[tokio::test]
async fn frames_arrive_in_any_pieces() {
    let (_server, mut eve) = wire("").await;
    for byte in encode(0x81, MASK, &[b'y'; 200]) {
        eve.sends(&[byte]).await;
    }
    eve.hears(Opcode::TEXT, &[b'y'; 200]).await;
}

#[tokio::test]
async fn a_pong_nobody_asked_for_is_ignored() {
    let (_server, mut eve) = wire("").await;
    eve.says(Opcode::PONG, b"what?").await;
    eve.says(Opcode::TEXT, b"fence").await;
    eve.hears(Opcode::TEXT, b"fence").await;
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_and_then_the_connection_ends() {
    let (server, mut eve) = wire("").await;
    eve.says(Opcode::CLOSE, b"\x0f\xa1bye").await;
    eve.hears_close(4001).await;
    eve.is_dropped().await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn a_close_without_a_code_is_answered() {
    let (_server, mut eve) = wire("").await;
    eve.says(Opcode::CLOSE, b"").await;
    let frame = eve.hears_frame().await.unwrap();
    assert_eq!(frame.opcode(), Opcode::CLOSE);
    eve.is_dropped().await;
}

#[tokio::test]
async fn nothing_is_taken_after_a_close() {
    let (server, mut eve) = wire("").await;
    let mut ann = server.join("/x").await;
    eve.sends(
        &[
            encode(0x88, MASK, b"\x03\xe8"),
            encode(0x81, MASK, b"ghost"),
        ]
        .concat(),
    )
    .await;
    eve.hears_close(1000).await;
    ann.says("fence").await;
    ann.hears("fence").await;
}

#[tokio::test]
async fn one_who_does_not_answer_a_close_is_let_go() {
    let server = serve("puppet wait then exit 3").await;
    let (mut eve, _) = server.door("/x").wire().await;
    eve.says(Opcode::TEXT, b"go").await;
    assert_eq!(eve.hears_close(1011).await, "exit 3");
    eve.is_dropped().await;
}
