//! The two directions of a child's bytes, over pipes, a TCP connection or a terminal.
//!
//! They are one enum each and not trait objects: every byte of a room passes here. Both have the
//! non-blocking calls of the socket beneath, for pumps that read or write all they can at once.

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use nix::errno::Errno;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        tcp::{OwnedReadHalf, OwnedWriteHalf},
        unix::pipe,
    },
};

use super::terminal::{Keyboard, Terminal};

/// Bytes on their way to the child. Shutting it down or dropping it is EOF there, which is a
/// half-close over TCP. A terminal hears its EOF character, when it is shut down and reads lines.
#[derive(Debug)]
pub struct Input(Option<Writer>);

#[derive(Debug)]
enum Writer {
    Pipe(pipe::Sender),
    Tcp(OwnedWriteHalf),
    Terminal(Keyboard),
}

impl Input {
    pub(super) fn pipe(pipe: pipe::Sender) -> Self {
        Input(Some(Writer::Pipe(pipe)))
    }

    pub(super) fn tcp(half: OwnedWriteHalf) -> Self {
        Input(Some(Writer::Tcp(half)))
    }

    pub(super) fn terminal(terminal: Arc<Terminal>) -> Self {
        Input(Some(Writer::Terminal(Keyboard::new(terminal))))
    }

    /// Waits until the child may take bytes, or takes none any more. Cancel-safe.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.0 {
            Some(Writer::Pipe(pipe)) => pipe.writable().await,
            Some(Writer::Tcp(half)) => half.writable().await,
            Some(Writer::Terminal(keyboard)) => keyboard.writable().await,
            None => Err(closed()),
        }
    }

    /// Writes what fits at once; `WouldBlock` when nothing does.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            Some(Writer::Pipe(pipe)) => pipe.try_write_vectored(slices),
            Some(Writer::Tcp(half)) => half.try_write_vectored(slices),
            // It is typed at a pace of its own, which only waiting can keep.
            Some(Writer::Terminal(_)) => Err(io::ErrorKind::Unsupported.into()),
            None => Err(closed()),
        }
    }
}

impl Input {
    /// Bytes that were written and that nobody has read, also once the child is gone: what is in a
    /// pipe stays there as long as we hold our end. 0 where that cannot be told, as over TCP.
    pub fn unread(&self) -> usize {
        match &self.0 {
            Some(Writer::Pipe(pipe)) => in_pipe(pipe),
            Some(Writer::Terminal(keyboard)) => keyboard.unread(),
            Some(Writer::Tcp(_)) | None => 0,
        }
    }
}

#[allow(unsafe_code)] // the only way to ask for it
fn in_pipe(pipe: &pipe::Sender) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `pipe` lives, and FIONREAD writes one int.
    let asked = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut bytes) };
    if asked == 0 {
        usize::try_from(bytes).unwrap_or(0)
    } else {
        0
    }
}

fn closed() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(Writer::Pipe(pipe)) => Pin::new(pipe).poll_write(cx, buf),
            Some(Writer::Tcp(half)) => Pin::new(half).poll_write(cx, buf),
            Some(Writer::Terminal(keyboard)) => keyboard.poll_write(cx, buf),
            None => Poll::Ready(Err(closed())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(Writer::Pipe(pipe)) => Pin::new(pipe).poll_write_vectored(cx, bufs),
            Some(Writer::Tcp(half)) => Pin::new(half).poll_write_vectored(cx, bufs),
            Some(Writer::Terminal(keyboard)) => {
                let first = bufs.iter().find(|buf| !buf.is_empty());
                keyboard.poll_write(cx, first.map(|buf| &**buf).unwrap_or_default())
            }
            None => Poll::Ready(Err(closed())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // nothing is buffered here
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(Writer::Terminal(keyboard)) = &mut self.0 {
            ready!(keyboard.poll_end(cx))?;
        }
        // A pipe has no other EOF than its last writer closing it; the TCP half shuts down in drop.
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

/// Bytes that come from the child.
#[derive(Debug)]
pub struct Output(Reader);

#[derive(Debug)]
enum Reader {
    /// Whether the last read was short. The runtime takes that for the last, which is wrong where the
    /// child writes packets (`O_DIRECT`, pipe(2)): every read ends with one, and no event tells of
    /// those behind it.
    Pipe(pipe::Receiver, bool),
    Tcp(OwnedReadHalf),
    Terminal(Arc<Terminal>),
}

impl Output {
    pub(super) fn pipe(pipe: pipe::Receiver) -> Self {
        Output(Reader::Pipe(pipe, false))
    }

    pub(super) fn tcp(half: OwnedReadHalf) -> Self {
        Output(Reader::Tcp(half))
    }

    pub(super) fn terminal(terminal: Arc<Terminal>) -> Self {
        Output(Reader::Terminal(terminal))
    }

    /// The leader has ended: what it printed, and what others still print, is read to the end.
    pub fn leader_ended(&self) {
        if let Reader::Terminal(terminal) = &self.0 {
            terminal.let_go();
        }
    }

    /// Waits until there is something to read, EOF included. Cancel-safe.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.0 {
            Reader::Pipe(pipe, _) => pipe.readable().await,
            Reader::Tcp(half) => half.readable().await,
            Reader::Terminal(terminal) => terminal.readable().await,
        }
    }

    /// Reads what is there at once; 0 is EOF, `WouldBlock` is nothing yet.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Reader::Pipe(pipe, _) => pipe.try_read(buf),
            Reader::Tcp(half) => half.try_read(buf),
            Reader::Terminal(terminal) => terminal.try_read(buf),
        }
    }
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Reader::Pipe(pipe, short) => poll_pipe(pipe, short, cx, buf),
            Reader::Tcp(half) => Pin::new(half).poll_read(cx, buf),
            Reader::Terminal(terminal) => terminal.poll_read(cx, buf),
        }
    }
}

fn poll_pipe(
    pipe: &mut pipe::Receiver,
    short: &mut bool,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let before = buf.filled().len();
    let read = Pin::new(&mut *pipe).poll_read(cx, buf);
    if read.is_ready() {
        *short = buf.filled().len() > before && buf.remaining() > 0;
        return read;
    }
    if !*short {
        return Poll::Pending;
    }
    match nix::unistd::read(&*pipe, buf.initialize_unfilled()) {
        Ok(read) => {
            buf.advance(read);
            Poll::Ready(Ok(()))
        }
        Err(Errno::EAGAIN) => {
            *short = false;
            Poll::Pending
        }
        Err(Errno::EINTR) => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Err(error) => Poll::Ready(Err(error.into())),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use nix::fcntl::OFlag;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn packets_in_a_pipe_are_all_read() {
        let (read, write) =
            nix::unistd::pipe2(OFlag::O_DIRECT | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
                .expect("a pipe");
        let receiver = pipe::Receiver::from_owned_fd(read).expect("a reading end");
        let mut output = Output::pipe(receiver);
        for round in 0..3 {
            for packet in ["one", "two", "three"] {
                nix::unistd::write(&write, packet.as_bytes()).expect("there is room");
            }
            for packet in ["one", "two", "three"] {
                let mut buf = [0; 64];
                let read = tokio::time::timeout(Duration::from_secs(20), output.read(&mut buf));
                let read = read.await.unwrap_or_else(|_| panic!("{packet} of {round}"));
                assert_eq!(buf.get(..read.expect("readable")), Some(packet.as_bytes()));
            }
        }
        drop(write);
        assert_eq!(output.read(&mut [0; 64]).await.expect("the end"), 0);
    }
}
