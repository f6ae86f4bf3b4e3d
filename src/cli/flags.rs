//! The flags, in help order, as clap reads them. Each carries its form (a function of `values`) and
//! its help: one line for `-h`, more paragraphs for `--help` and the reference.
//! An `Option` with its default written into the help is a flag whose absence `validate` must see.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, CommandFactory, Parser, ValueEnum};

use super::config::{Cache, Listen, LogFormat, Memory, Refuse, Restart, Size, Slow, Stderr};
use super::values;

/// The framings that `--frame` and its siblings name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Frame {
    Json,
    Binary,
    Gwsocket,
}

/// What `--compress` alone means: a shorter message shrinks by less than 280 bytes, and compressing it
/// costs about as much (10 to 20 µs), whatever its length.
const COMPRESS_LEAST: &str = "512";

const ABOUT: &str = "Serve any program over websockets, in rooms that lose nothing";

const LONG_ABOUT: &str = "\
Serve any program over websockets, in rooms that lose nothing

Everybody who connects to /NAME is in the room NAME, and each room has one running CMD: what clients \
send are lines on its stdin, what it prints are messages to all of them.

    scalesocket --staticdir public cat       chat: everybody hears everybody
    scalesocket --frame=json ./game.py       a game that knows who speaks
    scalesocket ./game.py -- --level 5       the program's own arguments, after --";

const AFTER_HELP: &str = "\
Helpers (as the very first word): `scalesocket completions SHELL`, `man`, `install DIR`, `probe [URL]`.
Every flag --x-y also reads SCALESOCKET_X_Y. --help tells more.";

const AFTER_LONG_HELP: &str = "\
Arguments: options may stand before and after CMD; its own arguments come after --. When no CMD \
stands before --, the first word after it is CMD.

Durations are seconds, or have a unit: 500ms, 0.5, 30s, 5m, 1h, 7d. Sizes are bytes, or have a unit: \
64KiB, 4MiB, 1GiB (also 4M, 4Mi; 4MB is 4,000,000).

Environment: every flag --x-y also reads SCALESOCKET_X_Y; true, false, 1 or 0 for a flag without \
value; an empty variable is unset; the command line wins.

Helpers, as the very first word: `scalesocket install DIR` copies this program into a directory, \
`scalesocket probe [URL]` asks a server for its health, `scalesocket completions SHELL` and \
`scalesocket man` print completions and the manual page. A program of such a name is served by path \
or after --.";

/// The command line as clap sees it.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "scalesocket",
    bin_name = "scalesocket",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    after_long_help = AFTER_LONG_HELP,
    override_usage = "scalesocket [OPTIONS] <CMD> [-- <ARGS>...]\n       \
                      scalesocket [OPTIONS] -- <CMD> [ARGS]...",
    max_term_width = 100,
)]
pub(super) struct Cli {
    /// Program to serve, by name or path
    #[arg(value_name = "CMD")]
    pub cmd: Option<OsString>,

    /// Its arguments
    #[arg(value_name = "ARGS", last = true)]
    pub args: Vec<OsString>,

