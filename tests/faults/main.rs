//! Faults, and what must hold through each: whom it does not concern notices nothing, everybody
//! else is told, and afterwards the server holds no more memory, descriptors, processes and tasks
//! than before. What the machine does not allow is skipped, and the test says why. The long forms
//! are the soaks of the benchmark crate.

#![cfg(target_os = "linux")]
// A test that cannot go on says so by panicking, also in the functions around the tests.
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod clocks;
mod disk;
mod generator;
mod kills;
mod names;
mod nasty;
mod network;
mod pipes;
mod stage;
mod storms;
