//! Large messages through `cat`, so many on their way that no pipe is ever idle. What comes back
//! is compared with what was sent, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::echo::{connect, join};
use crate::figures::each;
use crate::scenario::{Bench, Cell, Run, Scenario};
use crate::sequence::Faults;
use crate::served::Who;
use crate::wire;

/// Messages of 64 KiB and of 1 MiB.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "large",
    runs: 5,
    cells,
};

/// Bytes on their way, or two messages if those are more.
const WINDOW: u64 = 1 << 20;
const READ: usize = 256 << 10;
const SILENCE: Duration = Duration::from_secs(5);
const FLOOR: Who = Who::Floor("floor: TCP, pipes, cat");

fn cells(bench: &Bench) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (size, name) in [(64 << 10, "64 KiB"), (1 << 20, "1 MiB")] {
        let messages = bench.of(512 << 20, 16 << 20) / size;
        for who in [Who::Ours, Who::Websocketd, FLOOR] {
            cells.push(Cell::new(name, who, move |bench| {
                measure(bench, who, size, messages)
            }));
        }
    }
    cells
}

/// Bytes that do not repeat within a message, so that every misplaced one is seen.
struct Pattern(Vec<u8>);

impl Pattern {
    /// Of a prime length: no message and no read is a multiple of it.
    const LEN: usize = 1_048_573;

    fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(Self::LEN + READ);
        while bytes.len() < Self::LEN {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(Self::LEN);
        Pattern(bytes)
    }

    /// The longest piece that begins at `offset` of the stream.
    fn at(&self, offset: u64) -> &[u8] {
        let begin = (offset % Self::LEN as u64) as usize;
        self.0.get(begin..).unwrap_or_default()
    }

    fn put(&self, out: &mut Vec<u8>, mut offset: u64, size: usize) {
        let end = out.len() + size;
        while out.len() < end {
            let piece = self.at(offset);
            let len = piece.len().min(end - out.len());
            out.extend_from_slice(piece.get(..len).unwrap_or_default());
            offset += len as u64;
        }
    }

    fn matches(&self, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let piece = self.at(offset);
            let len = piece.len().min(bytes.len());
            if piece.get(..len) != bytes.get(..len) {
                return false;
            }
            bytes = bytes.get(len..).unwrap_or_default();
            offset += len as u64;
        }
        true
    }
}

fn measure(bench: &Bench, who: Who, size: u64, messages: u64) -> Result<Run> {
    let (flags, program): (&[&str], &[&str]) = match who {
        FLOOR => (&[], &["relay"]),
        Who::Websocketd => (&["--binary=true"], &["cat"]),
        _ => (&["--binary"], &["cat"]),
    };
    let served = bench.serve(who, flags, program)?;
    let stream = match who {
        FLOOR => connect(served.addr)?,
        _ => join(served.addr, "large")?,
    };
    stream.set_nonblocking(true)?;
    let before = (Instant::now(), served.cpu()?);
    let mut relayed = Relayed {
        stream,
        framed: who != FLOOR,
        size,
        messages,
        pattern: Pattern::new(),
        received: 0,
        wrong: false,
    };
    let began = Instant::now();
    relayed.run()?;
    let wall = began.elapsed();
    let cpu = served.cpu()?.saturating_sub(before.1);
    let whole = relayed.received / size;
    // Bytes that came in another order are neither lost nor doubled: the message is.
    let faults = Faults {
        due: messages,
        lost: messages.saturating_sub(whole),
        reordered: u64::from(relayed.wrong),
        duplicated: 0,
    };
    drop(relayed);
    served.stop()?;
    let megabytes = (whole * size) as f64 / 1e6;
    Ok(Run::new(faults)
        .with("through and back", "MB/s", megabytes / wall.as_secs_f64())
        .with("server CPU per MB", "µs", each(cpu, messages * size) * 1e3))
}

/// One client that writes and reads as its socket allows.
struct Relayed {
    stream: TcpStream,
    framed: bool,
    size: u64,
    messages: u64,
    pattern: Pattern,
    received: u64,
    wrong: bool,
}

impl Relayed {
    fn run(&mut self) -> Result<()> {
        let total = self.size * self.messages;
        let window = WINDOW.max(2 * self.size);
        let (mut out, mut written, mut sent) = (Vec::new(), 0, 0);
        let mut buffer = vec![0; READ];
        let mut payload = wire::Payload::default();
        let mut heard_at = Instant::now();
        while self.received < total && !self.wrong && heard_at.elapsed() < SILENCE {
            if written == out.len() && sent < total && sent - self.received + self.size <= window {
                out.clear();
                written = 0;
                if self.framed {
                    wire::put_header(&mut out, wire::BINARY, self.size as usize);
                }
                self.pattern.put(&mut out, sent, self.size as usize);
                sent += self.size;
            }
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, written < out.len());
            let ready = {
                let mut fds = [PollFd::new(self.stream.as_fd(), wanted)];
                poll(&mut fds, PollTimeout::from(1_000u16))?;
                fds.iter()
                    .filter_map(PollFd::revents)
                    .next()
                    .unwrap_or(wanted)
            };
            if ready.contains(PollFlags::POLLOUT) {
                written += unblocked(self.stream.write(out.get(written..).unwrap_or_default()))?;
            }
            if ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                let read = match self.stream.read(&mut buffer) {
                    Ok(0) => bail!("the stream ended after {} bytes", self.received),
                    result => unblocked(result)?,
                };
                heard_at = Instant::now();
                let bytes = buffer.get(..read).unwrap_or_default();
                if self.framed {
                    payload.feed(bytes, &mut |piece| {
                        self.wrong |= !self.pattern.matches(self.received, piece);
                        self.received += piece.len() as u64;
                    })?;
                } else {
                    self.wrong |= !self.pattern.matches(self.received, bytes);
                    self.received += read as u64;
                }
            }
        }
        Ok(())
    }
}

fn unblocked(result: std::io::Result<usize>) -> Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misplaced_byte_is_seen_wherever_it_is() {
        let pattern = Pattern::new();
        let offset = Pattern::LEN as u64 - 10;
        let mut bytes = Vec::new();
        pattern.put(&mut bytes, offset, 100);
        assert_eq!(bytes.len(), 100);
        assert!(pattern.matches(offset, &bytes));
        assert!(!pattern.matches(offset + 1, &bytes));
        bytes.swap(9, 10);
        assert!(!pattern.matches(offset, &bytes));
    }
}
