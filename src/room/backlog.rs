//! The backlog: the append-only, byte-bounded record of what everybody in a room hears.
//!
//! It holds batches of encoded frames by stream position; readers keep [`Cursor`]s and take what
//! comes after theirs. It promises that nothing within `limit` bytes of the fastest reader is
//! dropped, and that its newest batch is never dropped for size. A batch may have a twin for
//! clients that read compressed frames; it counts as held, and is what goes first. It knows no
//! clients and no I/O.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::twin::{Growing, Twin};

/// Batches appended since the last merge that make another worthwhile: bounds what the
/// book-keeping of many small batches costs (256 × about 150 bytes) beside the bytes themselves.
const LOOSE_MAX: usize = 256;
/// What small batches are merged into: large enough for one write, small enough to copy cheaply.
const MERGED: usize = 32 << 10;
/// Which part of the limit twins may have beside as much as fits in the limit: the newest keep theirs
/// even where somebody who lags keeps the plain bytes at the limit.
const TWINS_PART: usize = 4;

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
    twin: Option<Box<Twin>>,
}

impl Batch {
    fn end(&self) -> u64 {
        self.start.at + self.bytes.len() as u64
    }

    fn twin_held(&self) -> usize {
        self.twin.as_ref().map_or(0, |twin| twin.held())
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
    /// Bytes of batches, and of twins.
    held: usize,
    twins_held: usize,
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
            twins_held: 0,
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
        self.held + self.twins_held
    }

    /// Appends whole frames that hold `messages` messages, and their twin.
    pub(crate) fn append(&mut self, bytes: Bytes, messages: u64, twin: Option<Box<Twin>>) {
        if bytes.is_empty() {
            return;
        }
        let start = self.end;
        self.end.at += bytes.len() as u64;
        self.end.messages += messages;
        self.held += bytes.len();
        let batch = Batch { start, bytes, twin };
        self.twins_held += batch.twin_held();
        self.batches.push_back(batch);
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
            self.twins_held -= batch.twin_held();
            self.batches.pop_front();
        }
        if self.batches.is_empty() {
            // An idle room keeps nothing.
            self.batches = VecDeque::new();
            self.loose = 0;
        } else if self.loose > LOOSE_MAX {
            self.merge();
        }
        if self.twins_held > self.limit / TWINS_PART {
            self.shed_twins();
        }
    }

    /// Drops the oldest twins beyond what they may have.
    fn shed_twins(&mut self) {
        let most = (self.limit / TWINS_PART).max(self.limit.saturating_sub(self.held));
        for batch in &mut self.batches {
            if self.twins_held <= most {
                break;
            }
            if let Some(twin) = batch.twin.take() {
                self.twins_held -= twin.held();
            }
        }
    }

    /// Hands out what lies between `from` and `until` to `each`, until that returns false.
    ///
    /// `until` is a frame boundary; slices never reach over it. With `packed` they are of twins,
    /// where there are any.
    pub(crate) fn read(
        &self,
        from: Cursor,
        until: Cursor,
        packed: bool,
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
            let (end, after) = if batch.end() > until.at {
                ((until.at - batch.start.at) as usize, until)
            } else {
                let next = self
                    .batches
                    .get(index + 1)
                    .map_or(self.end, |next| next.start);
                (batch.bytes.len(), next)
            };
            let twin = batch.twin.as_ref().filter(|_| packed);
            let bytes = twin
                .and_then(|twin| twin.slice(begin, end))
                .unwrap_or_else(|| batch.bytes.slice(begin..end));
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
        let mut run: Option<Run> = None;
        for batch in self.batches.drain(..) {
            if batch.bytes.len() >= MERGED / 2 {
                merged.extend(run.take().map(Run::done));
                merged.push_back(batch);
                continue;
            }
            if run
                .as_ref()
                .is_some_and(|run| run.bytes.len() + batch.bytes.len() > MERGED)
            {
                merged.extend(run.take().map(Run::done));
            }
            run.get_or_insert_with(|| Run::new(batch.start)).add(&batch);
        }
        merged.extend(run.map(Run::done));
        self.batches = merged;
        self.twins_held = self.batches.iter().map(Batch::twin_held).sum();
    }
}

/// Small batches that become one.
struct Run {
    start: Cursor,
    bytes: BytesMut,
    twin: Option<Growing>,
}

impl Run {
    fn new(start: Cursor) -> Self {
        Run {
            start,
            bytes: BytesMut::with_capacity(MERGED),
            twin: None,
        }
    }

    fn add(&mut self, batch: &Batch) {
        match (&batch.twin, &mut self.twin) {
            (Some(twin), growing) => growing
                .get_or_insert_with(|| Growing::after(&self.bytes))
                .add(self.bytes.len(), twin),
            (None, Some(growing)) => growing.add_plain(&batch.bytes),
            (None, None) => {}
        }
        self.bytes.extend_from_slice(&batch.bytes);
    }

    fn done(self) -> Batch {
        Batch {
            start: self.start,
            bytes: self.bytes.freeze(),
            twin: self.twin.map(|twin| Box::new(twin.done())),
        }
    }
}

#[cfg(test)]
mod tests;
