//! What the command line comes to: one plain value per flag, checked, with nothing left to refuse.
//! Fields are named after their flags. Only `main` and `app` read it; lower floors get
//! their own options cut from it.

use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::identity::Identity;

/// What the server itself may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Half of what there is.
    Half,
    /// So many bytes.
    Limit(u64),
    /// Whatever it comes to.
    NoLimit,
}

/// Where a server listens that is told nothing and inherits no socket.
pub const DEFAULT_ADDR: &str = "0.0.0.0:9000";

/// The whole configuration of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who speaks in the rooms: a program of ours, or one that already runs.
    pub source: Source,

    /// Listen addresses as given. Empty = none given: the inherited sockets (`LISTEN_FDS`), or
    /// else [`DEFAULT_ADDR`].
    pub addr: Vec<Listen>,
    /// Permission bits of unix sockets that we make.
    pub unix_mode: u32,
    /// The second listener for metrics, stats, api, console and drain. With it `metrics` and
    /// `stats` are true, and those endpoints are only there.
    pub admin_addr: Option<Listen>,

    /// Talk to the child over TCP at `127.0.0.1:$PORT`.
    pub tcp: bool,
    /// Run the program in a terminal of that size.
    pub pty: Option<Size>,
    /// The ports of TCP mode, both ends included; never empty, never 0.
    pub tcpports: RangeInclusive<u16>,
    /// Wait before attaching to the child, in every mode.
    pub cmd_attach_delay: Option<Duration>,
    /// How long a TCP child may take to answer, and a join may wait for an ending room. Never 0.
    pub start_timeout: Duration,
    /// Variables handed to the child; `*` = all but ours and the Downward API's.
    pub passenv: Vec<String>,
    /// One child per connection.
    pub isolate: bool,
    /// Serve one room, then exit with the child's status. `maxrooms` is then 1.
    pub oneshot: bool,
    /// What happens in a room whose child fails.
    pub restart: Restart,
    /// Where the child's stderr goes.
    pub stderr: Stderr,
    /// As whom, where and with how much it runs, and how often it is started.
    pub cage: super::cage::Cage,

    /// How the child's output is cut into messages.
    pub server_framing: ServerFraming,
    /// How clients' messages are marked for the child.
    pub client_framing: ClientFraming,
    /// JSON framing: the member that names the sender.
    pub from_field: String,
    /// JSON framing: the member that names the hearers.
    pub to_field: String,
    /// Sent to the child when a client joins; placeholders not yet filled in.
    pub joinmsg: Option<String>,
    /// Sent to the child when a client leaves; placeholders not yet filled in.
    pub leavemsg: Option<String>,

    /// History for late joiners.
    pub cache: Option<Cache>,
    /// Keep the history of a room that ended for its next opening.
    pub cachepersist: bool,

    /// The only rooms that exist; none = any valid name. Valid names without duplicates.
    pub rooms: Option<Vec<String>>,
    /// Most rooms at once, at least 1; 0 for a gateway.
    pub maxrooms: usize,
    /// Most clients at once; none = what the descriptor limit allows.
    pub max_clients: Option<usize>,
    /// Most clients in one room.
    pub max_clients_per_room: Option<usize>,
    /// Most clients from one address.
    pub max_clients_per_ip: Option<usize>,
    /// Pages that may connect; empty = no such rule.
    pub origin: Vec<String>,
    /// Pages of this very host may connect.
    pub same_origin: bool,
    /// Subprotocols that may be echoed; empty = none.
    pub subprotocol: Vec<String>,
    /// How a refusal is told.
    pub refuse: Refuse,
    /// How clients prove who they are; none = they need not.
    pub identity: Option<Identity>,

    /// Keep a room that long after its last client left.
    pub linger: Duration,
    /// End a room that long without a message; none = never.
    pub max_idle: Option<Duration>,
    /// End a room after that long; none = never.
    pub max_lifetime: Option<Duration>,
    /// How long the inbox and EOF may take before the signal.
    pub stop_eof: Duration,
    /// The number of the stop signal.
    pub stop_signal: i32,
    /// How long after the signal KILL comes.
    pub stop_grace: Duration,
    /// How long rooms may live on when the server is told to end.
    pub drain_timeout: Duration,

    /// Bytes a room remembers of what everybody hears, at least 1.
    pub backlog: usize,
    /// What the server itself may take.
    pub memory: Memory,
    /// Bytes that may wait for the child's stdin, at least 1.
    pub inbox: usize,
    /// What happens to a client that falls behind the backlog.
    pub slow: Slow,
    /// A client that takes no byte for this long while data waits is closed. Never 0.
    pub stall_timeout: Duration,
    /// Largest message from a client, at least 1.
    pub max_message: usize,
    /// Largest message from the child, at least 1.
    pub max_child_message: usize,
    /// The shortest message that is compressed for clients that can inflate it, at least 1; none = no
    /// compression either way.
    pub compress: Option<usize>,
    /// Time between pings; none = no pings.
    pub ping: Option<Duration>,
    /// How late a pong may be; none = nobody is closed for a missing pong.
    pub ping_timeout: Option<Duration>,

    /// Serve `/metrics`.
    pub metrics: bool,
    /// Most rooms with series of their own; 0 = none.
    pub metrics_rooms: usize,
    /// Serve `/stats` and `/<room>/stats`.
    pub stats: bool,
    /// Serve `/api/...`.
    pub api: bool,
    /// Serve files from this directory.
    pub staticdir: Option<PathBuf>,
    /// The console; none = there is none.
    pub console: Option<super::console::Console>,
    /// Added to HTTP responses: valid names and values.
    pub header: Vec<(String, String)>,

    /// What whoever writes the program has asked for.
    pub develop: super::develop::Develop,

    /// What stands before the rooms.
    pub front: super::door::Front,
    /// TLS on the public TCP addresses; none = plain HTTP.
    pub tls: Option<super::tls::Tls>,

    /// Be one pod of a fleet; none = alone.
    #[cfg(feature = "kube")]
    pub cluster: Option<super::cluster::Cluster>,

    /// How log lines look.
    pub log: LogFormat,
    /// -1 = warnings (`-q`), 0 = info, 1 = debug, 2 and more = trace.
    pub verbosity: i8,

    /// Flags that are given but can do nothing, a sentence each: for the log, at start.
    pub warnings: Vec<String>,
}

