//! The fleet: what this server publishes in Kubernetes, how it comes by the right to run a room,
//! and how a client finds the pod that has its room. `docs/kubernetes.md` has the protocol.
//!
//! The API server is the only coordinator; clocks are monotonic and never compared between pods.
//! Nothing of this is contacted without `--kube`.

pub mod api;
pub mod chance;
pub mod claims;
mod fleet;
pub mod names;
pub mod peer;
pub mod placement;
pub mod proxy;
pub mod publish;
pub mod router;
mod sent;
pub mod session;
pub mod takeover;
pub mod view;

pub use fleet::{Fleet, Member};
pub use session::Household;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// When one pod may end the session of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// When its pod object is gone.
    Pod,
    /// Also when its session was not renewed for so long that its rooms must have been killed.
    Fenced(Fence),
}

/// The times of a fenced session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// How long a renewal is good for, from when it was sent.
    pub after: Duration,
    /// How much earlier rooms are killed, so that all is done by then.
    pub margin: Duration,
}

/// Who this server is in its fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The pod's name.
    pub pod: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's uid.
    pub uid: String,
    /// The value of the fleet's label.
    pub fleet: String,
}

/// Where this server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// By other pods.
    pub peer: SocketAddr,
    /// By clients, and proxies that send them; none if only over unix sockets.
    pub public: Option<SocketAddr>,
}

/// Which pod gets a new room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// All get about as many.
    Spread,
    /// The fullest that has fewer rooms than that.
    Packed(usize),
}

/// What the fleet's part of this server is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who this server is.
    pub identity: Identity,
    /// When the session of a lost pod may be ended; none: no sessions, no claims.
    pub takeover: Option<Takeover>,
    /// How long a pod object must be gone before that.
    pub takeover_delay: Duration,
    /// Which pod gets a new room.
    pub placement: Placement,
    /// Whether clients are led to other pods (else they are told where their room is).
    pub proxy: bool,
    /// How long a client is held while its room is looked for.
    pub route_timeout: Duration,
    /// The secrets that pods prove to each other.
    pub secret_file: Option<PathBuf>,
    /// Most bytes of the annotation that lists the rooms.
    pub rooms_annotation: usize,
    /// Most rooms of this pod; 0 = a gateway.
    pub max_rooms: usize,
}
