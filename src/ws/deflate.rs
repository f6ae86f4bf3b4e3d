//! permessage-deflate (RFC 7692): messages compressed and inflated, each by itself.
//!
//! No context is kept between messages, so the state of one thread serves all its connections, an
//! idle one costs nothing, and a frame compressed once fits every client that reads such frames.
//! What comes from outside is inflated up to a limit and no further. It does no I/O.

mod offer;

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::codec::{self, Violation};

pub use offer::{Agreement, Malformed, agree};

/// A longer message is not compressed: that takes about 15 ms for each MiB, in which the thread serves
/// nobody else.
const MOST: usize = 1 << 20;
/// The window of what we send, as a power of two: small enough for most who have less memory, so
/// that one form fits all. JSON of up to 64 KiB becomes 1 % longer than with the largest, 15.
const WINDOW: u8 = 12;
/// Up to twice as fast as 6, and within a tenth as short; 1 is faster again, but a third longer.
const LEVEL: u32 = 2;
/// What a compressor leaves out at the end of a message (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// That, and an empty final block, which shows that nothing was cut off before.
const END: [u8; 9] = [0x00, 0x00, 0xFF, 0xFF, 0x01, 0x00, 0x00, 0xFF, 0xFF];
/// A byte that is inflated may cost as much as so many that it becomes, if it is mostly block headers.
const INPUT_COST: usize = 16;
/// Inflated bytes that cost what a frame does, whatever it holds, up to its way to the child.
const FRAME: usize = 256;
/// What a thread's buffers keep between messages.
const KEPT: usize = 64 << 10;
/// The first buffer for a message, unless the limit is less: most are shorter.
const FIRST: usize = 4 << 10;

struct Packer {
    stream: Compress,
    out: Vec<u8>,
}

struct Inflater {
    stream: Decompress,
    out: Vec<u8>,
}

thread_local! {
    // Made on first use: a server that compresses nothing has none.
    static PACKER: RefCell<Packer> = RefCell::new(Packer {
        stream: Compress::new_with_window_bits(Compression::new(LEVEL), false, WINDOW),
        out: Vec::new(),
    });
    static INFLATER: RefCell<Inflater> = RefCell::new(Inflater {
        stream: Decompress::new(false),
        out: Vec::new(),
    });
}

/// How long the compressed form of a message of `limit` bytes may be: what the worst of usual
/// compressors makes of random bytes (9 bits for each, block headers, the last block).
pub(super) fn longest(limit: usize) -> usize {
    limit
        .saturating_add(limit / 8)
        .saturating_add(limit / 64)
        .saturating_add(64)
}

/// What inflating a message of `packed` bytes to one of `plain` costs, in frames of no length.
pub(super) fn cost(packed: usize, plain: usize) -> u16 {
    let cost = packed.saturating_mul(INPUT_COST).saturating_add(plain) / FRAME;
    u16::try_from(cost).unwrap_or(u16::MAX)
}

/// Appends the compressed form of `frame`, a whole one of ours that holds a whole message.
///
/// Returns false, and appends nothing, if its payload has fewer than `least` bytes, or more than
/// 1 MiB, or would not become shorter.
pub fn pack(out: &mut Vec<u8>, frame: &[u8], least: usize) -> bool {
    let Some((first, payload)) = codec::first_and_payload(frame) else {
        return false;
    };
    if payload.len() < least || payload.len() > MOST {
        return false;
    }
    PACKER.with_borrow_mut(|packer| {
        let packed = packer.pack(payload);
        let shorter = packed.is_some();
        if let Some(packed) = packed {
            codec::put_packed(out, first, packed);
        }
        packer.out.clear();
        packer.out.shrink_to(KEPT);
        shorter
    })
}

/// Inflates the payload of a message, of at most `limit` bytes when inflated, and hands it to `each`.
pub(super) fn inflate<T>(
    payload: &[u8],
    limit: usize,
    each: impl FnOnce(&[u8]) -> Result<T, Violation>,
) -> Result<T, Violation> {
    // Taken out of its place meanwhile: nobody who is called may find that occupied.
    let mut out = INFLATER.with_borrow_mut(|inflater| std::mem::take(&mut inflater.out));
    let inflated = INFLATER
        .with_borrow_mut(|inflater| inflate_into(&mut out, &mut inflater.stream, payload, limit));
    let result = inflated.and_then(|()| each(&out));
    out.clear();
    out.shrink_to(KEPT);
    INFLATER.with_borrow_mut(|inflater| inflater.out = out);
    result
}

impl Packer {
    /// The compressed form of `payload`, if that is shorter.
    fn pack(&mut self, payload: &[u8]) -> Option<&[u8]> {
        // What does not fit in here is not shorter: there the compressor stops.
        let most = payload.len() + TAIL.len();
        self.stream.reset();
        self.out.reserve(most);
        let flush = FlushCompress::Sync;
        let status = self.stream.compress_vec(payload, &mut self.out, flush);
        let whole = matches!(status, Ok(Status::Ok))
            && self.stream.total_in() == payload.len() as u64
            && self.out.len() < most;
        self.out.strip_suffix(&TAIL).filter(|_| whole)
    }
}

/// Puts what `payload` is the compressed form of into `out`, which is empty.
fn inflate_into(
    out: &mut Vec<u8>,
    stream: &mut Decompress,
    payload: &[u8],
    limit: usize,
) -> Result<(), Violation> {
    if payload.is_empty() {
        // Nothing flushed twice: some compressors make that of an empty message.
        return Ok(());
    }
    stream.reset(false);
    let mut rest = payload;
    // Blocks may follow a final one (RFC 7692 section 7.2.1): a stream of its own to inflate.
    while inflate_some(out, stream, &mut rest, limit)? {
        if rest.is_empty() {
            // Whoever ends its stream may forget the byte that makes it fit the tail.
            return Ok(());
        }
        stream.reset(false);
    }
    rest = &END;
    let ended = inflate_some(out, stream, &mut rest, limit)?;
    (ended && rest.is_empty())
        .then_some(())
        .ok_or(Violation::NotDeflate)
}

/// Inflates to the end of `input` or to a final block, and says which.
fn inflate_some(
    out: &mut Vec<u8>,
    stream: &mut Decompress,
    input: &mut &[u8],
    limit: usize,
) -> Result<bool, Violation> {
    // One byte more than may be: if that comes, it was too much.
    let most = limit.saturating_add(1);
    loop {
        if out.len() == out.capacity() {
            let wanted = out.len().saturating_mul(2).clamp(FIRST, FIRST.max(most));
            out.try_reserve_exact(wanted.min(most).saturating_sub(out.len()).max(1))
                .map_err(|_| Violation::TooBig(limit))?;
        }
        let before = stream.total_in();
        let status = stream.decompress_vec(input, out, FlushDecompress::None);
        let taken = (stream.total_in() - before) as usize;
        *input = input.get(taken..).unwrap_or_default();
        if out.len() > limit {
            return Err(Violation::TooBig(limit));
        }
        match status {
            Ok(Status::StreamEnd) => return Ok(true),
            // What is full may hide what comes next.
            Ok(_) if out.len() == out.capacity() => {}
            Ok(_) if input.is_empty() => return Ok(false),
            Ok(Status::Ok) if taken > 0 => {}
            _ => return Err(Violation::NotDeflate),
        }
    }
}

#[cfg(test)]
mod tests;
