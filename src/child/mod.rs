//! The program of one room: start it, talk to it, end it with everything it started.
//!
//! [`Starter::start`] gives a [`Child`]: two independent byte streams, perhaps a stderr, and its
//! [`Life`]. Every process is started, watched and ended by the [`Warden`], a small process of
//! ours that outlives the server by just long enough to leave nothing behind.
//! What the bytes mean and when a room ends is not decided here.

mod attach;
mod cage;
mod cgroup;
mod clock;
mod env;
mod exit;
mod fdpass;
mod feeding;
mod guard;
mod life;
mod nofile;
mod ports;
mod program;
mod sources;
mod start;
mod stream;
mod terminal;
mod tree;
mod usage;
mod warden;
mod wire;

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

pub use cage::{Cage, Identity, Limit, Limits, Wanted};
pub use cgroup::Division;
#[cfg(feature = "kube")]
pub use clock::since_boot;
pub use env::{Request, cgi, passenv, unique_id};
pub use exit::{Exit, signal_number};
pub use life::Life;
pub use nofile::raise_nofile;
pub use ports::{NoPort, PortLease, Ports};
pub use program::find;
pub use sources::{Change, HoldUp, Sources};
pub use start::{StartError, Starter};
pub use stream::{Input, Output};
pub use terminal::{Size, Terminal};
pub use usage::{Gauge, Usage};
pub use warden::{Options as WardenOptions, Warden, run_if_warden};

/// What every room runs, and how it is started and ended.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The program as it was typed: a path, or a name that is looked up in our `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The variables handed on from our own environment; a room's own win over them.
    pub env: Vec<(OsString, OsString)>,
    /// The number of the signal that asks the program to end.
    pub stop_signal: i32,
    /// How long it may take to obey before it is killed.
    pub stop_grace: Duration,
    /// Where its standard error goes.
    pub stderr: Stderr,
    /// How we talk to it.
    pub transport: Transport,
    /// How long to wait before attaching; none does not wait.
    pub attach_delay: Option<Duration>,
    /// How long a start may take, the wait before attaching not counted.
    pub start_timeout: Duration,
    /// As whom, where and with how much it runs.
    pub cage: Cage,
}

/// Where a child's standard error goes; in TCP mode its standard output goes there too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stderr {
    /// To the room, as [`Child::stderr`].
    Pipe,
    /// To the server's own standard error.
    Inherit,
    /// Nowhere.
    Drop,
}

/// How we talk to a child.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Over its standard input and output.
    Stdio,
    /// Over a terminal of that size at first, which is its controlling one.
    Terminal(Size),
    /// Over TCP: it listens on the port that is leased for it and named in `PORT`.
    Tcp(Ports),
    /// Over TCP to a program that already runs, at `host:port`; no process is started.
    Connect(String),
}

/// A running program; each part may be owned by another task.
#[derive(Debug)]
pub struct Child {
    /// The process id of the leader; none with [`Transport::Connect`].
    pub pid: Option<u32>,
    /// What we write reaches the program; shutting it down or dropping it is EOF.
    pub input: Input,
    /// What the program writes.
    pub output: Output,
    /// Its standard error, with [`Stderr::Pipe`].
    pub stderr: Option<tokio::net::unix::pipe::Receiver>,
    /// What it runs in, with [`Transport::Terminal`].
    pub terminal: Option<Arc<Terminal>>,
    /// Tells what it uses; none with [`Transport::Connect`].
    pub gauge: Option<Arc<Gauge>>,
    /// When it ends, and the means to end it; dropping this kills it.
    pub life: Life,
    /// Which version of the program it is, where somebody watches that; see [`Sources`].
    pub version: u64,
}
