//! A child's output without framing: in any pieces the same messages, which are what lies between
//! the delimiters and no longer than may be.

use scalesocket::frame::{Audience, Broken, Decoder, Event, Kind, ServerFraming};

use super::input::{Input, pieces};

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limit = usize::from(input.byte());
    let seed = input.byte();
    let options = input.byte();
    let delimiters: &[u8] = match options & 7 {
        0 => b"\0",
        1 => b";",
        2 => b"\r\n",
        3 => b",;\t",
        4 => b"\n\r,;\xFF",
        _ => b"",
    };
    let strip_cr = options & 8 != 0;
    let stream = input.rest();
    let framing = ServerFraming::Lines {
        delimiters: delimiters.to_vec(),
        strip_cr,
    };
    let mut decoder = Decoder::new(&framing, limit);
    let mut heard = Vec::new();
    let mut broken = None;
    for piece in pieces(stream, seed) {
        let fed = decoder.feed(piece, &mut |event| heard.push(message(event)));
        assert!(decoder.buffered() <= limit + 1, "more is kept than may be");
        if let Err(fault) = fed {
            assert_eq!(fault, Broken::TooLong(limit));
            broken = Some(fault);
            break;
        }
    }
    if broken.is_none() {
        decoder.finish(&mut |event| heard.push(message(event)));
    }
    let delimiters = if delimiters.is_empty() {
        b"\n"
    } else {
        delimiters
    };
    let (expected, whole) = plainly(stream, delimiters, strip_cr, limit);
    assert_eq!((heard, broken.is_none()), (expected, whole));
}

fn message(event: Event<'_>) -> (Kind, Vec<u8>) {
    match event {
        Event::Message {
            to: Audience::Everyone,
            kind,
            payload,
            tagged: false,
        } => (kind, payload.to_vec()),
        other => panic!("{other:?} of a line"),
    }
}

fn plainly(
    stream: &[u8],
    delimiters: &[u8],
    strip_cr: bool,
    limit: usize,
) -> (Vec<(Kind, Vec<u8>)>, bool) {
    let mut heard = Vec::new();
    let mut pieces = stream.split(|byte| delimiters.contains(byte)).peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        let bare = match piece.split_last() {
            Some((b'\r', bare)) if strip_cr => bare,
            _ => piece,
        };
        if bare.len() > limit {
            return (heard, false);
        }
        // What no delimiter ended is whole as it is, and nothing if it is empty.
        let line = if last { piece } else { bare };
        if last && line.is_empty() {
            break;
        }
        let kind = match std::str::from_utf8(line) {
            Ok(_) => Kind::Text,
            Err(_) => Kind::Binary,
        };
        heard.push((kind, line.to_vec()));
    }
    (heard, true)
}
