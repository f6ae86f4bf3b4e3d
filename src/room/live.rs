//! One live room: what its pumps, its supervisor and its clients share.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use super::close::Close;
use super::feed::{Brink, Feed, LOOK, Patience};
use super::greetings::Greeting;
use super::guests::Guests;
use super::history::History;
use super::inbox::Inbox;
use super::mute;
use super::name::RoomName;
use super::options::Options;
use super::outgoing::Outgoing;
use super::rooms::RoomEvent;
use super::tap::Tap;
use super::transcript::Transcript;
use super::users::Users;
use super::window::Window;
use crate::child::{Gauge, PortLease, Usage};
use crate::frame::{ClientId, Encoder};
use crate::metrics::{Metrics, RoomFigures, Unique};

/// Users that are named in what is seen of a room.
const USERS_SEEN: usize = 100;

/// The life of a room, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The child is being started; clients may join.
    Starting,
    /// The child runs.
    Running,
    /// The child failed and is about to be started again; clients stay and may join.
    Restarting,
    /// No more clients; the child is on its way out.
    Ending,
    /// The child and all it started are gone; the name is free.
    Ended,
}

/// What a room is told to do by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Live on.
    Live,
    /// End, and close the clients so.
    End(Close, &'static str),
}

/// What changes hands under one lock: who is in, what they hear, and whether they may come.
#[derive(Debug)]
pub(super) struct Hall {
    pub(super) feed: Feed,
    pub(super) phase: Phase,
    pub(super) history: Option<History>,
    pub(super) unique: Unique,
}

/// What a room was given when it was opened.
#[derive(Debug)]
pub(super) struct Opening {
    /// What it remembers of its last life.
    pub(super) history: Option<History>,
    /// Where its children listen.
    pub(super) port: Option<PortLease>,
    pub(super) transcript: Transcript,
    /// When the first of them may start.
    pub(super) turn: tokio::time::Instant,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Room {
    pub(super) name: RoomName,
    pub(super) opened: Instant,
    /// Of all rooms: here, because clients have a room at hand, and are many.
    pub(super) encoder: Arc<Encoder>,
    pub(super) hall: Mutex<Hall>,
    pub(super) inbox: Inbox,
    pub(super) transcript: Transcript,
    pub(super) metrics: Metrics,
    events: broadcast::Sender<RoomEvent>,
    /// Of all its children, one after the other, in TCP mode.
    pub(super) port: Option<PortLease>,
    /// Who is in, of those who have proved who they are.
    pub(super) users: Users,
    pub(super) guests: Guests,
    pub(super) tap: Tap,
    pub(super) last_stderr: Mutex<Vec<u8>>,
    /// When the first of them may start.
    pub(super) turn: tokio::time::Instant,
    /// Whether somebody hears: the supervisor watches it.
    pub(super) occupied: watch::Sender<bool>,
    /// How many places may still say something.
    pub(super) speakers: watch::Sender<usize>,
    pub(super) orders: watch::Sender<Order>,
    /// True once the room is gone from the registry: its name may be used again.
    pub(super) gone: watch::Sender<bool>,
    pub(super) pid: AtomicU32,
    /// Of the child, where somebody watches it change.
    pub(super) version: AtomicU64,
    /// Tells what the child uses, while there is one.
    pub(super) gauge: Mutex<Option<Arc<Gauge>>>,
    pub(super) restarts: AtomicU32,
    metadata: Mutex<Option<Bytes>>,
    /// Join messages, to be said again to a new child; none unless children are started again.
    pub(super) greetings: Option<Mutex<BTreeMap<ClientId, Greeting>>>,
    /// Milliseconds after `opened` of the last message in either direction.
    active: AtomicU64,
    pub(super) counts: Counts,
    /// Whether anybody was ever kicked: who was not need not be looked up.
    kicks: AtomicBool,
    /// Whether the room does not linger.
    ends_when_empty: bool,
    /// How large its terminal is, where there is one.
    pub(super) window: Option<Window>,
    /// The shortest message that is compressed; 0 while nobody reads compressed frames.
    pub(super) pack_least: AtomicUsize,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) messages_in: AtomicU64,
    pub(super) messages_out: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    dropped: AtomicU64,
}

