//! The head of a connection's first request, awaited before HTTP gets to see it.
//!
//! HTTP reserves buffers for whoever connects, and a thousand who never finish a request would hold
//! them all. Here somebody who knocks costs what was sent so far. A head longer than it may be is told
//! from others to the byte, which HTTP's own limits cannot. What is no request at all goes on to HTTP as
//! it came, which knows the right answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connections::Share;
use super::tls::HANDSHAKE;

/// Bytes read at once: most heads are shorter.
const READ: usize = 2 << 10;
/// What a server of the fleet adds to the head of a client that it passes on, at the most.
const ADDED: Limits = Limits {
    bytes: 8 << 10,
    headers: 20,
};

/// How long a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request line, all headers and the empty line.
    pub bytes: usize,
    /// Headers.
    pub headers: usize,
}

/// In which way a head is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooLong {
    /// Its first line alone is longer than all of it may be.
    Line,
    /// It has more bytes.
    Bytes,
    /// It has more headers.
    Headers,
}

impl Limits {
    /// Those of a server that passes the heads of clients on.
    pub(super) fn of_peers(self) -> Limits {
        Limits {
            bytes: self.bytes + ADDED.bytes,
            headers: self.headers + ADDED.headers,
        }
    }

    /// For a head that HTTP has read: as if each colon had one space behind it.
    pub(super) fn check(self, request: &Parts) -> Result<(), TooLong> {
        let target = request.uri.to_string().len();
        let line = request.method.as_str().len() + target + "  HTTP/1.1\r\n".len();
        let headers = request.headers.iter();
        let headers: usize = headers
            .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
            .sum();
        if line > self.bytes {
            Err(TooLong::Line)
        } else if line + headers + "\r\n".len() > self.bytes {
            Err(TooLong::Bytes)
        } else if request.headers.len() > self.headers {
            Err(TooLong::Headers)
        } else {
            Ok(())
        }
    }

    /// For the bytes of one, which may go on behind it; `end` is where it ends, if it does yet.
    fn check_bytes(self, head: &[u8], end: Option<usize>) -> Result<(), TooLong> {
        let length = end.unwrap_or(head.len());
        let empty = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let start = empty.count();
        let lines = head.get(start..length).unwrap_or_default();
        if length > self.bytes {
            let line = memchr::memchr(b'\n', lines);
            return Err(match line {
                Some(at) if start + at < self.bytes => TooLong::Bytes,
                _ => TooLong::Line,
            });
        }
        // Besides headers there are the request line and the empty line.
        let counted = memchr::memchr_iter(b'\n', lines).count();
        if end.is_some() && counted.saturating_sub(2) > self.headers {
            return Err(TooLong::Headers);
        }
        Ok(())
    }
}

/// A stream whose first bytes were read already, and are read again. What the connection counts for
/// goes with it, wherever it goes.
#[derive(Debug)]
pub(super) struct Rewound<S> {
    stream: S,
    head: Vec<u8>,
    read: usize,
    share: Option<Share>,
}

impl<S> Rewound<S> {
    /// The stream itself, what of its first bytes nobody has read again, and its share of the limits.
    pub(super) fn into_parts(self) -> (S, Vec<u8>, Option<Share>) {
        let rest = self.head.get(self.read..).unwrap_or_default().to_vec();
        (self.stream, rest, self.share)
    }

    pub(super) fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }

    /// Whether it begins as TLS does, and not as HTTP.
    pub(super) fn begins_tls(&self) -> bool {
        self.head.first() == Some(&HANDSHAKE)
    }
}

/// Reads until there is something for HTTP: a whole head, the end of the stream, or a first byte that
/// begins no request. A head that is too long is not read to its end.
pub(super) async fn awaited<S: AsyncRead + Unpin>(
    mut stream: S,
    limits: Limits,
    share: Option<Share>,
) -> io::Result<(Rewound<S>, Result<(), TooLong>)> {
    let mut head = Vec::new();
    let checked = std::future::poll_fn(|cx| poll_head(&mut stream, &mut head, limits, cx)).await?;
    let rewound = Rewound {
        stream,
        head,
        read: 0,
        share,
    };
    Ok((rewound, checked))
}

fn poll_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    head: &mut Vec<u8>,
    limits: Limits,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Result<(), TooLong>>> {
    loop {
        // On the stack: a buffer of its own is what nobody gets who has said nothing.
        let mut buffer = [0; READ];
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        let fresh = buffer.filled();
        // The end of a head may have begun in the last read.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(fresh);
        if fresh.is_empty() || !begins_request(head) {
            return Poll::Ready(Ok(Ok(())));
        }
        let end = blank_line(head.get(from..).unwrap_or_default()).map(|end| from + end);
        let checked = limits.check_bytes(head, end);
        if checked.is_err() || end.is_some() {
            return Poll::Ready(Ok(checked));
        }
    }
}

