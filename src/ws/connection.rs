//! One client's connection: a future that reads, writes and keeps time for one place in a room.
//!
//! Reading never waits for writing, nor the other way round: every poll tries both. An idle
//! connection holds no buffer. It promises that a frame once begun is ended before anything else
//! is written, and that the client reads why it is closed, if it reads at all.

mod deadlines;

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Sleep, sleep_until};
use tracing::debug;

use super::codec::{self, Decoder, Event, Flow, Violation};
use super::lease::Lease;
use super::moment::Moment;
use super::socket::Socket;
use crate::room::{Begun, Close, Next, Piece, Place, Said};

/// Bytes read at once: so many that messages of 64 KiB mostly lie whole in a read.
const READ: usize = 192 << 10;
/// Pieces of less than this on average are copied together rather than gathered by the kernel,
/// to which a slice costs more than its copy does here.
const COPY_BELOW: usize = 1 << 10;
/// Turns in one poll before others get theirs.
const TURNS: usize = 5;
/// How long a client may take to accept what ends its connection.
const CLOSE_TIME: Duration = Duration::from_secs(10);
/// How long it may take to answer that.
const ANSWER_TIME: Duration = Duration::from_secs(5);

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
    static WRITE_BUFFER: RefCell<(Vec<Piece>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// What all connections have in common.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest message of a client, in bytes.
    pub max_message: usize,
    /// The shortest message that is compressed for clients that agree to that; `None`: no client is
    /// offered it.
    pub compress: Option<usize>,
    /// A ping is sent after so long a silence; `None`: never.
    pub ping: Option<Duration>,
    /// How long the answer to a ping may take; `None`: nobody is closed for it.
    pub ping_timeout: Option<Duration>,
    /// How long a client may accept no byte while data waits.
    pub stall_timeout: Duration,
}

#[derive(Debug)]
enum State {
    /// Messages go both ways.
    Open,
    /// The client hung up while its messages waited for the inbox: they still go there, as long
    /// as the child takes some.
    HungUp { until: Moment },
    /// What ends the connection is being written.
    Closing { until: Moment, heard: bool },
    /// It was written: the client's answer, or the end of the stream, is awaited.
    Shut { until: Moment, heard: bool },
    /// Nothing is left to do.
    Over,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    options: Arc<Options>,
    state: State,
    place: Option<Place>,
    decoder: Decoder,
    /// Read and not yet decoded, because the inbox is full.
    unread: Box<[u8]>,
    /// The inbox was full: there may be bytes in the socket that the runtime does not know of.
    unseen: bool,
    begun: Option<Box<Begun>>,
    control: Option<Box<Control>>,
    heard: Moment,
    pinged: Option<Moment>,
    stalled: Option<Moment>,
    message_begun: Option<Moment>,
    /// Which of the client's messages that is.
    message: u16,
    timer: Pin<Box<Sleep>>,
    /// What it holds until its socket is closed.
    lease: Option<Lease>,
}

/// Control frames to be written at the next frame boundary, and how much of them was.
#[derive(Debug, Default)]
struct Control {
    frames: Vec<u8>,
    written: usize,
}

/// Whether a half of the connection can do more just now.
enum Half {
    Blocked,
    More,
    /// It can, but has taken long: others come first.
    Enough,
}

impl Connection {
    /// A connection after its handshake; `early` are bytes that came behind the handshake.
    pub fn new(socket: Socket, place: Place, options: Arc<Options>, early: Vec<u8>) -> Self {
        let now = Moment::now();
        Connection {
            socket,
            state: State::Open,
            place: Some(place),
            decoder: Decoder::new(options.max_message),
            unread: early.into(),
            unseen: false,
            begun: None,
            control: None,
            heard: now,
            pinged: None,
            stalled: None,
            message_begun: None,
            message: 0,
            timer: Box::pin(sleep_until(
                (now + options.ping.unwrap_or(CLOSE_TIME)).instant(),
            )),
            lease: None,
            options,
        }
    }

    /// What the client says may come compressed, as the handshake agreed.
    #[must_use]
    pub fn inflating(mut self) -> Self {
        self.decoder.inflate();
        self
    }

