//! A case as data: what is sent on a connection, what must come back, and what the child must have
//! heard of it. A case knows no server; the engine plays it, the page shows it.

use std::fmt;

use crate::harness::encode;

/// FIN, as the first byte of a frame has it.
pub(crate) const FIN: u8 = 0x80;
/// The bit that a compressed message begins with (RFC 7692 section 6).
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
/// The key of RFC 6455 section 5.7.
pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// `--max-message`, as it is without the flag.
pub(crate) const LIMIT: usize = 1 << 20;
/// The message that ends every case whose connection lives: it must be heard, and nothing before it.
pub(crate) const FENCE: &[u8] = b"the end";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

impl Kind {
    pub(crate) const BOTH: [Kind; 2] = [Kind::Text, Kind::Binary];

    pub(crate) fn opcode(self) -> u8 {
        match self {
            Kind::Text => TEXT,
            Kind::Binary => BINARY,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Text => "text",
            Kind::Binary => "binary",
        })
    }
}

/// What comes back.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Message(Kind, Vec<u8>),
    Pong(Vec<u8>),
    /// The pong of this payload, and before it any number of others.
    LastPong(Vec<u8>),
    Close(Option<u16>),
    /// The end of the stream.
    End,
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Heard::Message(kind, payload) => write!(f, "{kind} {}", shown(payload)),
            Heard::Pong(payload) => write!(f, "pong {}", shown(payload)),
            Heard::LastPong(payload) => write!(f, "pongs up to {}", shown(payload)),
            Heard::Close(Some(code)) => write!(f, "close {code}"),
            Heard::Close(None) => f.write_str("close without a code"),
            Heard::End => f.write_str("the end"),
        }
    }
}

/// A payload for people: short ones escaped, long ones as their length.
fn shown(payload: &[u8]) -> String {
    match payload.get(..40) {
        Some(_) => format!("of {} bytes", payload.len()),
        None => format!("\"{}\"", payload.escape_ascii()),
    }
}

#[derive(Clone)]
pub(crate) enum Step {
    /// These bytes, in writes of at most so many.
    Send(Vec<u8>, usize),
    Hear(Heard),
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The connection lives: the [`FENCE`] is sent and heard.
    Open,
    /// A close frame with this code or none, and then the end of the stream.
    Closed(Option<u16>),
}

pub(crate) struct Case {
    /// Of the RFC that its chapter is about.
    pub section: &'static str,
    pub name: String,
    /// What is sent, in words.
    pub sent: String,
    pub steps: Vec<Step>,
    pub ending: Ending,
    /// What the child hears of it.
    pub child: Vec<(Kind, Vec<u8>)>,
}

impl Case {
    pub(crate) fn new(
        section: &'static str,
        name: impl Into<String>,
        sent: impl Into<String>,
    ) -> Case {
        Case {
            section,
            name: name.into(),
            sent: sent.into(),
            steps: Vec::new(),
            ending: Ending::Open,
            child: Vec::new(),
        }
    }

    /// These bytes, in one write.
    pub(crate) fn send(self, bytes: impl Into<Vec<u8>>) -> Case {
        self.send_in(bytes, usize::MAX)
    }

    /// These bytes, in writes of at most `piece`.
    pub(crate) fn send_in(mut self, bytes: impl Into<Vec<u8>>, piece: usize) -> Case {
        self.steps.push(Step::Send(bytes.into(), piece));
        self
    }

    /// A frame of any first byte, masked, its length in the shortest form.
    pub(crate) fn frame(self, first: u8, payload: &[u8]) -> Case {
        self.send(frame(first, payload))
    }

    /// A whole message, which comes back.
    pub(crate) fn says(self, kind: Kind, payload: &[u8]) -> Case {
        self.frame(FIN | kind.opcode(), payload).echo(kind, payload)
    }

    /// The child has heard this message, and it comes back.
    pub(crate) fn echo(mut self, kind: Kind, payload: &[u8]) -> Case {
        self.child.push((kind, payload.to_vec()));
        self.hears(Heard::Message(kind, payload.to_vec()))
    }

    pub(crate) fn pong(self, payload: &[u8]) -> Case {
        self.hears(Heard::Pong(payload.to_vec()))
    }

    pub(crate) fn hears(mut self, heard: Heard) -> Case {
        self.steps.push(Step::Hear(heard));
        self
    }

    /// The last that comes is a close of this code.
    pub(crate) fn closed(mut self, code: u16) -> Case {
        self.ending = Ending::Closed(Some(code));
        self
    }

    pub(crate) fn closed_without_code(mut self) -> Case {
        self.ending = Ending::Closed(None);
        self
    }

    /// All that comes back, in its order.
    pub(crate) fn expected(&self) -> Vec<Heard> {
        let steps = self.steps.iter().filter_map(|step| match step {
            Step::Hear(heard) => Some(heard.clone()),
            Step::Send(..) => None,
        });
        let ending = match self.ending {
            Ending::Open => vec![Heard::Message(Kind::Text, FENCE.to_vec())],
            Ending::Closed(code) => vec![Heard::Close(code), Heard::End],
        };
        steps.chain(ending).collect()
    }
}

/// Cases that one kind of server serves.
pub(crate) struct Chapter {
    pub title: &'static str,
    /// The RFC that the sections are of.
    pub rfc: u16,
    /// The connection is one that agreed to compression.
    pub packed: bool,
    pub cases: Vec<Case>,
}

/// A masked frame, its length in the shortest form.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    encode(first, Some(MASK), payload)
}

/// A message as frames: the first has the opcode, the last FIN.
pub(crate) fn fragments(kind: Kind, pieces: &[&[u8]]) -> Vec<u8> {
    let last = pieces.len().saturating_sub(1);
    let frames = pieces.iter().enumerate().map(|(at, piece)| {
        let opcode = if at == 0 { kind.opcode() } else { CONTINUATION };
        frame(if at == last { FIN | opcode } else { opcode }, piece)
    });
    frames.collect::<Vec<_>>().concat()
}

/// The payload of a close frame.
pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_ref()].concat()
}

/// So many bytes, ASCII and no two neighbours alike: a lost or moved one shows.
pub(crate) fn filler(length: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(length).collect()
}
