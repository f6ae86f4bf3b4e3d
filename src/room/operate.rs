//! What operators do with a room: they look at it closely, say something in the place of its program
//! or of a client, send clients away, and end it.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tracing::info;

use super::close::Close;
use super::history::History;
use super::live::{Order, Phase, Room};
use super::outgoing::Outgoing;
use super::rooms::Rooms;
use super::tap::{Seen, Way, Whom};
use crate::child::Usage;
use crate::frame::{Audience, Event, Kind};
use crate::ws::codec;

/// How long what an operator says may wait for room.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are remembered of the last line of stderr.
const STDERR_KEPT: usize = 512;
/// What the metrics call the end of a room that an operator ended.
const ENDED: &str = "operator";

/// A client, as operators see it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Client {
    /// Its id.
    pub id: u32,
    /// Where it comes from; null over a unix socket.
    pub address: Option<IpAddr>,
    /// Who it has proved to be; null where that is not asked.
    pub user: Option<String>,
    /// Since when it is in.
    pub age_seconds: Option<f64>,
    /// Bytes it has not been sent yet, of what everybody hears.
    pub lag_bytes: u64,
    /// Messages that wait for it alone.
    pub queued: usize,
    /// Whether it reads compressed frames.
    pub compressed: bool,
    /// Whether it is about to be closed.
    pub leaving: bool,
}

/// A room at a glance, without what the system must be asked for.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Glance {
    /// Clients in the room.
    pub connections: usize,
    /// Where the room is in its life.
    pub state: Phase,
    /// Of the child; null with `--connect` or while it starts.
    pub pid: Option<u32>,
    /// Since the room opened.
    pub age_seconds: f64,
    /// Since the last message in either direction.
    pub idle_seconds: f64,
    /// How often the child was started again.
    pub restarts: u32,
    /// As in [`Stats`](super::Stats), like the three that follow.
    pub messages_in: u64,
    #[allow(missing_docs)]
    pub messages_out: u64,
    #[allow(missing_docs)]
    pub bytes_in: u64,
    #[allow(missing_docs)]
    pub bytes_out: u64,
    /// Bytes the slowest client has not been sent yet.
    pub lag_bytes: u64,
    /// Bytes on their way to the child.
    pub inbox_bytes: usize,
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// No such client is in.
    #[error("no such client is in the room")]
    NoClient,
    /// The room takes nothing more.
    #[error("the room is ending")]
    Ending,
    /// There was no room for it in time.
    #[error("the room is too far behind to take it; try again")]
    Full,
    /// The framing cannot carry it.
    #[error("it is longer than the framing can say")]
    TooLong,
}

impl Room {
    /// When the room was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// What the program uses, as of when the system was asked, two seconds ago at the longest.
    pub fn usage_as_of(&self) -> Option<(Instant, Usage)> {
        let gauge = self.gauge.lock().clone();
        gauge.and_then(|gauge| gauge.usage_as_of())
    }

    /// Whether its program is in a terminal.
    pub fn has_terminal(&self) -> bool {
        self.window.is_some()
    }

    /// The room at a glance.
    pub fn glance(&self) -> Glance {
        let (connections, state, lag_bytes) = {
            let hall = self.hall.lock();
            (hall.feed.len(), hall.phase, hall.feed.largest_lag())
        };
        let age = self.opened.elapsed();
        Glance {
            connections,
            state,
            pid: self.pid(),
            age_seconds: age.as_secs_f64(),
            idle_seconds: age.saturating_sub(self.active()).as_secs_f64(),
            restarts: self.restarts.load(Relaxed),
            messages_in: self.counts.messages_in.load(Relaxed),
            messages_out: self.counts.messages_out.load(Relaxed),
            bytes_in: self.counts.bytes_in.load(Relaxed),
            bytes_out: self.counts.bytes_out.load(Relaxed),
            lag_bytes,
            inbox_bytes: self.inbox.used(),
        }
    }

    /// The clients who are furthest behind, so many at the most.
    pub fn clients(&self, most: usize) -> Vec<Client> {
        let seats = self.hall.lock().feed.seats(most);
        let client = |seat: super::feed::Seat| {
            let guest = self.guests.get(seat.id);
            Client {
                id: seat.id,
                address: guest.as_ref().and_then(|guest| guest.address),
                age_seconds: guest
                    .as_ref()
                    .map(|guest| guest.since.elapsed().as_secs_f64()),
                user: guest.and_then(|guest| guest.user.as_deref().map(str::to_owned)),
                lag_bytes: seat.lag,
                queued: seat.queued,
                compressed: seat.compressed,
                leaving: seat.leaving,
            }
        };
        seats.into_iter().map(client).collect()
    }

