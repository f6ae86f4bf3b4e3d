//! TLS before there is a websocket: the handshake, and a stream as HTTP reads and writes it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Shut, Sink, Tls, invalid, poll_tcp};

impl Tls {
    /// Does the handshake of the server's side, for as long as the client takes: the caller keeps
    /// time.
    ///
    /// # Errors
    ///
    /// What the socket says; [`io::ErrorKind::UnexpectedEof`] if the client hung up; what the
    /// session says is an [`io::ErrorKind::InvalidData`] around a [`rustls::Error`]. The client
    /// was told as far as the kernel takes it at once.
    pub async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Tls> {
        let session = UnbufferedServerConnection::new(config).map_err(invalid)?;
        let mut tls = Tls {
            tcp,
            session: Box::new(session),
            incoming: Vec::new(),
            opened: Vec::new(),
            sealed: Vec::new(),
            ended: false,
            failed: false,
            shut: Shut::No,
        };
        poll_fn(|cx| tls.poll_handshake(cx)).await?;
        Ok(tls)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(flushed) = self.poll_flush(cx) {
                ready!(flushed)?;
            }
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            let mut sink = Sink {
                out: &mut [],
                filled: 0,
            };
            let read = ready!(self.fill(&mut sink, |tcp, room| poll_tcp(tcp, cx, room)))?;
            if read == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The certificates that the client has proved to have, its own first; none if it was not
    /// asked.
    pub fn client_certificates(&self) -> &[CertificateDer<'static>] {
        self.session.peer_certificates().unwrap_or_default()
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.poll_read_bytes(cx, buffer.initialize_unfilled()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_bytes(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(flushed) = Tls::poll_flush(&mut self, cx) {
            ready!(flushed)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut();
        AsyncWrite::poll_flush(self, cx)
    }
}
