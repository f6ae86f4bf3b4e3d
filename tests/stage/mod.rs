//! The stage of the fleet's tests: a real control plane ([`ControlPlane`]: etcd, kube-apiserver and
//! kube-controller-manager as processes on loopback) and a stand-in for the kubelet ([`Kubelet`])
//! that runs the pods of one namespace as local processes, each on an address of its own. It
//! promises that nothing of it outlives the test process, however that ends. It knows nothing of
//! the crate's insides, and needs Linux.

// Every crate of tests that mounts the stage uses a part of it, and `pub` is its border with them.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod addresses;
mod assets;
mod certificates;
mod kubelet;
mod objects;
mod plane;
mod process;
#[path = "../harness/processes.rs"]
mod processes;

pub use assets::assets;
pub use kubelet::{Cut, Kubelet};
pub use objects::eventually;
pub use plane::ControlPlane;
