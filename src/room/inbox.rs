//! The inbox: a room's bounded queue of bytes on their way to the child's stdin.
//!
//! Clients append whole encoded messages; the stdin pump takes all that is queued at once. A
//! message that does not fit makes its sender wait, first come first served; nobody else waits
//! for it but those who want to send too. An empty inbox takes one message of any size.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// A buffer above this is not kept for later messages.
const KEPT_CAPACITY: usize = 64 << 10;

/// The inbox takes no more: the room is ending, or the child has closed its stdin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    limit: usize,
    /// Whether the ends of messages are remembered, so that a new child can be given whole ones.
    whole: bool,
}

#[derive(Debug, Default)]
struct State {
    queued: Vec<u8>,
    /// How many messages that is.
    messages: u64,
    /// Their lengths, only when `whole`.
    lengths: VecDeque<usize>,
    /// Bytes at the front that were put there for a new child; see [`Inbox::put_first`].
    first: usize,
    /// Queued, or taken by the pump and not yet written.
    used: usize,
    /// All bytes ever accepted.
    accepted: u64,
    closed: bool,
    pump: Option<Waker>,
    waiting: VecDeque<(u32, Waker)>,
}

impl State {
    fn append(&mut self, message: &[u8], whole: bool) {
        self.queued.extend_from_slice(message);
        self.note(message.len(), whole);
    }

    /// A message of that length was appended to what is queued.
    fn note(&mut self, length: usize, whole: bool) {
        if length == 0 {
            // Nothing to be taken, and so nothing that would ever forget its end.
            return;
        }
        self.messages += 1;
        if whole {
            self.lengths.push_back(length);
        }
        self.used += length;
        self.accepted += length as u64;
    }

    /// Whether a message of that length may be appended now; otherwise the sender waits.
    fn admits(&mut self, sender: u32, length: usize, limit: usize, waker: &Waker) -> bool {
        let first = self.waiting.front().is_none_or(|(id, _)| *id == sender);
        let fits = self.used == 0 || self.used + length <= limit;
        if first && fits {
            self.waiting.pop_front();
            return true;
        }
        match self.waiting.iter_mut().find(|(id, _)| *id == sender) {
            Some((_, kept)) => kept.clone_from(waker),
            None => self.waiting.push_back((sender, waker.clone())),
        }
        false
    }
}

/// What became of a message that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered<R> {
    /// It is on its way.
    Taken,
    /// It could not be written.
    Refused(R),
    /// The inbox is full: this is the message, and the waker is kept until there is room for it.
    Full(Vec<u8>),
    /// The inbox takes no more.
    Closed,
}

/// What the pump took: the bytes, and where messages end in them (only when asked for).
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) bytes: Vec<u8>,
    /// How many messages that is, join and leave messages included.
    pub(crate) messages: u64,
    lengths: VecDeque<usize>,
    first: usize,
}

impl Taken {
    /// Appends what was taken later.
    pub(crate) fn append(&mut self, mut later: Taken) {
        if self.bytes.is_empty() {
            self.first = later.first;
        }
        self.bytes.append(&mut later.bytes);
        self.messages += later.messages;
        self.lengths.append(&mut later.lengths);
    }

    /// Once it is twice that, forgets whole messages from the start, as long as `keep` bytes stay.
    pub(crate) fn trim(&mut self, keep: usize) {
        if self.bytes.len() < 2 * keep {
            return;
        }
        let mut from = 0;
        while let Some(length) = self.lengths.front().copied() {
            if self.bytes.len() - from < keep + length {
                break;
            }
            from += length;
            self.lengths.pop_front();
            self.first = 0;
            self.messages = self.messages.saturating_sub(1);
        }
        self.bytes.drain(..from);
    }
}

impl Inbox {
    /// An empty inbox of `limit` bytes.
    pub(crate) fn new(limit: usize, whole: bool) -> Self {
        Inbox {
            state: Mutex::default(),
            limit,
            whole,
        }
    }

