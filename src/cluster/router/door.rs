//! The router as the door sees it: clients are led, peers believed, rooms resolved.

use std::net::SocketAddr;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use http::request::Parts;
use tracing::debug;

use super::super::peer::Distrust;
use super::{Router, target};
use crate::http::gate::{Entrance, Forwarded, Gate, Mistrust, Turned, Visit};
use crate::room::RoomName;

impl Gate for Router {
    fn lead<'a>(&'a self, visit: Visit<'a>) -> BoxFuture<'a, Result<Entrance, Turned>> {
        Box::pin(self.find(visit))
    }

    fn introduce(&self, request: &Parts) -> Result<Forwarded, Mistrust> {
        let Some(authority) = &self.authority else {
            return Err(Mistrust::Unproven(
                "this pod has no secret to know peers by",
            ));
        };
        let verified = authority.verify(target(request), &request.headers, SystemTime::now());
        let forwarded = verified.map_err(|why| {
            // Not louder: anybody who reaches the port can say nonsense.
            debug!(error = %why, "a request on the peer port is not believed");
            Mistrust::Unproven(match why {
                Distrust::Unsigned => "the request is not signed: this port is for peers only",
                Distrust::Untimely => "the request was signed too long ago, or in the future",
                Distrust::Forged | Distrust::Replayed | Distrust::Malformed => {
                    "the signature is not good"
                }
            })
        })?;
        match self.standing.borrow().session {
            Some(session) if session == forwarded.session => Ok(forwarded),
            _ => Err(Mistrust::SessionOver),
        }
    }

    fn resolve(&self, room: &RoomName) -> Option<SocketAddr> {
        if self.rooms.get(room.as_str()).is_some() {
            return self.options.addresses.public;
        }
        match self.owner(room, &[]) {
            Some(owner) if Some(owner.session) == self.standing.borrow().session => {
                self.options.addresses.public
            }
            Some(owner) => self.fleet.public(owner.session),
            None => self.choose(room, &[])?.public,
        }
    }

    fn census(&self, search: &str, most: usize) -> serde_json::Value {
        serde_json::to_value(self.fleet.census(search, most)).unwrap_or_default()
    }

    fn scaling(&self) -> serde_json::Value {
        let scaling = self.fleet.scaling(self.pending_rooms());
        serde_json::to_value(scaling).unwrap_or_default()
    }
}
