//! The wire: RFC 6455 on the raw socket, and the life of one client's connection.
//!
//! [`codec`] is pure, and [`deflate`] beside it; [`connection`] drives one [`socket`] for one place in a
//! room. [`tls`] is a kind of socket.

pub mod codec;
pub mod connection;
pub mod deflate;
pub mod lease;
mod moment;
pub mod socket;
pub mod tls;
