//! Rooms whose program fails again and again, each time soon after its start: they are refused for a
//! growing pause, so that clients that come back at once do not keep the machine busy with failing.
//!
//! Names are from outside, and so only the newest are remembered. One that was forgotten begins
//! anew, which is no worse than a name that nobody knew.

use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::name::RoomName;
use crate::child::Exit;

/// A program that lived so long did not fail at its start.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// The first and the longest pause.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A room that failed is forgotten after so long without a try.
const FORGET: Duration = Duration::from_secs(600);
/// Most rooms that are remembered.
const MOST: usize = 1024;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Crashes {
    /// Failures in a row after which a room is refused; none never refuses.
    limit: Option<usize>,
    /// Those that failed last are last.
    rooms: Mutex<IndexMap<RoomName, Streak>>,
}

#[derive(Debug, Clone, Copy)]
struct Streak {
    failures: u32,
    exit: Exit,
    since: Instant,
    last: Instant,
    /// Refused until then.
    until: Instant,
}

/// Why a room is refused. Seconds, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashLoop {
    /// How its program ended the last time.
    pub exit: Exit,
    /// How often in a row.
    pub failures: u32,
    /// From the first of them to the last.
    pub within: u64,
    /// Until the next try.
    pub again: u64,
}

impl std::fmt::Display for CrashLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CrashLoop {
            exit,
            failures,
            within,
            again,
        } = self;
        write!(
            f,
            "crash loop: {exit}, {failures} times in {within} s; again in {again} s"
        )
    }
}

impl Crashes {
    pub(super) fn new(limit: Option<usize>) -> Crashes {
        Crashes {
            limit,
            rooms: Mutex::default(),
        }
    }

    /// Whether a program may be started for that room.
    pub(super) fn check(&self, room: &RoomName, now: Instant) -> Result<(), CrashLoop> {
        let Some(streak) = self.rooms.lock().get(room).copied() else {
            return Ok(());
        };
        if now >= streak.until {
            return Ok(());
        }
        let seconds = |time: Duration| time.as_millis().div_ceil(1000) as u64;
        Err(CrashLoop {
            exit: streak.exit,
            failures: streak.failures,
            within: seconds(streak.last.duration_since(streak.since)).max(1),
            again: seconds(streak.until.duration_since(now)),
        })
    }

    /// Whatever failed has changed since.
    pub(super) fn forget(&self) {
        self.rooms.lock().clear();
    }

    /// A room's program has ended; a failure if it failed soon after its start.
    pub(super) fn ended(&self, room: &RoomName, failure: Option<Exit>, now: Instant) {
        let Some(limit) = self.limit else { return };
        let mut rooms = self.rooms.lock();
        let known = rooms.shift_remove(room);
        let Some(exit) = failure else { return };
        let known = known.filter(|known| now.duration_since(known.last) < FORGET);
        let failures = known.map_or(0, |known| known.failures).saturating_add(1);
        let beyond = (failures as usize).checked_sub(limit);
        let pause = beyond.map_or(Duration::ZERO, |beyond| {
            let doubled = PAUSE.0 * 2_u32.pow(beyond.min(16) as u32);
            doubled.min(PAUSE.1)
        });
        if rooms.len() >= MOST {
            rooms.shift_remove_index(0);
        }
        let streak = Streak {
            failures,
            exit,
            since: known.map_or(now, |known| known.since),
            last: now,
            until: now + pause,
        };
        rooms.insert(room.clone(), streak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Option<Exit> = Some(Exit::Code(1));
    const SECOND: Duration = Duration::from_secs(1);

    fn name(text: &str) -> RoomName {
        RoomName::parse(text).unwrap()
    }

    #[test]
    fn a_room_that_fails_again_and_again_is_refused_longer_and_longer() {
        let crashes = Crashes::new(Some(3));
        let (room, start) = (name("x"), Instant::now());
        for second in 0..3 {
            let now = start + SECOND * second;
            assert_eq!(crashes.check(&room, now), Ok(()));
            crashes.ended(&room, FAILED, now);
        }
        let mut now = start + SECOND * 2;
        let refused = crashes.check(&room, now).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "crash loop: exit 1, 3 times in 2 s; again in 1 s"
        );
        assert_eq!(crashes.check(&name("y"), now), Ok(()), "no other room");
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = crashes.check(&room, now).unwrap_err().again;
            pauses.push(pause);
            now += SECOND * pause as u32;
            assert_eq!(
                crashes.check(&room, now),
                Ok(()),
                "one try after each pause"
            );
            crashes.ended(&room, FAILED, now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn one_good_end_is_enough() {
        let crashes = Crashes::new(Some(2));
        let (room, now) = (name("x"), Instant::now());
        crashes.ended(&room, FAILED, now);
        crashes.ended(&room, None, now);
        crashes.ended(&room, FAILED, now);
        assert_eq!(crashes.check(&room, now), Ok(()));
        crashes.ended(&room, FAILED, now);
        assert!(crashes.check(&room, now).is_err());
    }

    #[test]
    fn names_from_outside_take_no_more_than_so_much_memory() {
        let crashes = Crashes::new(Some(1));
        let now = Instant::now();
        for number in 0..MOST * 3 {
            crashes.ended(&name(&format!("room{number}")), FAILED, now);
        }
        assert_eq!(crashes.rooms.lock().len(), MOST);
        let newest = name(&format!("room{}", MOST * 3 - 1));
        assert!(crashes.check(&newest, now).is_err());
    }

    #[test]
    fn without_a_limit_nothing_is_remembered() {
        let crashes = Crashes::new(None);
        let (room, now) = (name("x"), Instant::now());
        (0..99).for_each(|_| crashes.ended(&room, FAILED, now));
        assert_eq!(crashes.check(&room, now), Ok(()));
        assert!(crashes.rooms.lock().is_empty());
    }
}
