//! A client's place in a room: what it hears, what it says. Dropping it is leaving.

use std::ffi::OsString;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tracing::trace;

use super::admission::Admitted;
use super::close::Close;
use super::feed::Next;
use super::inbox::Offered;
use super::live::Room;
use super::name::RoomName;
use super::piece::{Begun, Piece};
use super::tap::{Way, Whom};
use super::window::{self, Told};
use crate::frame::{ClientId, Kind, Template, Visitor};

/// Who comes: what the door knows of a client.
#[derive(Debug, Clone, Default)]
pub struct Newcomer {
    /// Its address; none over a unix socket.
    pub address: Option<IpAddr>,
    /// Whether another server of the fleet let it in, which then counts its address.
    pub passed_on: bool,
    /// Who it has proved to be, where that is asked.
    pub user: Option<Arc<str>>,
    /// When that is over, and with it its stay.
    pub until: Option<Instant>,
    /// The CGI variables of its request (RFC 3875).
    pub variables: Vec<(OsString, OsString)>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Place {
    room: Arc<Room>,
    id: ClientId,
    /// Of the feed; none once the client no longer hears.
    key: Option<usize>,
    /// Encoded and not yet taken by the inbox: first the join message, later at most one message.
    held: Option<Box<Held>>,
    announced: bool,
    /// What not every client has; boxed, so that the others are no larger for it.
    seldom: Option<Box<Seldom>>,
    /// Its share of the server's limits.
    _admitted: Admitted,
}

/// See [`Place`].
#[derive(Debug)]
struct Seldom {
    /// Said when it leaves, once its joining was told.
    farewell: Box<[u8]>,
    /// Who it has proved to be.
    user: Option<Arc<str>>,
    /// When that is over.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    /// Payload bytes of the message in it; none for a join message.
    payload: Option<usize>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// On its way to the child, or dropped for a reason that was counted.
    Done,
    /// The inbox is full: it is held here, and nothing more may be said until
    /// [`Place::poll_held`] is ready.
    Held,
}

impl Place {
    pub(super) fn new(
        room: Arc<Room>,
        key: usize,
        id: ClientId,
        messages: (Option<&Template>, Option<&Template>),
        newcomer: &Newcomer,
        admitted: Admitted,
    ) -> Self {
        let mut vars = Vec::new();
        if messages.0.is_some() || messages.1.is_some() {
            let text = |os: &OsString| os.to_string_lossy().into_owned();
            vars.extend(
                newcomer
                    .variables
                    .iter()
                    .map(|(name, value)| (text(name), text(value))),
            );
        }
        let visitor = Visitor {
            id,
            room: room.name.as_str(),
            vars: &vars,
        };
        let render = |template: Option<&Template>| {
            template.map(|template| {
                let mut text = Vec::new();
                template.render(&visitor, &mut text);
                text
            })
        };
        let (join, leave) = (render(messages.0), render(messages.1));
        let address = newcomer
            .address
            .map(|address| address.to_string())
            .unwrap_or_default();
        let mut joined = Vec::new();
        room.encoder
            .joined(id, &address, join.as_deref(), &mut joined);
        let mut left = Vec::new();
        room.encoder.left(id, leave.as_deref(), &mut left);
        room.remember_greeting(id, &joined);
        room.transcript.joined(id);
        let (user, until) = (newcomer.user.clone(), newcomer.until);
        if let Some(user) = &user {
            room.users.enter(user);
        }
        room.guests.enter(id, newcomer);
        let seldom = Seldom {
            farewell: left.into(),
            user,
            until,
        };
        let any = !seldom.farewell.is_empty() || seldom.user.is_some() || until.is_some();
        Place {
            room,
            id,
            key: Some(key),
            held: Some(Box::new(Held {
                bytes: joined,
                payload: None,
            })),
            announced: false,
            seldom: any.then(|| Box::new(seldom)),
            _admitted: admitted,
        }
    }

    /// The client's id.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The room's name.
    pub fn room(&self) -> &RoomName {
        &self.room.name
    }

