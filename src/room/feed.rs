//! The feed: a room's backlog, its clients' places in it, and their side queues, in one value.
//!
//! It decides what each client writes next, in the child's order; who has fallen behind; and
//! whether the child's output may be read further. It does no I/O and never waits; the room keeps
//! it under one lock, and wakes the tasks that it names after the lock is gone.

mod pace;
mod packed;
mod patience;
mod relief;
mod seats;
mod side;

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use slab::Slab;

use super::backlog::{Backlog, Cursor};
use super::close::Close;
use super::history::History;
use super::outgoing::{Outgoing, Whisper};
use super::piece::{Begun, Piece};
use super::turns::{Turn, Turns};
use crate::frame::{ClientId, Kind};
use crate::ws::codec;
use patience::Care;
pub(super) use patience::{Brink, LOOK, Patience};
pub(super) use relief::{Burden, Debt};
pub(super) use seats::Seat;
use side::Side;

/// Pieces handed out for one write: as many as one `writev` takes well.
const PIECES_MAX: usize = 64;
/// Bytes handed out for one write, unless a single piece is longer.
const WRITE_MAX: usize = 256 << 10;
/// Bytes held since the last look at all cursors that make another look worthwhile.
const SCAN_EVERY: usize = 256 << 10;

/// What happens to a client that falls more than the backlog behind the fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// It is closed with 4008.
    Disconnect,
    /// It skips to the newest message and is told what it missed, under this member name.
    Drop(&'static str),
    /// The room waits for it.
    Block,
}

/// What a client is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write the pieces.
    Write,
    /// Nothing to do: the waker was kept.
    Wait,
    /// All before it was written: close.
    Close(Close),
    /// Close now, whatever was not written.
    Expelled(Close),
}

/// Why a client is closed before it has heard all that is held for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expelled {
    /// It is too far behind.
    TooSlow,
    /// What it has not heard takes memory that the server needs.
    ShortOfMemory,
}

impl Expelled {
    fn close(self) -> Close {
        match self {
            Expelled::TooSlow => too_slow(),
            Expelled::ShortOfMemory => Close::new(
                Close::TOO_SLOW,
                "too slow for a server that is short of memory",
            ),
        }
    }
}

#[derive(Debug)]
struct Member {
    id: ClientId,
    cursor: Cursor,
    side: VecDeque<Side>,
    side_cost: usize,
    /// Of its task, when that has something to be told.
    waker: Option<Waker>,
    /// It has written all there was; otherwise its socket is full, or it is on its way here.
    waiting: bool,
    turn: Turn,
    care: Care,
    /// To be closed at once, and why.
    expelled: Option<Expelled>,
    /// Entries of its side queue that it has written, or lost: it may wrap.
    side_taken: u32,
    /// Pongs in its side queue.
    pongs: u8,
    /// It reads compressed frames.
    packed: bool,
    /// Told to end by the child, behind what it has yet to hear; and since when. Boxed, like all
    /// that few clients ever have: rooms have many.
    kicked: Option<Box<(Close, Instant)>>,
}

impl Member {
    /// There is something new: wakes the task if that is what it waits for.
    fn tell(&mut self, wake: &mut Vec<Waker>) {
        if std::mem::take(&mut self.waiting) {
            self.turn.begin();
            wake.extend(self.waker.take());
        }
    }

    /// The connection is to be closed before anything else, also when its socket is full.
    fn expel(&mut self, why: Expelled, turns: &mut Turns, wake: &mut Vec<Waker>) {
        turns.settle(&mut self.turn);
        self.expelled = Some(why);
        self.waiting = false;
        wake.extend(self.waker.take());
    }

