//! Compressed messages (RFC 7692): whatever comes is inflated up to the limit and no further, what
//! we compress is what was said, and offers are judged whatever they hold.

use std::io::Read;

use flate2::read::DeflateDecoder;
use scalesocket::frame::Kind;
use scalesocket::ws::codec::{Decoder, frame_len, put_message};
use scalesocket::ws::deflate::{agree, pack};

use super::codec::{Heard, decoded};
use super::input::{Input, pieces};

/// What a compressor leaves out at the end of a message (RFC 7692 section 7.2.1), and a last block.
const END: [u8; 9] = [0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF];

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = input.byte();
    let seed = input.byte();
    let rest = input.rest();
    match options & 3 {
        0 => any_payload(rest, usize::from(options) << 4, seed),
        1 => any_stream(rest, usize::from(options), seed),
        2 => there_and_back(rest, seed),
        _ => any_offer(rest),
    }
}

/// A frame of a client, with a mask that changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    put_message(&mut plain, Kind::Binary, payload);
    let header = plain.len() - payload.len();
    let mut frame = plain[..header].to_vec();
    frame[0] = first;
    frame[1] |= 0x80;
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn inflating(limit: usize) -> Decoder {
    let mut decoder = Decoder::new(limit);
    decoder.inflate();
    decoder
}

/// Any payload of one message that says it is compressed.
fn any_payload(payload: &[u8], limit: usize, seed: u8) {
    let stream = frame(0xC2, payload);
    let (heard, fault) = decoded(inflating(limit), std::iter::once(&*stream), false);
    let chopped = decoded(inflating(limit), pieces(&stream, seed), true);
    assert_eq!(
        (&heard, fault),
        (&chopped.0, chopped.1),
        "it matters how the stream is cut"
    );
    match (&*heard, fault) {
        ([Heard::Message(Kind::Binary, message)], None) => {
            assert!(
                message.len() <= limit,
                "{} bytes, but {limit} may be",
                message.len()
            );
            if !payload.is_empty() {
                // Once more, by the reader of another interface, as far as the first final block.
                let ended = [payload, &END].concat();
                let mut again = Vec::new();
                let read = DeflateDecoder::new(&*ended).read_to_end(&mut again);
                assert!(read.is_ok() && message.starts_with(&again));
            }
        }
        ([], Some(1007 | 1009)) => {}
        other => panic!("{other:?} of one message"),
    }
}

/// Any stream where compression was agreed to.
fn any_stream(stream: &[u8], limit: usize, seed: u8) {
    let whole = decoded(inflating(limit), std::iter::once(stream), false);
    let chopped = decoded(inflating(limit), pieces(stream, seed), false);
    assert_eq!(whole, chopped, "it matters how the stream is cut");
    for heard in &whole.0 {
        if let Heard::Message(kind, message) = heard {
            assert!(message.len() <= limit);
            assert!(*kind == Kind::Binary || std::str::from_utf8(message).is_ok());
        }
    }
    // Who no longer listens hears what was not compressed, and finds no fault in what was.
    let mut deaf = inflating(limit);
    deaf.pass_over();
    let (heard, fault) = decoded(deaf, pieces(stream, seed), false);
    if whole.1.is_none() {
        assert_eq!(fault, None);
        assert!(heard.len() <= whole.0.len());
    }
}

/// What we compress is shorter, whole, and inflates to what it was.
fn there_and_back(payload: &[u8], seed: u8) {
    let mut plain = Vec::new();
    put_message(&mut plain, Kind::Binary, payload);
    let mut packed = b"before".to_vec();
    if !pack(&mut packed, &plain, usize::from(seed)) {
        assert_eq!(packed, b"before", "what is not compressed appends nothing");
        return;
    }
    assert!(payload.len() >= usize::from(seed));
    let packed = &packed[b"before".len()..];
    assert!(packed.len() < plain.len(), "it became longer");
    assert_eq!(frame_len(packed), Some(packed.len()));
    assert_eq!(packed.first(), Some(&0xC2));
    let header = match packed[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let stream = frame(0xC2, &packed[header..]);
    let there = decoded(inflating(payload.len()), pieces(&stream, seed), false);
    assert_eq!(
        there,
        (vec![Heard::Message(Kind::Binary, payload.to_vec())], None)
    );
}

/// Any value of `Sec-WebSocket-Extensions`.
fn any_offer(value: &[u8]) {
    let Ok(text) = std::str::from_utf8(value) else {
        return;
    };
    let Ok(Some(agreed)) = agree(text.split('\n')) else {
        return;
    };
    assert!(text.contains("permessage-deflate"));
    // An answer is itself an offer that can be met, and comes to the same.
    let again = agree([&*agreed.answer]).expect("our own words are understood");
    assert_eq!(again, Some(agreed));
}
