//! One client on its way through this pod: a future that carries bytes between two sockets, each way by itself.
//!
//! An idle tunnel holds no buffer: bytes are read into one of the thread, and only what the other side does not take is kept. A
//! side that takes nothing stops the reading of the other, so that TCP stops who sends. The client reads why it is closed, if the
//! pod with its room is lost or this one ends, but never in the middle of a frame; what that pod says itself is passed on.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use super::call::{Line, limit_silence};
use super::follower::Follower;
use super::transits::Transit;
use crate::room::Close;
use crate::ws::codec;
use crate::ws::socket::Socket;

/// Bytes read at once, and the most that is kept for either side.
const READ: usize = 64 << 10;
/// Turns in one poll before others get theirs.
const TURNS: usize = 16;
/// How long a client may take to accept what ends its connection.
const CLOSE_TIME: Duration = Duration::from_secs(10);
/// How long it may take to hang up after that.
const ANSWER_TIME: Duration = Duration::from_secs(5);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

#[derive(Debug)]
enum State {
    /// Bytes go both ways.
    Open,
    /// What ends the connection is written once the frame has ended that is being passed on.
    Closing { until: Instant, frame: Vec<u8> },
    /// It is being written.
    Telling { until: Instant },
    /// No more is written; the client's end of the stream is awaited.
    Shut { until: Instant },
    /// Nothing is left to do.
    Over,
}

/// What was read from one side and is not yet written to the other; without capacity when empty.
#[derive(Debug, Default)]
struct Rest {
    bytes: Vec<u8>,
    written: usize,
}

impl Rest {
    fn new(bytes: Vec<u8>) -> Self {
        Rest { bytes, written: 0 }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        if self.is_empty() {
            *self = Rest::default();
        }
    }

    fn truncate(&mut self, length: usize) {
        self.bytes.truncate(self.written + length);
        self.advance(0);
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Tunnel {
    client: Socket,
    /// None once no more is expected of it.
    owner: Option<Socket>,
    up: Rest,
    down: Rest,
    /// Of what the client has been written.
    follower: Follower,
    state: State,
    /// The client has said its last.
    ended: bool,
    /// The owner takes no more; what it still says is passed on.
    deaf: bool,
    /// There may be bytes of the client that the runtime does not know of.
    unseen: bool,
    /// The owner takes nothing at present.
    owner_busy: bool,
    /// Since when a client that hung up waits for the owner to take what it said.
    hung_up: Option<Instant>,
    /// Since when the client has taken nothing.
    stalled: Option<Instant>,
    stall_timeout: Duration,
    /// Only while time matters.
    timer: Option<Pin<Box<Sleep>>>,
    transit: Transit,
    /// Whether the end of all transits wakes this task.
    registered: bool,
}

/// Whether a direction can do more just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Blocked,
    More,
}

impl Tunnel {
    /// Between a client, which has read its 101, and the pod that took it; `early` came behind the client's handshake. A client that
    /// takes nothing for `stall_timeout` is closed. It is polled by one task for all its life.
    pub fn new(
        client: Socket,
        early: Vec<u8>,
        line: Line,
        stall_timeout: Duration,
        transit: Transit,
    ) -> Self {
        Tunnel {
            client,
            owner: Some(Socket::Tcp(line.stream)),
            up: Rest::new(early),
            down: Rest::new(line.early),
            follower: Follower::default(),
            state: State::Open,
            ended: false,
            deaf: false,
            unseen: false,
            owner_busy: false,
            hung_up: None,
            stalled: None,
            stall_timeout,
            timer: None,
            transit,
            registered: false,
        }
    }

    fn over(&mut self) -> Half {
        self.state = State::Over;
        Half::Blocked
    }

    /// The client is to read `close`, behind the frame that it is in.
    fn close(&mut self, close: &Close) {
        debug!(code = close.code, reason = %close.reason, "transit closed");
        if self.follower.has_closed() {
            // It was told already, by the owner.
            return self.shut();
        }
        let mut frame = Vec::new();
        codec::put_close(&mut frame, Some(close.code), &close.reason);
        let until = Instant::now() + CLOSE_TIME;
        self.state = State::Closing { until, frame };
        self.up = Rest::default();
        self.hung_up = None;
        let rest = self.follower.rest_of_frame(self.down.bytes());
        self.down.truncate(rest);
        self.tell_between_frames();
    }