/// What is seen of a room: the object of `/<room>/stats`.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Clients in the room.
    pub connections: usize,
    /// Distinct client addresses in the room's life.
    pub unique_connections: u64,
    /// Users who have proved who they are: the first hundred by name.
    pub users: Vec<String>,
    /// Messages from clients that the child was or will be given.
    pub messages_in: u64,
    /// Messages of the child; one for many counts once.
    pub messages_out: u64,
    /// Payload bytes of `messages_in`.
    pub bytes_in: u64,
    /// Payload bytes of `messages_out`.
    pub bytes_out: u64,
    /// Messages dropped for a documented reason, and odd ones, either way.
    pub messages_dropped: u64,
    /// Since the room opened.
    pub age_seconds: f64,
    /// Since the last message in either direction.
    pub idle_seconds: f64,
    /// Of the child; null with `--connect` or while it starts.
    pub pid: Option<u32>,
    /// Where the room is in its life.
    pub state: Phase,
    /// How often the child was started again.
    pub restarts: u32,
    /// Bytes the slowest client has not been sent yet.
    pub lag_bytes: u64,
    /// Bytes held for clients.
    pub backlog_bytes: usize,
    /// Bytes on their way to the child.
    pub inbox_bytes: usize,
    /// Processor time of the child and all it started, where the platform tells.
    pub cpu_seconds: Option<f64>,
    /// Memory of the child and all it started, where the platform tells.
    pub memory_bytes: Option<u64>,
    /// How many processes these are, where the platform tells.
    pub processes: Option<u64>,
    /// What the child stored with `_meta`; null if nothing.
    pub metadata: serde_json::Value,
}

impl Room {
    pub(super) fn new(
        name: RoomName,
        options: &Options,
        encoder: Arc<Encoder>,
        metrics: Metrics,
        events: broadcast::Sender<RoomEvent>,
        opening: Opening,
    ) -> Self {
        let Opening {
            history,
            port,
            transcript,
            turn,
        } = opening;
        let hall = Hall {
            feed: Feed::new(options.backlog, options.slow),
            phase: Phase::Starting,
            history,
            unique: Unique::default(),
        };
        Room {
            name,
            opened: Instant::now(),
            encoder,
            hall: Mutex::new(hall),
            inbox: Inbox::new(options.inbox, options.restart),
            transcript,
            metrics,
            events,
            port,
            users: Users::default(),
            guests: Guests::new(options.guests),
            tap: Tap::default(),
            last_stderr: Mutex::default(),
            turn,
            occupied: watch::Sender::new(false),
            speakers: watch::Sender::new(0),
            orders: watch::Sender::new(Order::Live),
            gone: watch::Sender::new(false),
            pid: AtomicU32::new(0),
            version: AtomicU64::new(0),
            gauge: Mutex::default(),
            restarts: AtomicU32::new(0),
            metadata: Mutex::new(None),
            greetings: options.restart.then(Mutex::default),
            active: AtomicU64::new(0),
            counts: Counts::default(),
            kicks: AtomicBool::new(false),
            ends_when_empty: options.linger.is_zero(),
            window: options.terminal.map(Window::new),
            pack_least: AtomicUsize::new(0),
        }
    }

    /// The room's name.
    pub fn name(&self) -> &RoomName {
        &self.name
    }

    /// How many clients there are.
    pub fn connections(&self) -> usize {
        self.hall.lock().feed.len()
    }

    /// What the child stored with `_meta`, as it wrote it.
    pub fn metadata(&self) -> serde_json::Value {
        let metadata = self.metadata.lock().clone();
        metadata
            .and_then(|raw| serde_json::from_slice(&raw).ok())
            .unwrap_or_default()
    }

    /// The room as it is now.
    pub fn stats(&self) -> Stats {
        let pid = self.pid();
        let usage = self.usage();
        let (connections, unique_connections, state, lag_bytes, backlog_bytes) = {
            let hall = self.hall.lock();
            let feed = &hall.feed;
            (
                feed.len(),
                hall.unique.count(),
                hall.phase,
                feed.largest_lag(),
                feed.held(),
            )
        };
        let age = self.opened.elapsed();
        Stats {
            connections,
            unique_connections,
            users: self.users.first(USERS_SEEN),
            messages_in: self.counts.messages_in.load(Relaxed),
            messages_out: self.counts.messages_out.load(Relaxed),
            bytes_in: self.counts.bytes_in.load(Relaxed),
            bytes_out: self.counts.bytes_out.load(Relaxed),
            messages_dropped: self.counts.dropped.load(Relaxed),
            age_seconds: age.as_secs_f64(),
            idle_seconds: age.saturating_sub(self.active()).as_secs_f64(),
            pid,
            state,
            restarts: self.restarts.load(Relaxed),
            lag_bytes,
            backlog_bytes,
            inbox_bytes: self.inbox.used(),
            cpu_seconds: usage.as_ref().map(|usage| usage.cpu_seconds),
            memory_bytes: usage.as_ref().and_then(|usage| usage.memory_bytes),
            processes: usage.as_ref().and_then(|usage| usage.processes),
            metadata: self.metadata(),
        }
    }