    /// Holds this until its socket is closed.
    #[must_use]
    pub fn leasing(mut self, lease: Option<Lease>) -> Self {
        self.lease = lease;
        self
    }

    /// A connection that is closed right after its handshake, without a place.
    pub fn refused(socket: Socket, close: &Close, options: Arc<Options>) -> Self {
        let now = Moment::now();
        let mut control = Control::default();
        codec::put_close(&mut control.frames, Some(close.code), &close.reason);
        Connection {
            socket,
            state: State::Closing {
                until: now + CLOSE_TIME,
                heard: false,
            },
            place: None,
            decoder: Decoder::new(options.max_message),
            unread: Box::default(),
            unseen: false,
            begun: None,
            control: Some(Box::new(control)),
            heard: now,
            pinged: None,
            stalled: None,
            message_begun: None,
            message: 0,
            timer: Box::pin(sleep_until((now + CLOSE_TIME).instant())),
            lease: None,
            options,
        }
    }

    /// The client leaves its room, and reads `close` as soon as the frame it is in is ended.
    /// `heard`: nothing more is expected from it.
    fn close(&mut self, code: Option<u16>, reason: &str, heard: bool) {
        if let Some(place) = self.place.take() {
            place.count_closed(code.unwrap_or(1005));
            debug!(room = %place.room(), client = %place.id(), code, reason, "connection closed");
        }
        if let Some(begun) = &mut self.begun {
            begun.cut_to_frame();
        }
        self.unread = Box::default();
        self.decoder.pass_over();
        codec::put_close(self.control_frames(), code, reason);
        self.state = State::Closing {
            until: Moment::now() + CLOSE_TIME,
            heard,
        };
    }

    fn control_frames(&mut self) -> &mut Vec<u8> {
        &mut self.control.get_or_insert_default().frames
    }

    /// The stream is over without a close of ours.
    fn over(&mut self, code: u16) {
        if let Some(place) = self.place.take() {
            place.count_closed(code);
            debug!(room = %place.room(), client = %place.id(), code, "connection ended");
        }
        self.state = State::Over;
    }

    fn read_socket(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.unseen {
            match self.socket.read_now(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.unseen = false,
                read => return Poll::Ready(read),
            }
        }
        self.socket.poll_read(cx, buffer)
    }

