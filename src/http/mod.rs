//! The door: listeners, routes, the websocket handshake, probes, stats and files.
//!
//! It decides who may come in and says no with a status and a reason; whoever comes in leaves
//! HTTP for [`crate::ws`]. It owns no rooms and starts no children.

mod accept;
mod answer;
pub mod api;
mod away;
#[doc(hidden)]
pub mod bare;
mod base_path;
mod connections;
mod console;
pub mod files;
mod forwarded;
mod front;
pub mod gate;
mod head;
mod hosts;
mod introduction;
mod join;
pub mod listen;
pub mod origin;
mod plain;
mod proxies;
mod proxy_protocol;
mod router;
mod seen;
mod serve;
pub mod tls;
mod visitor;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub use connections::Connections;
pub use console::{Access, BadToken, Console};
pub use files::Files;
pub use gate::Gate;
pub use head::Limits;
pub use hosts::Hosts;
pub use listen::{Listener, bind_tcp, bind_unix, inherited};
pub use origin::OriginRule;
pub use proxies::TrustedProxies;
pub use serve::serve;
pub use tls::{Subject, Tls};

use crate::auth::Guard;
use crate::metrics::Metrics;
use crate::room::Rooms;
use crate::stop::Asked;
use crate::ws::connection;

/// How a refusal reaches the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// As an HTTP status with a JSON body.
    Http,
    /// As 101 and a close code, which a page can read.
    Close,
}

/// What the door is told.
#[derive(Debug)]
pub struct Options {
    /// Which pages may connect.
    pub origin: OriginRule,
    /// Which proxies are believed to say who came to them.
    pub proxies: TrustedProxies,
    /// Whether each connection of clients begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// How long the head of a request may be.
    pub head: Limits,
    /// Which hosts are this server, besides addresses.
    pub hosts: Hosts,
    /// The path below which everything is: empty, or `/...` without a slash at its end.
    pub base_path: String,
    /// Subprotocols that are echoed, if offered.
    pub subprotocols: Vec<String>,
    /// Added to every HTTP response.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Asked who a client is, before it comes in; none: nobody is asked.
    pub guard: Option<Arc<Guard>>,
    /// How refusals are told.
    pub refuse: Refuse,
    /// Serve `/metrics`.
    pub metrics: bool,
    /// Serve `/stats` and `/<room>/stats`.
    pub stats: bool,
    /// Serve `/api/...`.
    pub api: bool,
    /// Serve `/console`.
    pub console: Option<Console>,
    /// Serve files.
    pub files: Option<Files>,
    /// Whether a second listener has the operator's endpoints instead of the public ones.
    pub admin: bool,
    /// The certificates of the public TCP addresses; none if they speak plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// What all connections have in common.
    pub connection: Arc<connection::Options>,
}

/// How far the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Not all is set up.
    Starting,
    /// Rooms that live go on, and no others can be opened: this server has no session in its fleet.
    NoSession,
    /// Clients may come.
    Ready,
    /// On the way out.
    Draining,
}

/// Which of the kinds of listener a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// For clients.
    Public,
    /// For operators.
    Admin,
    /// For other servers of the fleet.
    Peer,
    /// For clients who do not know yet that TLS is spoken at that port.
    Redirect(u16),
}

/// The connection that a request came over: both its ends, none over a unix socket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ends {
    /// The client's.
    pub remote: Option<SocketAddr>,
    /// Ours.
    pub local: Option<SocketAddr>,
    /// Whether it is TLS.
    pub https: bool,
    /// Whether `remote` is a proxy that passes on somebody whom it does not name. What comes is that
    /// somebody's word, and not the proxy's.
    pub unnamed: bool,
}

/// What every request needs.
#[derive(Debug)]
pub struct Door {
    /// The rooms.
    pub rooms: Rooms,
    /// Asked for rooms that may be on other servers; none for a server alone.
    pub gate: Option<Arc<dyn Gate>>,
    /// What the door is told.
    pub options: Options,
    /// How many are connected, and how many may be.
    pub connections: Arc<Connections>,
    /// Counted here: refusals.
    pub metrics: Metrics,
    /// Connections run on it.
    pub tasks: TaskTracker,
    /// How far the server is.
    pub ready: watch::Receiver<Readiness>,
    /// Where `POST /drain` asks the server to end.
    pub stop: Asked,
    /// Since when the server runs.
    pub started: std::time::Instant,
}