    /// What late joiners hear, the newest so many of it, oldest first; and how many there are.
    pub fn kept(&self, most: usize) -> (Vec<(Kind, bytes::Bytes)>, usize) {
        let hall = self.hall.lock();
        let all = || hall.history.iter().flat_map(History::frames);
        let count = all().count();
        let newest = all().skip(count.saturating_sub(most));
        let newest = newest.filter_map(|frame| {
            let (kind, payload, _) = codec::message(frame)?;
            Some((kind, frame.slice_ref(payload)))
        });
        (newest.collect(), count)
    }

    /// The last line that the program printed to stderr, as far as we read it.
    pub fn last_stderr(&self) -> Option<String> {
        let line = self.last_stderr.lock();
        (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned())
    }

    /// Remembers a line that the program printed to stderr, and shows it to who watches.
    pub(super) fn note_stderr(&self, line: &[u8]) {
        if self.tap.is_watched() {
            self.tap.pass(Way::Stderr, 1, |slot| {
                slot.show(Whom::Nobody, Kind::Text, line);
            });
        }
        if !line.is_empty() {
            let mut last = self.last_stderr.lock();
            last.clear();
            last.extend_from_slice(line.get(..STDERR_KEPT).unwrap_or(line));
        }
    }

    /// Lets clients hear something as if the program had said it: those of these ids, or all.
    ///
    /// # Errors
    ///
    /// One of the ids is of no client, or the clients are too far behind.
    pub async fn say(&self, to: Option<&[u32]>, kind: Kind, payload: &[u8]) -> Result<(), Undone> {
        if let Some(ids) = to {
            let hall = self.hall.lock();
            if !ids.iter().all(|id| hall.feed.has(*id)) {
                return Err(Undone::NoClient);
            }
        }
        if self.phase() >= Phase::Ending {
            return Err(Undone::Ending);
        }
        // As the program's own output: no more than clients take.
        let ready = tokio::time::timeout(PATIENCE, self.may_read()).await;
        ready.map_err(|_| Undone::Full)?;
        let keep = self.hall.lock().history.as_ref().map(History::keep);
        let mut outgoing = Outgoing::new(keep);
        outgoing.add(Event::Message {
            to: to.map_or(Audience::Everyone, Audience::Only),
            kind,
            payload,
            tagged: false,
        });
        self.publish(&mut outgoing);
        info!(room = %self.name, bytes = payload.len(), "an operator spoke to clients");
        Ok(())
    }

    /// Closes one client, behind what it has yet to hear.
    ///
    /// # Errors
    ///
    /// It is not in.
    pub fn kick(&self, id: u32, code: u16, reason: &str) -> Result<(), Undone> {
        if !self.hall.lock().feed.has(id) {
            return Err(Undone::NoClient);
        }
        let mut outgoing = Outgoing::default();
        outgoing.add(Event::Close {
            clients: &[id],
            code,
            reason,
        });
        self.publish(&mut outgoing);
        info!(room = %self.name, client = id, "an operator kicked a client");
        Ok(())
    }

    /// Ends the room: its clients are closed, and its program walks the ladder.
    pub fn end(&self) {
        let close = Close::new(Close::GOING_AWAY, "ended by an operator");
        self.order(Order::End(close, ENDED));
        info!(room = %self.name, "an operator ends the room");
    }
}

impl Rooms {
    /// Gives a room's program some input, as its operator writes it: the framing adds what marks the
    /// end of a message, and nothing else is put in or looked at.
    ///
    /// # Errors
    ///
    /// The inbox takes nothing more, or has had no room for a while.
    pub async fn give_input(&self, room: &Room, kind: Kind, payload: &[u8]) -> Result<(), Undone> {
        let mut message = Vec::new();
        let written = room.encoder.operator(kind, payload, &mut message);
        written.map_err(|_| Undone::TooLong)?;
        // Nobody else has this number, so that it has a turn of its own.
        let turn = Turn {
            room,
            number: self.0.next_id().map_err(|_| Undone::Full)?.get(),
        };
        // Before the program can answer.
        let note = || {
            room.count_in(payload.len());
            if room.tap.is_watched() {
                room.tap.pass(Way::In, 1, |slot| {
                    slot.show(Whom::Operator, kind, payload);
                });
            }
        };
        let inbox = &room.inbox;
        let push = poll_fn(|cx| inbox.poll_push_noting(turn.number, &message, cx, note));
        match tokio::time::timeout(PATIENCE, push).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(Undone::Ending),
            Err(_) => return Err(Undone::Full),
        }
        info!(room = %room.name, bytes = payload.len(), "an operator spoke to the program");
        Ok(())
    }
}

/// Somebody in the queue before an inbox, who may go away.
struct Turn<'a> {
    room: &'a Room,
    number: u32,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.room.inbox.give_up(self.number);
    }
}

impl Seen {
    /// Whether only the beginning of it is here.
    pub fn is_cut(&self) -> bool {
        self.payload.len() < self.length
    }
}