    /// Reads while the client may say more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Half {
        let Some(place) = &mut self.place else {
            return Half::Blocked;
        };
        if place.poll_held(cx).is_pending() {
            self.unseen = true;
            self.heard = Moment::now();
            (self.pinged, self.message_begun) = (None, None);
            let open = matches!(self.state, State::Open);
            if open && self.socket.poll_hang_up(cx).is_ready() {
                place.stop_hearing();
                self.state = State::HungUp {
                    until: Moment::now() + self.options.stall_timeout,
                };
            }
            return Half::Blocked;
        }
        if let State::HungUp { until } = &mut self.state {
            *until = Moment::now() + self.options.stall_timeout;
        }
        if !self.unread.is_empty() {
            let mut input = std::mem::take(&mut self.unread);
            return self.digest(&mut input, cx);
        }
        READ_BUFFER.with_borrow_mut(|buffer| match self.read_socket(cx, buffer) {
            Poll::Pending => Half::Blocked,
            Poll::Ready(Ok(0) | Err(_)) => {
                self.over(1006);
                Half::Blocked
            }
            Poll::Ready(Ok(read)) => {
                self.heard = Moment::now();
                self.pinged = None;
                self.digest(buffer.get_mut(..read).unwrap_or_default(), cx)
            }
        })
    }

    /// Decodes what was read, and says it; keeps the rest if the inbox is full, or this takes long.
    fn digest(&mut self, input: &mut [u8], cx: &mut Context<'_>) -> Half {
        let Some(place) = &mut self.place else {
            return Half::Blocked;
        };
        let mut closed = None;
        let fed = self.decoder.feed(input, |event| match event {
            Event::Message(kind, payload) => match place.say(kind, payload, cx) {
                Said::Done => Flow::More,
                Said::Held => Flow::Stop,
            },
            Event::Ping(payload) => {
                let mut frame = Vec::with_capacity(payload.len() + 2);
                codec::put_pong(&mut frame, payload);
                place.pong(frame);
                Flow::More
            }
            Event::Pong => Flow::More,
            Event::Close(code) => {
                closed = Some(code);
                Flow::Stop
            }
        });
        match (fed, closed) {
            (_, Some(code)) => self.close(code, "", true),
            (Ok(taken), None) => {
                self.unread = input.get(taken..).unwrap_or_default().into();
                if !self.decoder.is_inside_message() {
                    self.message_begun = None;
                } else if self.message_begun.is_none() || self.message != self.decoder.begun() {
                    // Another than that of the last read: a stream of messages, each in time.
                    self.message_begun = Some(self.heard);
                    self.message = self.decoder.begun();
                }
            }
            (Err(violation), None) => self.violated(violation),
        }
        match self.decoder.is_spent() {
            true => Half::Enough,
            false => Half::More,
        }
    }

    fn violated(&mut self, violation: Violation) {
        self.close(Some(violation.code()), &violation.to_string(), true);
    }

    /// Writes what is next: what the socket keeps, the rest of what was begun, control frames, then
    /// the feed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Half {
        if let Some(flushed) = self.socket.poll_flush(cx) {
            return self.note_write(cx.waker(), flushed, |_, _| {});
        }
        if let Some(begun) = &mut self.begun {
            if begun.rest().is_empty() {
                self.begun = None;
                return Half::More;
            }
            let written = self.socket.poll_write(cx, begun.rest());
            return self.note_write(cx.waker(), written, |this, written| {
                if this
                    .begun
                    .as_mut()
                    .is_some_and(|begun| begun.advance(written))
                {
                    this.begun = None;
                }
            });
        }
        if let Some(control) = &self.control {
            let rest = control.frames.get(control.written..).unwrap_or_default();
            let written = self.socket.poll_write(cx, rest);
            return self.note_write(cx.waker(), written, |this, written| {
                this.control = this.control.take().and_then(|mut control| {
                    control.written += written;
                    (control.written < control.frames.len()).then_some(control)
                });
            });
        }
        match self.state {
            State::Open => WRITE_BUFFER
                .with_borrow_mut(|(pieces, scratch)| self.write_feed(cx, pieces, scratch)),
            State::Closing { heard, .. } => {
                if heard {
                    self.socket.shut();
                }
                self.state = State::Shut {
                    until: Moment::now() + ANSWER_TIME,
                    heard,
                };
                Half::More
            }
            _ => Half::Blocked,
        }
    }

    fn write_feed(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &mut Vec<Piece>,
        scratch: &mut Vec<u8>,
    ) -> Half {
        pieces.clear();
        let Some(place) = &mut self.place else {
            return Half::Blocked;
        };
        match place.next(cx.waker(), pieces) {
            Next::Wait => Half::Blocked,
            Next::Close(close) | Next::Expelled(close) => {
                self.close(Some(close.code), &close.reason, false);
                Half::More
            }
            Next::Write => {
                let written = write_pieces(&mut self.socket, cx, pieces, scratch);
                let (bytes, full) = match &written {
                    Poll::Ready(Ok(bytes)) => (*bytes, None),
                    Poll::Ready(Err(_)) => (0, None),
                    Poll::Pending => (0, Some(cx.waker())),
                };
                self.begun = place.wrote(pieces, bytes, full).map(Box::new);
                pieces.clear();
                self.note_write(cx.waker(), written, |_, _| {})
            }
        }
    }

    fn note_write(
        &mut self,
        waker: &Waker,
        written: Poll<io::Result<usize>>,
        then: impl FnOnce(&mut Self, usize),
    ) -> Half {
        match written {
            Poll::Pending => {
                self.stalled.get_or_insert_with(Moment::now);
                let Some(close) = self.place.as_ref().and_then(|place| place.blocked(waker)) else {
                    return Half::Blocked;
                };
                self.close(Some(close.code), &close.reason, false);
                Half::More
            }
            Poll::Ready(Ok(written)) => {
                self.stalled = None;
                if let Some(pinged) = &mut self.pinged {
                    // The ping may be behind all this: whoever takes bytes lives.
                    *pinged = Moment::now();
                }
                then(self, written);
                Half::More
            }
            Poll::Ready(Err(_)) => {
                self.over(1006);
                Half::Blocked
            }
        }
    }

    /// After our close: discards what still comes, until the client's close or the end.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Half {
        READ_BUFFER.with_borrow_mut(|buffer| match self.read_socket(cx, buffer) {
            Poll::Pending => Half::Blocked,
            Poll::Ready(Ok(0) | Err(_)) => {
                // While the close is still being written its write tells whether anybody is left.
                if matches!(self.state, State::Shut { .. }) {
                    self.state = State::Over;
                }
                Half::Blocked
            }
            Poll::Ready(Ok(read)) => {
                let (State::Closing { heard, .. } | State::Shut { heard, .. }) = &mut self.state
                else {
                    return Half::Blocked;
                };
                if !*heard {
                    let input = buffer.get_mut(..read).unwrap_or_default();
                    let mut closed = false;
                    let fed = self.decoder.feed(input, |event| {
                        closed |= matches!(event, Event::Close(_));
                        Flow::More
                    });
                    *heard = closed || fed.is_err();
                    if *heard && matches!(self.state, State::Shut { .. }) {
                        self.socket.shut();
                    }
                }
                Half::More
            }
        })
    }
}

