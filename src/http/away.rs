//! Those who are turned away before a request of theirs reaches HTTP: an answer, and the connection is
//! over.
//!
//! The answer is written at once and never waited for. To close a socket in which something lies unread
//! resets the connection, and a client may lose what it was told; so a few at a time are listened to a
//! little longer, and what they say is thrown away. Nobody else costs anything.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::response::IntoResponse;
use futures_util::FutureExt;
use http::header::CONTENT_LENGTH;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tracing::debug;

use super::accept::Stream;
use super::answer::Denied;
use super::{Door, front};

/// How many of those turned away are listened to at once. They hold descriptors that nobody counts.
const LISTENED_TO: usize = 24;
/// How long one is.
const TIME: Duration = Duration::from_secs(1);
/// What is read of it at the most.
const BYTES: u64 = 1 << 20;
/// What is read at once.
const READ: usize = 4 << 10;
/// A fatal alert of TLS, `internal_error`, as it may stand in place of a handshake (RFC 8446 section 6):
/// what is lacking has nothing to do with the client.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// Whether somebody who is turned away may be listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as there are few of them.
    Some,
    /// There is not even a descriptor for it.
    None,
}

/// Bounds how many are listened to.
#[derive(Debug)]
pub(super) struct Porch(Arc<Semaphore>);

impl Porch {
    pub(super) fn new() -> Self {
        Porch(Arc::new(Semaphore::new(LISTENED_TO)))
    }

    /// Tells somebody who has just connected why that was in vain. Where TLS is spoken only an alert
    /// says so: a handshake is what the limits spare us.
    pub(super) fn turn_away(
        &self,
        door: &Door,
        stream: Stream,
        denied: Denied,
        secure: bool,
        patience: Patience,
    ) {
        door.metrics.refused(denied.label());
        debug!(reason = denied.label(), client = ?stream.ends().remote, "connection refused");
        let told = match secure {
            true => say(&stream, &ALERT),
            false => say(&stream, &answer(door, denied)),
        };
        if told.is_err() || patience == Patience::None {
            return;
        }
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            return;
        };
        door.tasks.spawn(async move {
            let heard = match stream {
                Stream::Tcp(tcp, _) => tokio::time::timeout(TIME, hear_out(tcp)).await,
                Stream::Unix(unix) => tokio::time::timeout(TIME, hear_out(unix)).await,
            };
            drop((heard, place));
        });
    }
}

/// Says it and that nothing follows, past the runtime, which does not know yet that the socket is new
/// and takes it all; and reads what has come, so that closing is no reset.
fn say(stream: &Stream, bytes: &[u8]) -> io::Result<()> {
    let socket = match stream {
        Stream::Tcp(tcp, _) => tcp.as_fd(),
        Stream::Unix(unix) => unix.as_fd(),
    };
    let socket_ref = socket2::SockRef::from(&socket);
    socket_ref.send(bytes)?;
    socket_ref.shutdown(Shutdown::Write)?;
    let mut buffer = [0; READ];
    // Nothing may have come, or its end: neither matters here.
    let _ = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT);
    Ok(())
}

/// The last that is said over a connection that is known already. The client is listened to until it
/// hangs up, or for a second.
pub(super) async fn part<S>(mut stream: S, bytes: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let part = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await?;
        hear_out(&mut stream).await
    };
    // It may have gone already, or not listen.
    let _ = tokio::time::timeout(TIME, part).await;
}

async fn hear_out<S: AsyncRead + Unpin>(stream: S) -> io::Result<()> {
    let mut stream = stream.take(BYTES);
    let mut buffer = vec![0; READ];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// A refusal as the bytes of a whole answer, after which the connection is closed.
pub(super) fn answer(door: &Door, denied: Denied) -> Vec<u8> {
    let response = front::with_headers(door, denied.into_response());
    let (parts, body) = response.into_parts();
    // It lies in memory whole.
    let body = axum::body::to_bytes(body, READ).now_or_never();
    let body = body.and_then(Result::ok).unwrap_or_default();
    let mut bytes = format!(
        "HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\ndate: {}\r\n",
        parts.status,
        body.len(),
        httpdate::fmt_http_date(SystemTime::now()),
    )
    .into_bytes();
    for (name, value) in parts
        .headers
        .iter()
        .filter(|(name, _)| **name != CONTENT_LENGTH)
    {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}
