//! RFC 6455 framing, server side: bytes of a client to events, payloads to frames.
//!
//! The [`Decoder`] keeps nothing between messages but a few words; a whole frame that lies in one
//! read is unmasked where it stands and handed out as a slice, without a copy. Errors carry the
//! close code that the RFC asks for. It does no I/O and knows nothing of rooms.

mod encode;

use super::deflate;
use crate::frame::Kind;

pub use encode::{
    cut, encoded_len, frame_len, message, put_close, put_message, put_ping, put_pong,
};
pub(super) use encode::{first_and_payload, put_packed};

/// Longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL_MAX: usize = 125;
/// Longest header of a client's frame: 2 bytes, 8 of extended length, 4 of mask.
const HEADER_MAX: usize = 14;

/// What is decoded before others get their turn: so many frames, or a mebibyte inflated.
const AT_ONCE: u16 = 4096;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Of the first byte of a frame: its message is compressed (RFC 7692 section 6).
const RSV1: u8 = 0x40;

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message; `Kind::Text` is valid UTF-8.
    Message(Kind, &'a [u8]),
    /// To be answered with a pong of the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// An answer to a ping, or a sign of life.
    Pong,
    /// The client ends the connection; no event follows. `None`: it gave no code.
    Close(Option<u16>),
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Against the protocol: close code 1002.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text message or close reason that is not UTF-8: close code 1007.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// What should be deflate data is none, or ends too early: close code 1007. RFC 7692 names no code; the
    /// frames are right, so it is no fault of the protocol but of what a message holds.
    #[error("message is not deflate data")]
    NotDeflate,
    /// A message above the limit: close code 1009.
    #[error("message over {0} bytes")]
    TooBig(usize),
}

impl Violation {
    /// The close code of RFC 6455 section 7.4.1 for it.
    pub fn code(self) -> u16 {
        match self {
            Violation::Protocol(_) => 1002,
            Violation::NotUtf8 | Violation::NotDeflate => 1007,
            Violation::TooBig(_) => 1009,
        }
    }
}

/// Whether the receiver of events wants more of this read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    More,
    /// Stop behind this event; what is left of the read is fed again later.
    Stop,
}

/// The header of the frame that is being read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: u8,
    fin: bool,
    mask: [u8; 4],
    left: usize,
}

/// What becomes of compressed messages: agreed to or a fault; passed over once nobody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inflates {
    Never,
    Agreed,
    Deaf,
}

/// The state of one client's byte stream.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    header: [u8; HEADER_MAX],
    header_len: u8,
    closed: bool,
    inflates: Inflates,
    /// The message being assembled is compressed.
    packed: bool,
    /// What this read has cost so far.
    spent: u16,
    begun: u16,
    frame: Option<Frame>,
    /// Of the message being assembled; `None` between messages.
    kind: Option<Kind>,
    /// What did not arrive in one piece; none between messages.
    pieces: Option<Box<Pieces>>,
}

#[derive(Debug, Default)]
struct Pieces {
    /// Payload of the message so far, unmasked.
    message: Vec<u8>,
    /// How much of a text message is known to be UTF-8.
    checked: usize,
    /// Payload of a control frame.
    control: Vec<u8>,
}

