//! Notices a child that is spoken to and says nothing: mostly one whose runtime keeps its output
//! back, because a pipe is no terminal. It costs a look every few seconds until a child was spoken to
//! and has answered, and nothing after that.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::name::RoomName;

/// How long a child may take for its first word.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks whether somebody speaks to it: so much later than its time the advice may come.
const LOOKS: Duration = Duration::from_secs(3);

/// What is said about it, once in the life of a server: rooms are many, and have the same program.
#[derive(Debug)]
pub(super) struct Advice {
    /// How such a program is made to speak; none where it does not speak through a pipe.
    how: Option<&'static str>,
    given: AtomicBool,
}

impl Advice {
    pub(super) fn new(how: Option<&'static str>) -> Self {
        Advice {
            how,
            given: AtomicBool::new(false),
        }
    }

    /// Whether there is any that was not given.
    pub(super) fn is_left(&self) -> bool {
        self.how.is_some() && !self.given.load(Relaxed)
    }

    /// Gives it to whoever reads the log.
    pub(super) fn give(&self, room: &RoomName) {
        if let Some(how) = self.how
            && !self.given.swap(true, Relaxed)
        {
            warn!(
                %room,
                "the program was sent messages and has said nothing for {} s: if it prints, its \
                 runtime keeps that back because stdout is a pipe: {how}",
                PATIENCE.as_secs()
            );
        }
    }
}

/// How many messages the children of a room were given, and how many they have said.
pub(super) type Said = (u64, u64);

/// A room, from the start of a child until one has spoken.
#[derive(Debug)]
pub(super) struct Silence {
    /// When it is looked at again; none once that is of no use.
    look: Option<Instant>,
    /// It had been told something at the last look.
    addressed: bool,
}

impl Silence {
    /// From now on.
    pub(super) fn new(wanted: bool) -> Self {
        Silence {
            look: wanted.then(|| Instant::now() + LOOKS),
            addressed: false,
        }
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        self.look
    }

    /// Looks at it. `true`: it was told something a while ago, and is mute still.
    pub(super) fn look(&mut self, (heard, spoken): Said) -> bool {
        self.look = None;
        if spoken > 0 {
            return false;
        }
        let addressed = std::mem::replace(&mut self.addressed, heard > 0);
        if !addressed {
            let wait = if heard > 0 { PATIENCE } else { LOOKS };
            self.look = Some(Instant::now() + wait);
        }
        addressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_something_and_stays_mute_for_a_whole_while_is_noticed_once() {
        let mut silence = Silence::new(true);
        assert!(!silence.look((0, 0)), "nobody has spoken to it");
        assert!(!silence.look((1, 0)), "it may have been a moment ago");
        assert!(silence.next_look().is_some());
        assert!(silence.look((1, 0)));
        assert_eq!(silence.next_look(), None);
    }

    #[test]
    fn who_has_spoken_is_not_looked_at_again() {
        let mut silence = Silence::new(true);
        assert!(!silence.look((1, 0)));
        assert!(!silence.look((2, 1)));
        assert_eq!(silence.next_look(), None);
        assert_eq!(Silence::new(false).next_look(), None);
    }

    #[test]
    fn advice_is_given_once() {
        let advice = Advice::new(Some("shout"));
        assert!(advice.is_left());
        advice.give(&RoomName::root());
        assert!(!advice.is_left());
        assert!(!Advice::new(None).is_left());
    }
}
