//! `--compress` (RFC 7692): who agreed to it hears the same as everybody, in fewer bytes; what is
//! said compressed is understood; what is not deflate data, or becomes too much, is refused.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::harness::{Opcode, Person, Server, Wire, encode, serve};

const OFFER: &str = "permessage-deflate; client_max_window_bits";
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
const MASK: Option<[u8; 4]> = Some([0xde, 0xad, 0xbe, 0xef]);

/// Somebody whose offer was agreed to.
async fn join(server: &Server, offer: &str) -> Wire {
    let door = server.door("/x").header("Sec-WebSocket-Extensions", offer);
    let (wire, answer) = door.wire().await;
    let agreed = answer.header("sec-websocket-extensions");
    assert!(agreed.is_some(), "{offer} was declined");
    wire
}

fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() * 2 + 100);
    let mut stream = Compress::new(Compression::best(), false);
    let flushed = stream.compress_vec(payload, &mut out, FlushCompress::Sync);
    flushed.unwrap();
    assert!(out.len() < out.capacity());
    out.strip_suffix(&TAIL).unwrap().to_vec()
}

fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 << 20);
    let input = [payload, &TAIL].concat();
    let mut stream = Decompress::new(false);
    let inflated = stream.decompress_vec(&input, &mut out, FlushDecompress::Sync);
    inflated.unwrap();
    assert!(out.len() < out.capacity());
    out
}

/// A compressed message, in one frame.
fn said(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(FIN | RSV1 | opcode, MASK, &deflate(payload))
}

/// The next text, and whether it came compressed.
async fn text(wire: &mut Wire) -> (String, bool) {
    let frame = wire.hears_frame().await.expect("a frame");
    assert_eq!(frame.opcode(), Opcode::TEXT);
    let packed = frame.first & RSV1 != 0;
    let payload = match packed {
        true => inflate(&frame.payload),
        false => frame.payload,
    };
    (String::from_utf8(payload).unwrap(), packed)
}

async fn hears_packed(wire: &mut Wire, expected: &str) {
    assert_eq!(text(wire).await, (expected.to_owned(), true));
}

async fn hears_plain(wire: &mut Wire, expected: &str) {
    assert_eq!(text(wire).await, (expected.to_owned(), false));
}

/// These bytes get this close code; the other person in the room goes on.
async fn is_closed(flags: &str, bytes: &[u8], code: u16) {
    let server = serve(format!("{flags} cat")).await;
    let mut eve = join(&server, OFFER).await;
    let mut ann = server.join("/x").await;
    eve.sends(bytes).await;
    eve.hears_close(code).await;
    ann.says("unharmed").await;
    ann.hears("unharmed").await;
}

#[tokio::test]
async fn without_the_flag_nothing_is_agreed_to() {
    let server = serve("cat").await;
    let door = server.door("/x").header("Sec-WebSocket-Extensions", OFFER);
    let (mut eve, answer) = door.wire().await;
    assert_eq!(answer.header("sec-websocket-extensions"), None);
    eve.sends(&said(Opcode::TEXT, b"compressed")).await;
    eve.hears_close(1002).await;
}

#[tokio::test]
async fn the_first_offer_that_can_be_met_is_agreed_to() {
    const AGREED: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let server = serve("--compress cat").await;
    for (offers, agreed) in [
        (&[OFFER][..], Some(AGREED.to_owned())),
        (
            &["permessage-deflate; server_max_window_bits=12"],
            Some(format!("{AGREED}; server_max_window_bits=12")),
        ),
        (
            &[
                "permessage-deflate; server_max_window_bits=7, x-other",
                OFFER,
            ],
            Some(AGREED.to_owned()),
        ),
        (&["permessage-deflate; unheard_of", "x-other"], None),
        (&[], None),
    ] {
        let mut door = server.door("/x");
        for offer in offers {
            door = door.header("Sec-WebSocket-Extensions", offer);
        }
        let (_wire, answer) = door.wire().await;
        assert_eq!(
            answer.header("sec-websocket-extensions"),
            agreed.as_deref(),
            "{offers:?}"
        );
    }
}

#[tokio::test]
async fn whoever_did_not_agree_may_not_compress() {
    let server = serve("--compress cat").await;
    let (mut eve, _) = server.door("/x").wire().await;
    eve.sends(&said(Opcode::TEXT, b"compressed")).await;
    eve.hears_close(1002).await;
}

