//! The fleet on a real control plane: the real binary in Deployments, real programs in rooms, real
//! clients at every door. What must hold is watched from outside: a census of all rooms' programs
//! on the machine finds any room that has two.
#![cfg(all(feature = "kube", target_os = "linux"))]

mod census;
mod chart;
mod console;
mod cost;
mod doors;
mod faults;
mod people;
mod proxies;
mod release;
mod scale;
#[path = "../stage/mod.rs"]
mod stage;
mod yard;
