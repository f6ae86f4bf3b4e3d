//! Length-prefixed packets: gwsocket's strict mode, and `binary` framing.
//!
//! A packet is three u32 in network byte order (client id, type, payload length) and the payload.
//! Packets that lie whole inside one read are handed on as slices of it; for a longer one the room
//! it needs is reserved once. Types nobody knows are skipped as they stream by, never stored.

use super::{Audience, Broken, ClientId, Drop, Event, Kind};

/// The packet type of a text message.
pub(super) const TEXT: u32 = 0x01;
const BINARY: u32 = 0x02;
const LEFT: u32 = 0x08;
const JOINED: u32 = 0x10;

const HEADER: usize = 12;
/// The length of an address field: the longest IPv6 address and its NUL (`INET6_ADDRSTRLEN`).
const ADDRESS: usize = 46;
/// A buffer up to this size is kept for the next packet; a larger one is given back.
const KEPT_BUFFER: usize = 256 << 10;

/// Cuts a stream into packets.
#[derive(Debug)]
pub(super) struct Packets {
    max: usize,
    state: State,
    /// The bytes of the header or payload that is being read and did not fit in one read.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Payload { id: u32, code: u32, len: usize },
    Skip { left: usize },
}

impl Packets {
    pub(super) fn new(max: usize) -> Packets {
        Packets {
            max,
            state: State::Header,
            held: Vec::new(),
        }
    }

    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        let mut rest = bytes;
        loop {
            match self.state {
                State::Header => {
                    let Some(header) = gather(&mut self.held, &mut rest, HEADER) else {
                        return Ok(());
                    };
                    let fields = fields(header);
                    self.held.clear();
                    self.state = self.begin(fields, sink)?;
                }
                State::Payload { id, code, len } => {
                    let Some(payload) = gather(&mut self.held, &mut rest, len) else {
                        return Ok(());
                    };
                    let kind = if code == BINARY {
                        Kind::Binary
                    } else {
                        Kind::of(payload)
                    };
                    let only = [id];
                    let to = if id == 0 {
                        Audience::Everyone
                    } else {
                        Audience::Only(&only)
                    };
                    sink(Event::Message {
                        to,
                        kind,
                        payload,
                        tagged: false,
                    });
                    self.release();
                    self.state = State::Header;
                }
                State::Skip { left } => {
                    let now = left.min(rest.len());
                    rest = rest.get(now..).unwrap_or_default();
                    if now < left {
                        self.state = State::Skip { left: left - now };
                        return Ok(());
                    }
                    self.state = State::Header;
                }
            }
        }
    }

    pub(super) fn finish(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        if !matches!(self.state, State::Header) || !self.held.is_empty() {
            sink(Event::Counted(Drop::PartialPacket));
        }
        *self = Packets::new(self.max);
    }

    pub(super) fn buffered(&self) -> usize {
        self.held.len()
    }

    /// What a header leads to. The length is judged before the type: a child that is out of step
    /// shows up as a wrong length, and skipping gigabytes of its output would lose them in silence.
    fn begin(
        &mut self,
        (id, code, len): (u32, u32, u32),
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<State, Broken> {
        let len = match usize::try_from(len) {
            Ok(len) if len <= self.max => len,
            _ => {
                *self = Packets::new(self.max);
                return Err(Broken::BadPacket);
            }
        };
        Ok(match code {
            TEXT | BINARY => State::Payload { id, code, len },
            _ => {
                sink(Event::Counted(Drop::UnknownType));
                State::Skip { left: len }
            }
        })
    }

    fn release(&mut self) {
        match self.held.capacity() <= KEPT_BUFFER {
            true => self.held.clear(),
            false => self.held = Vec::new(),
        }
    }
}

/// The next `need` bytes of the stream, once they are there: of the read itself if it has all of
/// them, else of `held`, which the caller clears after use.
fn gather<'a, 'read: 'a>(
    held: &'a mut Vec<u8>,
    rest: &mut &'read [u8],
    need: usize,
) -> Option<&'a [u8]> {
    if held.is_empty()
        && let Some((all, after)) = rest.split_at_checked(need)
    {
        *rest = after;
        return Some(all);
    }
    let missing = need.saturating_sub(held.len());
    if !rest.is_empty() {
        held.reserve_exact(missing);
    }
    let (now, after) = rest.split_at(missing.min(rest.len()));
    held.extend_from_slice(now);
    *rest = after;
    (now.len() == missing).then_some(held.as_slice())
}

/// The three numbers of a header; bytes that are not there count as 0.
fn fields(header: &[u8]) -> (u32, u32, u32) {
    let field = |at: usize| {
        let bytes = header.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    (field(0), field(4), field(8))
}

/// The packet type of a client's message.
pub(super) fn code(kind: Kind) -> u32 {
    match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    }
}

/// Appends one packet.
pub(super) fn write(
    id: ClientId,
    code: u32,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Drop> {
    let len = u32::try_from(payload.len()).map_err(|_| Drop::TooLong)?;
    out.reserve(HEADER + payload.len());
    write_header(id, code, len, out);
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends a packet of nobody, whose id is 0.
pub(super) fn write_unsigned(kind: Kind, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Drop> {
    let len = u32::try_from(payload.len()).map_err(|_| Drop::TooLong)?;
    for field in [0, code(kind), len] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends a packet that a client made itself, as sent by that client. The client's header must
/// be that of one text packet and tell the length that follows.
pub(super) fn readdress(id: ClientId, packet: &[u8], out: &mut Vec<u8>) -> Result<(), Drop> {
    let (header, payload) = packet.split_at_checked(HEADER).ok_or(Drop::BadHeader)?;
    let (_, code, len) = fields(header);
    match usize::try_from(len) {
        Ok(len) if code == TEXT && len == payload.len() => write(id, code, payload, out),
        _ => Err(Drop::BadHeader),
    }
}

/// Appends the packet that says that a client joined from `address` (empty when it has none).
pub(super) fn write_joined(id: ClientId, address: &str, out: &mut Vec<u8>) {
    let mut field = [0; ADDRESS];
    // The last byte stays NUL, so that a C child may take the field for a string.
    for (to, from) in field.iter_mut().take(ADDRESS - 1).zip(address.bytes()) {
        *to = from;
    }
    write_header(id, JOINED, ADDRESS as u32, out);
    out.extend_from_slice(&field);
}

/// Appends the packet that says that a client left.
pub(super) fn write_left(id: ClientId, out: &mut Vec<u8>) {
    write_header(id, LEFT, 0, out);
}

fn write_header(id: ClientId, code: u32, len: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.get().to_be_bytes());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests;