    /// Appends `message`, or keeps the waker of `cx` until there is room for it. Returns the
    /// position behind it in the stream of all messages.
    pub(crate) fn poll_push(
        &self,
        sender: u32,
        message: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<u64, Closed>> {
        self.poll_push_noting(sender, message, cx, || {})
    }

    /// The same; `note` is called once it is in, before anybody can take it.
    pub(crate) fn poll_push_noting(
        &self,
        sender: u32,
        message: &[u8],
        cx: &mut Context<'_>,
        note: impl FnOnce(),
    ) -> Poll<Result<u64, Closed>> {
        let mut state = self.state.lock();
        if state.closed {
            return Poll::Ready(Err(Closed));
        }
        if !state.admits(sender, message.len(), self.limit, cx.waker()) {
            return Poll::Pending;
        }
        state.append(message, self.whole);
        note();
        let accepted = state.accepted;
        let wake = [state.pump.take(), next_sender(&state)];
        drop(state);
        wake.into_iter().flatten().for_each(Waker::wake);
        Poll::Ready(Ok(accepted))
    }

    /// Has `write` append a message where it goes from, which saves a copy of it.
    pub(crate) fn offer<R>(
        &self,
        sender: u32,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), R>,
        cx: &mut Context<'_>,
    ) -> Offered<R> {
        let mut state = self.state.lock();
        let begin = state.queued.len();
        if let Err(refused) = write(&mut state.queued) {
            state.queued.truncate(begin);
            return Offered::Refused(refused);
        }
        if state.closed {
            state.queued.truncate(begin);
            return Offered::Closed;
        }
        let length = state.queued.len() - begin;
        if !state.admits(sender, length, self.limit, cx.waker()) {
            return Offered::Full(state.queued.split_off(begin));
        }
        state.note(length, self.whole);
        let wake = [state.pump.take(), next_sender(&state)];
        drop(state);
        wake.into_iter().flatten().for_each(Waker::wake);
        Offered::Taken
    }

    /// Appends without regard to the limit: for leave messages, which cannot wait. They stay
    /// bounded, because the join message before each of them did wait.
    pub(crate) fn push_over(&self, message: &[u8]) {
        let mut state = self.state.lock();
        if state.closed || message.is_empty() {
            return;
        }
        state.append(message, self.whole);
        let pump = state.pump.take();
        drop(state);
        pump.into_iter().for_each(Waker::wake);
    }

    /// `sender` no longer waits.
    pub(crate) fn give_up(&self, sender: u32) {
        let mut state = self.state.lock();
        let before = state.waiting.len();
        state.waiting.retain(|(id, _)| *id != sender);
        let next = if state.waiting.len() < before {
            next_sender(&state)
        } else {
            None
        };
        drop(state);
        next.into_iter().for_each(Waker::wake);
    }

    /// Takes all that is queued; `None` once the inbox is closed and empty.
    pub(crate) async fn take(&self, buffer: Vec<u8>) -> Option<Taken> {
        let mut spare = Some(buffer);
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.queued.is_empty() {
                if state.closed {
                    return Poll::Ready(None);
                }
                state.pump = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let mut empty = spare.take().unwrap_or_default();
            empty.clear();
            if empty.capacity() > KEPT_CAPACITY {
                empty = Vec::new();
            }
            let bytes = std::mem::replace(&mut state.queued, empty);
            Poll::Ready(Some(Taken {
                bytes,
                messages: std::mem::take(&mut state.messages),
                lengths: std::mem::take(&mut state.lengths),
                first: std::mem::take(&mut state.first),
            }))
        })
        .await
    }

    /// So many taken bytes were written: there is room for as many.
    pub(crate) fn wrote(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.used = state.used.saturating_sub(bytes);
        let next = next_sender(&state);
        drop(state);
        next.into_iter().for_each(Waker::wake);
    }

    /// Puts back what a dead child has not taken: the message it was in the middle of comes
    /// again from its start. `written` of the taken bytes were written, and told with `wrote`.
    /// What was put first for the dead child is not for the next, which gets its own.
    ///
    /// `written` of the taken bytes were told with `wrote`; `read` of these the child has read.
    pub(crate) fn put_back(&self, mut taken: Taken, written: usize, read: usize) {
        let mut boundary = 0;
        while let Some(length) = taken.lengths.front().copied() {
            if boundary + length > read {
                break;
            }
            boundary += length;
            taken.lengths.pop_front();
        }
        let mut state = self.state.lock();
        state.used += written - boundary;
        if boundary < taken.first {
            boundary = taken.first;
            taken.lengths.pop_front();
            state.used = state.used.saturating_sub(taken.first);
        }
        let rest = taken.bytes.get(boundary..).unwrap_or_default();
        state.queued.splice(0..0, rest.iter().copied());
        state.messages += taken.lengths.len() as u64;
        taken.lengths.append(&mut state.lengths);
        state.lengths = taken.lengths;
    }

    /// Puts `messages` before all that is queued, in the place of what was put there before and
    /// not taken.
    pub(crate) fn put_first(&self, messages: &[u8]) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.first, messages.len());
        if before > 0 {
            state.queued.drain(..before);
            state.lengths.pop_front();
            state.used = state.used.saturating_sub(before);
        }
        state.used += messages.len();
        state.queued.splice(0..0, messages.iter().copied());
        if self.whole && !messages.is_empty() {
            state.lengths.push_front(messages.len());
        }
    }

    /// The inbox takes no more; what is queued can still be taken.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let pump = state.pump.take();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        pump.into_iter()
            .chain(waiting.into_iter().map(|(_, waker)| waker))
            .for_each(Waker::wake);
    }

    /// Bytes queued, or taken and not yet written.
    pub(crate) fn used(&self) -> usize {
        self.state.lock().used
    }

    /// The position up to which a child was given everything.
    pub(crate) fn delivered(&self) -> u64 {
        let state = self.state.lock();
        let waiting = state.used.saturating_sub(state.first);
        state.accepted.saturating_sub(waiting as u64)
    }
}

