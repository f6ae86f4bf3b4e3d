//! The client's side of RFC 6455, as little of it as counting needs.
//!
//! The [`Reader`] finds frames in a byte stream and hands out where each begins; payloads are
//! skipped, not copied. Servers send unfragmented and unmasked frames to these clients, and
//! compressed ones only to those who agreed to that; anything else is an error, because a
//! benchmark of a broken stream measures nothing. [`Payload`] hands out every byte, of fragments
//! too.

use anyhow::{Result, bail};

/// Payload bytes that are handed out with a frame, unless more are wanted: all of a control frame.
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
/// What else the first byte of a compressed message says (RFC 7692): RSV1.
pub(crate) const PACKED: u8 = 0x40;

/// The name of that extension.
pub(crate) const DEFLATE: &str = "permessage-deflate";

/// One frame: its kind, whether it is compressed, the first bytes of its payload, and how long
/// that is.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) packed: bool,
    pub(crate) head: &'a [u8],
    pub(crate) len: usize,
}

/// Where a stream of frames was left.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Payload bytes that are handed out with a frame.
    head: usize,
    /// Whether it was agreed that messages may be compressed.
    packs: bool,
    /// A header and payload head that did not arrive in one piece.
    carry: Vec<u8>,
    /// Payload still to come and not to be looked at.
    skip: usize,
}

/// First byte, header length and payload length of the frame that `bytes` begin with; a message
/// may be compressed if that was agreed to.
fn header(bytes: &[u8], packs: bool) -> Result<Option<(u8, usize, usize)>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let reserved = match packs && first & 0x0f < CLOSE {
        true => 0x70 & !PACKED,
        false => 0x70,
    };
    if first & reserved != 0 || second & 0x80 != 0 {
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

/// The kind of a frame that is a message of its own, and whether it is compressed.
fn whole_message(first: u8) -> Result<(u8, bool)> {
    if first & 0x80 == 0 || first & 0x0f == 0 {
        bail!("a fragment of a message: {first:#04x}");
    }
    Ok((first & 0x0f, first & PACKED != 0))
}

impl Reader {
    /// At the begin of a stream: `head` bytes of each payload are handed out, [`HEAD`] at least.
    pub(crate) fn new(head: usize, packs: bool) -> Self {
        Reader {
            head: head.max(HEAD),
            packs,
            carry: Vec::new(),
            skip: 0,
        }
    }

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
                let most = self.head;
                let whole = header(bytes, self.packs)?
                    .filter(|(_, begin, len)| bytes.len() >= begin + (*len).min(most));
                if let Some((first, begin, len)) = whole {
                    let (opcode, packed) = whole_message(first)?;
                    let head = bytes.get(begin..begin + len.min(most)).unwrap_or_default();
                    each(Frame {
                        opcode,
                        packed,
                        head,
                        len,
                    });
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
            if let Some((first, begin, len)) = header(&self.carry, self.packs)?
                && self.carry.len() == begin + len.min(self.head)
            {
                let (opcode, packed) = whole_message(first)?;
                let head = self.carry.get(begin..).unwrap_or_default();
                each(Frame {
                    opcode,
                    packed,
                    head,
                    len,
                });
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
            if let Some((first, _, len)) = header(&self.carry, false)? {
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

/// A request to join `room`, which may offer to read compressed messages.
pub(crate) fn handshake(room: &str, packs: bool) -> String {
    let offer = match packs {
        true => format!("Sec-WebSocket-Extensions: {DEFLATE}\r\n"),
        false => String::new(),
    };
    format!(
        "GET /{room} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{offer}\r\n"
    )
}

/// Whether the answer to such a request agrees to the offer.
pub(crate) fn agrees(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    text.lines()
        .filter_map(|line| line.strip_prefix("sec-websocket-extensions:"))
        .any(|value| value.trim().starts_with(DEFLATE))
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
        let cuts = [1, 2, 3, 7, 64, 1000, stream.len()];
        for (cut, head) in cuts.into_iter().flat_map(|cut| [(cut, HEAD), (cut, 4096)]) {
            let mut reader = Reader::new(head, false);
            let mut lens = Vec::new();
            for piece in stream.chunks(cut) {
                let mut each = |frame: Frame<'_>| {
                    assert_eq!(frame.head.len(), frame.len.min(head));
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

    #[test]
    fn a_compressed_message_is_read_only_where_that_was_agreed_to() {
        let (message, ping) = ([0x80 | PACKED | TEXT, 1, b'x'], [0x80 | PACKED | PING, 0]);
        let mut packed = Vec::new();
        let mut each = |frame: Frame<'_>| packed.push(frame.packed);
        assert!(Reader::new(HEAD, false).feed(&message, &mut each).is_err());
        assert!(Reader::new(HEAD, true).feed(&ping, &mut each).is_err());
        Reader::new(HEAD, true).feed(&message, &mut each).unwrap();
        assert_eq!(packed, [true]);
    }

    #[test]
    fn an_offer_is_agreed_to_or_not() {
        let header = "sec-websocket-extensions: permessage-deflate; a\r\n";
        assert!(
            handshake("room", true)
                .to_lowercase()
                .contains("\r\nsec-websocket-ext")
        );
        assert!(!handshake("room", false).contains("Extensions"));
        assert!(agrees(format!("HTTP/1.1 101\r\n{header}\r\n").as_bytes()));
        assert!(!agrees(b"HTTP/1.1 101\r\nupgrade: websocket\r\n\r\n"));
    }
}
