//! Lines of 1 KiB like those of a game, and whether what somebody heard is one of them.
//!
//! A line follows from its number alone, so that every byte of every message can be compared,
//! compressed or not. What is compressed is inflated once: everybody else whose bytes are the same
//! heard the same.

use std::io::Write;

use anyhow::{Context, Result, bail};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::chance::Chance;
use crate::sequence::{DIGITS, number};

/// Bytes of a line, without its newline.
pub(crate) const SIZE: usize = 1024;
/// What a compressor leaves out at the end of a message (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

const OPEN: &str = "{\"n\":\"";
/// Where what somebody said begins, at the latest.
const SAID: usize = SIZE - 120;
const NAMES: [&str; 16] = [
    "Ada", "Bashir", "Chloé", "Dmitri", "Esi", "Farid", "Gwen", "Hiro", "Ines", "Jonas", "Kaja",
    "Lwazi", "Mina", "Noor", "Oskar", "Pilar",
];
const WORDS: [&str; 16] = [
    "wait", "behind", "you", "the", "gate", "is", "open", "who", "has", "keys", "nobody", "left",
    "north", "run", "now", "again",
];

/// Appends line `number`, without a newline.
pub(crate) fn put(out: &mut Vec<u8>, number: u64) {
    let start = out.len();
    let mut chance = Chance::new(number);
    // Writing to memory does not fail.
    let _ = write!(out, "{OPEN}{number:0DIGITS$}\",\"players\":[");
    let mut comma = "";
    while out.len() - start < SAID - 80 {
        let (name, id) = (chance.of(&NAMES), chance.below(1_000));
        let (x, y) = (chance.below(100_000), chance.below(100_000));
        let (health, score) = (chance.below(101), chance.below(50_000));
        let _ = write!(
            out,
            "{comma}{{\"id\":{id},\"name\":\"{name}\",\"x\":{}.{:02},\"y\":{}.{:02},\
             \"health\":{health},\"score\":{score}}}",
            x / 100,
            x % 100,
            y / 100,
            y % 100,
        );
        comma = ",";
    }
    let _ = write!(out, "],\"said\":\"{}", chance.of(&WORDS));
    let end = start + SIZE - "\"}".len();
    while out.len() < end {
        out.push(b' ');
        out.extend_from_slice(chance.of(&WORDS).as_bytes());
    }
    out.truncate(end);
    out.extend_from_slice(b"\"}");
}

/// A line as a client sends it that was agreed with.
pub(crate) fn pack(text: &[u8]) -> Result<Vec<u8>> {
    let mut packed = Vec::with_capacity(text.len() + 64);
    let mut stream = Compress::new(Compression::default(), false);
    stream.compress_vec(text, &mut packed, FlushCompress::Sync)?;
    let whole = packed.strip_suffix(&TAIL).context("no end of a block")?;
    Ok(whole.to_vec())
}

/// The first so many lines.
pub(crate) struct States {
    plain: Vec<u8>,
    /// How each was compressed when somebody first heard it.
    packed: Vec<Vec<u8>>,
    inflater: Decompress,
    inflated: Vec<u8>,
}

impl States {
    pub(crate) fn new(lines: u64) -> Self {
        let mut plain = Vec::with_capacity(SIZE * lines as usize);
        (0..lines).for_each(|number| put(&mut plain, number));
        States {
            plain,
            packed: vec![Vec::new(); lines as usize],
            inflater: Decompress::new(false),
            inflated: Vec::with_capacity(2 * SIZE),
        }
    }

    /// Line `number`.
    pub(crate) fn line(&self, number: u64) -> Option<&[u8]> {
        self.plain.chunks_exact(SIZE).nth(number as usize)
    }

    /// Which line `text` is, byte for byte.
    pub(crate) fn plain(&self, text: &[u8]) -> Result<u64> {
        let number = text.get(OPEN.len()..).and_then(number);
        let same = |number: &u64| self.line(*number) == Some(text);
        number.filter(same).context("a message that nobody sent")
    }

    /// The same of a compressed one; `expected` is the line that it should be.
    pub(crate) fn packed(&mut self, payload: &[u8], expected: u64) -> Result<u64> {
        let known = self.packed.get(expected as usize);
        if known.is_some_and(|known| known == payload && !known.is_empty()) {
            return Ok(expected);
        }
        self.inflated.clear();
        self.inflater.reset(false);
        for piece in [payload, &TAIL] {
            let before = self.inflater.total_in();
            let flush = FlushDecompress::Sync;
            let status = self
                .inflater
                .decompress_vec(piece, &mut self.inflated, flush)?;
            let taken = self.inflater.total_in() - before == piece.len() as u64;
            if status == Status::StreamEnd || !taken {
                bail!("a message that does not inflate to a line");
            }
        }
        let number = self.plain(&self.inflated)?;
        if let Some(known) = self.packed.get_mut(number as usize) {
            known.clear();
            known.extend_from_slice(payload);
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_of_its_size_and_says_its_number() {
        let states = States::new(1_000);
        for number in 0..1_000 {
            let line = states.line(number).unwrap();
            assert_eq!(line.len(), SIZE);
            assert_eq!(states.plain(line).unwrap(), number);
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert!(value["players"].as_array().unwrap().len() > 5);
        }
        assert!(states.line(1_000).is_none());
    }

    #[test]
    fn what_nobody_sent_is_told_from_what_was() {
        let mut states = States::new(3);
        let mut line = states.line(1).unwrap().to_vec();
        let packed = pack(&line).unwrap();
        assert!(packed.len() < SIZE / 2);
        line[SIZE / 2] ^= 1;
        assert!(states.plain(&line).is_err());
        assert!(states.packed(&pack(&line).unwrap(), 1).is_err());
        assert!(states.packed(&packed[..packed.len() - 20], 1).is_err());
        // First inflated, then known, and then said again in another line's place.
        for expected in [1, 1, 2] {
            assert_eq!(states.packed(&packed, expected).unwrap(), 1);
        }
    }
}
