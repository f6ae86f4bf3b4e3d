//! What an operator who watches a room is shown of its traffic: a sample, bounded in rate and in
//! memory, of what passes while somebody watches.
//!
//! Whoever brings something never waits and wakes nobody: watchers come and look. Of a room that
//! nobody watches this is one flag that is read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;

use super::live::Room;
use crate::frame::Kind;

/// Things that are shown of each way in a second, and as many at once.
const RATE: f64 = 200.0;
/// Bytes shown of one thing; of longer ones the first.
const SHOWN: usize = 4 << 10;
/// Things kept for watchers who have not looked yet, and bytes of these.
const KEPT: (usize, usize) = (2048, 2 << 20);
/// Ids that are named of those who hear something.
const IDS: usize = 16;

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To the program, from a client or an operator.
    In,
    /// From the program.
    Out,
    /// From the program, to its stderr.
    Stderr,
}

/// Whom something concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// All clients hear it.
    Everyone,
    /// These hear it, the first of them.
    Only(Vec<u32>),
    /// All but these hear it, the first of them.
    Except(Vec<u32>),
    /// This client said it.
    From(u32),
    /// An operator said it.
    Operator,
    /// No client has to do with it: metadata, stderr.
    Nobody,
}

impl Whom {
    /// Of a list of ids as many as are named.
    pub(super) fn first(ids: &[u32]) -> Vec<u32> {
        ids.iter().take(IDS).copied().collect()
    }
}

/// One thing that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: SystemTime,
    /// Which way.
    pub way: Way,
    /// Whom it concerns.
    pub whom: Whom,
    /// What of websocket messages it is, or would be.
    pub kind: Kind,
    /// Its first bytes.
    pub payload: Bytes,
    /// How many it has in all.
    pub length: usize,
}

/// How much passed one way since somebody watches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Passed {
    /// To the program.
    #[serde(rename = "in")]
    pub into: u64,
    /// From the program.
    pub out: u64,
    /// Lines of stderr.
    pub stderr: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Tap {
    watched: AtomicBool,
    sample: Mutex<Option<Box<Sample>>>,
}

#[derive(Debug)]
struct Sample {
    watchers: usize,
    flows: [Flow; 3],
    kept: VecDeque<Arc<Seen>>,
    bytes: usize,
    /// Of the thing after the newest, from 0.
    next: u64,
}

#[derive(Debug)]
struct Flow {
    passed: u64,
    allowance: f64,
    since: Instant,
}

impl Sample {
    fn new(now: Instant) -> Self {
        let flow = || Flow {
            passed: 0,
            allowance: RATE,
            since: now,
        };
        Sample {
            watchers: 0,
            flows: [flow(), flow(), flow()],
            kept: VecDeque::new(),
            bytes: 0,
            next: 0,
        }
    }

    fn flow(&mut self, way: Way) -> &mut Flow {
        let [into, out, stderr] = &mut self.flows;
        match way {
            Way::In => into,
            Way::Out => out,
            Way::Stderr => stderr,
        }
    }

    fn passed(&self) -> Passed {
        let [into, out, stderr] = &self.flows;
        Passed {
            into: into.passed,
            out: out.passed,
            stderr: stderr.passed,
        }
    }

    fn keep(&mut self, seen: Seen) {
        self.bytes += seen.payload.len();
        self.kept.push_back(Arc::new(seen));
        self.next += 1;
        while self.kept.len() > KEPT.0 || self.bytes > KEPT.1 {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.bytes -= oldest.payload.len();
        }
    }
}

impl Flow {
    /// So many pass at once: how many of them may be shown.
    fn pass(&mut self, count: u64, now: Instant) -> usize {
        self.passed += count;
        let gained = now.saturating_duration_since(self.since).as_secs_f64() * RATE;
        self.allowance = (self.allowance + gained).min(RATE);
        self.since = now;
        (self.allowance as u64).min(count) as usize
    }
}

/// Takes what may be shown of things that pass together.
pub(super) struct Slot<'a> {
    sample: &'a mut Sample,
    way: Way,
    left: usize,
}

impl Slot<'_> {
    /// Whether no more are shown.
    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Shows one, if one more may be.
    pub(super) fn show(&mut self, whom: Whom, kind: Kind, payload: &[u8]) {
        if self.is_full() {
            return;
        }
        self.left -= 1;
        self.sample.flow(self.way).allowance -= 1.0;
        let shown = payload.get(..SHOWN).unwrap_or(payload);
        self.sample.keep(Seen {
            at: SystemTime::now(),
            way: self.way,
            whom,
            kind,
            payload: Bytes::copy_from_slice(shown),
            length: payload.len(),
        });
    }
}

