//! Side queues: what single clients hear, each at its place in the child's stream, and the bound that
//! all of them share.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use super::super::backlog::Cursor;
use super::super::outgoing::{Mark, Whisper, Who};
use super::{Expelled, Feed, Member};

/// Pongs that may wait in a side queue, of at most 125 bytes each.
const PONGS_MAX: u8 = 32;
/// What an entry of a side queue costs beside its bytes.
pub(super) const SIDE_COST: usize = 64;

#[derive(Debug)]
pub(super) struct Side {
    pub(super) at: Cursor,
    pub(super) cost: usize,
    /// A pong of ours, not a message of the child.
    pub(super) pong: bool,
    pub(super) whisper: Whisper,
}

impl Member {
    /// It hears nothing more of its side queue. Returns what that cost.
    pub(super) fn drop_side(&mut self) -> usize {
        self.side = VecDeque::new();
        self.pongs = 0;
        std::mem::take(&mut self.side_cost)
    }
}

impl Feed {
    /// Queues what a mark says, at its place, for those it is for. Returns how many are unknown.
    pub(super) fn whisper(&mut self, at: Cursor, mark: Mark, wake: &mut Vec<Waker>) -> u64 {
        match &mark.who {
            Who::Only(ids) if ids.len() == 1 => {
                // The common case, an answer: nobody shares it, so nothing is copied or counted.
                let key = ids.first().and_then(|id| self.keys.get(id)).copied();
                match key {
                    Some(key) => self.side(key, at, |packed| mark.into_form(packed), 1, wake),
                    None => return 1,
                }
                0
            }
            Who::Only(ids) => {
                let mut unknown = 0;
                for id in ids {
                    match self.keys.get(id).copied() {
                        Some(key) => {
                            self.side(key, at, |packed| mark.form(packed), ids.len(), wake)
                        }
                        None => unknown += 1,
                    }
                }
                unknown
            }
            Who::Except(ids) => {
                let others = self.members.len().saturating_sub(ids.len()).max(1);
                let keys: Vec<usize> = self
                    .members
                    .iter()
                    .filter(|(_, member)| !ids.contains(&member.id.get()))
                    .map(|(key, _)| key)
                    .collect();
                for key in keys {
                    self.side(key, at, |packed| mark.form(packed), others, wake);
                }
                ids.iter().filter(|id| !self.keys.contains_key(id)).count() as u64
            }
        }
    }

    /// Queues a whisper that `sharers` clients hear, whose bytes they share.
    fn side(
        &mut self,
        key: usize,
        at: Cursor,
        form: impl FnOnce(bool) -> Whisper,
        sharers: usize,
        wake: &mut Vec<Waker>,
    ) {
        let Some(member) = self.members.get_mut(key) else {
            return;
        };
        if member.expelled.is_some() {
            return;
        }
        let whisper = form(member.packed);
        let bytes = match &whisper {
            Whisper::Frame(frame) => frame.len(),
            Whisper::Close(_) => 0,
        };
        let cost = bytes.div_ceil(sharers.max(1)) + SIDE_COST;
        if let Whisper::Close(close) = &whisper {
            // It is told even if its socket is full: from now on nothing is heard from it.
            let since = Instant::now();
            member
                .kicked
                .get_or_insert_with(|| Box::new((close.clone(), since)));
            wake.extend(member.waker.take());
        }
        member.side.push_back(Side {
            at,
            cost,
            pong: false,
            whisper,
        });
        member.side_cost += cost;
        self.side_cost += cost;
        member.tell(wake);
    }

    /// All side queues stay within the limit together: the largest goes. What others have not
    /// read of the backlog does not count: it has a bound of its own, and is not the fault of who
    /// is spoken to. One message alone, however big, is never too much, nor is what a single read
    /// added to the `queued` bytes that let the pump read.
    pub(super) fn hold_side_bound(&mut self, queued: usize, wake: &mut Vec<Waker>) {
        if queued <= self.limit / 2 {
            return;
        }
        while self.side_cost > self.limit {
            let largest = self
                .members
                .iter()
                .filter(|(_, member)| member.side.len() > 1)
                .max_by_key(|(_, member)| member.side_cost);
            let Some((key, _)) = largest else { return };
            let Some(member) = self.members.get_mut(key) else {
                return;
            };
            member.expel(Expelled::TooSlow, &mut self.turns, wake);
            self.side_cost -= member.drop_side();
        }
    }

    /// Answers a ping of the client at `key`, behind what there is for it now: so that a pong
    /// proves to a client that it has heard all that was said before.
    pub(crate) fn pong(&mut self, key: usize, frame: Bytes) {
        let end = self.backlog.end();
        let Some(member) = self.members.get_mut(key) else {
            return;
        };
        if member.pongs < PONGS_MAX {
            member.pongs += 1;
            member.side.push_back(Side {
                at: end,
                cost: 0,
                pong: true,
                whisper: Whisper::Frame(frame),
            });
        } else if let Some(last) = member.side.iter_mut().rev().find(|side| side.pong) {
            // RFC 6455 section 5.5.3: the newest of several pings is enough.
            last.whisper = Whisper::Frame(frame);
        }
    }
}
