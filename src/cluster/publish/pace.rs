//! When to write: every patch sends the whole pod to everybody who watches pods, so news wait a
//! little for company, the more so the less urgent they are. Pure: time and chance are handed in,
//! and nothing waits.

use std::time::Duration;

use tokio::time::Instant;

use super::facts::{Difference, Snapshot};

/// How long a room that came or went waits for others.
const ROOMS: Duration = Duration::from_secs(1);
/// How long a change of counts waits.
const COUNTS: Duration = Duration::from_secs(10);
/// Between two writes, whatever the chance of the jitter; an end of readiness does not wait for it.
const GAP: Duration = Duration::from_secs(1);
/// Between two deletion costs, unless the pod became idle or occupied: controllers that delete look
/// at it once, and those that watch would hear of little else.
const COST_GAP: Duration = Duration::from_secs(30);
/// After a failure, and at most after many.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// After a write of which nobody knows what became: a request that is late may still undo the one
/// after it, so the newest state is written once more.
const CONFIRM: Duration = Duration::from_secs(60);

/// What is known to have been written, and when to write next.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What the API server has; none while that is not known.
    told: Option<Snapshot>,
    /// The last deletion cost that was sent, and since when it is that.
    cost: Option<(u32, Instant)>,
    sent: Option<Instant>,
    rooms_due: Option<Instant>,
    counts_due: Option<Instant>,
    confirm_due: Option<Instant>,
    blocked: Option<Instant>,
    unsure: bool,
    failures: u32,
}

impl Pace {
    /// When `newest` should be written: never, or a time that may have passed. `jitter` gives a
    /// time near the one it gets.
    pub(super) fn next(
        &mut self,
        newest: &Snapshot,
        now: Instant,
        jitter: impl Fn(Duration) -> Duration,
    ) -> Option<Instant> {
        let Some(told) = &self.told else {
            return Some(latest(now, self.blocked));
        };
        let difference = newest.differs_from(told);
        let cost = self.cost.filter(|(cost, _)| *cost != newest.cost());
        if difference == Difference::State {
            return Some(latest(now, self.blocked));
        }
        if difference == Difference::Rooms {
            self.rooms_due.get_or_insert_with(|| now + jitter(ROOMS));
        } else {
            self.rooms_due = None;
        }
        if difference == Difference::Counts || cost.is_some() {
            self.counts_due.get_or_insert_with(|| now + jitter(COUNTS));
        } else if difference == Difference::None {
            self.counts_due = None;
        }
        let counts_due = self.counts_due.filter(|_| difference > Difference::None);
        // A new cost alone waits until it may be told.
        let cost_due = cost.and_then(|(_, since)| Some(self.counts_due?.max(since + COST_GAP)));
        let due = [self.rooms_due, counts_due, cost_due, self.confirm_due];
        let due = due.into_iter().flatten().min()?;
        let gap = self.sent.map(|at| at + GAP);
        Some(latest(latest(due, gap), self.blocked))
    }

    /// The deletion cost to write now: the newest, or the old one while that is too young.
    pub(super) fn cost(&self, newest: &Snapshot, now: Instant) -> u32 {
        let wanted = newest.cost();
        match self.cost {
            Some((old, since)) if (wanted == 0) == (old == 0) && now < since + COST_GAP => old,
            _ => wanted,
        }
    }

    /// A write with that cost is sent now.
    pub(super) fn sent(&mut self, cost: u32, now: Instant) {
        if self.cost.is_none_or(|(old, _)| old != cost) {
            self.cost = Some((cost, now));
        }
        self.sent = Some(now);
        self.rooms_due = None;
        self.counts_due = None;
        self.confirm_due = None;
    }

    /// It was answered: `snapshot` is there now. Gives how many failed before it.
    pub(super) fn told(&mut self, snapshot: Snapshot, now: Instant) -> u32 {
        self.told = Some(snapshot);
        self.confirm_due = std::mem::take(&mut self.unsure).then(|| now + CONFIRM);
        self.blocked = None;
        std::mem::take(&mut self.failures)
    }

