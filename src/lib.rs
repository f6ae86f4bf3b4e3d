//! scalesocket serves any program that reads stdin and writes stdout (or listens on a TCP port)
//! over websockets, in rooms that lose nothing.
//!
//! The map, from the door inwards; imports point downwards only:
//!
//! - [`app`]: the composition root, the only file that knows everybody
//! - [`cli`]: the flags, and `Cli -> Config` by a pure `validate`
//! - [`stop`]: signals and the drain story
//! - [`telemetry`]: the tracing subscriber
//! - [`http`]: the door: listeners, routes, the handshake, probes, stats, files
//! - `cluster` (feature `kube`): publish, claim, route
//! - [`auth`]: who a client is: tokens and their keys, a service that is asked
//! - [`ws`]: the wire: RFC 6455 codec, and one client's connection
//! - [`room`]: rooms: registry, supervisor, backlog, clients, inbox, history
//! - [`child`]: the program of one room: start it, talk to it, end it with all it started
//! - [`frame`]: bytes of a child <-> messages
//! - [`record`]: what went in and out of rooms, written down; [`replay`]: given to the program again
//! - [`metrics`]: every metric once; a leaf
//! - [`install`] and [`probe`]: helpers for images without a shell; [`connect`]: a client for people

#[cfg(windows)]
compile_error!(
    "scalesocket runs on Linux (and macOS for development): it needs unix processes and signals"
);

pub mod app;
pub mod auth;
pub mod child;
pub mod cli;
#[cfg(feature = "kube")]
pub mod cluster;
pub mod connect;
pub mod frame;
pub mod http;
pub mod install;
pub mod metrics;
pub mod probe;
pub mod record;
pub mod replay;
pub mod room;
pub mod stop;
pub mod telemetry;
pub mod ws;
