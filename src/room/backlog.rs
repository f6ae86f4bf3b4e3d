//! The backlog: the append-only, byte-bounded record of what everybody in a room hears.
//!
//! It holds batches of encoded frames by stream position; readers keep [`Cursor`]s and take what
//! comes after theirs. It promises that nothing within `limit` bytes of the fastest reader is
//! dropped, and that its newest batch is never dropped for size. It knows no clients and no I/O.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Batches appended since the last merge that make another worthwhile: bounds what the
/// book-keeping of many small batches costs (256 × about 150 bytes) beside the bytes themselves.
const LOOSE_MAX: usize = 256;
/// What small batches are merged into: large enough for one write, small enough to copy cheaply.
const MERGED: usize = 32 << 10;

/// A place in the stream of everything the room's child has said to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Cursor {
    /// Bytes of encoded frames before this place.
    pub(crate) at: u64,
    /// Messages before this place.
    pub(crate) messages: u64,
}

#[derive(Debug)]
struct Batch {
    start: Cursor,
    bytes: Bytes,
}

impl Batch {
    fn end(&self) -> u64 {
        self.start.at + self.bytes.len() as u64
    }
}

/// A cursor points before the oldest batch that is still held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Behind;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Backlog {
    batches: VecDeque<Batch>,
    end: Cursor,
    held: usize,
    limit: usize,
    loose: usize,
}

impl Backlog {
    /// An empty backlog that keeps `limit` bytes behind the fastest reader.
    pub(crate) fn new(limit: usize) -> Self {
        Backlog {
            batches: VecDeque::new(),
            end: Cursor::default(),
            held: 0,
            limit,
            loose: 0,
        }
    }

    /// Where the next batch will start.
    pub(crate) fn end(&self) -> Cursor {
        self.end
    }

