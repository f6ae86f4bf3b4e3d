//! Bytes of a child on one side, messages of a room on the other.
//!
//! A [`Decoder`] cuts what the child prints into [`Event`]s and an [`Encoder`] writes what clients
//! say as the child shall read it; a [`Template`] is the text of a join or leave message. Whatever
//! the bytes are and however the reads fall, the same events come out in the same order and nothing
//! panics. All of it is pure: no input or output, no clock, and no knowledge of who is in the room.

mod decoder;
mod encoder;
mod json;
mod lines;
mod packets;
mod template;

use std::fmt;
use std::num::NonZeroU32;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use json::RESERVED;
pub use template::{Template, Visitor};

/// A client's number: from 1, and unique for the server's life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClientId(NonZeroU32);

impl ClientId {
    /// The client of that number; none has the number 0.
    pub fn new(id: u32) -> Option<ClientId> {
        NonZeroU32::new(id).map(ClientId)
    }

    /// The number, as children and stats see it.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of the two kinds of websocket message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// Text where the bytes allow it: the kind of a piece whose framing does not name one.
    fn of(bytes: &[u8]) -> Kind {
        match simdutf8::basic::from_utf8(bytes) {
            Ok(_) => Kind::Text,
            Err(_) => Kind::Binary,
        }
    }
}

/// Who hears a message of the child.
///
/// The lists are sorted and name each id once. They hold what the child wrote: an id that is not in
/// the room (0 never is) is for the room to count as [`Drop::UnknownClient`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience<'a> {
    /// All clients of the room.
    Everyone,
    /// These clients; none when the list is empty.
    Only(&'a [u32]),
    /// All clients but these.
    Except(&'a [u32]),
}

/// What the child's output says, piece by piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A message for clients.
    Message {
        /// Who hears it.
        to: Audience<'a>,
        /// `Text` only when the payload is valid UTF-8.
        kind: Kind,
        /// The bytes as the child printed them, without what marked their end.
        payload: &'a [u8],
        /// `_cache: true`: what `--cache tagged:` keeps.
        tagged: bool,
    },
    /// A line with `_meta: true`, whole: the room's metadata from now on. Heard by nobody.
    Metadata(&'a [u8]),
    /// `_close`: end the connections of these clients (sorted, each once). Heard by nobody.
    Close {
        /// Whose connections; may name ids that are not in the room.
        clients: &'a [u32],
        /// 1000 or 3000–4999; 4000 when the child gave none or a wrong one.
        code: u16,
        /// What the child gave; the wire cuts it at 123 bytes.
        reason: &'a str,
    },
    /// Something was dropped, or was odd and read in the documented way.
    Counted(Drop),
}

/// Why something of a client or the child was dropped or odd; a metric counts each by its label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Drop {
    /// A client's message is not a JSON object (RFC 8259, UTF-8, depth ≤ 128).
    NotJsonObject,
    /// A client's message uses a name of [`RESERVED`] at its top level.
    ReservedName,
    /// A client's binary message does not carry the 12-byte header `binary` framing asks for.
    BadHeader,
    /// A client's message is longer than a packet header can say.
    TooLong,
    /// The child's to-field is neither an id nor a list of ids; everyone hears the line.
    BadTo,
    /// The child's `_except` is neither an id nor a list of ids; it is ignored.
    BadExcept,
    /// The child's `_close` is neither an id nor a list of ids (then the line is an ordinary one),
    /// its `_code` is out of range (then 4000), or its `_reason` is no string (then empty).
    BadClose,
    /// The child named a client that is not in the room.
    UnknownClient,
    /// A packet of the child with a type other than text and binary; skipped.
    UnknownType,
    /// The child's output ended inside a packet; what there was of it is dropped.
    PartialPacket,
}

impl Drop {
    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Drop::NotJsonObject => "not_json_object",
            Drop::ReservedName => "reserved_name",
            Drop::BadHeader => "bad_header",
            Drop::TooLong => "too_long",
            Drop::BadTo => "bad_to",
            Drop::BadExcept => "bad_except",
            Drop::BadClose => "bad_close",
            Drop::UnknownClient => "unknown_client",
            Drop::UnknownType => "unknown_type",
            Drop::PartialPacket => "partial_packet",
        }
    }
}

/// The child's output cannot be read any further. The text is the reason of the close code (1011).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Broken {
    /// A packet longer than the limit: where the next one starts is not worth believing.
    #[error("bad packet")]
    BadPacket,
    /// A line longer than this many bytes.
    #[error("message over {0} bytes")]
    TooLong(usize),
}

/// How the child marks its messages (`--server-frame` and its relatives).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerFraming {
    /// Unframed: pieces between delimiters.
    Lines {
        /// Any of these bytes ends a piece; none at all means the newline.
        delimiters: Vec<u8>,
        /// Drop one CR before the delimiter (the default newline, not `--null`, `--delimiters`).
        strip_cr: bool,
    },
    /// `--binary`: whatever one read gives is one binary message.
    Raw,
    /// Lines of JSON whose top level may say who hears them.
    Json(JsonFields),
    /// `gwsocket` and `binary`: length-prefixed packets.
    Packets,
}

/// How clients' messages are marked for the child (`--client-frame` and its relatives).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientFraming {
    /// Unframed: the bytes, then a terminator.
    Lines {
        /// NUL with `--null`, else the newline. It is the newline with `--delimiters` too: a
        /// program may cut its output at several characters, but what reads lines reads lines.
        terminator: u8,
    },
    /// `--binary`: the bytes and nothing else.
    Raw,
    /// One line of JSON per message, with the sender put in.
    Json(JsonFields),
    /// Packets, with 0x10 and 0x08 when clients come and go.
    Gwsocket,
    /// Packets without those two; binary messages bring their own header.
    Binary,
}

/// The field names of JSON framing (`--from-field`, `--to-field`).
///
/// A name of [`RESERVED`] would make every message both a command and an address: refuse it where
/// names are parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JsonFields {
    /// The member of a client's message that names the sender.
    pub from: String,
    /// The member of the child's line that names who hears it.
    pub to: String,
}

#[cfg(test)]
mod tests;
