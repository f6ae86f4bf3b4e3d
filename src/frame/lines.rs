//! Pieces between delimiters: unframed output, and the lines that JSON framing reads.
//!
//! Pieces that are whole inside one read are slices of it; an unfinished one is held, bounded by the
//! limit, and searched only in the bytes that are new. Empty pieces are pieces. It does not know
//! what a piece means.

use super::{Broken, Kind};

/// A buffer up to this size is kept for the next unfinished piece; a larger one is given back.
const KEPT_BUFFER: usize = 256 << 10; // four reads of the child's output

/// Cuts a stream at its delimiters.
#[derive(Debug)]
pub(super) struct Lines {
    cut: Cut,
    strip_cr: bool,
    /// All delimiters are ASCII, so they never fall inside a character and a run of pieces that
    /// is valid UTF-8 is made of valid pieces.
    ascii: bool,
    max: usize,
    partial: Vec<u8>,
}

impl Lines {
    pub(super) fn new(delimiters: &[u8], strip_cr: bool, max: usize) -> Lines {
        Lines {
            cut: Cut::at(delimiters),
            strip_cr,
            ascii: delimiters.is_ascii(),
            max,
            partial: Vec::new(),
        }
    }

    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        piece: &mut impl FnMut(Kind, &[u8]),
    ) -> Result<(), Broken> {
        let mut rest = bytes;
        if !self.partial.is_empty() {
            let Some(at) = self.cut.first(rest) else {
                return self.hold(rest);
            };
            let (head, tail) = rest.split_at(at);
            self.hold(head)?;
            let whole = self.without_cr(&self.partial);
            piece(Kind::of(whole), whole);
            self.release();
            rest = tail.get(1..).unwrap_or_default();
        }
        let Some(last) = self.cut.last(rest) else {
            return self.hold(rest);
        };
        let (mut whole, tail) = rest.split_at(last + 1);
        // One look at the whole run is several times cheaper than one at each short piece.
        let all_text = self.ascii && Kind::of(whole) == Kind::Text;
        while let Some(at) = self.cut.first(whole) {
            let (head, after) = whole.split_at(at);
            self.fits(head.len(), head.last())?;
            let line = self.without_cr(head);
            piece(if all_text { Kind::Text } else { Kind::of(line) }, line);
            whole = after.get(1..).unwrap_or_default();
        }
        self.hold(tail)
    }

    /// Delivers what no delimiter ended, to the last byte: a CR there is not half of a line end.
    pub(super) fn finish(&mut self, piece: &mut impl FnMut(Kind, &[u8])) {
        if !self.partial.is_empty() {
            piece(Kind::of(&self.partial), &self.partial);
        }
        self.partial = Vec::new();
    }

    pub(super) fn buffered(&self) -> usize {
        self.partial.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.partial.capacity()
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let len = self.partial.len() + bytes.len();
        if let Err(broken) = self.fits(len, bytes.last().or(self.partial.last())) {
            self.partial = Vec::new();
            return Err(broken);
        }
        if len > self.partial.capacity() {
            // Doubling keeps long pieces linear; the limit keeps it from passing what may be held.
            let target = len.max((2 * self.partial.capacity()).min(self.max));
            self.partial.reserve_exact(target - self.partial.len());
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    /// The limit is on the message, and a CR that may yet be stripped is not part of it.
    fn fits(&self, len: usize, last: Option<&u8>) -> Result<(), Broken> {
        let spare = usize::from(self.strip_cr && last == Some(&b'\r'));
        match len > self.max.saturating_add(spare) {
            true => Err(Broken::TooLong(self.max)),
            false => Ok(()),
        }
    }

    fn without_cr<'a>(&self, piece: &'a [u8]) -> &'a [u8] {
        match piece.strip_suffix(b"\r") {
            Some(line) if self.strip_cr => line,
            _ => piece,
        }
    }

    fn release(&mut self) {
        match self.partial.capacity() <= KEPT_BUFFER {
            true => self.partial.clear(),
            false => self.partial = Vec::new(),
        }
    }
}

/// Where pieces end.
#[derive(Debug)]
enum Cut {
    One(u8),
    Two(u8, u8),
    Three(u8, u8, u8),
    /// More than three: a flag per byte value.
    Many(Box<[bool; 256]>),
}

impl Cut {
    fn at(delimiters: &[u8]) -> Cut {
        match *delimiters {
            [] => Cut::One(b'\n'),
            [a] => Cut::One(a),
            [a, b] => Cut::Two(a, b),
            [a, b, c] => Cut::Three(a, b, c),
            _ => {
                let mut ends = Box::new([false; 256]);
                for &byte in delimiters {
                    ends[usize::from(byte)] = true;
                }
                Cut::Many(ends)
            }
        }
    }

    #[inline]
    fn first(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Cut::One(a) => memchr::memchr(*a, bytes),
            Cut::Two(a, b) => memchr::memchr2(*a, *b, bytes),
            Cut::Three(a, b, c) => memchr::memchr3(*a, *b, *c, bytes),
            Cut::Many(ends) => bytes.iter().position(|&byte| ends[usize::from(byte)]),
        }
    }

    #[inline]
    fn last(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Cut::One(a) => memchr::memrchr(*a, bytes),
            Cut::Two(a, b) => memchr::memrchr2(*a, *b, bytes),
            Cut::Three(a, b, c) => memchr::memrchr3(*a, *b, *c, bytes),
            Cut::Many(ends) => bytes.iter().rposition(|&byte| ends[usize::from(byte)]),
        }
    }
}
