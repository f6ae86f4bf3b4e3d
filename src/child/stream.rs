//! The two directions of a child's bytes, over pipes or a TCP connection.
//!
//! They are one enum each and not trait objects: every byte of a room passes here. Both have the
//! non-blocking calls of the socket beneath, for pumps that read or write all they can at once.

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        tcp::{OwnedReadHalf, OwnedWriteHalf},
        unix::pipe,
    },
};

/// Bytes on their way to the child. Shutting it down or dropping it is EOF there, which is a
/// half-close over TCP.
#[derive(Debug)]
pub struct Input(Option<Writer>);

#[derive(Debug)]
enum Writer {
    Pipe(pipe::Sender),
    Tcp(OwnedWriteHalf),
}

impl Input {
    pub(super) fn pipe(pipe: pipe::Sender) -> Self {
        Input(Some(Writer::Pipe(pipe)))
    }

    pub(super) fn tcp(half: OwnedWriteHalf) -> Self {
        Input(Some(Writer::Tcp(half)))
    }

    /// Waits until the child may take bytes, or takes none any more. Cancel-safe.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.0 {
            Some(Writer::Pipe(pipe)) => pipe.writable().await,
            Some(Writer::Tcp(half)) => half.writable().await,
            None => Err(closed()),
        }
    }

    /// Writes what fits at once; `WouldBlock` when nothing does.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            Some(Writer::Pipe(pipe)) => pipe.try_write_vectored(slices),
            Some(Writer::Tcp(half)) => half.try_write_vectored(slices),
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
            None => Poll::Ready(Err(closed())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // nothing is buffered here
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
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
    Pipe(pipe::Receiver),
    Tcp(OwnedReadHalf),
}

impl Output {
    pub(super) fn pipe(pipe: pipe::Receiver) -> Self {
        Output(Reader::Pipe(pipe))
    }

    pub(super) fn tcp(half: OwnedReadHalf) -> Self {
        Output(Reader::Tcp(half))
    }

    /// Waits until there is something to read, EOF included. Cancel-safe.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.0 {
            Reader::Pipe(pipe) => pipe.readable().await,
            Reader::Tcp(half) => half.readable().await,
        }
    }

    /// Reads what is there at once; 0 is EOF, `WouldBlock` is nothing yet.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Reader::Pipe(pipe) => pipe.try_read(buf),
            Reader::Tcp(half) => half.try_read(buf),
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
            Reader::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Reader::Tcp(half) => Pin::new(half).poll_read(cx, buf),
        }
    }
}
