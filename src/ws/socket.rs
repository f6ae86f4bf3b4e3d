//! The raw socket below a connection: TCP, TLS over it, or unix. An idle one holds no buffer.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tls::Tls;

/// One client's socket.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TLS. In a box, so that the others are no larger for it.
    Tls(Box<Tls>),
}

/// What is asked of the kernel's socket, whatever is said over it.
macro_rules! kernel {
    ($socket:expr, $inner:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($inner) => $call,
            Socket::Unix($inner) => $call,
            Socket::Tls(tls) => {
                let $inner = tls.tcp();
                $call
            }
        }
    };
}

impl Socket {
    fn fd(&self) -> BorrowedFd<'_> {
        kernel!(self, inner => inner.as_fd())
    }

    /// Reads what is there; `Ok(0)` at the end of the stream. Through the runtime's own reading
    /// and writing, which know a short read for the last: `try_read` would ask the kernel again.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = match self {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
            Socket::Unix(unix) => Pin::new(unix).poll_read(cx, &mut buffer),
            Socket::Tls(tls) => return tls.poll_read_bytes(cx, buffer.initialize_unfilled()),
        };
        ready!(read)?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Reads past the runtime's knowledge of readiness, which [`Socket::poll_hang_up`] discards.
    pub(crate) fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Socket::Tls(tls) = self {
            return tls.read_now(buffer);
        }
        let fd = self.fd().as_raw_fd();
        recv(fd, buffer, MsgFlags::MSG_DONTWAIT).map_err(io::Error::from)
    }

    /// Ready once the client has gone, although what it sent is not read. Bytes that come
    /// meanwhile wake the task, and stay where they are for [`Socket::read_now`].
    pub(crate) fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Only an event that comes after this can make the socket ready again.
            let clear = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = kernel!(self, inner => inner.try_io(Interest::READABLE, clear));
            if self.has_hung_up() {
                return Poll::Ready(());
            }
            if kernel!(self, inner => inner.poll_read_ready(cx)).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn has_hung_up(&self) -> bool {
        // POLLRDHUP is Linux's own; elsewhere a half-close shows when the inbox has room again.
        #[cfg(target_os = "linux")]
        let interest = PollFlags::from_bits_retain(libc::POLLRDHUP);
        #[cfg(not(target_os = "linux"))]
        let interest = PollFlags::empty();
        let mut fds = [PollFd::new(self.fd(), interest)];
        // Whatever is answered was asked for, or is POLLHUP or POLLERR, which always are. The
        // answer itself is not looked at: nix gives none for flags it has no name for.
        nix::poll::poll(&mut fds, PollTimeout::ZERO).is_ok_and(|answered| answered > 0)
    }

    /// Writes what was taken from the caller before and is not yet the kernel's; none if there is
    /// nothing. Only TLS keeps any: what is sealed cannot be given back. Until it is written the
    /// client takes nothing, and whatever comes next waits behind it.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<usize>>> {
        match self {
            Socket::Tcp(_) | Socket::Unix(_) => None,
            Socket::Tls(tls) => tls.poll_flush(cx),
        }
    }

    /// Writes as much as the socket takes; pending if it takes nothing.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Socket::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
            Socket::Tls(tls) => tls.poll_write_bytes(cx, bytes),
        }
    }

    /// Like [`Socket::poll_write`], from several places.
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Socket::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, slices),
            Socket::Tls(tls) => tls.poll_write_slices(cx, slices),
        }
    }

    /// No more will be written; over TLS, behind what [`Socket::poll_flush`] has yet to write.
    pub(crate) fn shut(&mut self) {
        // It may be gone already; then there is nothing to shut.
        let _ = match self {
            Socket::Tcp(tcp) => socket2::SockRef::from(&*tcp).shutdown(Shutdown::Write),
            Socket::Unix(unix) => socket2::SockRef::from(&*unix).shutdown(Shutdown::Write),
            Socket::Tls(tls) => {
                tls.shut();
                Ok(())
            }
        };
    }
}
