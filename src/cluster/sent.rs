//! When a request was sent, by a clock that stands while the machine sleeps and by one that does
//! not: what a late answer grants began at the sending, and sleep is no pardon.

use std::time::{Duration, Instant as Awake};

use tokio::time::Instant;

use crate::child::since_boot;

/// Two clocks are not read in one instant: less than that is no sleep.
const BLINK: Duration = Duration::from_millis(10);

/// The moment at which a request was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// By the clock of timers.
    pub(super) at: Instant,
    awake: Awake,
    boot: Duration,
}

impl Sent {
    /// Now.
    pub(super) fn now() -> Self {
        Sent {
            at: Instant::now(),
            boot: since_boot(),
            awake: Awake::now(),
        }
    }

    /// The end of what lasts so long from the sending, for timers that are set now.
    pub(super) fn end_of(&self, time: Duration) -> Instant {
        let awake = self.awake.elapsed();
        self.end_after_sleep(time, since_boot().saturating_sub(self.boot + awake))
    }

    fn end_after_sleep(&self, time: Duration, slept: Duration) -> Instant {
        let slept = if slept < BLINK { Duration::ZERO } else { slept };
        self.at + time.saturating_sub(slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_which_the_machine_slept_is_over_too() {
        let sent = Sent::now();
        let lease = Duration::from_secs(50);
        let ends = |slept| sent.end_after_sleep(lease, slept) - sent.at;
        assert_eq!(ends(Duration::ZERO), lease);
        assert_eq!(ends(BLINK / 2), lease);
        assert_eq!(ends(Duration::from_secs(20)), Duration::from_secs(30));
        assert_eq!(ends(Duration::from_secs(30_000)), Duration::ZERO);
        assert!(sent.end_of(lease) <= sent.at + lease);
    }
}
