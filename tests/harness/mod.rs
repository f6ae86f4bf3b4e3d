//! The stage of the black-box tests: `serve("--frame=json puppet echo")` starts the real binary on
//! a port of its own, `join` brings people in, and they say and hear. It owns every deadline, tells
//! what each person heard and what the server logged when one passes, and fails a test whose server
//! panicked or left a process behind. It knows nothing of the crate's insides.

// Every crate of tests that mounts the harness uses a part of it, and `pub` is its border with them.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod certificates;
mod command_line;
mod diary;
mod door;
mod http;
mod person;
mod processes;
mod server;
mod setup;
mod socket;
mod wire;

use std::time::Duration;

pub use certificates::{Authority, Pair};
pub use command_line::{puppet, split};
pub use diary::Diary;
pub use door::Door;
pub use http::{Answer, parse_answer};
pub use person::Person;
pub use processes::{Process, processes_marked, status_bytes};
pub use server::Server;
pub use setup::{Setup, fails, given, serve, temporary};
pub use socket::{Address, Socket};
pub use wire::{Frame, Opcode, Wire, encode, take_frame};

/// How long anything may take. Generous, because other tests keep the machine busy; a test that
/// passes never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(10);