/// Writes the pieces with one system call.
fn write_pieces(
    socket: &mut Socket,
    cx: &mut Context<'_>,
    pieces: &[Piece],
    scratch: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    if let [piece] = pieces {
        return socket.poll_write(cx, &piece.bytes);
    }
    let total: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
    if total / pieces.len().max(1) < COPY_BELOW {
        scratch.clear();
        pieces
            .iter()
            .for_each(|piece| scratch.extend_from_slice(&piece.bytes));
        return socket.poll_write(cx, scratch);
    }
    let mut slices = [IoSlice::new(&[]); 64];
    let mut count = 0;
    for (slice, piece) in slices.iter_mut().zip(pieces) {
        *slice = IoSlice::new(&piece.bytes);
        count += 1;
    }
    socket.poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        for _ in 0..TURNS {
            let read = match this.state {
                State::Open | State::HungUp { .. } => this.poll_read(cx),
                State::Closing { .. } | State::Shut { .. } => this.poll_discard(cx),
                State::Over => return Poll::Ready(()),
            };
            let write = match this.state {
                State::Over => return Poll::Ready(()),
                State::HungUp { .. } => Half::Blocked,
                _ => this.poll_write(cx),
            };
            if matches!(read, Half::Enough) {
                break;
            }
            if matches!((read, write), (Half::Blocked, Half::Blocked)) {
                // Nothing more to do before time passes or somebody wakes us.
                loop {
                    // Most polls end here, and do not even ask what time it is.
                    let Some(deadline) = this.deadline().map(Moment::instant) else {
                        return Poll::Pending;
                    };
                    if deadline < this.timer.deadline() {
                        this.timer.as_mut().reset(deadline);
                    }
                    if this.timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    if this.keep_time(Moment::now()) {
                        break;
                    }
                    // It was set for something that is due later by now.
                    this.timer.as_mut().reset(deadline);
                }
                if matches!(this.state, State::Over) {
                    return Poll::Ready(());
                }
            }
        }
        // Who keeps us busy without end is not spared what is due.
        this.keep_time(Moment::now());
        if matches!(this.state, State::Over) {
            return Poll::Ready(());
        }
        // Not woken at once: the runtime would look at other sockets once in 61 polls like this one.
        pin!(yield_now()).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_fits_its_task() {
        // The runtime sets tasks aside in steps of 128 bytes, of which it takes 96 itself and the
        // tracker 8: one word more here is 128 bytes more for every idle client.
        let size = size_of::<Connection>();
        assert!(size <= 3 * 128 - 96 - 8, "{size}");
        assert!(size_of::<Option<Lease>>() <= 8);
    }
}
