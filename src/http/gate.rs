//! The seam between the door and a fleet: what the door asks when a room may live on another server, and what servers tell each
//! other of a client.
//!
//! The cluster implements [`Gate`]; the door knows nothing of how servers find or trust each other. Without a gate every room is here.

use std::fmt;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::Ends;
use super::tls::Subject;
use crate::auth::Identity;
use crate::room::{Newcomer, Place, Refusal, RoomName};
use crate::ws::socket::Socket;

/// What headers begin with that only servers of one fleet say to each other. Nobody else is believed: they are taken off whatever
/// comes through another listener than the peers'.
pub const PEER_PREFIX: &str = "scalesocket-peer-";
/// In an answer 421 to a peer: the peer port, `ip:port`, of the server that has the room.
pub const OWNER: HeaderName = HeaderName::from_static("scalesocket-owner");
/// In an answer 421 to a peer: the session that holds the room's claim, in hexadecimal digits.
pub const SESSION: HeaderName = HeaderName::from_static("scalesocket-session");
/// In a refusal to a peer: the label of the reason.
pub const REASON: HeaderName = HeaderName::from_static("scalesocket-reason");
/// For clients and other people's proxies: the public `ip:port` of the server that has the room.
pub const ENDPOINT: HeaderName = HeaderName::from_static("scalesocket-endpoint");

/// What the server that a client came to says of it to the one that has the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// The client's address; none if it came over a unix socket.
    pub remote: Option<SocketAddr>,
    /// The address it connected to.
    pub local: Option<SocketAddr>,
    /// Whether it came over TLS.
    pub https: bool,
    /// Whose certificate it has, where one was asked for.
    pub subject: Option<Subject>,
    /// Who it has proved to be, where that was asked.
    pub identity: Option<Identity>,
    /// How many servers have sent it on.
    pub hops: u8,
    /// The session it is meant for: of another one, nothing is known here.
    pub session: u128,
}

/// Why a request that came through the peers' listener goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistrust {
    /// Whoever sent it has not proved to be of the fleet; this is why.
    Unproven(&'static str),
    /// It is meant for another session than the one of this server.
    SessionOver,
}

/// A client at the public door.
#[derive(Debug)]
pub struct Visit<'a> {
    /// The room it wants.
    pub room: &'a RoomName,
    /// What the room is told of it.
    pub newcomer: &'a Newcomer,
    /// Its handshake, which was found good.
    pub request: &'a Parts,
    /// Who it has proved to be, where that was asked.
    pub identity: Option<&'a Identity>,
    /// Both ends of its connection.
    pub ends: Ends,
    /// Whose certificate it has.
    pub subject: Option<&'a Subject>,
}

/// Where a client's room is.
pub enum Entrance {
    /// Here.
    Here(Place),
    /// On another server, which has taken it.
    There(Passage),
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entrance::Here(place) => f.debug_tuple("Here").field(place).finish(),
            Entrance::There(passage) => f.debug_tuple("There").field(&passage.headers).finish(),
        }
    }
}

/// The way to another server that has taken a client; dropping it takes the client back.
pub struct Passage {
    /// Of its answer 101, for the client: all but `Connection` and `Upgrade`.
    pub headers: HeaderMap,
    /// Carries a client there and back, which has read that answer, until either is gone.
    pub carry: Carry,
}

/// What becomes of a client's socket, and of what came early through it, on another server.
pub type Carry = Box<dyn FnOnce(Socket, Vec<u8>) -> BoxFuture<'static, ()> + Send>;

/// Why a client comes in nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// The rooms of some server said no.
    Room(Refusal),
    /// Its room is on the server of that public address, and nobody leads it there.
    At(SocketAddr),
    /// No server takes another room.
    NoServer,
    /// The server that has the room does not answer.
    Unreachable,
}

/// A fleet, as the door sees it.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Finds the room of a client, here or elsewhere, and a way in. May be dropped half-way: the client is gone then.
    fn lead<'a>(&'a self, visit: Visit<'a>) -> BoxFuture<'a, Result<Entrance, Turned>>;

    /// What a peer says of the client whose handshake this is, if it is one and means this server.
    fn introduce(&self, request: &Parts) -> Result<Forwarded, Mistrust>;

    /// Where clients reach the server that has a room, or that would get it now.
    fn resolve(&self, room: &RoomName) -> Option<SocketAddr>;

    /// The fleet in a few numbers: the block `scaling` of `/stats`.
    fn scaling(&self) -> serde_json::Value;

    /// Every pod, and the rooms whose names hold a text with the pod that has each: so many of them at the most.
    fn census(&self, search: &str, most: usize) -> serde_json::Value;
}

/// Takes every peer header off, whoever sent it.
pub fn strip(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(PEER_PREFIX))
        .cloned()
        .collect();
    names.iter().for_each(|name| {
        headers.remove(name);
    });
}
