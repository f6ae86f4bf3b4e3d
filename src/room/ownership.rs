//! Who runs a room, where more than one server could.
//!
//! A server alone owns every room it opens. In a fleet the right to run one is asked for before
//! its program is started, by [`Ownership`], and is given back after its last process is gone, by
//! dropping the [`Claim`]. Nothing here knows how that right is kept.

use std::fmt;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;

use super::name::RoomName;

/// The server that has a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Where other servers of the fleet reach it.
    pub endpoint: SocketAddr,
    /// Which life of it has the room: a server that was started again is another one.
    pub session: u128,
}

/// Why a room may not be run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclaimed {
    /// Another server has it.
    Elsewhere(Owner),
    /// It is not known who has it: worth another try.
    Unavailable,
    /// This server may have no rooms at present.
    Suspended,
}

/// The right to run one room; dropping it gives it back.
pub struct Claim {
    token: String,
    release: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Claim {
    /// A right with a fencing token, and how it is given back. A token is larger than that of
    /// every earlier right to the same room.
    pub fn new(token: String, release: impl FnOnce() + Send + Sync + 'static) -> Self {
        Claim {
            token,
            release: Some(Box::new(release)),
        }
    }

    /// The fencing token.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.token).finish()
    }
}

/// Gives out the right to run rooms.
pub trait Ownership: fmt::Debug + Send + Sync {
    /// The right to run `room` here. Asked once at a time for each room, and never for one that
    /// lives here. May be dropped half-way.
    fn claim<'a>(&'a self, room: &'a RoomName) -> BoxFuture<'a, Result<Claim, Unclaimed>>;
}
