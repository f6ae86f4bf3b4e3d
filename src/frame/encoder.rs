//! What clients say, and that they come and go, as the child shall read it.
//!
//! Every method appends whole messages to the caller's buffer, so that many can leave in one write.
//! A message that its framing cannot carry is refused with a reason and leaves the buffer as it was;
//! that never concerns the sender's connection.

use super::json::Stamp;
use super::{ClientFraming, ClientId, Drop, Kind, packets};

/// Writes messages for one child.
#[derive(Clone, Debug)]
pub struct Encoder {
    framing: Framing,
}

#[derive(Clone, Debug)]
enum Framing {
    Lines { terminator: u8 },
    Raw,
    Json(Stamp),
    Gwsocket,
    Binary,
}

impl Encoder {
    /// An encoder for that framing; it keeps no state between messages.
    pub fn new(framing: &ClientFraming) -> Encoder {
        let framing = match framing {
            ClientFraming::Lines { terminator } => Framing::Lines {
                terminator: *terminator,
            },
            ClientFraming::Raw => Framing::Raw,
            ClientFraming::Json(fields) => Framing::Json(Stamp::new(&fields.from)),
            ClientFraming::Gwsocket => Framing::Gwsocket,
            ClientFraming::Binary => Framing::Binary,
        };
        Encoder { framing }
    }

    /// Appends a client's message; an error says why it is dropped instead.
    pub fn message(
        &self,
        from: ClientId,
        kind: Kind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Drop> {
        match &self.framing {
            Framing::Lines { terminator } => line(payload, *terminator, out),
            Framing::Raw => out.extend_from_slice(payload),
            Framing::Json(stamp) => stamp.write(from, kind, payload, out)?,
            Framing::Gwsocket => packets::write(from, packets::code(kind), payload, out)?,
            Framing::Binary => match kind {
                Kind::Text => packets::write(from, packets::TEXT, payload, out)?,
                Kind::Binary => packets::readdress(from, payload, out)?,
            },
        }
        Ok(())
    }

    /// Appends what an operator says, as it stands: JSON or not, and from no client. An error says
    /// why it cannot be said.
    pub fn operator(&self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Drop> {
        match &self.framing {
            Framing::Lines { terminator } => line(payload, *terminator, out),
            Framing::Raw => out.extend_from_slice(payload),
            Framing::Json(_) => line(payload, b'\n', out),
            Framing::Gwsocket | Framing::Binary => packets::write_unsigned(kind, payload, out)?,
        }
        Ok(())
    }

    /// Appends what the child reads when a client joined: with `gwsocket` the 0x10 packet with the
    /// client's address, then the join message if there is one.
    pub fn joined(&self, id: ClientId, address: &str, text: Option<&[u8]>, out: &mut Vec<u8>) {
        if let Framing::Gwsocket = self.framing {
            packets::write_joined(id, address, out);
        }
        if let Some(text) = text {
            self.announce(id, text, out);
        }
    }

    /// Appends what the child reads when a client left: the leave message if there is one, then
    /// with `gwsocket` the 0x08 packet.
    pub fn left(&self, id: ClientId, text: Option<&[u8]>, out: &mut Vec<u8>) {
        if let Some(text) = text {
            self.announce(id, text, out);
        }
        if let Framing::Gwsocket = self.framing {
            packets::write_left(id, out);
        }
    }

    /// Join and leave messages are the operator's text: they pass as they are, JSON or not.
    fn announce(&self, id: ClientId, text: &[u8], out: &mut Vec<u8>) {
        match &self.framing {
            Framing::Lines { terminator } => line(text, *terminator, out),
            Framing::Raw => out.extend_from_slice(text),
            Framing::Json(_) => line(text, b'\n', out),
            Framing::Gwsocket | Framing::Binary => {
                // A text of 4 GiB is the only one a packet refuses, and no command line holds it.
                let _ = packets::write(id, packets::TEXT, text, out);
            }
        }
    }
}

fn line(bytes: &[u8], terminator: u8, out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 1);
    out.extend_from_slice(bytes);
    out.push(terminator);
}
