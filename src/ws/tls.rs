//! TLS on the raw socket: one client's stream of records, over TCP.
//!
//! It drives rustls without its buffers: records are read into a buffer of the thread and sealed
//! in another, so that an idle connection holds none. What is kept is less than a record that has
//! not come whole, and what is sealed and the kernel has not taken: a sealed byte cannot be taken
//! back, so whoever writes flushes that first (`Tls::poll_flush`), and it counts as unsent.

mod early;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, recv};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that are sealed and written at once: four records of the longest kind.
const CHUNK: usize = 64 << 10;
/// What the records of a chunk are longer than it at most: 29 bytes each, and a change of keys.
const OVERHEAD: usize = 1 << 10;
/// Bytes read at once, together with the record that has not come whole. A message of a handshake
/// may have 64 KiB (rustls allows no more) and lies here until it is whole.
const READ: usize = 128 << 10;
/// Bytes read at once for somebody who wants fewer, as a handshake wants none.
const READ_LEAST: usize = 4 << 10;
/// A warning that closes is two bytes in a record.
const CLOSE_NOTIFY: usize = 64;

thread_local! {
    static OPENED: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
    static SEALED: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK + OVERHEAD]);
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// See the module's documentation.
pub struct Tls {
    tcp: TcpStream,
    session: Box<UnbufferedServerConnection>,
    /// The beginning of a record that has not come whole. Never a whole one.
    incoming: Vec<u8>,
    /// Opened, and more than the reader had room for.
    opened: Vec<u8>,
    /// Sealed, and not taken by the kernel.
    sealed: Vec<u8>,
    /// Nothing more comes.
    ended: bool,
    /// The session has failed: nothing that comes or goes makes sense any more.
    failed: bool,
    /// Our last word is sealed; the stream is shut behind it.
    shut: Shut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shut {
    /// More may be written.
    No,
    /// `close_notify` is sealed, perhaps not yet taken by the kernel.
    Told,
    /// Nothing more goes out.
    Done,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither keys nor what was said with them.
        f.debug_struct("Tls")
            .field("tcp", &self.tcp)
            .finish_non_exhaustive()
    }
}

/// What is wanted of a session once it has digested what came.
enum Wanted<'a> {
    /// Nothing.
    Nothing,
    /// This is sealed.
    Seal(&'a [u8]),
    /// The other side is told that no more will come.
    Close,
}

/// Where opened bytes go: into the reader's buffer first, then to what is kept.
struct Sink<'a> {
    out: &'a mut [u8],
    filled: usize,
}

impl Sink<'_> {
    fn take(&mut self, bytes: &[u8], kept: &mut Vec<u8>) {
        let room = self.out.get_mut(self.filled..).unwrap_or_default();
        let here = bytes.len().min(room.len());
        if let (Some(room), Some((now, later))) =
            (room.get_mut(..here), bytes.split_at_checked(here))
        {
            room.copy_from_slice(now);
            kept.extend_from_slice(later);
        }
        self.filled += here;
    }
}

impl Tls {
    /// The socket below, for what is asked of the kernel.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Reads what is there; `Ok(0)` at the end of the stream, whether or not the client said that
    /// it is the end: who speaks a protocol with an end of its own needs no second one.
    pub(super) fn poll_read_bytes(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.read(buffer, |tcp, room| poll_tcp(tcp, cx, room))
    }

