//! The head of a connection's first request, awaited before HTTP gets to see it.
//!
//! HTTP reserves buffers for whoever connects, and a thousand who never finish a request would hold
//! them all. Here somebody who knocks costs what was sent so far. What is whole, too long, or no
//! request at all goes on to HTTP as it came, which knows the right answer to each.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once: most heads are shorter.
const READ: usize = 2 << 10;

/// A stream whose first bytes were read already, and are read again.
#[derive(Debug)]
pub(super) struct Rewound<S> {
    stream: S,
    head: Vec<u8>,
    read: usize,
}

impl<S> Rewound<S> {
    /// The stream itself, and what of its first bytes nobody has read again.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        let rest = self.head.get(self.read..).unwrap_or_default().to_vec();
        (self.stream, rest)
    }
}

/// Reads until there is something for HTTP: a whole head, `most` bytes, the end of the stream, or a
/// first byte that begins no request.
pub(super) async fn awaited<S: AsyncRead + Unpin>(
    mut stream: S,
    most: usize,
) -> io::Result<Rewound<S>> {
    let mut head = Vec::new();
    std::future::poll_fn(|cx| poll_head(&mut stream, &mut head, most, cx)).await?;
    Ok(Rewound {
        stream,
        head,
        read: 0,
    })
}

fn poll_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    head: &mut Vec<u8>,
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        // On the stack: a buffer of its own is what nobody gets who has said nothing.
        let mut buffer = [0; READ];
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        let fresh = buffer.filled();
        // The end of a head may have begun in the last read.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(fresh);
        let whole = has_blank_line(head.get(from..).unwrap_or_default());
        if fresh.is_empty() || whole || head.len() >= most || !begins_request(head) {
            return Poll::Ready(Ok(()));
        }
    }
}

/// Whether a head may end here. Lines end with LF, before which a CR is optional (RFC 9112 section 2.2).
fn has_blank_line(bytes: &[u8]) -> bool {
    let mut ends = memchr::memchr_iter(b'\n', bytes);
    ends.any(|end| {
        let next = bytes.get(end + 1..).unwrap_or_default();
        next.starts_with(b"\n") || next.starts_with(b"\r\n")
    })
}

/// A method is letters, and empty lines may stand before it. TLS on a plain port is none of this, and
/// should be told so at once.
fn begins_request(bytes: &[u8]) -> bool {
    let first = bytes.first();
    first.is_none_or(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'\r' | b'\n'))
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = this.head.get(this.read..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let taken = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..taken).unwrap_or_default());
        this.read += taken;
        if this.read == this.head.len() {
            (this.head, this.read) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const MOST: usize = 4096;

    /// What is handed on once `sent` has come, in pieces of that size, and all that can be read then.
    async fn handed_on(sent: &[u8], piece: usize) -> (usize, Vec<u8>) {
        let (mut client, server) = duplex(1 << 20);
        let awaited = tokio::task::unconstrained(awaited(server, MOST));
        let mut awaited = std::pin::pin!(awaited);
        for piece in sent.chunks(piece) {
            client.write_all(piece).await.unwrap();
            let mut cx = Context::from_waker(std::task::Waker::noop());
            if let Poll::Ready(handed) = awaited.as_mut().poll(&mut cx) {
                let mut rewound = handed.unwrap();
                let held = rewound.head.len();
                drop(client);
                let mut all = Vec::new();
                rewound.read_to_end(&mut all).await.unwrap();
                return (held, all);
            }
        }
        drop(client);
        let (_, rest) = awaited.await.unwrap().into_parts();
        (rest.len(), rest)
    }

    #[tokio::test]
    async fn a_head_is_handed_on_when_its_blank_line_is_there_however_it_comes() {
        for head in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\nHost: x\n\n",
            "\r\nGET / HTTP/1.1\r\nA: b\n\r\n",
        ] {
            for piece in 1..head.len() {
                let (held, all) = handed_on(head.as_bytes(), piece).await;
                assert_eq!((held, &*all), (head.len(), head.as_bytes()), "{piece}");
            }
        }
    }

    #[tokio::test]
    async fn what_comes_behind_the_head_is_kept() {
        let sent = [&b"GET / HTTP/1.1\r\n\r\n"[..], &[b'x'; 10_000]].concat();
        let (held, all) = handed_on(&sent, sent.len()).await;
        assert!(held < sent.len());
        assert_eq!(all, sent);
    }

    #[tokio::test]
    async fn what_is_no_request_or_too_long_or_over_is_handed_on_at_once() {
        assert_eq!(handed_on(b"\x16\x03\x01\x02", 1).await.0, 1);
        assert_eq!(handed_on(&[b'x'; MOST + 100], 1).await.0, MOST);
        assert_eq!(
            handed_on(b"GET / HTTP/1.1\r\nHost", 7).await.1,
            b"GET / HTTP/1.1\r\nHost"
        );
        assert_eq!(handed_on(b"", 1).await.0, 0);
    }
}
