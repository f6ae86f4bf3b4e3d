//! What the rooms of a server have in common.

use std::collections::HashSet;
use std::time::Duration;

use super::feed::Slow;
use super::history::Keep;
use super::name::RoomName;
use crate::child::Size;
use crate::frame::{ClientFraming, ServerFraming, Template};
use crate::record::Recorder;

/// What becomes of a line that a child prints to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stderr {
    /// It goes to the log, with room and pid.
    Log,
    /// It goes to every client, as `{"stream":"stderr","data":…}`.
    Client,
    /// The room has nothing to do with it: inherited or dropped.
    Elsewhere,
}

/// See the module's documentation. Sizes are bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a room remembers for clients that are behind; side queues may hold as much again.
    pub backlog: usize,
    /// What waits for the child's stdin.
    pub inbox: usize,
    /// What happens to a client that falls too far behind.
    pub slow: Slow,
    /// How the child marks its messages.
    pub server_framing: ServerFraming,
    /// How messages are marked for the child.
    pub client_framing: ClientFraming,
    /// Longest message of the child.
    pub max_child_message: usize,
    /// Said to the child when a client joins.
    pub join_message: Option<Template>,
    /// Said to the child when a client leaves.
    pub leave_message: Option<Template>,
    /// What late joiners hear.
    pub history: Option<Keep>,
    /// Whether a room's history outlives it.
    pub persist_history: bool,
    /// The rooms there may be; `None`: any.
    pub rooms: Option<HashSet<RoomName>>,
    /// Most live rooms; 0 where there are none.
    pub max_rooms: usize,
    /// Most clients of the server.
    pub max_clients: usize,
    /// Most clients of one room.
    pub max_clients_per_room: Option<usize>,
    /// Most clients of one address.
    pub max_clients_per_ip: Option<usize>,
    /// One child per connection.
    pub isolate: bool,
    /// One room, then the end.
    pub oneshot: bool,
    /// How long a room stays after its last client left.
    pub linger: Duration,
    /// A room without messages for so long ends.
    pub max_idle: Option<Duration>,
    /// A room this old ends.
    pub max_lifetime: Option<Duration>,
    /// How long what is queued, and EOF, may take before the stop signal.
    pub stop_eof: Duration,
    /// How long a join waits for an ending room.
    pub start_timeout: Duration,
    /// Whether a child that failed is started again.
    pub restart: bool,
    /// The time that each start of a program takes of what all may have; none = no limit.
    pub spawn_every: Option<Duration>,
    /// Failures in a row after which a room is refused for a while; none = never.
    pub crash_limit: Option<usize>,
    /// Whether it is remembered where each client comes from, for operators.
    pub guests: bool,
    /// What becomes of stderr.
    pub stderr: Stderr,
    /// Whether the end of the child's output is the end of the room (TCP): with pipes a child may
    /// close stdout and live on.
    pub output_ends_room: bool,
    /// How the program is made to say at once what it prints; none where it does not print to a
    /// pipe.
    pub flush_advice: Option<&'static str>,
    /// The first size of the terminal that its program runs in, if it runs in one.
    pub terminal: Option<Size>,
    /// Who writes down what passes; none where nobody asked.
    pub recorder: Option<Recorder>,
}