    /// Writes what ends the connection, if the client is between two frames.
    fn tell_between_frames(&mut self) {
        if let State::Closing { until, frame } = &mut self.state
            && self.follower.is_between_frames()
        {
            self.down = Rest::new(std::mem::take(frame));
            self.state = State::Telling { until: *until };
            self.owner = None;
        }
    }

    /// Nothing more is written to the client.
    fn shut(&mut self) {
        self.client.shut();
        self.owner = None;
        (self.up, self.down) = (Rest::default(), Rest::default());
        self.state = match self.ended {
            true => State::Over,
            false => State::Shut {
                until: Instant::now() + ANSWER_TIME,
            },
        };
    }

    /// The owner's stream has ended; all of it was written.
    fn owner_ended(&mut self) {
        if self.follower.has_closed() || self.ended {
            self.shut();
        } else if self.follower.is_between_frames() && matches!(self.state, State::Open) {
            self.close(&Close::new(Close::RESTART, "the room's server was lost"));
        } else {
            // In the middle of a frame nothing can be said.
            self.over();
        }
    }

    fn read_client(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.unseen {
            match self.client.read_now(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.unseen = false,
                read => return Poll::Ready(read),
            }
        }
        self.client.poll_read(cx, buffer)
    }

    /// From the client to the owner.
    fn poll_up(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Half {
        let carries = matches!(self.state, State::Open) && !self.deaf;
        if !self.up.is_empty() && carries {
            return self.write_up(cx);
        }
        if self.ended {
            return Half::Blocked;
        }
        match self.read_client(cx, buffer) {
            Poll::Pending => Half::Blocked,
            Poll::Ready(Err(_)) => self.over(),
            Poll::Ready(Ok(0)) => {
                self.ended = true;
                match (&self.state, &mut self.owner) {
                    (State::Shut { .. }, _) => self.state = State::Over,
                    (_, Some(owner)) => owner.shut(),
                    (_, None) => {}
                }
                Half::Blocked
            }
            Poll::Ready(Ok(read)) => {
                if carries {
                    // What fits is written at once, and never copied.
                    let bytes = buffer.get(..read).unwrap_or_default();
                    let owner = self.owner.as_mut();
                    let written = match owner.map(|owner| owner.poll_write(cx, bytes)) {
                        Some(Poll::Ready(Ok(written))) => written,
                        Some(Poll::Ready(Err(_))) | None => {
                            self.deaf = true;
                            return Half::More;
                        }
                        Some(Poll::Pending) => 0,
                    };
                    let rest = bytes.get(written..).unwrap_or_default();
                    self.up = Rest::new(rest.to_vec());
                }
                Half::More
            }
        }
    }

    fn write_up(&mut self, cx: &mut Context<'_>) -> Half {
        let Some(owner) = &mut self.owner else {
            return Half::Blocked;
        };
        match owner.poll_write(cx, self.up.bytes()) {
            Poll::Ready(Ok(written)) => {
                self.up.advance(written);
                if std::mem::take(&mut self.owner_busy)
                    && let Some(Socket::Tcp(owner)) = &self.owner
                {
                    limit_silence(owner, true);
                }
                // Looked for anew when it blocks again.
                self.hung_up = None;
                Half::More
            }
            Poll::Ready(Err(_)) => {
                // Its last words may still be on the way: they are read to their end.
                self.deaf = true;
                self.up = Rest::default();
                Half::More
            }
            Poll::Pending => {
                // Its room takes nothing, for as long as it likes. Who hangs up meanwhile is not
                // kept for ever.
                if !std::mem::replace(&mut self.owner_busy, true)
                    && let Some(Socket::Tcp(owner)) = &self.owner
                {
                    limit_silence(owner, false);
                }
                self.unseen = true;
                if self.hung_up.is_none() && self.client.poll_hang_up(cx).is_ready() {
                    self.hung_up = Some(Instant::now());
                }
                Half::Blocked
            }
        }
    }

    /// From the owner to the client.
    fn poll_down(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Half {
        if let Some(flushed) = self.client.poll_flush(cx) {
            return match flushed {
                Poll::Ready(Ok(_)) => {
                    self.stalled = None;
                    Half::More
                }
                Poll::Ready(Err(_)) => self.over(),
                Poll::Pending => {
                    self.stalled.get_or_insert_with(Instant::now);
                    Half::Blocked
                }
            };
        }
        if !self.down.is_empty() {
            let written = self.client.poll_write(cx, self.down.bytes());
            return match written {
                Poll::Ready(Ok(written)) => {
                    self.stalled = None;
                    let bytes = self.down.bytes();
                    self.follower.follow(bytes.get(..written).unwrap_or(bytes));
                    self.down.advance(written);
                    self.note_written();
                    Half::More
                }
                Poll::Ready(Err(_)) => self.over(),
                Poll::Pending => {
                    self.stalled.get_or_insert_with(Instant::now);
                    Half::Blocked
                }
            };
        }
        let Some(owner) = &mut self.owner else {
            return Half::Blocked;
        };
        match owner.poll_read(cx, buffer) {
            Poll::Pending => Half::Blocked,
            Poll::Ready(Ok(0) | Err(_)) => {
                self.owner_ended();
                Half::More
            }
            Poll::Ready(Ok(read)) => {
                let mut bytes = buffer.get(..read).unwrap_or_default();
                if matches!(self.state, State::Closing { .. }) {
                    let rest = self.follower.rest_of_frame(bytes);
                    bytes = bytes.get(..rest).unwrap_or_default();
                }
                let written = match self.client.poll_write(cx, bytes) {
                    Poll::Ready(Ok(written)) => written,
                    Poll::Ready(Err(_)) => return self.over(),
                    Poll::Pending => 0,
                };
                let (written, rest) = bytes.split_at_checked(written).unwrap_or((bytes, &[]));
                self.follower.follow(written);
                self.down = Rest::new(rest.to_vec());
                self.note_written();
                Half::More
            }
        }
    }

    /// Some of what the client is to read was written.
    fn note_written(&mut self) {
        if !self.down.is_empty() {
            return;
        }
        match self.state {
            State::Closing { .. } => self.tell_between_frames(),
            State::Telling { .. } => self.shut(),
            _ => {}
        }
    }

    /// When something is due whatever the sockets do.
    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Open => {
                let since = [self.stalled, self.hung_up].into_iter().flatten().min();
                since.map(|since| since + self.stall_timeout)
            }
            State::Closing { until, .. } | State::Telling { until } | State::Shut { until } => {
                Some(until)
            }
            State::Over => None,
        }
    }

