//! What late joiners hear first: a ring of a room's newest broadcast messages.

use std::collections::VecDeque;

use bytes::Bytes;

/// Which messages a room keeps for late joiners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The newest so many broadcast messages.
    All(usize),
    /// The newest so many that the child tagged with `_cache: true`.
    Tagged(usize),
}

impl Keep {
    fn count(self) -> usize {
        match self {
            Keep::All(count) | Keep::Tagged(count) => count,
        }
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

    /// Keeps a copy of one encoded broadcast message, if it is one of those to be kept.
    pub(crate) fn push(&mut self, frame: &[u8], tagged: bool) {
        let wanted = matches!(self.keep, Keep::All(_)) || tagged;
        if !wanted || self.keep.count() == 0 || frame.len() > self.limit {
            return;
        }
        // A copy: a slice would pin the whole batch that it was printed in.
        self.frames.push_back(Bytes::copy_from_slice(frame));
        self.bytes += frame.len();
        while self.frames.len() > self.keep.count() || self.bytes > self.limit {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
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
        let mut history = History::new(Keep::All(2), 100);
        for frame in [b"one", b"two", b"six"] {
            history.push(frame, false);
        }
        assert_eq!(kept(&history), [b"two", b"six"]);
    }

    #[test]
    fn only_tagged_ones_are_kept_when_asked_so() {
        let mut history = History::new(Keep::Tagged(2), 100);
        history.push(b"plain", false);
        history.push(b"tagged", true);
        assert_eq!(kept(&history), [b"tagged"]);
    }

    #[test]
    fn bytes_are_bounded() {
        let mut history = History::new(Keep::All(100), 10);
        history.push(&[1; 6], false);
        history.push(&[2; 6], false);
        history.push(&[3; 11], false);
        assert_eq!(kept(&history), [[2; 6]]);
    }
}
