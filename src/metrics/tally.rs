//! Counters with one label, bounded in how many values it can take, and cheap to count with.
//!
//! Counting walks a handful of short words and adds to one atomic: no lock, no allocation after a
//! word was seen once. What exceeds the bound is counted as `other` rather than lost.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Different labels of one counter; the documented reasons are far fewer.
const LABELS: usize = 64;

/// The label of everything past the bound.
const OTHER: &str = "other";

/// Close codes outside RFC 6455's range that the server itself uses: kicked, too slow, and who is not or no
/// longer let in.
const OWN_CODES: [u16; 4] = [4000, 4008, 4401, 4403];

/// First and last of the codes that RFC 6455 and its registry define.
const PROTOCOL_CODES: std::ops::RangeInclusive<u16> = 1000..=1015;

/// A counter by reason; words take their place when they are first counted.
pub(super) struct Tally {
    counts: [(OnceLock<Box<str>>, AtomicU64); LABELS],
    other: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            counts: [const { (OnceLock::new(), AtomicU64::new(0)) }; LABELS],
            other: AtomicU64::new(0),
        }
    }
}

impl Tally {
    pub(super) fn add(&self, label: &str, n: u64) {
        let count = if label == OTHER {
            None
        } else {
            self.place(label)
        };
        count.unwrap_or(&self.other).fetch_add(n, Relaxed);
    }

    /// The label's counter: the first free place becomes its own.
    fn place(&self, label: &str) -> Option<&AtomicU64> {
        let same = |word: &OnceLock<Box<str>>| **word.get_or_init(|| label.into()) == *label;
        self.counts
            .iter()
            .find(|(word, _)| same(word))
            .map(|(_, count)| count)
    }

    /// Every label seen so far with its count.
    pub(super) fn each(&self, mut show: impl FnMut(&str, u64)) {
        for (word, count) in &self.counts {
            let Some(word) = word.get() else { break };
            show(word, count.load(Relaxed));
        }
        let other = self.other.load(Relaxed);
        if other > 0 {
            show(OTHER, other);
        }
    }

    pub(super) fn total(&self) -> u64 {
        let mut sum = 0;
        self.each(|_, count| sum += count);
        sum
    }
}

/// A counter by close code; all its labels exist from the start.
#[derive(Default)]
pub(super) struct Closes {
    protocol: [AtomicU64; 16],
    own: [AtomicU64; OWN_CODES.len()],
    other: AtomicU64,
}

impl Closes {
    pub(super) fn add(&self, code: u16) {
        let protocol = self
            .protocol
            .get(usize::from(code.wrapping_sub(*PROTOCOL_CODES.start())));
        let own = || {
            OWN_CODES
                .iter()
                .position(|own| *own == code)
                .and_then(|at| self.own.get(at))
        };
        protocol
            .or_else(own)
            .unwrap_or(&self.other)
            .fetch_add(1, Relaxed);
    }

    /// Every code with its count.
    pub(super) fn each(&self, mut show: impl FnMut(&str, u64)) {
        let known = PROTOCOL_CODES
            .zip(&self.protocol)
            .chain(OWN_CODES.into_iter().zip(&self.own));
        for (code, count) in known {
            show(&code.to_string(), count.load(Relaxed));
        }
        show(OTHER, self.other.load(Relaxed));
    }

    pub(super) fn total(&self) -> u64 {
        let mut sum = 0;
        self.each(|_, count| sum += count);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_past_the_bound_are_counted_together() {
        let tally = Tally::default();
        for n in 0..LABELS + 10 {
            tally.add(&format!("reason {n}"), 2);
            tally.add(OTHER, 1);
        }
        let mut seen = Vec::new();
        tally.each(|label, count| seen.push((label.to_string(), count)));
        assert_eq!(seen.len(), LABELS + 1);
        assert_eq!(seen[0], ("reason 0".into(), 2));
        assert_eq!(seen[LABELS], (OTHER.into(), 2 * 10 + LABELS as u64 + 10));
        assert_eq!(tally.total(), 3 * (LABELS as u64 + 10));
    }

    #[test]
    fn threads_that_meet_a_new_label_agree_on_its_place() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for label in ["a", "b", "c", "d"].iter().cycle().take(400) {
                        tally.add(label, 1);
                    }
                });
            }
        });
        let mut seen = Vec::new();
        tally.each(|label, count| seen.push((label.to_string(), count)));
        seen.sort();
        assert_eq!(
            seen,
            ["a", "b", "c", "d"].map(|label| (label.to_string(), 400))
        );
    }

    #[test]
    fn a_childs_own_close_codes_cannot_grow_the_label() {
        let closes = Closes::default();
        for code in 0..=u16::MAX {
            closes.add(code);
        }
        let mut seen = Vec::new();
        closes.each(|code, count| seen.push((code.to_string(), count)));
        let known = 16 + OWN_CODES.len();
        assert_eq!(seen.len(), known + 1);
        for (code, count) in &seen[..known] {
            assert_eq!(*count, 1, "{code}");
        }
        assert_eq!(seen[known], (OTHER.into(), 65_536 - known as u64));
        assert_eq!(closes.total(), 65_536);
    }
}
