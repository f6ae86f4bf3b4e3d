//! The form of a recording: JSON lines, each with the seconds since the room opened (`at`) and what
//! happened then. `docs/developing.md` tells of it; bytes are text where they are UTF-8, else base64.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The version of the form.
pub const VERSION: u32 = 1;
/// Variables of a room that are recorded with their values: no client chooses what is secret in them.
/// Of all others only the names are.
const TOLD: [&str; 12] = [
    "GATEWAY_INTERFACE",
    "HTTPS",
    "PATH_INFO",
    "REQUEST_METHOD",
    "REQUEST_SCHEME",
    "ROOM",
    "SCRIPT_NAME",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
    "UNIQUE_ID",
];

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Seconds since the room opened.
    pub at: f64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The room opened: always the first line.
    Recording(Head),
    /// A child runs.
    Start(Start),
    /// The child was given these bytes.
    In(String),
    /// The same, in base64.
    In64(String),
    /// So many bytes, the last that it was given, it has not read.
    Back(u64),
    /// Its input ended. Always true.
    Eof(bool),
    /// It printed these bytes.
    Out(String),
    /// The same, in base64.
    Out64(String),
    /// It printed this line to stderr.
    Err(String),
    /// This client came.
    Join(u32),
    /// This client left.
    Leave(u32),
    /// The server ends the child by signals. Always true.
    Stop(bool),
    /// The child and all it started are gone: `exit 0`, `signal TERM`.
    Exit(String),
    /// The room is over.
    End(End),
    /// The recording ends here although the room went on, for this reason.
    Cut(String),
}

/// Of which room it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Of the form: [`VERSION`].
    pub version: u32,
    /// The room's name.
    pub room: String,
    /// When it opened, as HTTP writes dates.
    pub began: String,
    /// The version of the server.
    pub server: String,
    /// What the child's input and output are.
    pub transport: Transport,
    /// How the program marks its messages.
    pub framing: Framing,
}

impl Head {
    /// Of a room that opens now.
    pub fn new(room: &str, transport: Transport, framing: Framing) -> Head {
        Head {
            version: VERSION,
            room: room.to_owned(),
            began: httpdate::fmt_http_date(SystemTime::now()),
            server: env!("CARGO_PKG_VERSION").to_owned(),
            transport,
            framing,
        }
    }
}

/// What a child's input and output are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Pipes.
    Stdio,
    /// A connection to a program that was started for the room.
    Tcp,
    /// A connection to a program that ran already.
    Connect,
    /// A terminal.
    Terminal,
}

/// How a program marks its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Each of these bytes ends one.
    Lines {
        /// Any of these.
        delimiters: Vec<u8>,
        /// Whether a carriage return before it goes too.
        strip_cr: bool,
    },
    /// Lines of JSON.
    Json,
    /// Packets with their length.
    Packets,
    /// Not at all.
    Raw,
}

/// A child.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Of its leader; none with `--connect`.
    pub pid: Option<u32>,
    /// The program's path.
    pub program: String,
    /// The digest of what is at that path, in hexadecimal digits.
    pub sha256: Option<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its variables, where they hold nothing secret.
    pub env: BTreeMap<String, String>,
    /// The names of all others.
    pub env_names: Vec<String>,
}

impl Start {
    /// Sorts the variables into those that may be told and those that may not.
    pub fn with_env<'a>(mut self, env: impl Iterator<Item = (&'a str, &'a str)>) -> Start {
        for (name, value) in env {
            if TOLD.contains(&name) {
                self.env.insert(name.to_owned(), value.to_owned());
            } else {
                self.env_names.push(name.to_owned());
            }
        }
        self.env_names.sort();
        self.env_names.dedup();
        self
    }
}

/// How a room ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The close code that its clients read.
    pub code: u16,
    /// And the reason.
    pub reason: String,
}

impl Line {
    /// As it is written, with the newline.
    pub fn write(&self, out: &mut Vec<u8>) {
        // Writing into memory fails only for maps whose keys are no strings: there are none.
        if serde_json::to_writer(&mut *out, self).is_ok() {
            out.push(b'\n');
        }
    }

    /// With the time as it is told: microseconds are enough.
    pub fn new(at: Duration, what: What) -> Line {
        Line {
            at: at.as_micros() as f64 / 1e6,
            what,
        }
    }
}

impl What {
    /// Bytes that the child was given.
    pub fn given(bytes: Vec<u8>) -> What {
        text_or_base64(bytes).map_or_else(What::In64, What::In)
    }

    /// Bytes that it printed.
    pub fn printed(bytes: Vec<u8>) -> What {
        text_or_base64(bytes).map_or_else(What::Out64, What::Out)
    }
}

fn text_or_base64(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|bytes| STANDARD.encode(bytes.as_bytes()))
}

/// The bytes of what was written in base64.
pub fn decoded(base64: &str) -> Option<Vec<u8>> {
    STANDARD.decode(base64).ok()
}
