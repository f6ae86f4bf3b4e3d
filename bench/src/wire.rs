//! The client's side of RFC 6455, as little of it as counting needs.
//!
//! The [`Reader`] finds frames in a byte stream and hands out where each begins; payloads are
//! skipped, not copied. Servers send unfragmented and unmasked frames to these clients; anything
//! else is an error, because a benchmark of a broken stream measures nothing. [`Payload`] hands out
//! every byte, of fragments too.

use anyhow::{Result, bail};

/// Payload bytes that are handed out with a frame: all of a control frame.
pub(crate) const HEAD: usize = 125;

/// Text frame.
pub(crate) const TEXT: u8 = 1;
/// Binary frame.
pub(crate) const BINARY: u8 = 2;
/// Close frame.
pub(crate) const CLOSE: u8 = 8;
/// Ping frame.
pub(crate) const PING: u8 = 9;
/// Pong frame.
pub(crate) const PONG: u8 = 10;

/// One frame: its kind, the first bytes of its payload, and how long that is.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) head: &'a [u8],
    pub(crate) len: usize,
}

/// Where a stream of frames was left.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// A header and payload head that did not arrive in one piece.
    carry: Vec<u8>,
    /// Payload still to come and not to be looked at.
    skip: usize,
}

/// First byte, header length and payload length of the frame that `bytes` begin with.
fn header(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        bail!("not an unmasked frame: {first:#04x} {second:#04x}");
    }
    let (extended, len) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (2, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, rest) => match rest.first_chunk::<8>() {
            Some(len) => (8, u64::from_be_bytes(*len) as usize),
            None => return Ok(None),
        },
        (126, _) => return Ok(None),
        (len, _) => (0, usize::from(len)),
    };
    Ok(Some((*first, 2 + extended, len)))
}

/// The kind of a frame that is a message of its own.
fn whole_message(first: u8) -> Result<u8> {
    if first & 0x80 == 0 || first & 0x0f == 0 {
        bail!("a fragment of a message: {first:#04x}");
    }
    Ok(first & 0x0f)
}

impl Reader {
    /// Hands every frame whose head is complete to `each`.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(Frame<'_>),
    ) -> Result<()> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            if self.carry.is_empty() {
                let whole = header(bytes)?
                    .filter(|(_, begin, len)| bytes.len() >= begin + (*len).min(HEAD));
                if let Some((first, begin, len)) = whole {
                    let opcode = whole_message(first)?;
                    let head = bytes.get(begin..begin + len.min(HEAD)).unwrap_or_default();
                    each(Frame { opcode, head, len });
                    self.skip = begin + len;
                    continue;
                }
            }
            // Byte by byte until the head is whole: once per read at most.
            let [byte, rest @ ..] = bytes else {
                return Ok(());
            };
            self.carry.push(*byte);
            bytes = rest;
            if let Some((first, begin, len)) = header(&self.carry)?
                && self.carry.len() == begin + len.min(HEAD)
            {
                let opcode = whole_message(first)?;
                let head = self.carry.get(begin..).unwrap_or_default();
                each(Frame { opcode, head, len });
                self.skip = len - head.len();
                self.carry.clear();
            }
        }
    }
}

/// The payload of a stream of frames, in the pieces it comes in; for who compares every byte.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    /// A header that did not arrive in one piece.
    carry: Vec<u8>,
    /// Payload of the frame that still has to come.
    left: usize,
}

impl Payload {
    /// Hands every piece to `each`. Control frames end the stream for this reader.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) -> Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
                each(piece);
                self.left -= piece.len();
                bytes = rest;
                continue;
            }
            let (byte, rest) = bytes.split_at(1);
            self.carry.extend_from_slice(byte);
            bytes = rest;
            if let Some((first, _, len)) = header(&self.carry)? {
                if first & 0x0f >= CLOSE {
                    bail!("a control frame: {first:#04x}");
                }
                self.left = len;
                self.carry.clear();
            }
        }
        Ok(())
    }
}

/// Appends a masked frame. The mask is zero: the payload stays readable, and the server does
/// the same work for it.
pub(crate) fn put_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends the header of such a frame.
pub(crate) fn put_header(out: &mut Vec<u8>, opcode: u8, len: usize) {
    out.push(0x80 | opcode);
    match len {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

/// A request to join `room`.
pub(crate) fn handshake(room: &str) -> String {
    format!(
        "GET /{room} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}

/// The code and reason of a close frame.
pub(crate) fn close_of(head: &[u8]) -> (u16, String) {
    match head {
        [a, b, reason @ ..] => (
            u16::from_be_bytes([*a, *b]),
            String::from_utf8_lossy(reason).into_owned(),
        ),
        _ => (1005, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        for len in [0usize, 1, 125, 126, 300, 70_000] {
            let mut frame = Vec::new();
            put_frame(&mut frame, TEXT, &vec![b'x'; len]);
            // As a server sends it: without the mask and its bit.
            let mask = frame.len() - len - 4;
            frame.drain(mask..mask + 4);
            frame[1] &= 0x7f;
            stream.extend(frame);
        }
        for cut in [1, 2, 3, 7, 64, 1000, stream.len()] {
            let mut reader = Reader::default();
            let mut lens = Vec::new();
            for piece in stream.chunks(cut) {
                let mut each = |frame: Frame<'_>| {
                    assert_eq!(frame.head.len(), frame.len.min(HEAD));
                    assert!(frame.head.iter().all(|byte| *byte == b'x'));
                    lens.push(frame.len);
                };
                reader.feed(piece, &mut each).unwrap();
            }
            assert_eq!(lens, [0, 1, 125, 126, 300, 70_000], "cut {cut}");
            let (mut payload, mut bytes) = (Payload::default(), 0);
            for piece in stream.chunks(cut) {
                payload
                    .feed(piece, &mut |piece| bytes += piece.len())
                    .unwrap();
            }
            assert_eq!(bytes, lens.iter().sum::<usize>(), "cut {cut}");
        }
    }
}
