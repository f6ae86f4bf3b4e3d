//! What a server sends, read with all the strictness that the RFCs ask of it: whatever it may not
//! send is an error here, whichever case is played.

use flate2::{Decompress, FlushDecompress};

use crate::case::{CLOSE, FIN, Heard, Kind, PING, PONG, RSV1, TEXT};

/// More than any case lets come back.
const MOST: usize = 4 << 20;

/// Takes the first frame out of the bytes, if it is whole. `packed`: messages may be compressed.
pub(crate) fn take(bytes: &mut Vec<u8>, packed: bool) -> Option<Result<Heard, String>> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let number = |at: std::ops::Range<usize>| -> Option<usize> {
        let digits = bytes.get(at)?.iter();
        Some(digits.fold(0, |sum, &byte| sum << 8 | usize::from(byte)))
    };
    let (length, head, least) = match second & 0x7f {
        126 => (number(2..4)?, 4, 126),
        127 => (number(2..10)?, 10, 65_536),
        short => (usize::from(short), 2, 0),
    };
    if second & 0x80 != 0 {
        return Some(Err("a masked frame (5.1)".to_owned()));
    }
    if length < least || length > MOST {
        return Some(Err(format!(
            "a length of {length} in {head} bytes of header (5.2)"
        )));
    }
    let payload = bytes.get(head..head + length)?.to_vec();
    bytes.drain(..head + length);
    Some(judge(first, payload, packed))
}

fn judge(first: u8, payload: Vec<u8>, packed: bool) -> Result<Heard, String> {
    let wrong = |what: &str| Err(format!("{what}: {first:#04x} {}", payload.escape_ascii()));
    if first & FIN == 0 {
        return wrong("a fragment, which these servers never send");
    }
    let opcode = first & 0x0f;
    let control = opcode & 0x8 != 0;
    if first & 0x30 != 0 || first & RSV1 != 0 && (control || !packed) {
        return wrong("reserved bits (5.2)");
    }
    if control && payload.len() > 125 {
        return wrong("a long control frame (5.5)");
    }
    match opcode {
        PONG => Ok(Heard::Pong(payload)),
        PING => wrong("a ping, which is switched off"),
        CLOSE => match *payload {
            [] => Ok(Heard::Close(None)),
            [high, low, ref reason @ ..] => {
                let code = u16::from_be_bytes([high, low]);
                let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                if !valid || std::str::from_utf8(reason).is_err() {
                    return wrong("a close that may not be sent (7.4, 8.1)");
                }
                Ok(Heard::Close(Some(code)))
            }
            _ => wrong("half a close code (5.5.1)"),
        },
        data @ 1..=2 => {
            let message = if first & RSV1 == 0 {
                payload
            } else {
                inflate(&payload)?
            };
            let kind = if data == TEXT {
                Kind::Text
            } else {
                Kind::Binary
            };
            if kind == Kind::Text && std::str::from_utf8(&message).is_err() {
                return Err(format!("text that is none: {}", message.escape_ascii()));
            }
            Ok(Heard::Message(kind, message))
        }
        _ => wrong("an unknown opcode (5.2)"),
    }
}

/// A message of a sender without context (RFC 7692 section 7.2.2).
fn inflate(payload: &[u8]) -> Result<Vec<u8>, String> {
    let input = [payload, b"\x00\x00\xff\xff"].concat();
    let mut out = Vec::with_capacity(MOST);
    let mut stream = Decompress::new(false);
    stream
        .decompress_vec(&input, &mut out, FlushDecompress::Sync)
        .map_err(|error| format!("what is not deflate data: {error}"))?;
    if stream.total_in() != input.len() as u64 {
        return Err("deflate data that does not end with its message".to_owned());
    }
    Ok(out)
}
