//! The contract as tests: given a command line, when people speak, then they hear. One crate, so
//! that it is linked once; a file per theme. Nothing here knows the server's insides.

// A test that cannot go on says so by panicking, also in the functions around the tests.
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod backpressure;
mod cage;
mod compression;
mod connect;
mod console;
mod door;
mod door_connections;
mod door_descriptors;
mod door_heads;
mod endings;
mod environment;
mod first;
mod fleet;
mod framing_json;
mod framing_packets;
mod handshake;
mod history;
mod identity;
mod lifecycle;
mod lines;
mod listeners;
mod memory;
mod notify;
mod predecessor;
mod protocol_errors;
mod proxy_protocol;
mod quickstart;
mod record;
mod refusals;
mod replay;
mod seeing;
mod signals;
mod stage;
mod static_files;
mod tcp;
mod terminal;
mod tls;
mod watch;
