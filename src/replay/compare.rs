//! Messages, and whether two are the same.

use crate::frame::{Audience, Decoder, Event, ServerFraming};
use crate::record::line::Framing;

/// Bytes of raw output that are compared at once, unless a newline comes before.
const RAW_PIECE: usize = 256;
/// Characters of a long message that are shown, and how many of them before the first that is another.
const SHOWN: usize = 400;
const BEFORE: usize = 60;

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Whom it was for; everybody, without a list.
    to: Option<Vec<u32>>,
    bytes: Vec<u8>,
}

/// The first thing that is not as it was.
#[derive(Debug, PartialEq)]
pub(super) enum Difference {
    Message {
        /// From 1.
        number: usize,
        /// When it was recorded, in seconds since the program's start.
        at: Option<f64>,
        recorded: Side,
        came: Side,
    },
    Exit {
        recorded: String,
        came: String,
    },
}

/// One of the two.
#[derive(Debug, PartialEq)]
pub(super) enum Side {
    Message(Message),
    Nothing(String),
}

impl Side {
    /// For people, beside the other one.
    pub(super) fn shown(&self, other: &Side) -> String {
        match (self, other) {
            (Side::Message(message), Side::Message(other)) => message.shown(Some(other)),
            (Side::Message(message), Side::Nothing(_)) => message.shown(None),
            (Side::Nothing(why), _) => format!("nothing ({why})"),
        }
    }
}

impl Message {
    /// `by_meaning`: of JSON, neither spaces nor the order of members count.
    pub(super) fn is(&self, other: &Message, by_meaning: bool) -> bool {
        if self == other {
            return true;
        }
        let value = |message: &Message| {
            let bytes = message.bytes.as_slice();
            serde_json::from_slice::<serde_json::Value>(bytes).ok()
        };
        by_meaning && self.to == other.to && value(self).is_some_and(|v| Some(v) == value(other))
    }

    /// Behind how many lines of its input it told this to its recording, if it did: the member
    /// `_replay` of an object.
    pub(super) fn told_after(&self) -> Option<u64> {
        #[derive(serde::Deserialize)]
        struct Told {
            _replay: u64,
        }

        // Most messages have it nowhere.
        memchr::memmem::find(&self.bytes, b"\"_replay\"")?;
        let told: Told = serde_json::from_slice(&self.bytes).ok()?;
        Some(told._replay)
    }

    /// As it was printed.
    pub(super) fn line(&self) -> Vec<u8> {
        [&self.bytes[..], b"\n"].concat()
    }

    /// For people: one line that steers no terminal, from shortly before where it is not `other`.
    fn shown(&self, other: Option<&Message>) -> String {
        let text = |message: &Message| match std::str::from_utf8(&message.bytes) {
            Ok(text) => crate::cli::shown(text.as_ref()),
            Err(_) => format!("<{} bytes: {}>", message.bytes.len(), hex(&message.bytes)),
        };
        let own = text(self);
        let same = other.map_or(0, |other| {
            let other = text(other);
            let pairs = own.chars().zip(other.chars());
            pairs.take_while(|(a, b)| a == b).count()
        });
        let skipped = match own.chars().count() > SHOWN {
            true => same.saturating_sub(BEFORE),
            false => 0,
        };
        let mut line = match &self.to {
            Some(to) => format!("to {to:?}: "),
            None => String::new(),
        };
        line.push_str(if skipped > 0 { "..." } else { "" });
        let mut rest = own.chars().skip(skipped);
        line.extend(rest.by_ref().take(SHOWN));
        line.push_str(if rest.next().is_some() { "..." } else { "" });
        line
    }
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

/// Cuts what a program prints into messages: by its framing alone, so that it does not matter how
/// its bytes came.
#[derive(Debug)]
pub(super) struct Cutter {
    how: How,
    progress: usize,
}

#[derive(Debug)]
enum How {
    Marked(Box<Decoder>),
    Raw(Vec<u8>),
    /// It cannot be cut any further, and the room ended there.
    Broken,
}

impl Cutter {
    pub(super) fn new(framing: &Framing) -> Cutter {
        let marked = match framing {
            Framing::Lines {
                delimiters,
                strip_cr,
            } => ServerFraming::Lines {
                delimiters: delimiters.clone(),
                strip_cr: *strip_cr,
            },
            // Whom it is for is part of what is compared.
            Framing::Json => ServerFraming::Lines {
                delimiters: b"\n".to_vec(),
                strip_cr: true,
            },
            Framing::Packets => ServerFraming::Packets,
            Framing::Raw => {
                return Cutter {
                    how: How::Raw(Vec::new()),
                    progress: 0,
                };
            }
        };
        Cutter {
            // The server had a limit; what was within is, and nobody else waits here.
            how: How::Marked(Box::new(Decoder::new(&marked, usize::MAX))),
            progress: 0,
        }
    }

    /// How far the program has come: messages, or bytes where they are not marked.
    pub(super) fn progress(&self) -> usize {
        self.progress
    }

    pub(super) fn feed(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Message)) {
        match &mut self.how {
            How::Marked(decoder) => {
                let progress = &mut self.progress;
                let mut next = |message| {
                    *progress += 1;
                    sink(message);
                };
                let fed = decoder.feed(bytes, &mut |event| {
                    message(event).into_iter().for_each(&mut next)
                });
                if let Err(broken) = fed {
                    next(raw(format!("<{broken}>").into_bytes()));
                    self.how = How::Broken;
                }
            }
            How::Broken => {}
            How::Raw(partial) => {
                self.progress += bytes.len();
                for byte in bytes {
                    partial.push(*byte);
                    if *byte == b'\n' || partial.len() >= RAW_PIECE {
                        sink(raw(std::mem::take(partial)));
                    }
                }
            }
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, sink: &mut dyn FnMut(Message)) {
        match &mut self.how {
            How::Marked(decoder) => decoder.finish(&mut |event| {
                if let Some(message) = message(event) {
                    sink(message);
                }
            }),
            How::Broken => {}
            How::Raw(partial) if partial.is_empty() => {}
            How::Raw(partial) => sink(raw(std::mem::take(partial))),
        }
    }
}

fn message(event: Event<'_>) -> Option<Message> {
    match event {
        Event::Message { to, payload, .. } => Some(Message {
            to: match to {
                Audience::Everyone => None,
                Audience::Only(ids) | Audience::Except(ids) => Some(ids.to_vec()),
            },
            bytes: payload.to_vec(),
        }),
        _ => None,
    }
}

fn raw(bytes: Vec<u8>) -> Message {
    Message { to: None, bytes }
}

#[cfg(test)]
pub(super) fn text(text: &str) -> Message {
    raw(text.into())
}