/// Who speaks in the rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A program, started once per room.
    Program {
        /// Its name or path as given; see [`resolve_program`](super::resolve_program).
        cmd: OsString,
        /// Its arguments.
        args: Vec<OsString>,
    },
    /// A program that already runs: one connection to this `HOST:PORT` per room.
    Connect(String),
    /// Nobody: a gateway to other pods.
    #[cfg(feature = "kube")]
    Nothing,
}

/// A place to listen at, or to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `HOST:PORT`; port 0 = any free one.
    Tcp(String),
    /// `unix:` and this path.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => f.write_str(address),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How the child's output is cut into messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFraming {
    /// At newlines; one carriage return before a newline goes too.
    Lines,
    /// At NUL.
    Null,
    /// At any of these bytes: at least one, no duplicates, and not just the newline.
    Delimiters(Vec<u8>),
    /// Not at all: each chunk is a binary message.
    Raw,
    /// JSON lines with a header.
    Json,
    /// Length-prefixed packets.
    Binary,
    /// gwsocket's strict mode.
    Gwsocket,
}

/// How clients' messages are marked for the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFraming {
    /// A newline after each.
    Lines,
    /// A NUL after each.
    Null,
    /// Nothing: bytes as they come.
    Raw,
    /// JSON lines with the sender's id.
    Json,
    /// Length-prefixed packets.
    Binary,
    /// gwsocket's strict mode, with its join and leave packets.
    Gwsocket,
}

/// History for late joiners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// Which messages are kept.
    pub keep: Keep,
    /// How many, at least 1.
    pub messages: usize,
}

/// Which messages a history keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Everything that everybody hears.
    All,
    /// What the child marked with `_cache`.
    Tagged,
}

/// How large a terminal is, in characters, each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// In a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What happens in a room whose child fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)] // the flag's help says it
pub enum Restart {
    Never,
    OnFailure,
}

/// Where the child's stderr goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)] // the flag's help says it
pub enum Stderr {
    Log,
    Client,
    Inherit,
    Drop,
}

/// What happens to a client that falls behind the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)] // the flag's help says it
pub enum Slow {
    Disconnect,
    Drop,
    Block,
}

/// How a refusal is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)] // the flag's help says it
pub enum Refuse {
    Http,
    Close,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)] // the flag's help says it
pub enum LogFormat {
    Text,
    Json,
}