    fn keep(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(kept) => kept.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Feed {
    backlog: Backlog,
    limit: usize,
    slow: Slow,
    members: Slab<Member>,
    /// How many of them read compressed frames.
    packed: usize,
    /// Ids are ours, so that nobody can choose them to collide.
    keys: FxHashMap<u32, usize>,
    /// Members that have not taken all there is.
    lagging: usize,
    fastest: u64,
    scan_at: usize,
    side_cost: usize,
    turns: Turns,
    /// Of the pumps that wait until they may read.
    pumps: Vec<Waker>,
    ended: Option<Close>,
}

impl Feed {
    /// A feed of at most `limit` bytes, and as many in side queues.
    pub(crate) fn new(limit: usize, slow: Slow) -> Self {
        Feed {
            backlog: Backlog::new(limit),
            limit,
            slow,
            members: Slab::new(),
            packed: 0,
            keys: FxHashMap::default(),
            lagging: 0,
            fastest: 0,
            scan_at: SCAN_EVERY,
            side_cost: 0,
            turns: Turns::default(),
            pumps: Vec::new(),
            ended: None,
        }
    }

    /// A client comes in: it hears `history`, then everything from now on. With nothing unsent it
    /// may be whom the pumps wait for: they are to be woken.
    pub(crate) fn enter(&mut self, id: ClientId, history: Option<&History>) -> usize {
        let cursor = self.backlog.end();
        let mut side = VecDeque::new();
        for frame in history.into_iter().flat_map(History::frames) {
            // Shared with the ring, which has a bound of its own: no cost here.
            side.push_back(Side {
                at: cursor,
                cost: 0,
                pong: false,
                whisper: Whisper::Frame(frame.clone()),
            });
        }
        // Nobody is faster than one who has nothing to hear yet: were the pace still that of who
        // came before, one of those who reads nothing would keep the newcomer from hearing.
        self.fastest = cursor.at;
        let member = Member {
            id,
            cursor,
            side,
            side_cost: 0,
            waker: None,
            waiting: false,
            turn: Turn::default(),
            care: Care::default(),
            expelled: None,
            side_taken: 0,
            pongs: 0,
            packed: false,
            kicked: None,
        };
        let key = self.members.insert(member);
        self.keys.insert(id.get(), key);
        key
    }

    /// A client goes; whoever is to be woken for it lands in `wake`.
    pub(crate) fn leave(&mut self, key: usize, wake: &mut Vec<Waker>) {
        let Some(mut member) = self.members.try_remove(key) else {
            return;
        };
        self.turns.settle(&mut member.turn);
        self.keys.remove(&member.id.get());
        self.side_cost -= member.side_cost;
        self.packed -= usize::from(member.packed);
        if member.cursor.at < self.backlog.end().at {
            self.lagging -= 1;
        }
        if member.cursor.at == self.fastest {
            self.find_fastest();
        }
        self.trim_if_passed();
        self.wake_pumps(wake);
    }

    /// Gives up the places of clients who have left, as far as nobody holds a later one.
    pub(crate) fn shrink(&mut self) {
        self.members.shrink_to_fit();
        self.keys.shrink_to_fit();
    }

    /// How many clients there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The largest lag of a client, in bytes.
    pub(crate) fn largest_lag(&self) -> u64 {
        let end = self.backlog.end().at;
        self.members
            .iter()
            .map(|(_, member)| end - member.cursor.at)
            .max()
            .unwrap_or(0)
    }

    /// Bytes held for clients: backlog and side queues.
    pub(crate) fn held(&self) -> usize {
        self.backlog.held() + self.side_cost
    }

    /// Publishes what one read of the child became. Returns how many ids were unknown.
    pub(crate) fn publish(&mut self, outgoing: &mut Outgoing, wake: &mut Vec<Waker>) -> u64 {
        let start = self.backlog.end();
        let queued = self.side_cost;
        let mut unknown = 0;
        // The side queues first: once the batch can be read, what belongs inside it is there.
        let mut marks = outgoing.take_marks();
        for mark in marks.drain(..) {
            let at = Cursor {
                at: start.at + mark.offset,
                messages: start.messages + mark.messages,
            };
            unknown += mark.count * self.whisper(at, mark, wake);
        }
        outgoing.reuse(marks);
        let frames = outgoing.take_frames();
        if frames.is_empty() || self.members.is_empty() || self.ended.is_some() {
            // Nobody to hear it. The position stays: cursors count what could be heard.
            self.hold_side_bound(queued, wake);
            return unknown;
        }
        self.backlog
            .append(frames, outgoing.broadcast, outgoing.take_twin());
        self.lagging = self.members.len();
        for (_, member) in &mut self.members {
            member.tell(wake);
        }
        let before = self.backlog.start();
        if self.backlog.held() >= self.scan_at {
            let slowest = self.slowest();
            self.backlog.trim(self.ahead(slowest), slowest);
            self.scan_at = self.next_scan();
        } else if self.slow != Slow::Block {
            self.backlog.trim(self.fastest, 0);
        }
        if self.backlog.start() != before {
            self.note_fallen(wake);
        }
        self.hold_side_bound(queued, wake);
        unknown
    }

    /// Under `Disconnect`, whoever lost something is told at once, not when it next can write.
    fn note_fallen(&mut self, wake: &mut Vec<Waker>) {
        if self.slow != Slow::Disconnect {
            return;
        }
        let start = self.backlog.start();
        for (_, member) in &mut self.members {
            if member.cursor.at < start && member.expelled.is_none() {
                member.expel(Expelled::TooSlow, &mut self.turns, wake);
            }
        }
    }

    /// Whom nobody may be too far behind: with `Block` nobody ever is.
    fn ahead(&self, slowest: u64) -> u64 {
        if self.slow == Slow::Block {
            slowest
        } else {
            self.fastest
        }
    }

    fn next_scan(&self) -> usize {
        self.backlog.held() + SCAN_EVERY.min(self.limit / 4).max(1)
    }

    /// See [`super::live::Room::kicked`].
    pub(crate) fn kicked(&self, key: usize) -> Option<(Close, Instant)> {
        self.members.get(key)?.kicked.as_deref().cloned()
    }

    /// The socket of the client at `key` is full in the midst of what it began: its waker is kept
    /// for the case that it must be closed meanwhile. `Some`: it must be now.
    pub(crate) fn blocked(
        &mut self,
        key: usize,
        waker: &Waker,
        wake: &mut Vec<Waker>,
    ) -> Option<Close> {
        let member = self.members.get_mut(key)?;
        member.keep(waker);
        self.turns.settle(&mut member.turn);
        let close = member.expelled.map(Expelled::close);
        self.wake_pumps(wake);
        close
    }

    /// Tells the client at `key` what to do next; pieces are put into `pieces`.
    pub(crate) fn next(&mut self, key: usize, waker: &Waker, pieces: &mut Vec<Piece>) -> Next {
        let end = self.backlog.end();
        let Some(member) = self.members.get_mut(key) else {
            return Next::Wait;
        };
        if let Some(why) = member.expelled {
            return Next::Expelled(why.close());
        }
        if member.cursor.at < self.backlog.start() {
            let Slow::Drop(name) = self.slow else {
                return Next::Expelled(too_slow());
            };
            let whisper = Whisper::Frame(gap(name, member.cursor, end));
            member.side.push_front(Side {
                at: end,
                cost: 0,
                pong: false,
                whisper,
            });
            member.cursor = end;
            self.lagging -= 1;
        }
        let mut cursor = member.cursor;
        let mut bytes_out = 0;
        let mut side = member.side.iter();
        loop {
            let entry = side.next();
            let until = entry.map_or(end, |entry| entry.at.min(end));
            let read = self
                .backlog
                .read(cursor, until, member.packed, |bytes, after| {
                    bytes_out += bytes.len();
                    cursor = after;
                    pieces.push(Piece {
                        bytes,
                        after,
                        side: false,
                    });
                    pieces.len() < PIECES_MAX && bytes_out < WRITE_MAX
                });
            debug_assert!(read.is_ok(), "checked above");
            let full = pieces.len() >= PIECES_MAX || bytes_out >= WRITE_MAX;
            let Some(entry) = entry.filter(|entry| !full && cursor.at >= entry.at.at) else {
                break;
            };
            match &entry.whisper {
                Whisper::Frame(frame) => {
                    bytes_out += frame.len();
                    pieces.push(Piece {
                        bytes: frame.clone(),
                        after: cursor,
                        side: true,
                    });
                }
                Whisper::Close(close) if pieces.is_empty() => return Next::Close(close.clone()),
                Whisper::Close(_) => break,
            }
        }
        if !pieces.is_empty() {
            member.turn.begin();
            return Next::Write;
        }
        self.turns.settle(&mut member.turn);
        if let Some(close) = &self.ended {
            return Next::Close(close.clone());
        }
        member.keep(waker);
        member.waiting = true;
        member.care = Care::default();
        Next::Wait
    }

    /// The client at `key` wrote the first `written` bytes of `pieces`. Returns what is left of
    /// the piece that was begun and not ended, for the client to finish by itself. `full`: its
    /// socket takes no more; the waker is kept for the case that it must be closed meanwhile.
    pub(crate) fn wrote(
        &mut self,
        key: usize,
        pieces: &mut Vec<Piece>,
        written: usize,
        full: Option<&Waker>,
        wake: &mut Vec<Waker>,
    ) -> Option<Begun> {
        let mut left = written;
        let mut begun = None;
        let end = self.backlog.end().at;
        let member = self.members.get_mut(key)?;
        let was_lagging = member.cursor.at < end;
        if let Some(waker) = full {
            member.keep(waker);
        }
        for piece in pieces.drain(..) {
            if left == 0 {
                break;
            }
            member.cursor = piece.after.max(member.cursor);
            if piece.side
                && let Some(entry) = member.side.pop_front()
            {
                member.pongs -= u8::from(entry.pong);
                member.side_taken = member.side_taken.wrapping_add(1);
                member.side_cost -= entry.cost;
                self.side_cost -= entry.cost;
            }
            if left < piece.bytes.len() {
                begun = Some(Begun::new(piece.bytes, left));
                break;
            }
            left -= piece.bytes.len();
        }
        if written > 0 {
            member.care.took();
        }
        if begun.is_some() || full.is_some() {
            self.turns.settle(&mut member.turn);
        }
        let at = member.cursor.at;
        if was_lagging && at >= end {
            self.lagging -= 1;
        }
        self.fastest = self.fastest.max(at);
        self.trim_if_passed();
        self.wake_pumps(wake);
        begun
    }

    /// Once everybody has taken everything, nothing is kept.
    fn trim_if_passed(&mut self) {
        if self.lagging == 0 && self.backlog.held() > 0 {
            let end = self.backlog.end().at;
            self.backlog.trim(end, end);
            self.scan_at = self.next_scan();
        }
    }

    /// The places of those who are to hear more.
    fn cursors(&self) -> impl Iterator<Item = u64> {
        let members = self.members.iter().map(|(_, member)| member);
        let hearing = members.filter(|member| member.expelled.is_none());
        hearing.map(|member| member.cursor.at)
    }

    fn slowest(&self) -> u64 {
        self.cursors().min().unwrap_or(self.backlog.end().at)
    }

    fn find_fastest(&mut self) {
        self.fastest = self.cursors().max().unwrap_or(self.backlog.end().at);
    }

    /// The room has ended: everybody is closed behind what it has not heard yet.
    pub(crate) fn end(&mut self, close: Close, wake: &mut Vec<Waker>) {
        self.ended.get_or_insert(close);
        for (_, member) in &mut self.members {
            member.tell(wake);
        }
        self.wake_pumps(wake);
    }
}

/// The message that tells a client what it missed.
fn gap(name: &str, from: Cursor, to: Cursor) -> Bytes {
    let (messages, bytes) = (to.messages - from.messages, to.at - from.at);
    let text = format!(r#"{{"{name}":{{"messages":{messages},"bytes":{bytes}}}}}"#);
    let mut frame = Vec::with_capacity(text.len() + 4);
    codec::put_message(&mut frame, Kind::Text, text.as_bytes());
    frame.into()
}

fn too_slow() -> Close {
    Close::new(Close::TOO_SLOW, "too slow")
}

#[cfg(test)]
mod fairness;
#[cfg(test)]
mod tests;