impl Tap {
    /// Whether somebody watches: what passes need not be brought while nobody does.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Relaxed)
    }

    /// So many things pass one way; `show` brings those that are shown.
    #[cold]
    pub(super) fn pass(&self, way: Way, count: u64, show: impl FnOnce(&mut Slot<'_>)) {
        self.pass_at(way, count, Instant::now(), show);
    }

    fn pass_at(&self, way: Way, count: u64, now: Instant, show: impl FnOnce(&mut Slot<'_>)) {
        let mut sample = self.sample.lock();
        // The last watcher may just have gone.
        let Some(sample) = sample.as_deref_mut() else {
            return;
        };
        let left = sample.flow(way).pass(count, now);
        if left > 0 {
            show(&mut Slot { sample, way, left });
        }
    }

    fn enter(&self) -> u64 {
        let mut sample = self.sample.lock();
        let sample = sample.get_or_insert_with(|| Box::new(Sample::new(Instant::now())));
        sample.watchers += 1;
        self.watched.store(true, Relaxed);
        sample.next
    }

    fn leave(&self) {
        let mut sample = self.sample.lock();
        let last = sample.as_deref_mut().is_none_or(|sample| {
            sample.watchers -= 1;
            sample.watchers == 0
        });
        if last {
            *sample = None;
            self.watched.store(false, Relaxed);
        }
    }

    /// What is kept from the one of that number on, and how much has passed.
    fn since(&self, next: &mut u64) -> (Vec<Arc<Seen>>, Passed) {
        let sample = self.sample.lock();
        let Some(sample) = sample.as_deref() else {
            return (Vec::new(), Passed::default());
        };
        let new = sample.next.saturating_sub(*next);
        *next = sample.next;
        let old = sample.kept.len() as u64;
        let skip = usize::try_from(old.saturating_sub(new)).unwrap_or(usize::MAX);
        (
            sample.kept.iter().skip(skip).cloned().collect(),
            sample.passed(),
        )
    }
}

/// Somebody who watches a room; dropping it is looking away.
#[derive(Debug)]
pub struct Watch {
    room: Arc<Room>,
    next: u64,
    before: Passed,
}

impl Watch {
    /// From now on.
    pub fn new(room: Arc<Room>) -> Self {
        let next = room.tap.enter();
        let mut from = next;
        let (_, before) = room.tap.since(&mut from);
        Watch { room, next, before }
    }

    /// The room.
    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// What is shown of what passed since the last look, and how much has passed since the first.
    pub fn look(&mut self) -> (Vec<Arc<Seen>>, Passed) {
        let (seen, passed) = self.room.tap.since(&mut self.next);
        let before = self.before;
        let since = Passed {
            into: passed.into.saturating_sub(before.into),
            out: passed.out.saturating_sub(before.out),
            stderr: passed.stderr.saturating_sub(before.stderr),
        };
        (seen, since)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.room.tap.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pass(tap: &Tap, count: u64, now: Instant) {
        tap.pass_at(Way::Out, count, now, |slot| {
            for number in 0..count {
                let text = number.to_string();
                slot.show(Whom::Everyone, Kind::Text, text.as_bytes());
            }
        });
    }

    #[test]
    fn nobody_pays_for_what_nobody_watches() {
        let tap = Tap::default();
        assert!(!tap.is_watched());
        pass(&tap, 5, Instant::now());
        tap.enter();
        assert!(tap.is_watched());
        tap.enter();
        tap.leave();
        assert!(tap.is_watched(), "one still does");
        tap.leave();
        assert!(!tap.is_watched() && tap.sample.lock().is_none());
    }

    #[test]
    fn what_is_shown_is_bounded_and_what_passed_is_told_exactly() {
        let (tap, now) = (Tap::default(), Instant::now());
        let mut next = tap.enter();
        for millisecond in 0..2000 {
            pass(&tap, 10, now + Duration::from_millis(millisecond));
        }
        let (seen, passed) = tap.since(&mut next);
        assert_eq!(passed.out, 20_000);
        let expected = RATE as usize * 3;
        assert!(
            (expected - 10..=expected).contains(&seen.len()),
            "{}",
            seen.len()
        );
        let (seen, _) = tap.since(&mut next);
        assert!(seen.is_empty(), "each is seen once");
    }

    #[test]
    fn the_flood_of_one_way_hides_nothing_of_another() {
        let (tap, now) = (Tap::default(), Instant::now());
        let mut next = tap.enter();
        pass(&tap, 100_000, now);
        tap.pass_at(Way::In, 1, now, |slot| {
            slot.show(Whom::From(7), Kind::Text, b"hello");
        });
        let (seen, _) = tap.since(&mut next);
        assert_eq!(seen.len(), RATE as usize + 1);
        assert_eq!(seen.last().unwrap().whom, Whom::From(7));
    }

    #[test]
    fn whoever_comes_later_sees_only_what_comes_later() {
        let (tap, now) = (Tap::default(), Instant::now());
        let mut first = tap.enter();
        pass(&tap, 3, now);
        let mut second = tap.enter();
        pass(&tap, 1, now);
        assert_eq!(tap.since(&mut first).0.len(), 4);
        assert_eq!(tap.since(&mut second).0.len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let tap = Tap::default();
        let (mut next, begun) = (tap.enter(), Instant::now());
        for second in 0..10 {
            let now = begun + Duration::from_secs(second);
            tap.pass_at(Way::Out, 200, now, |slot| {
                for _ in 0..200 {
                    slot.show(Whom::Everyone, Kind::Binary, &[7; 100_000]);
                }
            });
        }
        let (seen, passed) = tap.since(&mut next);
        assert_eq!((seen.len(), passed.out), (KEPT.1 / SHOWN, 2000));
        assert!(
            seen.iter()
                .all(|seen| seen.length == 100_000 && seen.payload.len() == SHOWN)
        );
    }
}
