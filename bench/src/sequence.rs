//! Numbered lines, and the exact count of what happened to them on the way.

use std::collections::BTreeMap;
use std::fmt;

/// Digits of a number at the start of a line.
pub(crate) const DIGITS: usize = 12;

/// What one reader has seen of a stream of lines numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    next: u64,
    /// Numbers that were passed over and have not come since: start to end.
    missing: BTreeMap<u64, u64>,
    pub(crate) received: u64,
    pub(crate) duplicated: u64,
    /// Came, but after a higher number.
    pub(crate) reordered: u64,
}

impl Sequence {
    /// One line came.
    pub(crate) fn note(&mut self, number: u64) {
        self.received += 1;
        if number == self.next {
            self.next += 1;
        } else if number > self.next {
            self.missing.insert(self.next, number);
            self.next = number + 1;
        } else {
            self.late(number);
        }
    }

    fn late(&mut self, number: u64) {
        let gap = self.missing.range(..=number).next_back();
        let Some((start, end)) = gap.map(|(start, end)| (*start, *end)) else {
            self.duplicated += 1;
            return;
        };
        if number >= end {
            self.duplicated += 1;
            return;
        }
        self.reordered += 1;
        self.missing.remove(&start);
        if start < number {
            self.missing.insert(start, number);
        }
        if number + 1 < end {
            self.missing.insert(number + 1, end);
        }
    }

    /// The number that is to come next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Numbers passed over without an excuse are skipped on purpose: the server told of them.
    pub(crate) fn excuse(&mut self, numbers: u64) {
        self.next += numbers;
    }

    /// How many of the first `total` never came.
    pub(crate) fn lost(&self, total: u64) -> u64 {
        let inside: u64 = self.missing.iter().map(|(start, end)| end - start).sum();
        inside + total.saturating_sub(self.next)
    }
}

/// What became of all messages of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Messages that should have come.
    pub(crate) due: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
}

impl Faults {
    /// Readers who should each have heard `lines`.
    pub(crate) fn of<'a>(sequences: impl IntoIterator<Item = &'a Sequence>, lines: u64) -> Self {
        let mut faults = Faults::default();
        for sequence in sequences {
            faults.due += lines;
            faults.lost += sequence.lost(lines);
            // What was never printed is no better than what came twice.
            faults.duplicated += sequence.duplicated + sequence.next.saturating_sub(lines);
            faults.reordered += sequence.reordered;
        }
        faults
    }

    /// All came, once, in order.
    pub(crate) fn is_none(&self) -> bool {
        self.lost + self.duplicated + self.reordered == 0
    }

    pub(crate) fn add(&mut self, other: &Faults) {
        self.due += other.due;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults {
            due,
            lost,
            duplicated,
            reordered,
        } = self;
        write!(
            f,
            "of {due} messages {lost} lost, {duplicated} duplicated, {reordered} reordered"
        )
    }
}

/// The number at the start of a line.
pub(crate) fn number(line: &[u8]) -> Option<u64> {
    let digits = line.first_chunk::<DIGITS>()?;
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Appends line `number`, `size` bytes without its newline.
pub(crate) fn put_line(out: &mut Vec<u8>, number: u64, size: usize) {
    let start = out.len();
    out.resize(start + size.max(DIGITS), b'.');
    let mut rest = number;
    for place in (start..start + DIGITS).rev() {
        if let Some(digit) = out.get_mut(place) {
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
    }
    out.push(b'\n');
}

/// Digits of a time in nanoseconds, behind the number.
const DUE_DIGITS: usize = 20;

/// Appends line `number`, which also says when it was due, by the monotonic clock.
pub(crate) fn put_due_line(out: &mut Vec<u8>, number: u64, due: u64, size: usize) {
    let start = out.len();
    put_line(out, number, size.max(DIGITS + DUE_DIGITS));
    let mut rest = due;
    for place in (start + DIGITS..start + DIGITS + DUE_DIGITS).rev() {
        if let Some(digit) = out.get_mut(place) {
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
    }
}

/// When the line was due, in nanoseconds.
pub(crate) fn due(line: &[u8]) -> Option<u64> {
    let digits = line.get(DIGITS..DIGITS + DUE_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_is_told_from_the_others() {
        let mut sequence = Sequence::default();
        for number in [0, 1, 1, 5, 3, 3, 6, 4] {
            sequence.note(number);
        }
        assert_eq!(sequence.received, 8);
        assert_eq!(sequence.duplicated, 2, "1 and 3");
        assert_eq!(sequence.reordered, 2, "3 and 4");
        assert_eq!(sequence.lost(7), 1, "2");
        assert_eq!(sequence.lost(10), 4, "2, 7, 8, 9");
    }

    #[test]
    fn what_is_excused_is_not_lost() {
        let mut sequence = Sequence::default();
        sequence.note(0);
        sequence.excuse(5);
        sequence.note(6);
        assert_eq!(sequence.lost(7), 0);
    }

    #[test]
    fn a_line_says_its_number() {
        let mut line = Vec::new();
        put_line(&mut line, 90_210, 64);
        assert_eq!(line.len(), 65);
        assert_eq!(number(&line), Some(90_210));
        assert_eq!(number(b"not a number"), None);
        assert_eq!(due(&line), None);
    }

    #[test]
    fn a_line_says_when_it_was_due() {
        let mut line = Vec::new();
        put_due_line(&mut line, 3, 987_654_321_012, 64);
        assert_eq!(
            (number(&line), due(&line)),
            (Some(3), Some(987_654_321_012))
        );
        assert_eq!(line.len(), 65);
    }

    #[test]
    fn what_was_never_printed_counts_as_twice() {
        let mut sequence = Sequence::default();
        (0..4).for_each(|number| sequence.note(number));
        let faults = Faults::of([&sequence], 3);
        assert_eq!((faults.due, faults.lost, faults.duplicated), (3, 0, 1));
        assert!(!faults.is_none());
        assert!(Faults::of([&sequence], 4).is_none());
    }
}
