//! The nonces of the last minute: what was here before is not believed again.
//!
//! A nonce is kept until the time it was signed at is no longer good. Only what is well signed gets here, so no stranger fills it;
//! should the fleet itself do so, the oldest are forgotten first.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// Nonces remembered: over 1,000 handshakes a second for a minute, in about 4 MB.
const MOST: usize = 1 << 16;

/// See the module's documentation. Times are since the epoch.
#[derive(Debug, Default)]
pub(super) struct Replays {
    seen: HashSet<[u8; 16]>,
    /// In the order they came, with the time from which each is too old to be believed anyway.
    order: VecDeque<(Duration, [u8; 16])>,
}

impl Replays {
    /// Whether a nonce that was signed at `said` comes for the first time; from now on it does not.
    pub(super) fn is_first(
        &mut self,
        nonce: [u8; 16],
        said: Duration,
        now: Duration,
        window: Duration,
    ) -> bool {
        // Not in the order of their ends, but each ends within two windows of its coming: what is
        // behind one that still counts waits for it, and no longer than that.
        while let Some((end, old)) = self.order.front()
            && (*end < now || self.order.len() >= MOST)
        {
            self.seen.remove(old);
            self.order.pop_front();
        }
        let first = self.seen.insert(nonce);
        if first {
            self.order.push_back((said.saturating_add(window), nonce));
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    fn nonce(n: usize) -> [u8; 16] {
        (n as u128).to_be_bytes()
    }

    #[test]
    fn a_nonce_is_new_once_for_as_long_as_its_time_is_good() {
        let mut replays = Replays::default();
        let at = Duration::from_secs(1000);
        assert!(replays.is_first(nonce(1), at, at, WINDOW));
        assert!(!replays.is_first(nonce(1), at, at + WINDOW, WINDOW));
        assert!(replays.is_first(nonce(2), at, at, WINDOW));
    }

    #[test]
    fn what_is_too_old_to_be_believed_is_forgotten() {
        let mut replays = Replays::default();
        let at = Duration::from_secs(1000);
        for n in 0..100 {
            replays.is_first(nonce(n), at, at, WINDOW);
        }
        replays.is_first(nonce(100), at + WINDOW * 2, at + WINDOW * 2, WINDOW);
        assert_eq!((replays.seen.len(), replays.order.len()), (1, 1));
    }

    #[test]
    fn no_number_of_them_takes_more_than_its_memory() {
        let mut replays = Replays::default();
        let at = Duration::from_secs(1000);
        for n in 0..MOST + 10 {
            assert!(replays.is_first(nonce(n), at, at, WINDOW));
        }
        assert_eq!((replays.seen.len(), replays.order.len()), (MOST, MOST));
        assert!(!replays.is_first(nonce(MOST), at, at, WINDOW));
    }
}
