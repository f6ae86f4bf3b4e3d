//! Frames of ours: whole messages and control frames, and how long one is that was encoded.

use super::{BINARY, CLOSE, CONTROL_MAX, PING, PONG, RSV1, TEXT};
use crate::frame::Kind;

/// Longest close reason: a control payload less the two bytes of the code.
const REASON_MAX: usize = CONTROL_MAX - 2;

/// Appends a frame that holds a whole message.
pub fn put_message(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    let opcode = match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    };
    put_frame(out, opcode, payload);
}

/// Appends a frame that holds a whole message; `packed` is its payload as compressed, and `first`
/// the first byte of the frame that holds it plain.
pub(in crate::ws) fn put_packed(out: &mut Vec<u8>, first: u8, packed: &[u8]) {
    put_frame(out, first | RSV1, packed);
}

/// Appends a ping without payload.
pub fn put_ping(out: &mut Vec<u8>) {
    put_frame(out, PING, &[]);
}

/// Appends a pong; `payload` is a ping's.
pub fn put_pong(out: &mut Vec<u8>, payload: &[u8]) {
    put_frame(out, PONG, payload.get(..CONTROL_MAX).unwrap_or(payload));
}

/// Appends a close frame; the reason is cut at 123 bytes, on a character. `None` closes without
/// a code, as an answer to a close without one.
pub fn put_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let Some(code) = code else {
        return put_frame(out, CLOSE, &[]);
    };
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(cut(reason).as_bytes());
    put_frame(out, CLOSE, &payload);
}

/// As much of `reason` as a close frame carries.
pub fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_MAX)]
}

/// The length of a frame of ours around a payload of that length.
pub fn encoded_len(payload: usize) -> usize {
    payload
        + match payload {
            ..126 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        }
}

fn put_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let first = 0x80 | opcode;
    match payload.len() {
        short @ ..126 => out.extend_from_slice(&[first, short as u8]),
        middle @ 126..=0xFFFF => {
            let [high, low] = (middle as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, high, low]);
        }
        long => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// The length of the frame of ours that `bytes` begins with, header included. `None`: the header
/// is not whole, which for bytes we encoded means that nothing is left.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let (header, payload) = lengths(bytes)?;
    header.checked_add(payload)
}

/// The message in the frame of ours that `bytes` begins with, and what is behind it. `None`: it is no
/// message, or not whole.
pub fn message(bytes: &[u8]) -> Option<(Kind, &[u8], &[u8])> {
    let (header, payload) = lengths(bytes)?;
    let kind = match *bytes.first()? & 0x0F {
        TEXT => Kind::Text,
        BINARY => Kind::Binary,
        _ => return None,
    };
    let (frame, rest) = bytes.split_at_checked(header.checked_add(payload)?)?;
    Some((kind, frame.get(header..)?, rest))
}

/// The first byte and the payload of the frame of ours that `bytes` begins with.
pub(in crate::ws) fn first_and_payload(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (header, payload) = lengths(bytes)?;
    let payload = bytes.get(header..header.checked_add(payload)?)?;
    Some((*bytes.first()?, payload))
}

/// Of the header and of the payload of the frame of ours that `bytes` begins with.
fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let second = *bytes.get(1)?;
    Some(match second & 0x7F {
        126 => (
            4,
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        ),
        127 => {
            let long: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
            (10, usize::try_from(u64::from_be_bytes(long)).ok()?)
        }
        short => (2, usize::from(short)),
    })
}