/// Where a head ends, its empty line included. Lines end with LF, before which a CR is optional
/// (RFC 9112 section 2.2).
fn blank_line(bytes: &[u8]) -> Option<usize> {
    let mut ends = memchr::memchr_iter(b'\n', bytes);
    ends.find_map(|end| match bytes.get(end + 1..)? {
        [b'\n', ..] => Some(end + 2),
        [b'\r', b'\n', ..] => Some(end + 3),
        _ => None,
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

    const LIMITS: Limits = Limits {
        bytes: 4096,
        headers: 10,
    };

    /// What is handed on once `sent` has come, in pieces of that size: how much was read by then,
    /// whether it was too long, and all that can be read then.
    async fn handed_on(sent: &[u8], piece: usize) -> (usize, Result<(), TooLong>, Vec<u8>) {
        let (mut client, server) = duplex(1 << 20);
        let awaited = tokio::task::unconstrained(awaited(server, LIMITS, None));
        let mut awaited = std::pin::pin!(awaited);
        for piece in sent.chunks(piece) {
            client.write_all(piece).await.unwrap();
            let mut cx = Context::from_waker(std::task::Waker::noop());
            if let Poll::Ready(handed) = awaited.as_mut().poll(&mut cx) {
                let (mut rewound, checked) = handed.unwrap();
                let held = rewound.head.len();
                drop(client);
                let mut all = Vec::new();
                rewound.read_to_end(&mut all).await.unwrap();
                return (held, checked, all);
            }
        }
        drop(client);
        let (rewound, checked) = awaited.await.unwrap();
        let (_, rest, _) = rewound.into_parts();
        (rest.len(), checked, rest)
    }

    #[tokio::test]
    async fn a_head_is_handed_on_when_its_blank_line_is_there_however_it_comes() {
        for head in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\nHost: x\n\n",
            "\r\nGET / HTTP/1.1\r\nA: b\r\n\r\n",
        ] {
            for piece in 1..head.len() {
                let (held, checked, all) = handed_on(head.as_bytes(), piece).await;
                assert_eq!((held, &*all), (head.len(), head.as_bytes()), "{piece}");
                assert_eq!(checked, Ok(()));
            }
        }
    }

    #[tokio::test]
    async fn what_comes_behind_the_head_is_kept_and_does_not_count() {
        let sent = [&b"GET / HTTP/1.1\r\n\r\n"[..], &[b'x'; 10_000]].concat();
        let (held, checked, all) = handed_on(&sent, sent.len()).await;
        assert!(held < sent.len());
        assert_eq!(checked, Ok(()));
        assert_eq!(all, sent);
    }

    #[tokio::test]
    async fn what_is_no_request_or_over_is_handed_on_at_once() {
        assert_eq!(handed_on(b"\x16\x03\x01\x02", 1).await.0, 1);
        let cut = b"GET / HTTP/1.1\r\nHost";
        assert_eq!(handed_on(cut, 7).await.2, cut);
        assert_eq!(handed_on(b"", 1).await.0, 0);
    }

    #[tokio::test]
    async fn a_head_has_at_most_so_many_bytes_and_headers_however_it_comes() {
        let long = |bytes: usize| {
            let start = "GET / HTTP/1.1\r\nA: ";
            format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
        };
        let line =
            |bytes: usize| format!("GET /{} HTTP/1.1\r\nA: b\r\n\r\n", "x".repeat(bytes - 16));
        let many = |headers| format!("GET / HTTP/1.1\n{}\n", "A: b\n".repeat(headers));
        let most = LIMITS.bytes;
        for (head, expected) in [
            (long(most), Ok(())),
            (long(most + 1), Err(TooLong::Bytes)),
            (long(most * 3), Err(TooLong::Bytes)),
            (line(most), Err(TooLong::Bytes)),
            (line(most + 1), Err(TooLong::Line)),
            (line(most * 3), Err(TooLong::Line)),
            (format!("\r\n{}", long(most - 2)), Ok(())),
            (format!("\r\n{}", long(most - 1)), Err(TooLong::Bytes)),
            (many(10), Ok(())),
            (many(11), Err(TooLong::Headers)),
            (format!("\r\n{}", many(10)), Ok(())),
            (format!("\n{}", many(11)), Err(TooLong::Headers)),
        ] {
            for piece in [1, 7, 1000, head.len()] {
                let (held, checked, _) = handed_on(head.as_bytes(), piece).await;
                assert_eq!(checked, expected, "{piece} {held} {head:.40}");
                assert!(held <= most + READ, "{held} bytes are held");
            }
        }
    }

    #[test]
    fn a_head_that_was_read_is_measured_as_it_is_mostly_written() {
        let check = |text: &str| {
            let mut lines = text.split("\r\n");
            let target = lines.next().unwrap().split(' ').nth(1).unwrap();
            let mut request = http::Request::get(target);
            for line in lines.filter(|line| !line.is_empty()) {
                let (name, value) = line.split_once(": ").unwrap();
                request = request.header(name, value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let limits = |bytes, headers| Limits { bytes, headers }.check(&parts);
            (
                limits(text.len(), 2),
                limits(text.len() - 1, 2),
                limits(text.len(), 1),
            )
        };
        for target in ["/a?b", "*", "http://play.example/x"] {
            let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\nA: \r\n\r\n");
            let expected = (Ok(()), Err(TooLong::Bytes), Err(TooLong::Headers));
            assert_eq!(check(&text), expected, "{target}");
        }
    }
}
