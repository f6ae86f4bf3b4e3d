//! Rooms whose right to be run here is just being asked for: one flight for each, whoever comes.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::name::RoomName;
use super::ownership::Unclaimed;

/// How a flight ended; none while it is under way.
type Landing = Option<Result<(), Unclaimed>>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<RoomName, watch::Receiver<Landing>>>);

/// What becomes of somebody who wants a room claimed.
#[derive(Debug)]
pub(super) enum Boarding<'a> {
    /// It is up to this one.
    Pilot(Pilot<'a>),
    /// Somebody else is at it.
    Passenger(Passenger),
    /// So many are under way that there would be too many rooms.
    Full,
}

impl Flights {
    /// Takes part in the flight of `name`; begins it if fewer than `most` are under way.
    pub(super) fn board(&self, name: &RoomName, most: usize) -> Boarding<'_> {
        let mut flights = self.0.lock();
        if let Some(landing) = flights.get(name) {
            return Boarding::Passenger(Passenger(landing.clone()));
        }
        if flights.len() >= most {
            return Boarding::Full;
        }
        let (landed, landing) = watch::channel(None);
        flights.insert(name.clone(), landing);
        Boarding::Pilot(Pilot {
            flights: self,
            name: name.clone(),
            landed,
        })
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// Who asks. Dropping it ends the flight; without a landing the others ask anew.
#[derive(Debug)]
pub(super) struct Pilot<'a> {
    flights: &'a Flights,
    name: RoomName,
    landed: watch::Sender<Landing>,
}

impl Pilot<'_> {
    /// Tells the others how it ended.
    pub(super) fn land(self, how: Result<(), Unclaimed>) {
        self.landed.send_replace(Some(how));
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        self.flights.0.lock().remove(&self.name);
    }
}

/// Who waits for the answer to another one's question.
#[derive(Debug)]
pub(super) struct Passenger(watch::Receiver<Landing>);

impl Passenger {
    /// How the flight ended; `Ok` is also the answer of one that was given up: look again.
    pub(super) async fn landed(mut self) -> Result<(), Unclaimed> {
        match self.0.wait_for(Option::is_some).await {
            Ok(landing) => landing.unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }
}