    /// Reads past the runtime's knowledge of readiness.
    pub(super) fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read(buffer, |tcp, room| {
            let read = recv(tcp.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT).map_err(io::Error::from);
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                read => Poll::Ready(read),
            }
        });
        match read {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn read(
        &mut self,
        buffer: &mut [u8],
        mut receive: impl FnMut(&mut TcpStream, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut sink = Sink {
            out: buffer,
            filled: 0,
        };
        if !self.opened.is_empty() {
            let mut kept = Vec::new();
            sink.take(&self.opened, &mut kept);
            self.opened = kept;
            return Poll::Ready(Ok(sink.filled));
        }
        loop {
            if self.ended {
                return Poll::Ready(Ok(sink.filled));
            }
            match self.fill(&mut sink, &mut receive) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) if sink.filled > 0 => return Poll::Ready(Ok(sink.filled)),
                Poll::Ready(Ok(_)) => {}
                // What was opened before it is good; the error comes again.
                Poll::Ready(Err(_)) if sink.filled > 0 => return Poll::Ready(Ok(sink.filled)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads once from the socket, and opens every record that is whole then. Says how much was
    /// read; what that came to is in the sink.
    fn fill(
        &mut self,
        sink: &mut Sink<'_>,
        mut receive: impl FnMut(&mut TcpStream, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.failed {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        OPENED.with_borrow_mut(|buffer| {
            let have = self.incoming.len();
            let Some((begun, room)) = buffer.split_at_mut_checked(have) else {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            };
            // No more than the reader has room for, so that next to nothing must be kept for it.
            let most = room.len().min(sink.out.len().max(READ_LEAST));
            let room = room.get_mut(..most).unwrap_or_default();
            if room.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            let read = ready!(receive(&mut self.tcp, room))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            begun.copy_from_slice(&self.incoming);
            let input = buffer.get_mut(..have + read).unwrap_or_default();
            let used = self.digest(input, sink, Wanted::Nothing, &mut [])?.0;
            // Exactly as long as what is left, and without capacity when nothing is.
            self.incoming = input.get(used..).unwrap_or_default().into();
            Poll::Ready(Ok(read))
        })
    }

    /// Lets the session digest what lies in `input`, and then do what is wanted, into `output`.
    /// Says how much of the input is used up, and how long the output is.
    fn digest(
        &mut self,
        input: &mut [u8],
        sink: &mut Sink<'_>,
        wanted: Wanted<'_>,
        output: &mut [u8],
    ) -> io::Result<(usize, usize)> {
        let mut used = 0;
        loop {
            let rest = input.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(rest);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.fail(input.get_mut(used + discard..).unwrap_or_default());
                    return Err(invalid(error));
                }
            };
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        sink.take(record.payload, &mut self.opened);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    put(&mut self.sealed, |room| data.encode(room))?;
                }
                // It is on its way as soon as it is in our hands: nothing overtakes it.
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                ConnectionState::WriteTraffic(mut traffic) => {
                    let written = match wanted {
                        Wanted::Nothing => 0,
                        Wanted::Seal(bytes) => traffic.encrypt(bytes, output).map_err(invalid)?,
                        Wanted::Close => traffic.queue_close_notify(output).map_err(invalid)?,
                    };
                    return Ok((used + discard, written));
                }
                // Nothing can be sent yet, or any more.
                _ if matches!(wanted, Wanted::Nothing) => return Ok((used + discard, 0)),
                _ => {
                    self.failed = true;
                    return Err(io::ErrorKind::NotConnected.into());
                }
            }
            used += discard;
        }
    }

    /// Tells the client why the session has failed, as far as the kernel takes it at once. `rest` is
    /// what follows the bytes that made it fail: the session knows where in it it stands.
    fn fail(&mut self, rest: &mut [u8]) {
        self.failed = true;
        let Tls {
            tcp,
            session,
            sealed,
            ..
        } = self;
        // The last thing it has to say is an alert, behind what it had said of a handshake before.
        // Asked once more, it would have one about what it has complained of already.
        let mut is_told = false;
        while !is_told
            && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                session.process_tls_records(rest).state
        {
            let start = sealed.len();
            is_told = put(sealed, |room| data.encode(room)).is_err()
                || is_alert(sealed.get(start..).unwrap_or_default());
        }
        // Nobody waits for it: whoever reads the error drops the stream.
        let _ = tcp.try_write(sealed);
        *sealed = Vec::new();
    }

    /// Writes what is sealed and was not taken; none if there is nothing. The bytes it tells of
    /// are the kernel's, not the caller's: those were told when they were sealed.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<usize>>> {
        if self.sealed.is_empty() {
            if self.shut == Shut::Told {
                self.shut = Shut::Done;
                // It may be gone already; then there is nothing to shut.
                let _ = socket2::SockRef::from(&self.tcp).shutdown(Shutdown::Write);
            }
            return None;
        }
        Some(match Pin::new(&mut self.tcp).poll_write(cx, &self.sealed) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                self.sealed = self.sealed.get(written..).unwrap_or_default().into();
                Poll::Ready(Ok(written))
            }
            other => other,
        })
    }

    /// Writes as much as the socket takes, and at most a chunk more; pending if it takes nothing.
    pub(super) fn poll_write_bytes(
        &mut self,
        cx: &mut Context<'_>,
        mut bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut total = 0;
        while !bytes.is_empty() {
            let chunk = bytes.get(..CHUNK).unwrap_or(bytes);
            match self.poll_chunk(cx, chunk) {
                Poll::Ready(Ok(())) => {
                    total += chunk.len();
                    bytes = bytes.get(chunk.len()..).unwrap_or_default();
                }
                _ if total > 0 => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(total))
    }

    /// Like [`Tls::poll_write_bytes`], from several places; they share records.
    pub(super) fn poll_write_slices(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [slice] = slices {
            return self.poll_write_bytes(cx, slice);
        }
        GATHERED.with_borrow_mut(|gathered| {
            let mut total = 0;
            let mut slices = slices.iter();
            let mut rest: &[u8] = &[];
            loop {
                gathered.clear();
                while gathered.len() < CHUNK {
                    if rest.is_empty() {
                        match slices.next() {
                            Some(slice) => rest = slice,
                            None => break,
                        }
                    }
                    let here = rest.len().min(CHUNK - gathered.len());
                    let (now, later) = rest.split_at_checked(here).unwrap_or((rest, &[]));
                    gathered.extend_from_slice(now);
                    rest = later;
                }
                if gathered.is_empty() {
                    return Poll::Ready(Ok(total));
                }
                match self.poll_chunk(cx, gathered) {
                    Poll::Ready(Ok(())) => total += gathered.len(),
                    _ if total > 0 => return Poll::Ready(Ok(total)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
    }

    /// Seals one chunk, once the kernel takes something: what is sealed is committed, so nothing
    /// is sealed for a client that reads nothing.
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &[u8]) -> Poll<io::Result<()>> {
        if self.failed || self.shut != Shut::No {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        while let Some(flushed) = self.poll_flush(cx) {
            ready!(flushed)?;
        }
        ready!(self.tcp.poll_write_ready(cx))?;
        SEALED.with_borrow_mut(|sealed| {
            let length = self.seal(Wanted::Seal(chunk), sealed)?;
            let sealed = sealed.get(..length).unwrap_or_default();
            // Records that the session had of its own go first.
            if !self.sealed.is_empty() {
                self.sealed.extend_from_slice(sealed);
                return Poll::Ready(Ok(()));
            }
            let written = match Pin::new(&mut self.tcp).poll_write(cx, sealed) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.sealed = sealed.get(written..).unwrap_or_default().into();
            Poll::Ready(Ok(()))
        })
    }

    fn seal(&mut self, wanted: Wanted<'_>, output: &mut [u8]) -> io::Result<usize> {
        // The session knows of the record that has begun by where it lies.
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut sink = Sink {
            out: &mut [],
            filled: 0,
        };
        let (used, length) = self.digest(&mut incoming, &mut sink, wanted, output)?;
        incoming.drain(..used.min(incoming.len()));
        self.incoming = incoming;
        Ok(length)
    }

    /// No more will be written: the client is told, and the stream shut behind that as soon as the
    /// kernel has taken it, which [`Tls::poll_flush`] sees to.
    pub(super) fn shut(&mut self) {
        if self.shut != Shut::No {
            return;
        }
        self.shut = Shut::Told;
        let mut notice = [0; CLOSE_NOTIFY];
        // Where nothing can be sent any more there is nobody to tell.
        if !self.failed
            && let Ok(length) = self.seal(Wanted::Close, &mut notice)
        {
            self.sealed
                .extend_from_slice(notice.get(..length).unwrap_or_default());
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if let Ok(written) = self.tcp.try_write(&self.sealed) {
            self.sealed.drain(..written.min(self.sealed.len()));
        }
        if self.sealed.is_empty() {
            let _ = self.poll_flush(&mut cx);
        }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        // Whatever ended it: the client shall not take it for an attack that cut it short.
        self.shut();
    }
}

/// Whether this record is an alert (RFC 8446 sections 5.1 and 6). One that is sealed calls itself data, and nothing of
/// a handshake is as short: two bytes, their type, and a tag.
fn is_alert(record: &[u8]) -> bool {
    match record {
        [21, ..] => true,
        [23, _, _, high, low, ..] => u16::from_be_bytes([*high, *low]) == 2 + 1 + 16,
        _ => false,
    }
}

fn poll_tcp(tcp: &mut TcpStream, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut room = ReadBuf::new(room);
    ready!(Pin::new(tcp).poll_read(cx, &mut room))?;
    Poll::Ready(Ok(room.filled().len()))
}

/// Appends what `encode` has to say, which knows how long that is.
fn put(
    out: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> io::Result<()> {
    let start = out.len();
    let mut room = 0;
    loop {
        out.resize(start + room, 0);
        match encode(out.get_mut(start..).unwrap_or_default()) {
            Ok(length) => {
                out.truncate(start + length);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(need)) if need.required_size > room => {
                room = need.required_size;
            }
            Err(error) => return Err(invalid(error)),
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
pub(crate) mod tests;
