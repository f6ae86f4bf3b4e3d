//! The way of a client through this pod to the one that has its room.
//!
//! [`call`] asks the other pod on its peer port, [`Tunnel`] carries the bytes both ways once that has said yes, and [`Transits`]
//! counts those on their way through and ends them all. Bytes are not framed anew; only the headers of frames towards the client
//! are followed, so that something can be said to it between two of them.

mod call;
mod follower;
mod transits;
mod tunnel;

pub use call::{Answer, Failure, Line, call};
pub use transits::{Transit, Transits};
pub use tunnel::Tunnel;