impl Decoder {
    /// A decoder at the start of a stream, for messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Decoder {
            limit,
            header: [0; HEADER_MAX],
            header_len: 0,
            closed: false,
            inflates: Inflates::Never,
            packed: false,
            spent: 0,
            begun: 0,
            frame: None,
            kind: None,
            pieces: None,
        }
    }

    /// From now on messages may come compressed, as agreed; the limit is for what they become.
    pub fn inflate(&mut self) {
        self.inflates = Inflates::Agreed;
    }

    /// From now on nobody listens: compressed messages are passed over, not inflated.
    pub fn pass_over(&mut self) {
        self.inflates = Inflates::Deaf;
    }

    /// Whether the last read was cut short, because what it holds takes long.
    pub fn is_spent(&self) -> bool {
        self.spent >= AT_ONCE && self.inflates != Inflates::Deaf
    }

    /// Whether a message or frame has begun and not ended.
    pub fn is_inside_message(&self) -> bool {
        self.kind.is_some() || self.frame.is_some() || self.header_len > 0
    }

    /// How many messages, and control frames between messages, have begun so far; it wraps.
    pub fn begun(&self) -> u16 {
        self.begun
    }

    /// Decodes `input`, which is unmasked in place, and hands every event to `each`.
    ///
    /// Returns how many bytes were taken: all, unless [`Flow::Stop`], a close, [`Decoder::is_spent`].
    pub fn feed(
        &mut self,
        input: &mut [u8],
        mut each: impl FnMut(Event<'_>) -> Flow,
    ) -> Result<usize, Violation> {
        let mut at = 0;
        self.spent = 0;
        while at < input.len() && !self.closed {
            let frame = match self.frame {
                Some(frame) => frame,
                None => {
                    let (taken, frame) = self.read_header(&input[at..])?;
                    at += taken;
                    let Some(frame) = frame else { break };
                    frame
                }
            };
            let here = frame.left.min(input.len() - at);
            let piece = &mut input[at..at + here];
            at += here;
            let mut frame = frame;
            unmask(piece, &mut frame.mask);
            frame.left -= here;
            let flow = if frame.opcode & 0x8 == 0 {
                self.data(frame, piece, &mut each)?
            } else {
                self.control(frame, piece, &mut each)?
            };
            self.frame = (frame.left > 0).then_some(frame);
            self.spent = self.spent.saturating_add(1);
            if flow == Flow::Stop || self.is_spent() {
                break;
            }
        }
        Ok(at)
    }

    /// Reads one header, which may come a byte at a time. `None`: more bytes are needed.
    fn read_header(&mut self, input: &[u8]) -> Result<(usize, Option<Frame>), Violation> {
        let mut taken = 0;
        loop {
            let have = usize::from(self.header_len);
            let need = header_len(&self.header[..have]);
            if have < need {
                let more = (need - have).min(input.len() - taken);
                if more == 0 {
                    return Ok((taken, None));
                }
                if have == 0 && self.kind.is_none() {
                    self.begun = self.begun.wrapping_add(1);
                }
                self.header[have..have + more].copy_from_slice(&input[taken..taken + more]);
                self.header_len += more as u8;
                taken += more;
                if have < 2 && have + more >= 2 {
                    // What the first two bytes forbid is refused before the rest arrives.
                    self.check_start(self.header[0], self.header[1])?;
                }
                continue;
            }
            self.header_len = 0;
            let frame = self.parse_header(need)?;
            self.frame = Some(frame);
            return Ok((taken, Some(frame)));
        }
    }

    fn check_start(&self, first: u8, second: u8) -> Result<(), Violation> {
        let packed = first & 0x70 == RSV1 && matches!(first & 0x0F, TEXT | BINARY);
        if first & 0x70 != 0 && !(packed && self.inflates != Inflates::Never) {
            return Err(Violation::Protocol("reserved bits set"));
        }
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("frame of a client not masked"));
        }
        match first & 0x0F {
            CLOSE | PING | PONG => {
                if first & 0x80 == 0 {
                    return Err(Violation::Protocol("fragmented control frame"));
                }
                if usize::from(second & 0x7F) > CONTROL_MAX {
                    return Err(Violation::Protocol("control frame too long"));
                }
            }
            CONTINUATION if self.kind.is_none() => {
                return Err(Violation::Protocol("continuation of no message"));
            }
            TEXT | BINARY if self.kind.is_some() => {
                return Err(Violation::Protocol("message begun inside another"));
            }
            CONTINUATION | TEXT | BINARY => {}
            _ => return Err(Violation::Protocol("unknown opcode")),
        }
        Ok(())
    }

    /// `need` is the length of the header, which is complete.
    fn parse_header(&mut self, need: usize) -> Result<Frame, Violation> {
        let header = &self.header[..need];
        let opcode = header[0] & 0x0F;
        let (length, mask_at) = match header[1] & 0x7F {
            126 => (u64::from(u16::from_be_bytes([header[2], header[3]])), 4),
            127 => {
                let mut long = [0; 8];
                long.copy_from_slice(&header[2..10]);
                (u64::from_be_bytes(long), 10)
            }
            short => (u64::from(short), 2),
        };
        if (mask_at == 4 && length < 126) || (mask_at == 10 && length <= 0xFFFF) {
            return Err(Violation::Protocol("length not in its shortest form"));
        }
        if length >> 63 != 0 {
            return Err(Violation::Protocol("length has its highest bit set"));
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&header[mask_at..mask_at + 4]);
        let data = opcode & 0x8 == 0;
        if data && opcode != CONTINUATION {
            self.packed = header[0] & RSV1 != 0;
        }
        let most = if self.packed {
            deflate::longest(self.limit)
        } else {
            self.limit
        };
        let begun = self.pieces.as_ref();
        let begun = begun.map_or(0, |pieces| pieces.message.len());
        let room = most.saturating_sub(begun) as u64;
        if data && length > room {
            return Err(Violation::TooBig(self.limit));
        }
        if data && opcode != CONTINUATION {
            self.kind = Some(if opcode == TEXT {
                Kind::Text
            } else {
                Kind::Binary
            });
        }
        Ok(Frame {
            opcode,
            fin: header[0] & 0x80 != 0,
            mask,
            left: length as usize,
        })
    }

    fn data(
        &mut self,
        frame: Frame,
        piece: &[u8],
        each: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, Violation> {
        let Some(kind) = self.kind else {
            return Ok(Flow::More);
        };
        let last = frame.fin && frame.left == 0;
        if self.packed {
            return self.packed_data(frame, kind, piece, each);
        }
        let begun = self.pieces.as_ref();
        if last && begun.is_none_or(|pieces| pieces.message.is_empty()) {
            // The common case: nothing was kept, the whole message is this slice.
            if kind == Kind::Text && simdutf8::basic::from_utf8(piece).is_err() {
                return Err(Violation::NotUtf8);
            }
            self.kind = None;
            return Ok(each(Event::Message(kind, piece)));
        }
        let pieces = self.pieces.get_or_insert_default();
        pieces.take(piece, frame.left);
        if kind == Kind::Text {
            pieces.check_text(last)?;
        }
        if !last {
            return Ok(Flow::More);
        }
        let message = std::mem::take(&mut pieces.message);
        // A control frame is whole before a data frame goes on: nothing else is kept.
        self.pieces = None;
        self.kind = None;
        Ok(each(Event::Message(kind, &message)))
    }

    /// A compressed message is kept as it comes, and inflated when it is whole: what is between
    /// two reads of it must not occupy what all connections of a thread share.
    fn packed_data(
        &mut self,
        frame: Frame,
        kind: Kind,
        piece: &[u8],
        each: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, Violation> {
        if !frame.fin || frame.left > 0 {
            if self.inflates != Inflates::Deaf {
                let pieces = self.pieces.get_or_insert_default();
                pieces.take(piece, frame.left);
            }
            return Ok(Flow::More);
        }
        let kept = self.pieces.take().map(|mut pieces| {
            pieces.message.extend_from_slice(piece);
            pieces.message
        });
        let payload = kept.as_deref().unwrap_or(piece);
        (self.kind, self.packed) = (None, false);
        if self.inflates == Inflates::Deaf {
            return Ok(Flow::More);
        }
        deflate::inflate(payload, self.limit, |message| {
            let cost = deflate::cost(payload.len(), message.len());
            self.spent = self.spent.saturating_add(cost);
            if kind == Kind::Text && simdutf8::basic::from_utf8(message).is_err() {
                return Err(Violation::NotUtf8);
            }
            Ok(each(Event::Message(kind, message)))
        })
    }

    fn control(
        &mut self,
        frame: Frame,
        piece: &[u8],
        each: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, Violation> {
        if frame.left > 0 {
            let pieces = self.pieces.get_or_insert_default();
            pieces.control.extend_from_slice(piece);
            return Ok(Flow::More);
        }
        let kept = match &mut self.pieces {
            Some(pieces) => std::mem::take(&mut pieces.control),
            None => Vec::new(),
        };
        if self.kind.is_none() {
            self.pieces = None;
        }
        let joined;
        let payload = if kept.is_empty() {
            piece
        } else {
            joined = [&kept, piece].concat();
            &joined
        };
        match frame.opcode {
            PING => Ok(each(Event::Ping(payload))),
            PONG => Ok(each(Event::Pong)),
            _ => {
                let code = parse_close(payload)?;
                self.closed = true;
                Ok(each(Event::Close(code)))
            }
        }
    }
}

impl Pieces {
    /// Keeps a piece of the message; so many bytes of its frame are still to come. Who announces
    /// much and sends little is not given more than double of what came.
    fn take(&mut self, piece: &[u8], left: usize) {
        let room = piece.len() + left.min(self.message.len() + piece.len());
        if room >= self.message.len() {
            self.message.reserve_exact(room);
        }
        self.message.extend_from_slice(piece);
    }

    /// Checks what has come since the last check; only a code point at the very end may be cut.
    fn check_text(&mut self, last: bool) -> Result<(), Violation> {
        let fresh = self.message.get(self.checked..).unwrap_or_default();
        match simdutf8::compat::from_utf8(fresh) {
            Ok(_) => self.checked = self.message.len(),
            Err(error) if error.error_len().is_none() && !last => {
                self.checked += error.valid_up_to();
            }
            Err(_) => return Err(Violation::NotUtf8),
        }
        Ok(())
    }
}

/// The length of a client's frame header that begins with `start`, as far as it shows.
fn header_len(start: &[u8]) -> usize {
    match start.get(1).map(|second| second & 0x7F) {
        None => 2,
        Some(126) => 8,
        Some(127) => 14,
        Some(_) => 6,
    }
}

/// XORs the mask over `piece` and turns the mask so that it fits what follows.
fn unmask(piece: &mut [u8], mask: &mut [u8; 4]) {
    let word = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let mut chunks = piece.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ word).to_ne_bytes());
    }
    let rest = chunks.into_remainder();
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    mask.rotate_left(rest.len() % 4);
}

/// The code of a close payload (RFC 6455 sections 5.5.1 and 7.4).
fn parse_close(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(Violation::Protocol("close code cut short")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    // 1004–1006 and 1015 must not be sent; 1012–1014 are in IANA's registry.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("invalid close code"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::NotUtf8);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod stream;
#[cfg(test)]
mod tests;