    /// Listen address (repeatable) [default: 0.0.0.0:9000]
    ///
    /// Port 0 takes any free port and logs it. `unix:/path` is a unix socket: one that somebody
    /// serves is refused, a stale one replaced. Sockets inherited by LISTEN_FDS replace the default.
    #[arg(long, value_name = "HOST:PORT|unix:PATH", value_delimiter = ',',
          value_parser = values::listen, help_heading = "Listening")]
    pub addr: Vec<Listen>,

    /// Permissions of unix sockets [default: 0660]
    #[arg(long, value_name = "OCTAL", value_parser = values::mode, help_heading = "Listening")]
    pub unix_mode: Option<u32>,

    /// Metrics, stats, api, console and drain here only
    ///
    /// A second listener that takes these endpoints off the public one. Implies --metrics and
    /// --stats.
    #[arg(long, value_name = "ADDR", value_parser = values::listen, help_heading = "Listening")]
    pub admin_addr: Option<Listen>,

    /// Talk to CMD over TCP at 127.0.0.1:$PORT instead of stdio
    ///
    /// CMD finds its port in the variable PORT and listens on it. Its stdin is empty, its stdout
    /// goes where its stderr goes.
    #[arg(long, help_heading = "Program")]
    pub tcp: bool,

    /// Ports for --tcp, both included [default: 9001:9999]
    #[arg(long, value_name = "START:END", value_parser = values::ports, help_heading = "Program")]
    pub tcpports: Option<RangeInclusive<u16>>,

    /// Run CMD in a terminal, for programs that people use at one [default size: 80x24]
    ///
    /// Its three descriptors are a pseudo-terminal, which is its controlling one: shells, editors and
    /// all that draws on a screen work, and nothing waits in a buffer of its runtime. What is printed
    /// comes in binary messages; messages are typed, those of text too. The text {"_resize":[COLS,ROWS]}
    /// tells how much a client can show: the smallest of a room is the size, which all hear in the same
    /// form. TERM is xterm-256color, unless --passenv names it.
    #[arg(long, value_name = "COLSxROWS", num_args = 0..=1, require_equals = true,
          default_missing_value = super::terminal::SIZE, value_parser = super::terminal::size,
          help_heading = "Program")]
    pub pty: Option<Size>,

    /// Instead of CMD: one TCP connection per room to a running program
    ///
    /// For a program that somebody else starts, like another container of the pod. There is no
    /// process of ours, and so no pid, exit status or stderr.
    #[arg(long, value_name = "HOST:PORT", value_parser = values::peer, help_heading = "Program")]
    pub connect: Option<String>,

    /// Wait before attaching to the program [default: no wait]
    #[arg(long, alias = "delay", value_name = "SECONDS", value_parser = values::duration,
          help_heading = "Program")]
    pub cmd_attach_delay: Option<Duration>,

    /// How long a TCP program may take to answer
    ///
    /// Also how long a client who joins a room that is just ending waits for the next one.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::span,
          help_heading = "Program")]
    pub start_timeout: Duration,

    /// Variables handed to the program
    ///
    /// `*` hands over all but SCALESOCKET_*, NOTIFY_SOCKET and those of the Downward API; an empty list none.
    /// The variables of the request (CGI) are always there.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::variable,
          default_value = "PATH,DYLD_LIBRARY_PATH,HOME,LANG,TZ", help_heading = "Program")]
    pub passenv: Vec<String>,

    /// One program per connection, on any path
    ///
    /// Nobody shares a room; ROOM is the first component of the path.
    #[arg(long, help_heading = "Program")]
    pub isolate: bool,

    /// Serve one room, then exit with the program's status
    ///
    /// 128+N after a signal, 127 when CMD is gone, 126 when it cannot start. Implies --maxrooms 1.
    #[arg(long, help_heading = "Program")]
    pub oneshot: bool,

    /// When to start it again: never, on-failure [default: never]
    ///
    /// Failed means an exit status other than 0, or a signal. Its clients stay. The pause grows from 0.25 to 10 s;
    /// 5 failures in 60 s end the room.
    #[arg(
        long,
        value_name = "WHEN",
        hide_possible_values = true,
        help_heading = "Program"
    )]
    pub restart: Option<Restart>,

    /// Its stderr: log, client, inherit or drop [default: log]
    ///
    /// log: each line to the log, with room and pid. client: to the room's clients as
    /// {"stream":"stderr","data":...}. inherit: to ours. drop: nowhere.
    #[arg(
        long,
        value_name = "WHERE",
        hide_possible_values = true,
        help_heading = "Program"
    )]
    pub stderr: Option<Stderr>,

    /// Framing both ways: json (also without =MODE), binary, gwsocket
    ///
    /// json: a client's object gets the sender's id; the program's object may name who hears it.
    /// binary and gwsocket: packets of id, type, length (u32 each, big endian) and payload;
    /// gwsocket also tells who joined and left. Without framing, lines go to everybody.
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true,
          default_missing_value = "json", hide_possible_values = true, help_heading = "Messages")]
    pub frame: Option<Frame>,

    /// Framing of clients' messages alone
    #[arg(
        long,
        alias = "clientframe",
        value_name = "MODE",
        hide_possible_values = true,
        help_heading = "Messages"
    )]
    pub client_frame: Option<Frame>,

    /// Framing of the program's messages alone
    #[arg(
        long,
        alias = "serverframe",
        value_name = "MODE",
        hide_possible_values = true,
        help_heading = "Messages"
    )]
    pub server_frame: Option<Frame>,

    /// JSON framing with _from, _to and Join and Leave messages
    ///
    /// Short for --frame=json --from-field _from --to-field _to
    /// --joinmsg '{"t":"Join","_from":#ID}' --leavemsg '{"t":"Leave","_from":#ID}';
    /// each of these but the first may be given to differ.
    #[arg(long, help_heading = "Messages")]
    pub json: bool,

    /// JSON: the member that names the sender [default: id]
    #[arg(long, value_name = "NAME", value_parser = values::field, help_heading = "Messages")]
    pub from_field: Option<String>,

    /// JSON: the member that names the hearers [default: id]
    #[arg(long, value_name = "NAME", value_parser = values::field, help_heading = "Messages")]
    pub to_field: Option<String>,

    /// Sent to the program when a client joins
    ///
    /// Placeholders: #ID, #ROOM, #REMOTE_ADDR, #QUERY_STRING, #QUERY_NAME for a parameter of the
    /// query, and every CGI variable. What a client chose is percent-encoded.
    #[arg(long, value_name = "MSG", help_heading = "Messages")]
    pub joinmsg: Option<String>,

    /// Sent to the program when a client leaves
    #[arg(long, value_name = "MSG", help_heading = "Messages")]
    pub leavemsg: Option<String>,

    /// Unframed: output as binary messages in chunks as read, input as is
    #[arg(short, long, help_heading = "Messages")]
    pub binary: bool,

    /// Unframed: messages end with NUL, both ways
    #[arg(long, help_heading = "Messages")]
    pub null: bool,

    /// Unframed: output is cut at any of these characters [default: \n]
    ///
    /// Knows \n, \r, \t, \0, \\ and \xNN. Lines, the default, also lose one carriage return at
    /// their end. Clients' messages still end with a newline.
    #[arg(long, value_name = "CHARS", value_parser = values::delimiters,
          help_heading = "Messages")]
    pub delimiters: Option<values::Delimiters>,

    /// Late joiners first hear the last N messages
    ///
    /// `tagged:` keeps only those that the program marked with "_cache": true. Never more than
    /// fits --backlog.
    #[arg(long, value_name = "[all:|tagged:]N", value_parser = values::cache,
          help_heading = "Messages")]
    pub cache: Option<Cache>,

    /// Keep that history when a room ends, for its next opening
    #[arg(long, help_heading = "Messages")]
    pub cachepersist: bool,

    /// The only rooms there are [default: any]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::room,
          help_heading = "Who may come in")]
    pub rooms: Option<Vec<String>>,

    /// Most rooms at once [default: 1024]
    #[arg(long, alias = "maxforks", value_name = "N", value_parser = values::rooms,
          help_heading = "Who may come in")]
    pub maxrooms: Option<usize>,

    /// Most clients at once [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Who may come in")]
    pub max_clients: Option<usize>,

    /// Most clients in one room [default: no limit]
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Who may come in")]
    pub max_clients_per_room: Option<usize>,

    /// Most clients from one address [default: no limit]
    ///
    /// Of IPv6 the first 64 bits are the address: what one subscriber has at the least.
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Who may come in")]
    pub max_clients_per_ip: Option<usize>,

    /// Pages that may connect [default: any]
    ///
    /// Entries: https://example.com, example.com, example.com:8443, *.example.com, null, *.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::origin,
          help_heading = "Who may come in")]
    pub origin: Vec<String>,

    /// Pages of the server's own host may connect; others not
    #[arg(long, help_heading = "Who may come in")]
    pub same_origin: bool,

    /// Subprotocols: the first that a client offers is taken
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::subprotocol,
          help_heading = "Who may come in")]
    pub subprotocol: Vec<String>,

    /// How to refuse: http, close
    ///
    /// http: by the status of the response. close: after the handshake, by a close code, which
    /// browsers can read.
    #[arg(
        long,
        value_name = "HOW",
        default_value = "http",
        hide_possible_values = true,
        help_heading = "Who may come in"
    )]
    pub refuse: Refuse,

    #[command(flatten)]
    pub identity: super::identity::Flags,

    #[command(flatten)]
    pub cage: super::cage::Flags,

    /// Keep a room that long after its last client left [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = values::duration,
          help_heading = "End of a room")]
    pub linger: Option<Duration>,

    /// End a room that long without a message; 0 = never
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = values::duration,
          help_heading = "End of a room")]
    pub max_idle: Duration,

    /// End a room that old; 0 = never
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = values::duration,
          help_heading = "End of a room")]
    pub max_lifetime: Duration,

    /// First, the program gets what is queued, then EOF, for so long
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = values::duration,
          help_heading = "End of a room")]
    pub stop_eof: Duration,

    /// Then this signal, by name or number [default: TERM; with --pty HUP]
    #[arg(long, value_name = "SIGNAL", value_parser = values::signal,
          help_heading = "End of a room")]
    pub stop_signal: Option<i32>,

    /// And KILL so much later
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::duration,
          help_heading = "End of a room")]
    pub stop_grace: Duration,

    /// On SIGTERM, rooms may live on for so long; 0 = not at all
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::duration,
          help_heading = "End of a room")]
    pub drain_timeout: Duration,

    /// What a room remembers of what everybody hears
    ///
    /// A client further behind the fastest than this is too slow.
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = values::size,
          help_heading = "Flow")]
    pub backlog: usize,

    /// What the server itself may take; 0 = no limit [default: half of what there is]
    ///
    /// Beyond it no rooms are opened, and clients who hold the most that they have not read are closed,
    /// with code 4008, until a tenth of it is free. Half of the machine's memory, or of the cgroup's if that
    /// is less. Programs do not count: see --limit-memory.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Flow")]
    pub memory: Option<Memory>,

    /// What may wait for the program's stdin
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = values::size,
          help_heading = "Flow")]
    pub inbox: usize,

    /// When a client falls behind: disconnect, drop, block
    ///
    /// disconnect: close it, with code 4008. drop: skip to the newest message and be told of the gap. block:
    /// the room is as fast as its slowest client, until --stall-timeout.
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "disconnect",
        hide_possible_values = true,
        help_heading = "Flow"
    )]
    pub slow: Slow,

    /// Close a client that takes nothing for so long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::span,
          help_heading = "Flow")]
    pub stall_timeout: Duration,

    /// Largest message from a client
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = values::size,
          help_heading = "Flow")]
    pub max_message: usize,

    /// Largest message from the program
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = values::size,
          help_heading = "Flow")]
    pub max_child_message: usize,

    /// Compress messages of 512 bytes or MIN_SIZE and more, where clients can
    ///
    /// permessage-deflate, both ways, for clients that offer it, as browsers do; the others of a room
    /// hear the same as it is. What everybody hears is compressed once. It trades processor time for
    /// bandwidth, and should stay off where secrets and what others may choose share a message.
    #[arg(long, value_name = "MIN_SIZE", num_args = 0..=1, require_equals = true,
          default_missing_value = COMPRESS_LEAST, value_parser = values::size, help_heading = "Flow")]
    pub compress: Option<usize>,

    /// Time between pings; 0 = none
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = values::duration,
          help_heading = "Flow")]
    pub ping: Duration,

    /// Close a client whose pong is so late; 0 = never
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = values::duration,
          help_heading = "Flow")]
    pub ping_timeout: Duration,

    /// Serve /metrics for Prometheus
    #[arg(long, help_heading = "HTTP")]
    pub metrics: bool,

    /// Most rooms with metrics of their own; 0 = none
    #[arg(long, value_name = "N", default_value = "1000", value_parser = values::series,
          help_heading = "HTTP")]
    pub metrics_rooms: usize,

    /// Serve /stats and /ROOM/stats
    #[arg(long, help_heading = "HTTP")]
    pub stats: bool,

    /// Serve /api/rooms/, /api/ROOM/, /api/ROOM/KEY and /api/events
    #[arg(long, help_heading = "HTTP")]
    pub api: bool,

    /// Serve files from this directory
    #[arg(long, value_name = "DIR", help_heading = "HTTP")]
    pub staticdir: Option<PathBuf>,

    /// Added to HTTP responses (repeatable)
    #[arg(long, value_name = "NAME: VALUE", value_parser = values::header, help_heading = "HTTP")]
    pub header: Vec<(String, String)>,

    /// Form of log lines: text or json
    #[arg(
        long,
        value_name = "FORM",
        default_value = "text",
        hide_possible_values = true,
        help_heading = "Logging"
    )]
    pub log: LogFormat,

    /// Log more; twice: every message
    #[arg(short, long, action = ArgAction::Count, help_heading = "Logging")]
    pub verbose: u8,

    /// Log only warnings and errors
    #[arg(short, long, help_heading = "Logging")]
    pub quiet: bool,

    #[command(flatten)]
    pub console: super::console::Flags,

    #[command(flatten)]
    pub develop: super::develop::Flags,

    #[command(flatten)]
    pub front: super::door::Flags,

    #[command(flatten)]
    pub tls: super::tls::Flags,

    #[cfg(feature = "kube")]
    #[command(flatten)]
    pub cluster: super::cluster::Flags,
}

/// The definitions that help, reference, completions and manual page are made from.
pub fn command() -> clap::Command {
    Cli::command()
}
