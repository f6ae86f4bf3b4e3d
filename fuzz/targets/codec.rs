//! A client's byte stream (RFC 6455): in any pieces it says the same, and what it says is what a
//! second parser reads, which has the whole stream before it and no state.

use scalesocket::frame::Kind;
use scalesocket::ws::codec::{Decoder, Event, Flow};

use super::input::{Input, pieces};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// What a stream came to: its events, and the close code of the fault that ended it.
pub(super) type Outcome = (Vec<Heard>, Option<u16>);

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    // Small limits are reached by small inputs.
    let limit = match input.byte() {
        short @ ..128 => usize::from(short),
        _ => 1 << 20,
    };
    let seed = input.byte();
    let stream = input.rest();
    let whole = decoded(Decoder::new(limit), std::iter::once(stream), false);
    assert_eq!(
        whole,
        plainly(stream, limit),
        "another parser reads it otherwise"
    );
    let chopped = decoded(Decoder::new(limit), pieces(stream, seed), false);
    assert_eq!(whole, chopped, "it matters how the stream is cut");
    let halting = decoded(Decoder::new(limit), pieces(stream, seed), true);
    assert_eq!(chopped, halting, "it matters where a reader stops");
}

/// Feeds a decoder piece by piece; `halts`: it is told to stop behind each event.
pub(super) fn decoded<'a>(
    mut decoder: Decoder,
    pieces: impl Iterator<Item = &'a [u8]>,
    halts: bool,
) -> Outcome {
    let mut heard = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = piece.as_mut_slice();
        while !rest.is_empty() {
            let fed = decoder.feed(rest, |event| {
                heard.push(match event {
                    Event::Message(kind, payload) => Heard::Message(kind, payload.to_vec()),
                    Event::Ping(payload) => Heard::Ping(payload.to_vec()),
                    Event::Pong => Heard::Pong,
                    Event::Close(code) => Heard::Close(code),
                });
                if halts { Flow::Stop } else { Flow::More }
            });
            let taken = match fed {
                Ok(taken) => taken,
                Err(violation) => return (heard, Some(violation.code())),
            };
            if let Some(Heard::Close(_)) = heard.last() {
                return (heard, None);
            }
            assert!(taken > 0, "no byte was taken");
            rest = rest.split_at_mut(taken).1;
        }
    }
    (heard, None)
}

/// One frame of a client, unmasked.
struct Frame {
    first: u8,
    length: u64,
    /// As much of it as there is.
    payload: Vec<u8>,
}

/// The header of the frame that `stream` begins with, its length, and its first faulty byte's fault
/// left to the caller. None: the header is not whole.
fn header(stream: &[u8]) -> Option<(Frame, usize, bool)> {
    let (&first, rest) = stream.split_first()?;
    let (&second, rest) = rest.split_first()?;
    let (length, width) = match second & 0x7F {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
        short => (u64::from(short), 0),
    };
    let shortest = match width {
        2 => length > 125,
        8 => length > 0xFFFF && length < 1 << 63,
        _ => true,
    };
    let mask: [u8; 4] = *rest[width..].first_chunk()?;
    let body = &rest[width + 4..];
    let there = usize::try_from(length).map_or(body.len(), |length| length.min(body.len()));
    let masked = body[..there].iter().zip(mask.iter().cycle());
    let frame = Frame {
        first,
        length,
        payload: masked.map(|(byte, key)| byte ^ key).collect(),
    };
    Some((frame, 2 + width + 4 + there, shortest))
}

/// The stream as RFC 6455 section 5 reads, frame by frame.
fn plainly(mut stream: &[u8], limit: usize) -> Outcome {
    let mut heard = Vec::new();
    let mut message: Option<(Kind, Vec<u8>)> = None;
    while let [first, rest @ ..] = stream {
        let opcode = first & 0x0F;
        let Some(second) = rest.first() else { break };
        let control = matches!(opcode, 8..=10);
        let wrong = first & 0x70 != 0
            || second & 0x80 == 0
            || !matches!(opcode, 0..=2 | 8..=10)
            || control && (first & 0x80 == 0 || second & 0x7F > 125)
            || opcode == 0 && message.is_none()
            || matches!(opcode, 1 | 2) && message.is_some();
        if wrong {
            return (heard, Some(1002));
        }
        let Some((frame, taken, shortest)) = header(stream) else {
            break;
        };
        if !shortest {
            return (heard, Some(1002));
        }
        stream = &stream[taken..];
        let whole = frame.payload.len() as u64 == frame.length;
        if control {
            if !whole {
                break;
            }
            match opcode {
                9 => heard.push(Heard::Ping(frame.payload)),
                10 => heard.push(Heard::Pong),
                _ => {
                    return match close(&frame.payload) {
                        Ok(code) => {
                            heard.push(Heard::Close(code));
                            (heard, None)
                        }
                        Err(code) => (heard, Some(code)),
                    };
                }
            }
            continue;
        }
        let (kind, mut text) = message.take().unwrap_or_else(|| {
            let kind = if opcode == 1 {
                Kind::Text
            } else {
                Kind::Binary
            };
            (kind, Vec::new())
        });
        if frame.length > (limit - text.len()) as u64 {
            return (heard, Some(1009));
        }
        text.extend_from_slice(&frame.payload);
        let last = whole && frame.first & 0x80 != 0;
        if kind == Kind::Text
            && let Err(fault) = std::str::from_utf8(&text)
            && (last || fault.error_len().is_some())
        {
            return (heard, Some(1007));
        }
        if last {
            heard.push(Heard::Message(kind, text));
        } else {
            message = Some((kind, text));
        }
        if !whole {
            break;
        }
    }
    (heard, None)
}

/// RFC 6455 section 7.4, with what has been registered since.
fn close(payload: &[u8]) -> Result<Option<u16>, u16> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(1002)
        };
    };
    let code = u16::from_be_bytes(*code);
    let may_be_sent = match code {
        1004..=1006 | 1015 => false,
        1000..=1014 | 3000..=4999 => true,
        _ => false,
    };
    match (may_be_sent, std::str::from_utf8(reason)) {
        (false, _) => Err(1002),
        (true, Err(_)) => Err(1007),
        (true, Ok(_)) => Ok(Some(code)),
    }
}