/// The sender at the front may try again; it finds out itself whether its message fits.
fn next_sender(state: &State) -> Option<Waker> {
    state.waiting.front().map(|(_, waker)| waker.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn push(inbox: &Inbox, sender: u32, message: &[u8]) -> Poll<Result<u64, Closed>> {
        inbox.poll_push(sender, message, &mut Context::from_waker(Waker::noop()))
    }

    fn take(inbox: &Inbox) -> Option<Vec<u8>> {
        inbox
            .take(Vec::new())
            .now_or_never()
            .flatten()
            .map(|taken| taken.bytes)
    }

    #[test]
    fn a_full_inbox_makes_senders_wait_in_turn() {
        let inbox = Inbox::new(10, false);
        assert!(push(&inbox, 1, b"12345678").is_ready());
        assert!(push(&inbox, 2, b"abc").is_pending());
        assert!(
            push(&inbox, 3, b"x").is_pending(),
            "it would fit, but it is not its turn"
        );
        assert_eq!(take(&inbox).as_deref(), Some(&b"12345678"[..]));
        assert!(push(&inbox, 2, b"abc").is_pending(), "taken is not written");
        inbox.wrote(8);
        assert!(push(&inbox, 3, b"x").is_pending());
        assert!(push(&inbox, 2, b"abc").is_ready());
        assert!(push(&inbox, 3, b"x").is_ready());
        assert_eq!(take(&inbox).as_deref(), Some(&b"abcx"[..]));
    }

    #[test]
    fn what_is_offered_is_taken_refused_or_given_back() {
        let inbox = Inbox::new(10, false);
        let offer = |sender, text: &'static [u8], well: bool| {
            let write = |out: &mut Vec<u8>| {
                out.extend_from_slice(text);
                well.then_some(()).ok_or("unspeakable")
            };
            inbox.offer(sender, write, &mut Context::from_waker(Waker::noop()))
        };
        assert_eq!(offer(1, b"1234", true), Offered::Taken);
        assert_eq!(offer(1, b"56", false), Offered::Refused("unspeakable"));
        let long = b"789012345".to_vec();
        assert_eq!(offer(2, b"789012345", true), Offered::Full(long.clone()));
        assert_eq!(
            offer(3, b"x", true),
            Offered::Full(b"x".to_vec()),
            "not its turn"
        );
        assert_eq!(inbox.used(), 4);
        assert_eq!(take(&inbox).as_deref(), Some(&b"1234"[..]));
        inbox.wrote(4);
        assert!(push(&inbox, 2, &long).is_ready());
        assert_eq!(offer(3, b"x", true), Offered::Taken);
        assert_eq!(take(&inbox).as_deref(), Some(&b"789012345x"[..]));
        inbox.close();
        assert_eq!(offer(1, b"late", true), Offered::Closed);
        assert_eq!(take(&inbox), None);
    }

    #[test]
    fn of_messages_without_a_byte_nothing_is_kept() {
        let inbox = Inbox::new(10, true);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            let offered = inbox.offer(1, |_| Ok::<_, ()>(()), &mut cx);
            assert_eq!(offered, Offered::Taken);
            assert!(push(&inbox, 1, b"").is_ready());
        }
        assert!(inbox.state.lock().lengths.is_empty());
    }

    #[test]
    fn an_empty_inbox_takes_one_message_of_any_size() {
        let inbox = Inbox::new(4, false);
        assert!(push(&inbox, 1, &[0; 100]).is_ready());
        assert!(push(&inbox, 1, &[0; 1]).is_pending());
    }

    #[test]
    fn who_gives_up_lets_the_next_one_in() {
        let inbox = Inbox::new(4, false);
        assert!(push(&inbox, 1, b"1234").is_ready());
        assert!(push(&inbox, 2, b"5678").is_pending());
        assert!(push(&inbox, 3, b"9").is_pending());
        take(&inbox);
        inbox.wrote(1);
        inbox.give_up(2);
        assert!(push(&inbox, 3, b"9").is_ready());
    }

    #[test]
    fn what_a_dead_child_did_not_read_whole_comes_again_whole() {
        let inbox = Inbox::new(100, true);
        for message in [b"one\n", b"two\n", b"six\n"] {
            assert!(push(&inbox, 1, message).is_ready());
        }
        let taken = inbox
            .take(Vec::new())
            .now_or_never()
            .flatten()
            .expect("queued");
        assert!(push(&inbox, 1, b"ten\n").is_ready());
        inbox.wrote(6);
        inbox.put_back(taken, 6, 6);
        inbox.put_first(b"joined\n");
        assert_eq!(inbox.used(), 4 + 4 + 4 + 7);
        assert_eq!(
            take(&inbox).as_deref(),
            Some(&b"joined\ntwo\nsix\nten\n"[..])
        );
    }

    #[test]
    fn what_was_put_first_for_a_child_that_died_is_not_said_twice() {
        let inbox = Inbox::new(100, true);
        assert!(push(&inbox, 1, b"heard\n").is_ready());
        take(&inbox);
        inbox.wrote(6);
        for written in [None, Some(0), Some(3), None, None] {
            assert_eq!(inbox.delivered(), 6);
            inbox.put_first(b"joined\n");
            if let Some(written) = written {
                let taken = inbox.take(Vec::new()).now_or_never().flatten();
                inbox.wrote(written);
                inbox.put_back(taken.expect("queued"), written, written);
            }
            assert!(inbox.used() <= 7);
        }
        inbox.put_first(b"joined\n");
        assert!(push(&inbox, 1, b"new\n").is_ready());
        assert_eq!(take(&inbox).as_deref(), Some(&b"joined\nnew\n"[..]));
    }

    #[test]
    fn what_a_dead_child_left_in_its_pipe_comes_again() {
        let inbox = Inbox::new(100, true);
        let mut lately = Taken::default();
        for message in [b"one\n", b"two\n", b"six\n"] {
            assert!(push(&inbox, 1, message).is_ready());
            let taken = inbox.take(Vec::new()).now_or_never().flatten();
            lately.append(taken.expect("queued"));
            inbox.wrote(4);
        }
        assert!(push(&inbox, 1, b"ten\n").is_ready());
        assert_eq!((inbox.used(), inbox.delivered()), (4, 12));
        // It had read as far as into the second.
        inbox.put_back(lately, 12, 5);
        assert_eq!((inbox.used(), inbox.delivered()), (12, 4));
        assert_eq!(take(&inbox).as_deref(), Some(&b"two\nsix\nten\n"[..]));
    }

    #[test]
    fn what_was_written_long_ago_is_forgotten_by_whole_messages() {
        let mut lately = Taken::default();
        for _ in 0..100 {
            lately.append(Taken {
                bytes: vec![b'x'; 30],
                messages: 1,
                lengths: VecDeque::from([30]),
                first: 0,
            });
            lately.trim(100);
            assert!(lately.bytes.len() <= 230 && lately.bytes.len() == 30 * lately.lengths.len());
        }
        assert!(lately.bytes.len() >= 100);
    }

    #[test]
    fn a_closed_inbox_gives_what_it_has() {
        let inbox = Inbox::new(100, false);
        assert!(push(&inbox, 1, b"last").is_ready());
        inbox.close();
        assert_eq!(push(&inbox, 1, b"late"), Poll::Ready(Err(Closed)));
        assert_eq!(take(&inbox).as_deref(), Some(&b"last"[..]));
        assert_eq!(
            inbox
                .take(Vec::new())
                .now_or_never()
                .map(|taken| taken.is_none()),
            Some(true)
        );
    }
}