    /// The figures of the room's metrics.
    pub(super) fn figures(&self) -> RoomFigures {
        let usage = self.usage();
        let hall = self.hall.lock();
        RoomFigures {
            connections: hall.feed.len() as u64,
            unique_connections: hall.unique.count(),
            lag_bytes: hall.feed.largest_lag(),
            inbox_bytes: self.inbox.used() as u64,
            cpu_seconds: usage.as_ref().map(|usage| usage.cpu_seconds),
            memory_bytes: usage.as_ref().and_then(|usage| usage.memory_bytes),
            processes: usage.as_ref().and_then(|usage| usage.processes),
        }
    }

    /// What the child uses. Not under any lock: a look at `/proc` takes its time.
    pub fn usage(&self) -> Option<Usage> {
        let gauge = self.gauge.lock().clone();
        gauge.and_then(|gauge| gauge.usage())
    }

    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Relaxed)).filter(|pid| *pid != 0)
    }

    /// When the last message passed, as time since the room opened.
    pub(super) fn active(&self) -> Duration {
        Duration::from_millis(self.active.load(Relaxed))
    }

    fn touch(&self) {
        self.active
            .store(self.opened.elapsed().as_millis() as u64, Relaxed);
    }

    /// How many messages the child was or will be given, and how many it has said.
    pub(super) fn said(&self) -> mute::Said {
        let counts = &self.counts;
        (
            counts.messages_in.load(Relaxed),
            counts.messages_out.load(Relaxed),
        )
    }

    /// Counts a message that the inbox accepted.
    pub(super) fn count_in(&self, bytes: usize) {
        self.counts.messages_in.fetch_add(1, Relaxed);
        self.counts.bytes_in.fetch_add(bytes as u64, Relaxed);
        self.metrics.received(1, bytes as u64);
        self.touch();
    }

    /// Counts messages that were dropped, or were odd.
    pub(super) fn count_dropped(&self, reason: &'static str, messages: u64) {
        if messages > 0 {
            self.counts.dropped.fetch_add(messages, Relaxed);
            self.metrics.dropped(reason, messages);
        }
    }

    /// Lets the clients hear what one read of the child became. Returns how many of them hear
    /// what was for everybody.
    pub(super) fn publish(&self, outgoing: &mut Outgoing) -> usize {
        if self.tap.is_watched() {
            outgoing.show(&self.tap);
        }
        if outgoing.messages > 0 {
            if self
                .counts
                .messages_out
                .fetch_add(outgoing.messages, Relaxed)
                == 0
            {
                self.metrics.first_message(self.opened.elapsed());
            }
            self.counts.bytes_out.fetch_add(outgoing.payload, Relaxed);
            self.metrics.sent(outgoing.messages, outgoing.payload);
            self.touch();
        }
        for what in &outgoing.counted {
            self.count_dropped(what.as_str(), 1);
        }
        if let Some(metadata) = outgoing.metadata.take() {
            *self.metadata.lock() = Some(metadata);
            self.tell(RoomEvent::Changed(self.name.clone()));
        }
        self.pack(outgoing);
        let mut wake = Vec::new();
        let mut hall = self.hall.lock();
        if outgoing.closes() {
            self.kicks.store(true, Relaxed);
        }
        let unknown = hall.feed.publish(outgoing, &mut wake);
        if let Some(history) = &mut hall.history {
            // Under the same lock: who comes in hears a message as history or live, never both.
            outgoing
                .kept
                .drain(..)
                .for_each(|frame| history.push(frame));
        }
        let hearers = hall.feed.len();
        drop(hall);
        self.count_dropped("unknown_client", unknown);
        outgoing.reset();
        wake.into_iter().for_each(Waker::wake);
        hearers
    }

    /// Waits until the child's output may be read further; says whether somebody is about to fall
    /// behind, for whom [`Room::bear`] waits.
    pub(super) async fn may_read(&self) -> Brink {
        poll_fn(|cx| {
            let mut hall = self.hall.lock();
            match hall.feed.may_read(cx.waker()) {
                true => Poll::Ready(hall.feed.brink_of_any()),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Waits for clients that are about to fall behind, as long as there is patience.
    pub(super) async fn bear(&self, patience: &mut Patience) {
        loop {
            let begun = Instant::now();
            // Less than a look is less than the clock can tell, and would add up unseen.
            let paid = patience.left(begun) >= LOOK;
            if !self.hall.lock().feed.waits(None, paid) {
                return;
            }
            let go = poll_fn(|cx| {
                let waker = Some(cx.waker());
                match self.hall.lock().feed.waits(waker, paid) {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                }
            });
            // Either way the loop looks again.
            let _ = tokio::time::timeout(LOOK, go).await;
            let waited = begun.elapsed();
            let mut hall = self.hall.lock();
            let busy = hall.feed.is_busy();
            let cost = if busy { Duration::ZERO } else { waited };
            if patience.spend(waited, cost, Instant::now()) {
                hall.feed.give_up_silent();
            }
        }
    }

    /// A client comes in, if the room still takes any and has a place: its key in the feed.
    pub(super) fn enter(
        &self,
        id: ClientId,
        address: Option<IpAddr>,
        most: Option<usize>,
    ) -> Result<usize, Shut> {
        let mut hall = self.hall.lock();
        if hall.phase >= Phase::Ending {
            return Err(Shut::Ending);
        }
        if most.is_some_and(|most| hall.feed.len() >= most) {
            return Err(Shut::Full);
        }
        let Hall {
            feed,
            history,
            unique,
            ..
        } = &mut *hall;
        let mut wake = Vec::new();
        let key = feed.enter(id, history.as_ref());
        feed.wake_pumps(&mut wake);
        address
            .into_iter()
            .for_each(|address| unique.insert(address));
        self.speakers.send_modify(|speakers| *speakers += 1);
        self.occupied
            .send_if_modified(|occupied| !std::mem::replace(occupied, true));
        drop(hall);
        wake.into_iter().for_each(Waker::wake);
        Ok(key)
    }

    /// The close that the child has told the client at `key` to be ended with, and since when.
    pub(super) fn kicked(&self, key: usize) -> Option<(Close, Instant)> {
        let any = self.kicks.load(Relaxed);
        any.then(|| self.hall.lock().feed.kicked(key)).flatten()
    }

    /// A client no longer hears.
    pub(super) fn leave(&self, key: usize) {
        let mut wake = Vec::new();
        let mut hall = self.hall.lock();
        hall.feed.leave(key, &mut wake);
        self.note_packed(&hall.feed);
        let empty = hall.feed.len() == 0;
        if empty && self.ends_when_empty {
            // At once: whoever comes next meets a new child, not one that is about to be ended.
            hall.phase = hall.phase.max(Phase::Ending);
        }
        self.occupied
            .send_if_modified(|occupied| std::mem::replace(occupied, !empty) == empty);
        drop(hall);
        wake.into_iter().for_each(Waker::wake);
        self.tell(RoomEvent::Changed(self.name.clone()));
    }

    /// An event for whoever listens.
    pub(super) fn tell(&self, event: RoomEvent) {
        // An error means that nobody listens.
        let _ = self.events.send(event);
    }

    /// The next phase; a room never goes back from `Ending`.
    pub(super) fn set_phase(&self, phase: Phase) {
        let mut hall = self.hall.lock();
        if hall.phase < Phase::Ending || phase > hall.phase {
            hall.phase = phase;
        }
    }

    /// Begins to end if nobody is in; whoever comes now waits for the next room of this name.
    pub(super) fn end_if_empty(&self) -> bool {
        let mut hall = self.hall.lock();
        if hall.feed.len() > 0 {
            return false;
        }
        hall.phase = Phase::Ending;
        true
    }

    /// Closes every client behind what it has yet to hear.
    pub(super) fn close_clients(&self, close: Close) {
        let mut wake = Vec::new();
        self.hall.lock().feed.end(close, &mut wake);
        wake.into_iter().for_each(Waker::wake);
    }

    /// The room's phase.
    pub fn phase(&self) -> Phase {
        self.hall.lock().phase
    }

    /// Tells the room what to do; the first order to end counts.
    pub(crate) fn order(&self, order: Order) {
        self.orders.send_if_modified(|current| {
            let first = *current == Order::Live && *current != order;
            if first {
                *current = order;
            }
            first
        });
    }
}

/// Why nobody can come in just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shut {
    /// The room is on its way out.
    Ending,
    /// It has as many clients as it may.
    Full,
}
