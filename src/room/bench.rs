//! A backlog and its readers for `benches/`, which see a crate from outside. Hidden and no part of
//! the interface; rooms keep the two in the feed.

use bytes::Bytes;

use super::backlog::{self, Cursor};

/// A backlog that some readers follow.
#[derive(Debug)]
pub struct Backlog {
    backlog: backlog::Backlog,
    cursors: Vec<Cursor>,
}

impl Backlog {
    /// Of `limit` bytes, with so many readers at its start.
    pub fn new(limit: usize, readers: usize) -> Self {
        Backlog {
            backlog: backlog::Backlog::new(limit),
            cursors: vec![Cursor::default(); readers],
        }
    }

    /// Appends whole frames that hold so many messages.
    pub fn append(&mut self, bytes: Bytes, messages: u64) {
        self.backlog.append(bytes, messages, None);
    }

    /// Every reader takes all it has not taken, piece by piece; returns how many bytes they took
    /// together, or none if one of them fell behind.
    pub fn read(&mut self, mut each: impl FnMut(Bytes)) -> Option<usize> {
        let mut taken = 0;
        for cursor in &mut self.cursors {
            let read = self
                .backlog
                .read(*cursor, self.backlog.end(), false, |bytes, after| {
                    taken += bytes.len();
                    each(bytes);
                    *cursor = after;
                    true
                });
            read.ok()?;
        }
        Some(taken)
    }

    /// Drops what all readers have passed, and, without readers, what is over the limit.
    pub fn trim(&mut self) {
        let slowest = self.cursors.iter().map(|cursor| cursor.at).min();
        self.backlog
            .trim(self.backlog.end().at, slowest.unwrap_or(0));
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.backlog.held()
    }
}