    /// It failed. Whatever it was about is written again.
    pub(super) fn failed(
        &mut self,
        outcome: Outcome,
        now: Instant,
        jitter: impl Fn(Duration) -> Duration,
    ) {
        // What is there now may be the old, or what was sent: neither is a reason not to write.
        self.told = None;
        self.unsure |= outcome == Outcome::Unknown;
        let doubled = BACKOFF.0 * 2_u32.pow(self.failures.min(6));
        self.blocked = Some(now + jitter(doubled.min(BACKOFF.1)));
        self.failures = self.failures.saturating_add(1);
    }
}

/// What became of a write that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Nothing.
    Refused,
    /// Nobody knows: it may have been applied, or be applied later.
    Unknown,
}

fn latest(at: Instant, other: Option<Instant>) -> Instant {
    other.map_or(at, |other| at.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::publish::facts::State;
    use crate::room::RoomName;

    fn snapshot(rooms: &[(&str, usize)]) -> Snapshot {
        let room = |(name, clients): &(&str, usize)| (RoomName::parse(name).unwrap(), *clients);
        Snapshot {
            rooms: rooms.iter().map(room).collect(),
            transit: 0,
            limit: 100,
            state: State::Ready,
        }
    }

    /// Writes `newest` at `at` and gives the cost that was written.
    fn write(pace: &mut Pace, newest: &Snapshot, at: Instant) -> u32 {
        let cost = pace.cost(newest, at);
        pace.sent(cost, at);
        pace.told(newest.clone(), at);
        cost
    }

    fn exact(time: Duration) -> Duration {
        time
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn news_wait_as_long_as_they_may() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let one = snapshot(&[("a", 1)]);
        assert_eq!(
            pace.next(&one, start, exact),
            Some(start),
            "nothing is known yet"
        );
        write(&mut pace, &one, start);
        let later = start + 100 * SECOND;
        assert_eq!(pace.next(&one, later, exact), None);
        let counts = snapshot(&[("a", 0)]);
        let due = Some(later + 10 * SECOND);
        assert_eq!(pace.next(&counts, later, exact), due);
        assert_eq!(
            pace.next(&counts, later + SECOND, exact),
            due,
            "seen again is not new"
        );
        let rooms = snapshot(&[("a", 0), ("b", 1)]);
        assert_eq!(
            pace.next(&rooms, later + SECOND, exact),
            Some(later + 2 * SECOND)
        );
        assert_eq!(
            pace.next(&one, later + SECOND, exact),
            None,
            "it is as it was"
        );
        let mut draining = one.clone();
        draining.state = State::Draining;
        assert_eq!(pace.next(&draining, later, exact), Some(later));
    }

    #[test]
    fn a_cost_is_as_old_as_it_must_be_unless_it_becomes_or_was_nothing() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(write(&mut pace, &snapshot(&[]), start), 0);
        assert_eq!(write(&mut pace, &snapshot(&[("a", 1)]), start + SECOND), 1);
        let four = snapshot(&[("a", 4)]);
        assert_eq!(write(&mut pace, &four, start + 11 * SECOND), 1, "too young");
        let due = pace.next(&four, start + 12 * SECOND, exact);
        assert_eq!(due, Some(start + 31 * SECOND), "30 s after the last");
        assert_eq!(write(&mut pace, &four, start + 31 * SECOND), 21);
        assert_eq!(pace.next(&four, start + 32 * SECOND, exact), None);
        assert_eq!(write(&mut pace, &snapshot(&[]), start + 33 * SECOND), 0);
    }

    #[test]
    fn failures_wait_longer_each_time_and_forget_what_is_there() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let one = snapshot(&[("a", 1)]);
        write(&mut pace, &one, start);
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.sent(1, start);
            pace.failed(Outcome::Unknown, start, exact);
            waits.push((pace.next(&one, start, exact).unwrap() - start).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        write(&mut pace, &one, start + 60 * SECOND);
        let again = Some(start + 120 * SECOND);
        assert_eq!(
            pace.next(&one, start + 61 * SECOND, exact),
            again,
            "to be sure"
        );
        write(&mut pace, &one, start + 120 * SECOND);
        assert_eq!(pace.next(&one, start + 121 * SECOND, exact), None);
    }
}
