//! Many websocket clients on one thread: a level-triggered epoll, one read buffer, no allocation
//! per message, so that the load costs little beside what it measures.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::stream::{Stream, Tls};
use crate::wire::{self, Frame, Reader};

/// Bytes read at once.
const READ: usize = 128 << 10;
/// Handshakes on their way at the same time, unless more are asked for: half an accept queue.
const OPENING: usize = 512;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// One client.
#[derive(Debug)]
struct Client {
    stream: Stream,
    reader: Reader,
    /// It offers to read compressed messages.
    packs: bool,
    /// The answer to the handshake until it is whole; none once it is.
    answer: Option<Vec<u8>>,
    /// Not read from, on purpose.
    lazy: bool,
    over: bool,
}

/// What a client heard.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    /// The handshake is done.
    Open,
    /// A message: the first bytes of it, and its length.
    Message(&'a [u8], usize),
    /// A compressed message: the first bytes of that form.
    Packed(&'a [u8]),
    /// A close frame.
    Close(u16, String),
    /// The end of the stream.
    End,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Crowd {
    epoll: Epoll,
    addr: SocketAddr,
    /// Whether over TLS.
    tls: Option<Tls>,
    clients: Vec<Client>,
    open: usize,
    /// Whether those who join from now on offer to read compressed messages.
    packs: bool,
    /// Bytes of a message that are handed out with it.
    head: usize,
    /// Bytes of frames that all have read.
    received: u64,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Nobody yet, on their way to `addr`.
    pub(crate) fn new(addr: SocketAddr) -> Result<Self> {
        Ok(Crowd {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            addr,
            tls: None,
            clients: Vec::new(),
            open: 0,
            packs: false,
            head: wire::HEAD,
            received: 0,
            buffer: vec![0; READ],
        })
    }

    /// A crowd of `clients` in one room, all handshakes done.
    pub(crate) fn join(addr: SocketAddr, room: &str, clients: usize) -> Result<Self> {
        let mut crowd = Crowd::new(addr)?;
        crowd.grow(room, clients, Duration::from_secs(60))?;
        Ok(crowd)
    }

    /// Those who join from now on speak TLS, if any is said.
    pub(crate) fn speak(&mut self, tls: Option<Tls>) {
        self.tls = tls;
    }

    /// Those who join from now on hand out the first `head` bytes of each message, which may be
    /// compressed if they are to offer that: then the server must agree.
    pub(crate) fn attend(&mut self, head: usize, packs: bool) {
        self.head = head;
        self.packs = packs;
    }

    /// Bytes of frames that all have read.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// So many more join `room`; returns when the handshakes are done.
    pub(crate) fn grow(&mut self, room: &str, more: usize, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        let wanted = self.clients.len() + more;
        while self.open < wanted {
            while self.clients.len() < wanted && self.clients.len() - self.open < OPENING {
                self.connect(room)?;
            }
            let mut early = None;
            self.turn(Duration::from_secs(1), |client, heard| match heard {
                Heard::Close(code, reason) => early = Some(format!("{client}: {code} {reason}")),
                Heard::End => early = Some(format!("{client}: end of stream")),
                _ => {}
            })?;
            if let Some(early) = early {
                bail!("a client was sent away: {early}");
            }
            if Instant::now() > deadline {
                bail!("{} of {wanted} handshakes in {within:?}", self.open);
            }
        }
        Ok(())
    }

    /// One more client asks for `room`; the answer comes with a later turn. Returns its number.
    pub(crate) fn connect(&mut self, room: &str) -> Result<usize> {
        let mut stream = Stream::connect(self.addr, self.tls.as_ref()).context("connect")?;
        stream.write_all(wire::handshake(room, self.packs).as_bytes())?;
        stream.set_nonblocking(true)?;
        let index = self.clients.len();
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        self.clients.push(Client {
            stream,
            reader: Reader::new(self.head, self.packs),
            packs: self.packs,
            answer: Some(Vec::new()),
            lazy: false,
            over: false,
        });
        Ok(index)
    }

    /// Whether the client is read from.
    pub(crate) fn set_lazy(&mut self, index: usize, lazy: bool) -> Result<()> {
        let client = self.clients.get_mut(index).context("no such client")?;
        if client.lazy != lazy && !client.over {
            client.lazy = lazy;
            if lazy {
                self.epoll.delete(&client.stream)?;
            } else {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
                self.epoll.add(&client.stream, event)?;
            }
        }
        Ok(())
    }

    /// The client is gone, without a word.
    pub(crate) fn hang_up(&mut self, index: usize) -> Result<()> {
        let client = self.clients.get_mut(index).context("no such client")?;
        if !client.over {
            client.over = true;
            if !client.lazy {
                self.epoll.delete(&client.stream)?;
            }
            client.stream.shut();
        }
        Ok(())
    }

    /// The client says `text`, waiting for its socket if need be.
    pub(crate) fn say(&mut self, index: usize, text: &[u8]) -> Result<()> {
        let mut frame = Vec::with_capacity(text.len() + 14);
        wire::put_frame(&mut frame, wire::TEXT, text);
        self.send(index, &frame)
    }

    /// The client sends `bytes`, which are frames, waiting for its socket if need be.
    pub(crate) fn send(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let client = self.clients.get_mut(index).context("no such client")?;
        write_all(&mut client.stream, bytes)
    }

    /// Writes what the socket takes of `bytes`, which are frames.
    pub(crate) fn push(&mut self, index: usize, bytes: &[u8]) -> Result<usize> {
        let client = self.clients.get_mut(index).context("no such client")?;
        match client.stream.write(bytes) {
            Ok(written) => Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits at most `patience` for something to read, and tells `each` what every client heard.
    pub(crate) fn turn(
        &mut self,
        patience: Duration,
        mut each: impl FnMut(usize, Heard<'_>),
    ) -> Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let timeout = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::MAX);
        let ready = self.epoll.wait(&mut events, timeout)?;
        for event in events.iter().take(ready) {
            let index = event.data() as usize;
            let Some(client) = self.clients.get_mut(index) else {
                continue;
            };
            let read = match client.stream.read(&mut self.buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => 0,
            };
            if read == 0 {
                client.over = true;
                self.epoll.delete(&client.stream)?;
                each(index, Heard::End);
                continue;
            }
            let mut bytes = self.buffer.get(..read).unwrap_or_default();
            let behind;
            if let Some(answer) = &mut client.answer {
                answer.extend_from_slice(bytes);
                let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
                    continue;
                };
                if !answer.starts_with(b"HTTP/1.1 101") {
                    bail!(
                        "refused: {}",
                        String::from_utf8_lossy(answer).replace("\r\n", " | ")
                    );
                }
                behind = answer.split_off(at + 4);
                if client.packs && !wire::agrees(answer) {
                    bail!("the server does not agree to {}", wire::DEFLATE);
                }
                bytes = &behind;
                client.answer = None;
                self.open += 1;
                each(index, Heard::Open);
            }
            self.received += bytes.len() as u64;
            let (mut pinged, mut closed) = (false, false);
            client.reader.feed(bytes, &mut |frame: Frame<'_>| {
                match frame.opcode {
                    wire::CLOSE => {
                        closed = true;
                        let (code, reason) = wire::close_of(frame.head);
                        each(index, Heard::Close(code, reason));
                    }
                    wire::PING => pinged = true,
                    wire::PONG => {}
                    _ if frame.packed => each(index, Heard::Packed(frame.head)),
                    _ => each(index, Heard::Message(frame.head, frame.len)),
                };
            })?;
            if pinged || closed {
                let mut answer = Vec::new();
                let opcode = if closed { wire::CLOSE } else { wire::PONG };
                wire::put_frame(&mut answer, opcode, b"");
                // It may be gone already; then the next read says so.
                let _ = write_all(&mut client.stream, &answer);
            }
        }
        Ok(())
    }
}

fn write_all(stream: &mut Stream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                use std::os::fd::AsFd;
                let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
                nix::poll::poll(&mut fds, PollTimeout::from(10_000u16))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
