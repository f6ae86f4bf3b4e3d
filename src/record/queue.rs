//! What waits to be written: bounded by its bytes, so that a disk that stands still costs memory
//! once and no room ever waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::line::{End, Head, Start};

/// Bytes that may wait, of all rooms together.
pub(super) const MOST: usize = 16 << 20;
/// What an event takes beside its bytes.
const EACH: usize = 96;

/// Something that happened in a room.
#[derive(Debug)]
pub(super) struct Entry {
    /// Which one's.
    pub(super) recording: u64,
    /// Since it began.
    pub(super) at: Duration,
    pub(super) event: Event,
}

/// What it was.
#[derive(Debug)]
pub(super) enum Event {
    /// The recording begins: its head, what tells its file from others, and where to say that it
    /// takes no more.
    Open(Box<Head>, String, Arc<AtomicBool>),
    Start(Box<Start>),
    In(Vec<u8>),
    Back(u64),
    Eof,
    Out(Vec<u8>),
    Err(Vec<u8>),
    Join(u32),
    Leave(u32),
    Stop,
    Exit(String),
    End(End),
    /// It ends here, for this reason.
    Cut(&'static str),
    /// Nothing more comes.
    Close,
}

impl Entry {
    /// What it takes in the queue.
    pub(super) fn cost(&self) -> usize {
        EACH + match &self.event {
            Event::In(bytes) | Event::Out(bytes) | Event::Err(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Of all that is not written yet.
    bytes: usize,
    closed: bool,
}

/// There is no room for it.
#[derive(Debug)]
pub(super) struct Full;

impl Queue {
    pub(super) fn put(&self, entry: Entry) -> Result<(), Full> {
        self.append(entry, MOST)
    }

    /// For what each recording has at most one of.
    pub(super) fn put_in_any_case(&self, entry: Entry) {
        // Nothing is beyond that.
        let _ = self.append(entry, usize::MAX);
    }

    fn append(&self, entry: Entry, most: usize) -> Result<(), Full> {
        let cost = entry.cost();
        let mut state = self.state.lock();
        if state.bytes.saturating_add(cost) > most {
            return Err(Full);
        }
        state.bytes += cost;
        let first = state.entries.is_empty();
        state.entries.push_back(entry);
        drop(state);
        if first {
            self.news.notify_one();
        }
        Ok(())
    }

    /// The next, once there is one; none when no more will come.
    pub(super) fn next(&self) -> Option<Entry> {
        let mut state = self.state.lock();
        loop {
            if let Some(entry) = state.entries.pop_front() {
                return Some(entry);
            }
            if state.closed {
                return None;
            }
            self.news.wait(&mut state);
        }
    }

    /// It was written: there is room for as much.
    pub(super) fn written(&self, cost: usize) {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(cost);
    }

    /// What is in it is still to be written; nothing more comes.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.news.notify_one();
    }
}