/// Three texts of one number: a short one, a long one, and a short one.
fn three(number: usize) -> [String; 3] {
    let long = format!("{number} {}", "as long as it takes ".repeat(30 + number));
    [format!("{number} before"), long, format!("{number} behind")]
}

#[tokio::test]
async fn a_mixed_room_hears_the_same_in_order() {
    let server = serve("--compress=256 cat").await;
    let mut ann = join(&server, OFFER).await;
    let mut bob = server.join("/x").await;
    let (mut carl, _) = server.door("/x").wire().await;
    let mut small = join(&server, "permessage-deflate; server_max_window_bits=8").await;
    for number in 0..50 {
        bob.says_all_of(three(number)).await;
    }
    for number in 0..50 {
        let [before, long, behind] = three(number);
        hears_plain(&mut ann, &before).await;
        hears_packed(&mut ann, &long).await;
        hears_plain(&mut ann, &behind).await;
        for text in [before, long, behind] {
            bob.hears(&text).await;
            hears_plain(&mut carl, &text).await;
            // No window of ours is that small.
            hears_plain(&mut small, &text).await;
        }
    }
}

#[tokio::test]
async fn the_size_that_is_worth_it_is_what_the_flag_says() {
    let server = serve("--compress=100 cat").await;
    let mut ann = join(&server, OFFER).await;
    for (length, packed) in [(99, false), (100, true)] {
        let message = "x".repeat(length);
        ann.says(Opcode::TEXT, message.as_bytes()).await;
        assert_eq!(text(&mut ann).await, (message, packed));
    }
    // What would not become shorter is sent as it is: digits of no pattern, six bits each.
    let digits: String = (0..100u32)
        .map(|n| char::from(b'0' + (n.wrapping_mul(2_654_435_761) >> 26) as u8))
        .collect();
    ann.says(Opcode::BINARY, &deflate(digits.as_bytes())).await;
    let frame = ann.hears_frame().await.expect("a frame");
    assert_eq!(frame.first & RSV1, 0);
}

