//! Rooms: a name, at most one live child, and the clients who share it.
//!
//! A room is two pumps, a backlog and a supervisor. The data plane: the output pump appends what
//! everybody hears to the `backlog` and what one client hears to its side queue, both in the
//! `feed`; each client's connection takes what it has not sent and writes it at once; clients
//! append to the `inbox`, and the input pump writes it to the child. The control plane: the
//! `supervisor` starts the child, watches for the end, walks the stop ladder and frees the name.

mod admission;
mod backlog;
#[doc(hidden)]
pub mod bench;
mod close;
mod crashes;
mod end;
mod feed;
mod flights;
mod gather;
mod greetings;
mod guests;
mod history;
mod inbox;
mod live;
mod modes;
mod mute;
mod name;
mod operate;
mod options;
mod outdated;
mod outgoing;
mod ownership;
mod packing;
mod piece;
mod place;
mod pumps;
mod relief;
mod rooms;
mod starts;
mod supervisor;
mod tap;
mod transcript;
mod turns;
mod twin;
mod users;
mod window;

pub use admission::household;
pub use close::Close;
pub use crashes::CrashLoop;
pub(crate) use feed::Next;
pub use feed::Slow;
pub use history::Keep;
pub use live::{Phase, Room, Stats};
pub use name::{BadName, RESERVED, RoomName};
pub use operate::{Client, Glance, Undone};
pub use options::{Options, Stderr};
pub use ownership::{Claim, Owner, Ownership, Unclaimed};
pub(crate) use piece::{Begun, Piece};
pub use place::{Newcomer, Place, Said};
pub use relief::{Debts, Relief};
pub use rooms::{LastEnd, Refusal, RoomEvent, Rooms, Transit};
pub use supervisor::FENCED;
pub use tap::{Passed, Seen, Watch, Way, Whom};