    /// Does what is due; pending when nothing is, and the task is woken when it will be.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline() else {
            self.timer = None;
            return Poll::Pending;
        };
        if Instant::now() < deadline {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        if matches!(self.state, State::Open) && self.hung_up.is_none() {
            self.close(&Close::new(Close::TOO_SLOW, "too slow"));
        } else {
            self.over();
        }
        Poll::Ready(())
    }

    /// Hears of the end of all transits.
    fn poll_drain(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.state, State::Open) {
            return;
        }
        let close = match std::mem::replace(&mut self.registered, true) {
            true => self.transit.close_now(),
            false => self.transit.close(cx.waker()),
        };
        if let Some(close) = close.cloned() {
            self.close(&close);
        }
    }
}

impl Future for Tunnel {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.poll_drain(cx);
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..TURNS {
                let up = this.poll_up(cx, buffer);
                let down = match this.state {
                    State::Over => return Poll::Ready(()),
                    _ => this.poll_down(cx, buffer),
                };
                if matches!(this.state, State::Over) {
                    return Poll::Ready(());
                }
                if (up, down) == (Half::Blocked, Half::Blocked) && this.poll_time(cx).is_pending() {
                    return Poll::Pending;
                }
            }
            // Who keeps us busy without end is not spared what is due.
            let _ = this.poll_time(cx);
            if matches!(this.state, State::Over) {
                return Poll::Ready(());
            }
            // Behind a look at all sockets, which being woken at once would put off.
            pin!(yield_now()).poll(cx)
        })
    }
}

#[cfg(test)]
mod tests;
