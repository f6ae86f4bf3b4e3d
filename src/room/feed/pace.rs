//! The pace: when the child's output is read further, and who is woken then.

use std::task::Waker;

use super::{Feed, Member, Slow};

/// Rounds of [`Turns`] in the limit: nobody falls behind by more than three of them unless its
/// socket is full.
const ROUNDS: usize = 8;

impl Feed {
    /// Whether the child's output may be read; if not, `waker` is woken when it may.
    pub(crate) fn may_read(&mut self, waker: &Waker) -> bool {
        if self.has_room() {
            let end = self.backlog.end().at;
            let turns = self.members.iter_mut().map(|(_, member)| &mut member.turn);
            self.turns.next_round(end, self.limit / ROUNDS, turns);
            return true;
        }
        if !self.pumps.iter().any(|kept| kept.will_wake(waker)) {
            self.pumps.push(waker.clone());
        }
        false
    }

    /// The pump waits while the fastest client has more than half the limit unsent; and, so that
    /// no more than the limit is held, while it has anything unsent and the limit is reached.
    /// No other client's slowness counts, but with `Block`, where all do. Once the side queues
    /// hold half the limit, it waits until somebody has nothing at all unsent: or a single client
    /// that is told more than its connection takes at once would be closed for keeping up. And it
    /// waits for clients that the runtime has not come to: see [`super::Turns`].
    fn has_room(&self) -> bool {
        // What comes after the end is heard by nobody: the pumps are to see their own.
        if self.members.is_empty() || self.ended.is_some() {
            return true;
        }
        if !self.turns.allow(self.backlog.end().at) {
            return false;
        }
        let pace = if self.slow == Slow::Block {
            self.slowest()
        } else {
            self.fastest
        };
        if self.side_cost > self.limit / 2 {
            let end = self.backlog.end().at;
            let heard_all = |member: &Member| member.side.is_empty() && member.cursor.at >= end;
            let mut members = self.members.iter();
            return self.slow != Slow::Block && members.any(|(_, member)| heard_all(member));
        }
        let unsent = (self.backlog.end().at - pace) as usize;
        unsent <= self.limit / 2 && (unsent == 0 || self.backlog.held() < self.limit)
    }

    /// The pumps that wait, if they may read now, land in `wake`.
    pub(crate) fn wake_pumps(&mut self, wake: &mut Vec<Waker>) {
        if !self.pumps.is_empty() && self.has_room() {
            wake.append(&mut self.pumps);
        }
    }
}