    /// The oldest position that can still be read.
    pub(crate) fn start(&self) -> u64 {
        self.batches
            .front()
            .map_or(self.end.at, |batch| batch.start.at)
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Appends whole frames that hold `messages` messages.
    pub(crate) fn append(&mut self, bytes: Bytes, messages: u64) {
        if bytes.is_empty() {
            return;
        }
        let start = self.end;
        self.end.at += bytes.len() as u64;
        self.end.messages += messages;
        self.held += bytes.len();
        self.batches.push_back(Batch { start, bytes });
        self.loose += 1;
    }

    /// Drops what every reader has passed, and what is more than the limit behind the fastest.
    pub(crate) fn trim(&mut self, fastest: u64, slowest: u64) {
        while let Some(batch) = self.batches.front() {
            let passed = batch.end() <= slowest;
            let too_old =
                self.batches.len() > 1 && fastest.saturating_sub(batch.end()) > self.limit as u64;
            if !passed && !too_old {
                break;
            }
            self.held -= batch.bytes.len();
            self.batches.pop_front();
        }
        if self.batches.is_empty() {
            // An idle room keeps nothing.
            self.batches = VecDeque::new();
            self.loose = 0;
        } else if self.loose > LOOSE_MAX {
            self.merge();
        }
    }

    /// Hands out what lies between `from` and `until` to `each`, until that returns false.
    ///
    /// `until` is a frame boundary; slices never reach over it.
    pub(crate) fn read(
        &self,
        from: Cursor,
        until: Cursor,
        mut each: impl FnMut(Bytes, Cursor) -> bool,
    ) -> Result<(), Behind> {
        if from.at < self.start() {
            return Err(Behind);
        }
        let mut at = from.at;
        let first = self.batches.partition_point(|batch| batch.end() <= at);
        for index in first..self.batches.len() {
            let Some(batch) = self.batches.get(index) else {
                break;
            };
            if at >= until.at {
                break;
            }
            let begin = (at - batch.start.at) as usize;
            let (bytes, after) = if batch.end() > until.at {
                (
                    batch
                        .bytes
                        .slice(begin..(until.at - batch.start.at) as usize),
                    until,
                )
            } else {
                let next = self
                    .batches
                    .get(index + 1)
                    .map_or(self.end, |next| next.start);
                (batch.bytes.slice(begin..), next)
            };
            at = after.at;
            if !each(bytes, after) {
                break;
            }
        }
        Ok(())
    }

    /// Copies runs of small batches together, each byte at most once.
    fn merge(&mut self) {
        self.loose = 0;
        let mut merged: VecDeque<Batch> = VecDeque::with_capacity(64);
        let mut run: Option<(Cursor, BytesMut)> = None;
        let flush = |run: &mut Option<(Cursor, BytesMut)>, merged: &mut VecDeque<Batch>| {
            if let Some((start, bytes)) = run.take() {
                merged.push_back(Batch {
                    start,
                    bytes: bytes.freeze(),
                });
            }
        };
        for batch in self.batches.drain(..) {
            if batch.bytes.len() >= MERGED / 2 {
                flush(&mut run, &mut merged);
                merged.push_back(batch);
                continue;
            }
            if run
                .as_ref()
                .is_some_and(|(_, run)| run.len() + batch.bytes.len() > MERGED)
            {
                flush(&mut run, &mut merged);
            }
            run.get_or_insert_with(|| (batch.start, BytesMut::with_capacity(MERGED)))
                .1
                .extend_from_slice(&batch.bytes);
        }
        flush(&mut run, &mut merged);
        self.batches = merged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(backlog: &Backlog, from: Cursor) -> Result<(Vec<u8>, Cursor), Behind> {
        let mut heard = Vec::new();
        let mut at = from;
        backlog.read(from, backlog.end(), |bytes, after| {
            heard.extend_from_slice(&bytes);
            at = after;
            true
        })?;
        Ok((heard, at))
    }

    #[test]
    fn what_is_within_the_limit_of_the_fastest_stays() {
        let mut backlog = Backlog::new(10);
        for batch in [b"aaaaa", b"bbbbb", b"ccccc", b"ddddd"] {
            backlog.append(Bytes::from_static(batch), 1);
        }
        backlog.trim(15, 0);
        assert_eq!(
            backlog.start(),
            0,
            "the end of the first is exactly ten behind"
        );
        backlog.trim(16, 0);
        assert_eq!(backlog.start(), 5);
        assert_eq!(read_all(&backlog, Cursor::default()), Err(Behind));
    }

    #[test]
    fn the_newest_batch_is_never_too_old() {
        let mut backlog = Backlog::new(10);
        backlog.append(Bytes::from(vec![7; 1000]), 1);
        backlog.trim(5000, 0);
        assert_eq!(backlog.held(), 1000);
    }

    #[test]
    fn what_everybody_has_passed_is_dropped() {
        let mut backlog = Backlog::new(1 << 20);
        backlog.append(Bytes::from_static(b"all heard"), 1);
        backlog.trim(9, 9);
        assert_eq!((backlog.held(), backlog.start()), (0, 9));
    }

    proptest! {
        #[test]
        fn every_reader_hears_every_byte_in_order_or_is_told(
            steps in prop::collection::vec((1usize..80, 0usize..4, 0usize..3), 1..1200),
            limit in 1usize..4000,
        ) {
            let mut backlog = Backlog::new(limit);
            let mut said = Vec::new();
            let mut readers = [Cursor::default(); 3];
            let mut lost = [false; 3];
            for (index, (size, who, reads)) in steps.into_iter().enumerate() {
                let batch = vec![index as u8; size];
                said.extend_from_slice(&batch);
                backlog.append(Bytes::from(batch), 1);
                if let Some(reader) = readers.get_mut(who).filter(|_| !lost[who]) {
                    let from = *reader;
                    let mut heard = Vec::new();
                    let mut left = reads;
                    match backlog.read(from, backlog.end(), |bytes, after| {
                        heard.extend_from_slice(&bytes);
                        *reader = after;
                        left = left.saturating_sub(1);
                        left > 0
                    }) {
                        Ok(()) => prop_assert_eq!(&heard[..], &said[from.at as usize..reader.at as usize]),
                        Err(Behind) => lost[who] = true,
                    }
                }
                let fastest = readers.iter().map(|reader| reader.at).max().unwrap_or(0);
                let slowest = readers.iter().map(|reader| reader.at).min().unwrap_or(0);
                backlog.trim(fastest, slowest);
                for (who, reader) in readers.iter().enumerate() {
                    if !lost[who] && reader.at < backlog.start() {
                        prop_assert!(fastest - reader.at > limit as u64, "dropped within the limit");
                    }
                }
            }
            let (rest, at) = read_all(&backlog, Cursor { at: backlog.start(), messages: 0 }).expect("held");
            prop_assert_eq!(at, backlog.end());
            prop_assert_eq!(&rest[..], &said[said.len() - rest.len()..]);
        }
    }
}
