//! What late joiners hear first: a ring of a room's newest broadcast messages.

use std::collections::VecDeque;

use bytes::Bytes;

/// What an entry costs beside its bytes.
const ENTRY: usize = 64;

/// Which messages a room keeps for late joiners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The newest so many broadcast messages.
    All(usize),
    /// The newest so many that the child tagged with `_cache: true`.
    Tagged(usize),
}

impl Keep {
    /// How many are kept.
    pub(crate) fn count(self) -> usize {
        match self {
            Keep::All(count) | Keep::Tagged(count) => count,
        }
    }

    /// Whether a message is one of those that are kept.
    pub(crate) fn wants(self, tagged: bool) -> bool {
        self.count() > 0 && (tagged || matches!(self, Keep::All(_)))
    }
}

/// The ring: encoded frames, oldest first, bounded in number and in bytes.
#[derive(Debug)]
pub(crate) struct History {
    keep: Keep,
    frames: VecDeque<Bytes>,
    bytes: usize,
    limit: usize,
}

impl History {
    /// An empty ring of at most `limit` bytes.
    pub(crate) fn new(keep: Keep, limit: usize) -> Self {
        History {
            keep,
            frames: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    /// Which messages are kept.
    pub(crate) fn keep(&self) -> Keep {
        self.keep
    }

    /// Keeps one encoded broadcast message; one above the limit is not kept.
    pub(crate) fn push(&mut self, frame: Bytes) {
        if frame.len() + ENTRY > self.limit {
            return;
        }
        self.bytes += frame.len() + ENTRY;
        self.frames.push_back(frame);
        while self.frames.len() > self.keep.count() || self.bytes > self.limit {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= oldest.len() + ENTRY;
        }
    }

    /// The kept frames, oldest first.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Bytes> {
        self.frames.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(history: &History) -> Vec<&[u8]> {
        history.frames().map(|frame| &frame[..]).collect()
    }

    #[test]
    fn the_newest_stay_in_order() {
        let mut history = History::new(Keep::All(2), 1000);
        for frame in ["one", "two", "six"] {
            history.push(frame.into());
        }
        assert_eq!(kept(&history), [b"two", b"six"]);
    }

    #[test]
    fn tagged_ones_are_told_from_others() {
        assert!(Keep::All(1).wants(false) && Keep::All(1).wants(true));
        assert!(!Keep::Tagged(1).wants(false) && Keep::Tagged(1).wants(true));
        assert!(!Keep::All(0).wants(true));
    }

    #[test]
    fn bytes_are_bounded() {
        let mut history = History::new(Keep::All(100), ENTRY + 10);
        for (byte, length) in [(1, 6), (2, 6), (3, 11)] {
            history.push(vec![byte; length].into());
        }
        assert_eq!(kept(&history), [[2; 6]]);
    }
}
