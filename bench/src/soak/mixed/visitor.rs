//! One client that waits for what it hears: those that faults happen to and are made of.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::sequence::number;
use crate::stream::{Stream, Tls};
use crate::wire::{self, Frame, Reader};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes read at once.
const READ: usize = 64 << 10;

/// What it heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Message(Vec<u8>),
    Close(u16, String),
    End,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) stream: Stream,
    reader: Reader,
    heard: VecDeque<Word>,
}

impl Visitor {
    /// Connects and waits until it is let in.
    pub(super) fn join(addr: SocketAddr, tls: Option<&Tls>, room: &str) -> Result<Self> {
        let mut stream = Stream::connect(addr, tls)?;
        stream.set_read_timeout(PATIENCE)?;
        stream.write_all(wire::handshake(room, false).as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream
                .read_exact(&mut byte)
                .context("no answer to the handshake")?;
            answer.push(byte[0]);
        }
        ensure!(
            answer.starts_with(b"HTTP/1.1 101"),
            "refused: {}",
            String::from_utf8_lossy(&answer).replace("\r\n", " | ")
        );
        Ok(Visitor {
            stream,
            reader: Reader::new(wire::HEAD, false),
            heard: VecDeque::new(),
        })
    }

    pub(super) fn says(&mut self, text: &str) -> Result<()> {
        let mut frame = Vec::new();
        wire::put_frame(&mut frame, wire::TEXT, text.as_bytes());
        self.sends(&frame)
    }

    /// Bytes as they are.
    pub(super) fn sends(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        Ok(self.stream.flush()?)
    }

    /// What comes next.
    pub(super) fn hears(&mut self) -> Result<Word> {
        let mut buffer = vec![0; READ];
        loop {
            if let Some(word) = self.heard.pop_front() {
                return Ok(word);
            }
            let read = match self.stream.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    bail!("heard nothing for {PATIENCE:?}")
                }
                // Reset, or the end of TLS without a word.
                Err(_) => 0,
            };
            if read == 0 {
                return Ok(Word::End);
            }
            let heard = &mut self.heard;
            let mut pings = 0;
            let bytes = buffer.get(..read).unwrap_or_default();
            self.reader.feed(bytes, &mut |frame: Frame<'_>| {
                match frame.opcode {
                    wire::CLOSE => {
                        let (code, reason) = wire::close_of(frame.head);
                        heard.push_back(Word::Close(code, reason));
                    }
                    wire::PING => pings += 1,
                    wire::PONG => {}
                    _ => heard.push_back(Word::Message(frame.head.to_vec())),
                };
            })?;
            for _ in 0..pings {
                let mut pong = Vec::new();
                wire::put_frame(&mut pong, wire::PONG, b"");
                self.sends(&pong)?;
            }
        }
    }

    /// A message in UTF-8; the first 125 bytes of it.
    pub(super) fn hears_text(&mut self) -> Result<String> {
        match self.hears()? {
            Word::Message(text) => Ok(String::from_utf8(text)?),
            other => bail!("heard {other:?}"),
        }
    }

    pub(super) fn hears_this(&mut self, expected: &str) -> Result<()> {
        let text = self.hears_text()?;
        ensure!(text == expected, "heard {text:?} and not {expected:?}");
        Ok(())
    }

    /// A close frame of that code and reason, perhaps behind messages.
    pub(super) fn hears_close(&mut self, code: u16, reason: &str) -> Result<()> {
        loop {
            match self.hears()? {
                Word::Message(_) => {}
                Word::Close(found, why) if (found, why.as_str()) == (code, reason) => return Ok(()),
                other => bail!("heard {other:?} and not {code} {reason:?}"),
            }
        }
    }

    /// The number at byte `at` of the next message, or none at the end of all.
    pub(super) fn hears_number(&mut self, at: usize) -> Result<Option<u64>> {
        match self.hears()? {
            Word::Message(text) => {
                let found = text.get(at..).and_then(number);
                Ok(Some(found.with_context(|| {
                    format!("heard {}", text.escape_ascii())
                })?))
            }
            Word::Close(4008, _) => Ok(None),
            other => bail!("heard {other:?}"),
        }
    }

    /// Gone, with a reset.
    pub(super) fn resets(self) -> Result<()> {
        self.stream.will_reset()
    }
}