#[tokio::test]
async fn what_is_for_one_is_compressed_for_one_and_keeps_its_place() {
    let server = serve("--compress=64 --frame=json cat").await;
    let mut ann = join(&server, OFFER).await;
    let mut bob = server.join("/x").await;
    let word = "word ".repeat(50);
    for _ in 0..20 {
        bob.says(&format!(r#"{{"to":"me","w":"{word}"}}"#)).await;
        ann.says(Opcode::TEXT, format!(r#"{{"w":"{word}"}}"#).as_bytes())
            .await;
        ann.says(Opcode::TEXT, br#"{"w":"short"}"#).await;
        hears_packed(&mut ann, &format!(r#"{{"w":"{word}","id":1}}"#)).await;
        hears_plain(&mut ann, r#"{"w":"short","id":1}"#).await;
        bob.hears(&format!(r#"{{"to":"me","w":"{word}","id":2}}"#))
            .await;
    }
}

#[tokio::test]
async fn one_message_for_several_is_compressed_for_those_who_agreed() {
    let word = "word ".repeat(50);
    let line = format!(r#"{{"id":[1,2],"w":"{word}"}}"#);
    let rest = format!(r#"{{"_except":[1],"w":"{word}"}}"#);
    let server = serve(format!(
        "--compress=64 --frame=json puppet wait 3 then print '{line}' then print '{rest}'"
    ))
    .await;
    let mut ann = join(&server, OFFER).await;
    let mut bob = server.join("/x").await;
    let mut carl = join(&server, OFFER).await;
    ann.says(Opcode::TEXT, b"{}").await;
    bob.says("{}").await;
    carl.says(Opcode::TEXT, b"{}").await;
    let (heard, packed) = text(&mut ann).await;
    assert!(packed && heard.contains(&word), "{heard}");
    ann.hears_close(1000).await;
    bob.hears(&heard).await;
    let rest = bob.hears_text().await;
    assert_eq!(text(&mut carl).await, (rest, true));
}

#[tokio::test]
async fn late_joiners_hear_the_history_as_it_is_and_then_compressed() {
    let server = serve("--compress=64 --cache 2 cat").await;
    let mut ann = join(&server, OFFER).await;
    let [old, live] = ["old ", "live "].map(|word| word.repeat(100));
    ann.says(Opcode::TEXT, old.as_bytes()).await;
    hears_packed(&mut ann, &old).await;
    let mut bob = join(&server, OFFER).await;
    hears_plain(&mut bob, &old).await;
    ann.says(Opcode::TEXT, live.as_bytes()).await;
    hears_packed(&mut bob, &live).await;
}

#[tokio::test]
async fn what_is_said_compressed_is_understood() {
    let server = serve("--compress cat").await;
    let mut ann = join(&server, OFFER).await;
    let mut bob = server.join("/x").await;
    ann.sends(&said(Opcode::TEXT, b"in one")).await;
    bob.hears("in one").await;
    let packed = deflate(b"in fragments, with a ping between");
    let (start, rest) = packed.split_at(5);
    ann.sends(&encode(RSV1 | Opcode::TEXT, MASK, start)).await;
    ann.says(Opcode::PING, b"").await;
    for byte in encode(FIN, MASK, rest) {
        ann.sends(&[byte]).await;
    }
    bob.hears("in fragments, with a ping between").await;
    ann.sends(&said(Opcode::TEXT, b"")).await;
    bob.hears("").await;
    ann.says(Opcode::TEXT, b"plain").await;
    bob.hears("plain").await;
}

#[tokio::test]
async fn the_bit_stands_on_the_first_frame_of_a_message_alone() {
    let packed = deflate(b"text");
    for wrong in [
        encode(FIN | RSV1 | Opcode::PING, MASK, b""),
        [
            encode(RSV1 | Opcode::TEXT, MASK, &packed),
            encode(FIN | RSV1 | Opcode::CONTINUATION, MASK, b""),
        ]
        .concat(),
        encode(FIN | 0x20 | Opcode::TEXT, MASK, &packed),
    ] {
        is_closed("--compress", &wrong, 1002).await;
    }
}

#[tokio::test]
async fn what_is_not_deflate_data_or_not_utf8_is_1007() {
    let whole = deflate(&b"something to cut ".repeat(9));
    for wrong in [
        encode(FIN | RSV1 | Opcode::BINARY, MASK, b"\xff\xff\xff"),
        encode(FIN | RSV1 | Opcode::TEXT, MASK, &whole[..whole.len() - 4]),
        said(Opcode::TEXT, b"caf\xc3"),
    ] {
        is_closed("--compress", &wrong, 1007).await;
    }
}

#[tokio::test]
async fn the_limit_is_for_what_a_message_becomes_to_the_byte() {
    let server = serve("--compress --max-message 100000 cat").await;
    let mut ann = join(&server, OFFER).await;
    let mut bob = server.join("/x").await;
    ann.sends(&said(Opcode::TEXT, &vec![b'x'; 100_000])).await;
    bob.hears(&"x".repeat(100_000)).await;
    ann.sends(&said(Opcode::TEXT, &vec![b'x'; 100_001])).await;
    hears_packed(&mut ann, &"x".repeat(100_000)).await;
    ann.hears_close(1009).await;
    // What does not compress at all may still have the whole length.
    let noise: Vec<u8> = (0..100_000u32)
        .map(|n| b' ' + (n.wrapping_mul(n).wrapping_mul(2_654_435_761) >> 26) as u8)
        .collect();
    let mut stream = Compress::new(Compression::none(), false);
    let mut stored = Vec::with_capacity(200_000);
    let flushed = stream.compress_vec(&noise, &mut stored, FlushCompress::Sync);
    flushed.unwrap();
    assert!(stored.len() > noise.len());
    let stored = stored.strip_suffix(&TAIL).unwrap();
    let mut carl = join(&server, OFFER).await;
    carl.sends(&encode(FIN | RSV1 | Opcode::TEXT, MASK, stored))
        .await;
    bob.hears(&String::from_utf8(noise).unwrap()).await;
}

#[tokio::test]
async fn a_bomb_is_1009_and_takes_no_memory() {
    let server = serve("--compress --max-message 1MiB cat").await;
    let mut eve = join(&server, OFFER).await;
    let mut ann: Person = server.join("/x").await;
    // A MiB of zeros, flushed, again and again: the window begins anew, and fits.
    let mebibyte = [&deflate(&vec![0; 1 << 20])[..], &TAIL].concat();
    let bomb = mebibyte.repeat(256);
    assert!(bomb.len() < 1 << 20);
    let before = server.memory_bytes();
    eve.sends(&encode(FIN | RSV1 | Opcode::BINARY, MASK, &bomb))
        .await;
    eve.hears_close(1009).await;
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "the server grew by {grown} bytes");
    ann.says("unharmed").await;
    ann.hears("unharmed").await;
}
