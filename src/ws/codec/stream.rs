//! What the decoder tells of a stream beside its events.

use super::*;

/// A masked frame whose mask changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

fn feed(decoder: &mut Decoder, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let fed = decoder.feed(&mut bytes, |_| Flow::More);
    assert_eq!(fed, Ok(bytes.len()));
}

#[test]
fn the_next_message_is_told_from_the_one_that_lasts() {
    let mut decoder = Decoder::new(100);
    let stream = [
        frame(0x81, b"one"),
        frame(0x81, b"two"),
        frame(0x81, b"six"),
    ]
    .concat();
    feed(&mut decoder, &stream[..5]);
    assert!(decoder.is_inside_message());
    let first = decoder.begun();
    feed(&mut decoder, &stream[5..14]);
    assert!(decoder.is_inside_message());
    assert_ne!(decoder.begun(), first, "the first ended, another began");
    feed(&mut decoder, &stream[14..]);
    assert!(!decoder.is_inside_message());
}

#[test]
fn neither_fragments_nor_pings_make_a_message_another() {
    let mut decoder = Decoder::new(100);
    feed(&mut decoder, &frame(0x01, b"begun"));
    let begun = decoder.begun();
    for bytes in [frame(0x89, b"ping"), frame(0x00, b"and"), frame(0x8A, b"")] {
        for byte in bytes {
            feed(&mut decoder, &[byte]);
            assert!(decoder.is_inside_message());
            assert_eq!(decoder.begun(), begun);
        }
    }
}