    /// Says one message to the child. Nothing may be held.
    pub fn say(&mut self, kind: Kind, payload: &[u8], cx: &mut Context<'_>) -> Said {
        if self.kicked().is_some() {
            self.room.count_dropped("kicked", 1);
            return Said::Done;
        }
        if self.room.window.is_some() {
            match window::told(kind, payload) {
                Told::Nothing => {}
                Told::Size(size) => {
                    self.room.shows(self.id, size);
                    return Said::Done;
                }
                Told::Nonsense => {
                    self.room.count_dropped("bad_resize", 1);
                    return Said::Done;
                }
            }
        }
        trace!(room = %self.room.name, client = %self.id, ?kind, bytes = payload.len(), "message from a client");
        let Place { room, id, .. } = self;
        // What is refused is never seen to pass; and what passes is seen before its answer.
        let show = || {
            if room.tap.is_watched() {
                let whom = Whom::From(id.get());
                room.tap
                    .pass(Way::In, 1, |slot| slot.show(whom, kind, payload));
            }
        };
        let write = |out: &mut Vec<u8>| {
            let written = room.encoder.message(*id, kind, payload, out);
            written.inspect(|()| show())
        };
        match room.inbox.offer(id.get(), write, cx) {
            Offered::Taken => room.count_in(payload.len()),
            Offered::Refused(reason) => room.count_dropped(reason.as_str(), 1),
            Offered::Closed => room.count_dropped("room_ending", 1),
            Offered::Full(bytes) => {
                self.held = Some(Box::new(Held {
                    bytes,
                    payload: Some(payload.len()),
                }));
                return Said::Held;
            }
        }
        Said::Done
    }

    /// Ready once nothing is held and more may be said.
    pub fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(held) = &self.held else {
            return Poll::Ready(());
        };
        let pushed = std::task::ready!(self.room.inbox.poll_push(self.id.get(), &held.bytes, cx));
        match (pushed, held.payload) {
            (Ok(_), Some(payload)) => self.room.count_in(payload),
            (Ok(position), None) => {
                self.announced = true;
                self.room.greeted(self.id, position);
            }
            (Err(_), Some(_)) => self.room.count_dropped("room_ending", 1),
            (Err(_), None) => {}
        }
        self.held = None;
        Poll::Ready(())
    }

    /// When what the client has proved is over; its connection is to end then.
    pub fn until(&self) -> Option<Instant> {
        self.seldom.as_ref()?.until
    }

    /// The close that the child has ordered for this client, and since when.
    pub fn kicked(&self) -> Option<(Close, Instant)> {
        self.room.kicked(self.key?)
    }

    /// Answers a ping, behind all that there is to hear now.
    pub(crate) fn pong(&self, frame: Vec<u8>) {
        if let Some(key) = self.key {
            self.room.hall.lock().feed.pong(key, frame.into());
        }
    }

    /// The socket is full in the midst of what was begun. `Some`: the client is to be closed.
    pub(crate) fn blocked(&self, waker: &Waker) -> Option<Close> {
        let mut wake = Vec::new();
        let key = self.key?;
        let close = self.room.hall.lock().feed.blocked(key, waker, &mut wake);
        wake.into_iter().for_each(Waker::wake);
        close
    }

    /// Whether something is held, so that nothing more may be said.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// What to write next; see [`Next`].
    pub(crate) fn next(&mut self, waker: &Waker, pieces: &mut Vec<Piece>) -> Next {
        let Some(key) = self.key else {
            return Next::Wait;
        };
        let mut wake = Vec::new();
        let mut hall = self.room.hall.lock();
        let next = hall.feed.next(key, waker, pieces);
        hall.feed.wake_pumps(&mut wake);
        drop(hall);
        wake.into_iter().for_each(Waker::wake);
        next
    }

    /// So many bytes of the pieces were written; `full` if the socket took no more.
    pub(crate) fn wrote(
        &mut self,
        pieces: &mut Vec<Piece>,
        written: usize,
        full: Option<&Waker>,
    ) -> Option<Begun> {
        let key = self.key?;
        let mut wake = Vec::new();
        let begun = self
            .room
            .hall
            .lock()
            .feed
            .wrote(key, pieces, written, full, &mut wake);
        wake.into_iter().for_each(Waker::wake);
        begun
    }

    /// From now on the client reads compressed frames, where messages of at least `least` bytes were worth it.
    pub(crate) fn read_packed(&self, least: usize) {
        if let Some(key) = self.key {
            self.room.read_packed(key, least);
        }
    }

    /// The client no longer hears; what it said before may still be on its way.
    pub fn stop_hearing(&mut self) {
        if let Some(key) = self.key.take() {
            let seldom = self.seldom.as_ref();
            if let Some(user) = seldom.and_then(|seldom| seldom.user.as_ref()) {
                self.room.users.leave(user);
            }
            self.room.guests.leave(self.id);
            self.room.transcript.left(self.id);
            self.room.leave(key);
            self.room.shows_no_longer(self.id);
        }
    }

    /// A message was dropped before it was one, or the client did something odd.
    pub(crate) fn count_closed(&self, code: u16) {
        self.room.metrics.closed(code);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop_hearing();
        if let Some(held) = self.held.take() {
            self.room.inbox.give_up(self.id.get());
            if held.payload.is_some() {
                self.room.count_dropped("client_left", 1);
            }
        }
        if let Some(seldom) = self.seldom.take().filter(|_| self.announced) {
            self.room.inbox.push_over(&seldom.farewell);
        }
        self.room.forget_greeting(self.id);
        self.room.speakers.send_modify(|speakers| *speakers -= 1);
    }
}
