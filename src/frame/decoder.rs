//! The child's output, read by read, becomes events.
//!
//! Whole messages inside one read are handed on as slices of it; only the unfinished rest of a read
//! is kept, and its bytes are looked at once however many reads it takes to finish. A stream that
//! broke stays broken: it yields no further event.

use super::json::Header;
use super::lines::Lines;
use super::packets::Packets;
use super::{Audience, Broken, Event, Kind, ServerFraming};

/// Cuts the output of one child into [`Event`]s.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    broken: Option<Broken>,
}

#[derive(Debug)]
enum Framing {
    Lines(Lines),
    Raw { most: usize },
    Json(Lines, Box<Header>),
    Packets(Packets),
}

impl Decoder {
    /// A decoder at the start of a stream; `max_message` is in bytes of payload.
    pub fn new(framing: &ServerFraming, max_message: usize) -> Decoder {
        let framing = match framing {
            ServerFraming::Lines {
                delimiters,
                strip_cr,
            } => Framing::Lines(Lines::new(delimiters, *strip_cr, max_message)),
            ServerFraming::Raw => Framing::Raw {
                most: max_message.max(1),
            },
            ServerFraming::Json(fields) => Framing::Json(
                Lines::new(b"\n", true, max_message),
                Box::new(Header::new(&fields.to)),
            ),
            ServerFraming::Packets => Framing::Packets(Packets::new(max_message)),
        };
        Decoder {
            framing,
            broken: None,
        }
    }

    /// Takes one read of the child's output and calls `sink` for every complete message, in order.
    ///
    /// An error is for good: what was complete before it has been delivered, what follows is lost.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>)) -> Result<(), Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let fed = match &mut self.framing {
            Framing::Lines(lines) => {
                lines.feed(bytes, &mut |kind, payload| sink(to_everyone(kind, payload)))
            }
            Framing::Raw { most } => {
                // A read has no boundaries of its own, so one over the limit is simply several.
                bytes
                    .chunks(*most)
                    .for_each(|chunk| sink(to_everyone(Kind::Binary, chunk)));
                Ok(())
            }
            Framing::Json(lines, header) => {
                lines.feed(bytes, &mut |kind, line| header.read(kind, line, sink))
            }
            Framing::Packets(packets) => packets.feed(bytes, sink),
        };
        self.broken = fed.err();
        fed
    }

    /// The output has ended: delivers an unterminated last piece; a partial packet is dropped and
    /// counted. The decoder is then at the start of a new stream (a restarted child's).
    pub fn finish(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        self.broken = None;
        match &mut self.framing {
            Framing::Lines(lines) => {
                lines.finish(&mut |kind, payload| sink(to_everyone(kind, payload)));
            }
            Framing::Raw { .. } => {}
            Framing::Json(lines, header) => {
                lines.finish(&mut |kind, line| header.read(kind, line, sink));
            }
            Framing::Packets(packets) => packets.finish(sink),
        }
    }

    /// Bytes of the unfinished message that are held.
    pub fn buffered(&self) -> usize {
        match &self.framing {
            Framing::Lines(lines) | Framing::Json(lines, _) => lines.buffered(),
            Framing::Raw { .. } => 0,
            Framing::Packets(packets) => packets.buffered(),
        }
    }
}

fn to_everyone(kind: Kind, payload: &[u8]) -> Event<'_> {
    Event::Message {
        to: Audience::Everyone,
        kind,
        payload,
        tagged: false,
    }
}
