//! Plays a case over any stream of bytes, and tells all that came back.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::case::{Case, Ending, FENCE, FIN, Heard, Step, TEXT, frame};
use crate::harness::{Answer, PATIENCE, parse_answer};
use crate::reader;

/// What a case is played over: TCP, a unix socket, TLS over either.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// A handshake that nothing is wrong with.
pub(crate) const GOOD: &str = "GET /x HTTP/1.1\r\nHost: server.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
/// What RFC 6455 section 1.3 answers to that key.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The offer of a connection that compresses, without context on either side.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
    client_no_context_takeover\r\n\r\n";

/// One connection.
pub(crate) struct Line {
    stream: Box<dyn ByteStream>,
    unread: Vec<u8>,
    packed: bool,
}

impl Line {
    /// Sends a request, and reads the answer's head.
    pub(crate) async fn knock(
        stream: Box<dyn ByteStream>,
        request: &[u8],
    ) -> Result<(Line, Answer), String> {
        let mut line = Line {
            stream,
            unread: Vec::new(),
            packed: false,
        };
        line.send(request, usize::MAX).await?;
        loop {
            if let Some((answer, end)) = parse_answer(&line.unread) {
                line.unread.drain(..end);
                return Ok((line, answer));
            }
            if !line.read().await? {
                let unread = line.unread.escape_ascii();
                return Err(format!(
                    "the connection ended instead of an answer: {unread}"
                ));
            }
        }
    }

    /// Comes into a room with a good handshake.
    pub(crate) async fn open(
        stream: Box<dyn ByteStream>,
        room: &str,
        packed: bool,
    ) -> Result<Line, String> {
        let mut request = GOOD.replace("/x ", &format!("/{room} "));
        if packed {
            request.truncate(request.len() - 2);
            request.push_str(OFFER);
        }
        let (mut line, answer) = Line::knock(stream, request.as_bytes()).await?;
        let agreed = answer.header("sec-websocket-extensions").is_some();
        if answer.status != 101 || agreed != packed {
            return Err(format!("was not let in as it should: {answer:?}"));
        }
        line.packed = packed;
        Ok(line)
    }

    /// The body of an answer whose head gave its length.
    pub(crate) async fn body(&mut self, answer: &Answer) -> Result<Vec<u8>, String> {
        let length = answer
            .header("content-length")
            .and_then(|text| text.parse().ok());
        let length = length.unwrap_or(0);
        while self.unread.len() < length {
            if !self.read().await? {
                return Err("the body ended early".to_owned());
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    /// A server may hang up in the middle of this: that is for the reading side to tell.
    pub(crate) async fn send(&mut self, bytes: &[u8], piece: usize) -> Result<(), String> {
        let write = async {
            for piece in bytes.chunks(piece) {
                let written = self.stream.write_all(piece).await;
                if written.is_err() || self.stream.flush().await.is_err() {
                    return;
                }
            }
        };
        let written = timeout(PATIENCE, write).await;
        written.map_err(|_| "the server stopped reading".to_owned())
    }

    /// No more will be sent.
    pub(crate) async fn end(&mut self) {
        self.stream.shutdown().await.ok();
    }

    async fn read(&mut self) -> Result<bool, String> {
        match timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await {
            Ok(Ok(read)) => Ok(read > 0),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Ok(Err(error)) => Err(format!("reading failed: {error}")),
            Err(_) => Err("nothing more came in time".to_owned()),
        }
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> Result<Heard, String> {
        loop {
            if let Some(taken) = reader::take(&mut self.unread, self.packed) {
                return taken;
            }
            if !self.read().await? {
                return match self.unread.is_empty() {
                    true => Ok(Heard::End),
                    false => Err(format!(
                        "ended inside a frame: {}",
                        self.unread.escape_ascii()
                    )),
                };
            }
        }
    }

    /// What comes next, where pongs before the last one are allowed to.
    async fn next_for(&mut self, expected: &Heard) -> Result<Heard, String> {
        let Heard::LastPong(last) = expected else {
            return self.next().await;
        };
        loop {
            match self.next().await? {
                Heard::Pong(payload) if payload == *last => return Ok(expected.clone()),
                Heard::Pong(_) => {}
                other => return Ok(other),
            }
        }
    }
}

/// Whether who plays waits for the server, or hangs up once all is sent: the way to learn that a
/// server says nothing, without a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Waits,
    HangsUp,
}

/// Plays a case; what came back up to the first thing that was not expected, or the end.
pub(crate) async fn play(
    case: &Case,
    line: &mut Line,
    patience: Patience,
) -> Result<Vec<Heard>, String> {
    let mut heard = Vec::new();
    for step in &case.steps {
        match step {
            Step::Send(bytes, piece) => line.send(bytes, *piece).await?,
            Step::Hear(expected) => {
                heard.push(line.next_for(expected).await?);
                if heard.last() != Some(expected) {
                    return finish(heard, line).await;
                }
            }
        }
    }
    if case.ending == Ending::Open {
        line.send(&frame(FIN | TEXT, FENCE), usize::MAX).await?;
    }
    if patience == Patience::HangsUp {
        line.end().await;
    }
    heard.push(line.next().await?);
    finish(heard, line).await
}

/// Nothing but the end of the stream comes behind a close.
async fn finish(mut heard: Vec<Heard>, line: &mut Line) -> Result<Vec<Heard>, String> {
    if matches!(heard.last(), Some(Heard::Close(_))) {
        heard.push(line.next().await?);
    }
    Ok(heard)
}
