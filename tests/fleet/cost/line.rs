//! A client that costs little, so that what is measured is the server: a blocking socket and frames of its own (RFC 6455).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::people::PATIENCE;

const TEXT: u8 = 0x81;

/// Somebody in a room.
pub(super) struct Line(TcpStream);

/// A text frame as a client sends it. Its mask is zero: the server does the same work for it.
fn asked(payload: &[u8]) -> Vec<u8> {
    let mut frame = head(payload.len());
    if let Some(length) = frame.get_mut(1) {
        *length |= 0x80;
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The same as it comes back.
fn answered(payload: &[u8]) -> Vec<u8> {
    let mut frame = head(payload.len());
    frame.extend_from_slice(payload);
    frame
}

fn head(length: usize) -> Vec<u8> {
    match length {
        0..126 => vec![TEXT, length as u8],
        126..=0xFFFF => [&[TEXT, 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[TEXT, 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}

impl Line {
    /// Comes into a room by the door at that address.
    pub(super) fn join(door: Ipv4Addr, room: &str) -> Line {
        let mut stream = TcpStream::connect((door, 9000)).expect("the door is open");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let handshake = format!(
            "GET /{room} HTTP/1.1\r\nHost: {door}:9000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream
            .write_all(handshake.as_bytes())
            .expect("it is asked for");
        // Byte by byte: what comes behind it is not taken with it.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            answer.extend(byte);
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{room}: {answer}");
        Line(stream)
    }

    /// As long as it takes to hear what was said, so many times in a row.
    pub(super) fn round_trips(&mut self, payload: &[u8], times: usize) -> Vec<Duration> {
        let (asked, answered) = (asked(payload), answered(payload));
        let mut heard = vec![0; answered.len()];
        (0..times)
            .map(|_| {
                let begun = Instant::now();
                self.0.write_all(&asked).expect("it is said");
                self.0.read_exact(&mut heard).expect("it is heard");
                let time = begun.elapsed();
                assert!(heard == answered, "something else was heard");
                time
            })
            .collect()
    }

    /// Says a message so many times, as fast as it is taken, and hears them all: how long that takes.
    pub(super) fn pour(&mut self, payload: &[u8], times: usize) -> Duration {
        let (asked, answered) = (asked(payload), answered(payload));
        let mut to = self.0.try_clone().expect("a descriptor");
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..times {
                    to.write_all(&asked).expect("it is said");
                }
            });
            let mut heard = vec![0; answered.len()];
            for _ in 0..times {
                self.0.read_exact(&mut heard).expect("it is heard");
                assert!(heard == answered, "something else was heard");
            }
        });
        begun.elapsed()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Connections that one [`unattended`] listener takes: Linux's default of somaxconn, less some.
pub(super) const BACKLOG: usize = 4000;

/// Takes connections at that address, and never looks at them.
pub(super) fn unattended(address: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&address.into()).expect("nobody else is there");
    socket.listen(BACKLOG as i32).expect("it listens");
    socket.into()
}

/// Thousands of connections need more descriptors than most processes have at first.
pub(super) fn many_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("it may be raised to the hard limit");
}

/// `each` in as many threads, which begin together, with their numbers.
pub(super) fn together<T: Send>(
    count: usize,
    each: impl Fn(usize, &Barrier) -> T + Sync,
) -> Vec<T> {
    let barrier = Barrier::new(count);
    std::thread::scope(|scope| {
        let (each, barrier) = (&each, &barrier);
        let threads: Vec<_> = (0..count)
            .map(|n| scope.spawn(move || each(n, barrier)))
            .collect();
        let join =
            |thread: std::thread::ScopedJoinHandle<'_, T>| thread.join().expect("it ends well");
        threads.into_iter().map(join).collect()
    })
}
