//! Patience: a client that is about to fall behind is waited for, a little.
//!
//! How far a client seems to be is how much its kernel took for it, and kernels take very
//! different amounts: of readers that are equally fast one may have 4 MiB on its way when
//! another has 100 KiB. Without patience a burst would close the second, which reads as fast as
//! any. While most clients have something to write the room is about as fast as they are, and
//! waiting is free; otherwise what a room may wait in all is a small share of its time. And nobody
//! is waited for longer than some seconds before it has caught up, so that not even a majority that
//! drips can slow the others down for good.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Feed, Member, Slow};

/// The longest that a room waits for clients at once.
const MOST: Duration = Duration::from_secs(2);
/// One part in so many of a room's time may be spent so: what is waited comes back that slowly.
const SHARE: u32 = 10;
/// How long is waited before another look at whether that delays others.
pub(in crate::room) const LOOK: Duration = Duration::from_millis(10);
/// A client that takes no byte for so long is not waited for any longer.
const NO_SIGN: Duration = Duration::from_millis(100);
/// A client is waited for at so many looks at the most, until it has caught up: or one that always
/// reads too slowly would use up what is meant for all.
const LOOKS: u8 = 50;

/// What a room may still wait.
#[derive(Debug)]
pub(in crate::room) struct Patience {
    left: Duration,
    since: Instant,
    /// Waited since the clients that are waited for were last looked at.
    watched: Duration,
}

impl Patience {
    /// All of it.
    pub(in crate::room) fn new(now: Instant) -> Self {
        Patience {
            left: MOST,
            since: now,
            watched: Duration::ZERO,
        }
    }

    /// How long may be waited now.
    pub(in crate::room) fn left(&mut self, now: Instant) -> Duration {
        self.left = MOST.min(self.left + (now - self.since) / SHARE);
        self.since = now;
        self.left
    }

    /// So long was waited until `now`, which costs `cost`. Returns whether it is time to look
    /// who is worth it.
    pub(in crate::room) fn spend(
        &mut self,
        waited: Duration,
        cost: Duration,
        now: Instant,
    ) -> bool {
        self.left = self.left.saturating_sub(cost);
        self.since = now;
        self.watched += waited;
        let look = self.watched >= NO_SIGN;
        if look {
            self.watched = Duration::ZERO;
        }
        look
    }
}

/// Whether a client is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// If it comes to that; so often it was looked at since it last had caught up.
    Due(u8),
    /// The same, and it has taken bytes since it was last looked at.
    Alive(u8),
    /// Not before it has caught up.
    Spent,
}

impl Default for Care {
    fn default() -> Self {
        Care::Due(0)
    }
}

impl Care {
    /// It took bytes.
    pub(super) fn took(&mut self) {
        if let Care::Due(looks) = *self {
            *self = Care::Alive(looks);
        }
    }
}

/// Whether somebody is about to fall behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::room) enum Brink {
    /// Somebody is.
    Reached,
    /// Nobody is.
    Far,
}

impl Feed {
    /// Whether it is worth asking whom to wait for.
    pub(in crate::room) fn brink_of_any(&self) -> Brink {
        if self.has_brink() {
            Brink::Reached
        } else {
            Brink::Far
        }
    }

    /// Whether to wait for clients that are close to the end of the backlog: while most have
    /// something to write, and as long as it is `paid` for. If so, the waker is woken when
    /// somebody has written.
    pub(in crate::room) fn waits(&mut self, waker: Option<&Waker>, paid: bool) -> bool {
        if !self.has_brink() || !(paid || self.is_busy()) {
            return false;
        }
        if let Some(waker) = waker
            && !self.pumps.iter().any(|kept| kept.will_wake(waker))
        {
            self.pumps.push(waker.clone());
        }
        true
    }

    /// Of the clients at the brink those are given up that took nothing since the last call, or
    /// were waited for too often.
    pub(in crate::room) fn give_up_silent(&mut self) {
        let brink = self.brink();
        for (_, member) in &mut self.members {
            if member.cursor.at < brink {
                member.care = match member.care {
                    Care::Alive(looks) if looks < LOOKS => Care::Due(looks + 1),
                    Care::Alive(_) | Care::Due(_) | Care::Spent => Care::Spent,
                };
            }
        }
    }

    /// Whether most clients have something to write: then the room is about as fast as its
    /// clients are, and waiting costs little.
    pub(in crate::room) fn is_busy(&self) -> bool {
        self.lagging * 2 > self.members.len()
    }

