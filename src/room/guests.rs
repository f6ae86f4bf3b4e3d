//! Who is in a room and where from, as operators see it; kept only for servers that have a console.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::place::Newcomer;
use crate::frame::ClientId;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Guests(Option<Mutex<FxHashMap<u32, Guest>>>);

#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) address: Option<IpAddr>,
    pub(super) user: Option<Arc<str>>,
    pub(super) since: Instant,
}

impl Guests {
    /// Nobody yet; nobody ever, unless they are `kept`.
    pub(super) fn new(kept: bool) -> Self {
        Guests(kept.then(Mutex::default))
    }

    pub(super) fn enter(&self, id: ClientId, newcomer: &Newcomer) {
        if let Some(guests) = &self.0 {
            let guest = Guest {
                address: newcomer.address,
                user: newcomer.user.clone(),
                since: Instant::now(),
            };
            guests.lock().insert(id.get(), guest);
        }
    }

    pub(super) fn leave(&self, id: ClientId) {
        if let Some(guests) = &self.0 {
            guests.lock().remove(&id.get());
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<Guest> {
        self.0.as_ref()?.lock().get(&id).cloned()
    }
}
