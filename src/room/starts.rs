//! How often programs may be started, over all rooms: a bucket of tokens that fills evenly.
//!
//! A start takes a token, or a place in the line for one that is yet to come, as long as that is not
//! too far away. So a crowd that comes back at once is served in turn, and one that would wait too
//! long is told when to try again.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// As many tokens as come in that time are there at once, after a pause.
const BURST: Duration = Duration::from_secs(1);
/// The longest wait in the line.
const LINE: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Starts {
    /// The time between two tokens; none does not count.
    every: Option<Duration>,
    /// When the bucket would be full, had nothing more been taken: the further away, the emptier.
    full: Mutex<Option<Instant>>,
}

impl Starts {
    pub(super) fn new(every: Option<Duration>) -> Starts {
        Starts {
            every,
            full: Mutex::new(None),
        }
    }

    /// When the next program may start; an error is how long to wait before asking again.
    pub(super) fn reserve(&self, now: Instant) -> Result<Instant, Duration> {
        let Some((every, mut full)) = self.every.map(|every| (every, self.full.lock())) else {
            return Ok(now);
        };
        let (turn, then) = next(*full, every, now);
        let wait = turn.saturating_duration_since(now);
        if wait > LINE {
            return Err(wait - LINE);
        }
        *full = Some(then);
        Ok(turn)
    }

    /// The same for one that cannot be refused any more: it may wait longer.
    pub(super) fn reserve_in_any_case(&self, now: Instant) -> Instant {
        let Some((every, mut full)) = self.every.map(|every| (every, self.full.lock())) else {
            return now;
        };
        let (turn, then) = next(*full, every, now);
        *full = Some(then);
        turn
    }
}

/// When the next token is there, and when the bucket is full once it is taken.
fn next(full: Option<Instant>, every: Duration, now: Instant) -> (Instant, Instant) {
    let then = full.map_or(now, |full| full.max(now)) + every;
    // One token is always allowed, however slowly they come.
    let burst = BURST.max(every);
    let turn = then.checked_sub(burst).map_or(now, |turn| turn.max(now));
    (turn, then)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn so_many_start_at_once_and_then_one_after_the_other() {
        let starts = Starts::new(Some(SECOND / 4));
        let now = Instant::now();
        let turns: Vec<_> = (0..6)
            .map(|_| starts.reserve(now).unwrap().duration_since(now))
            .collect();
        let quarter = SECOND / 4;
        let zero = Duration::ZERO;
        assert_eq!(turns, [zero, zero, zero, zero, quarter, quarter * 2]);
        // After a pause they are there again, and no more of them.
        let later = now + SECOND * 60;
        let at_once = (0..9)
            .filter(|_| starts.reserve(later) == Ok(later))
            .count();
        assert_eq!(at_once, 4);
    }

    #[test]
    fn who_would_wait_too_long_is_told_when_to_come_again() {
        let starts = Starts::new(Some(SECOND * 2));
        let now = Instant::now();
        assert_eq!(starts.reserve(now), Ok(now), "one is always allowed");
        assert_eq!(starts.reserve(now), Ok(now + SECOND * 2));
        assert_eq!(starts.reserve(now), Ok(now + SECOND * 4));
        assert_eq!(starts.reserve(now), Err(SECOND));
        assert_eq!(
            starts.reserve(now),
            Err(SECOND),
            "who is refused takes nothing"
        );
        assert_eq!(starts.reserve(now + SECOND), Ok(now + SECOND * 6));
        assert_eq!(starts.reserve_in_any_case(now), now + SECOND * 8);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let starts = Starts::new(None);
        let now = Instant::now();
        assert!((0..1000).all(|_| starts.reserve(now) == Ok(now)));
        assert_eq!(starts.reserve_in_any_case(now), now);
    }
}