    /// Behind this place of the stream a client is about to be lost.
    fn brink(&self) -> u64 {
        self.fastest
            .saturating_sub((self.limit - self.limit / 4) as u64)
    }

    fn has_brink(&self) -> bool {
        // Nobody is further behind than what is held.
        if self.slow == Slow::Block
            || self.ended.is_some()
            || self.backlog.held() <= self.limit - self.limit / 4
        {
            return false;
        }
        let (start, brink) = (self.backlog.start(), self.brink());
        let waited_for = |member: &Member| {
            (start..brink).contains(&member.cursor.at)
                && member.care != Care::Spent
                && member.expelled.is_none()
        };
        self.members.iter().any(|(_, member)| waited_for(member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ClientId, Kind};
    use crate::room::outgoing::Outgoing;

    const LIMIT: usize = 8000;

    fn publish(feed: &mut Feed) {
        let mut outgoing = Outgoing::default();
        outgoing.everyone(Kind::Text, &[b'x'; 996], false);
        feed.publish(&mut outgoing, &mut Vec::new());
    }

    fn enter(feed: &mut Feed, id: u32) -> usize {
        let key = feed.enter(ClientId::new(id).expect("not zero"), None);
        feed.next(key, Waker::noop(), &mut Vec::new());
        key
    }

    /// The client writes all there is, or finds its socket full after `most` bytes.
    fn write(feed: &mut Feed, key: usize, most: Option<usize>) {
        let mut pieces = Vec::new();
        while feed.next(key, Waker::noop(), &mut pieces) == super::super::Next::Write {
            let all = pieces.iter().map(|piece| piece.bytes.len()).sum();
            let full = most.map(|_| Waker::noop());
            feed.wrote(key, &mut pieces, most.unwrap_or(all), full, &mut Vec::new());
            pieces.clear();
            if most.is_some() {
                return;
            }
        }
    }

    /// A room of two, the second of which is at the brink with its socket full.
    fn at_the_brink(slow: Slow) -> (Feed, usize, usize) {
        let mut feed = Feed::new(LIMIT, slow);
        let (fast, late) = (enter(&mut feed, 1), enter(&mut feed, 2));
        write(&mut feed, late, Some(0));
        for _ in 0..7 {
            assert!(!feed.waits(None, true));
            publish(&mut feed);
            write(&mut feed, fast, None);
            write(&mut feed, late, Some(0));
        }
        (feed, fast, late)
    }

    #[test]
    fn who_takes_bytes_is_waited_for_and_who_takes_none_is_given_up() {
        let (mut feed, fast, late) = at_the_brink(Slow::Disconnect);
        publish(&mut feed);
        write(&mut feed, fast, None);
        assert!(feed.waits(None, true));
        write(&mut feed, late, Some(10));
        feed.give_up_silent();
        assert!(feed.waits(None, true), "it took something");
        feed.give_up_silent();
        assert!(!feed.waits(None, true), "it took nothing since");
    }

    #[test]
    fn who_catches_up_is_waited_for_again() {
        let (mut feed, fast, late) = at_the_brink(Slow::Disconnect);
        feed.give_up_silent();
        assert!(!feed.waits(None, true));
        write(&mut feed, late, None);
        for _ in 0..7 {
            publish(&mut feed);
            write(&mut feed, fast, None);
        }
        assert!(feed.waits(None, true));
    }

    #[test]
    fn a_room_that_blocks_needs_no_patience() {
        let (mut feed, _, _) = at_the_brink(Slow::Block);
        assert!(!feed.waits(None, true));
    }

    #[test]
    fn a_room_is_busy_while_most_have_something_to_write() {
        let (mut feed, fast, _) = at_the_brink(Slow::Disconnect);
        assert!(!feed.is_busy(), "one of two has all there is");
        publish(&mut feed);
        assert!(feed.is_busy());
        write(&mut feed, fast, None);
        assert!(!feed.is_busy());
    }

    #[test]
    fn what_was_waited_comes_back_slowly() {
        let mut now = Instant::now();
        let mut patience = Patience::new(now);
        assert_eq!(patience.left(now), MOST);
        patience.spend(MOST * 2, MOST * 2, now);
        assert_eq!(patience.left(now), Duration::ZERO);
        now += MOST;
        assert_eq!(patience.left(now), MOST / SHARE);
        now += MOST * 100;
        assert_eq!(patience.left(now), MOST);
    }
}
