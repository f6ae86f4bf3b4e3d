//! The live rooms as the figures see them: who has series of its own, and one sample per scrape.
//!
//! A room is here as long as its [`RoomSeries`] lives. Its figures are asked once per scrape and
//! outside the lock, so a room may hold locks of its own, or end, while it is being asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry::KeyValue;
use parking_lot::Mutex;

/// What a room says of itself at a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoomFigures {
    /// Clients in the room now.
    pub connections: u64,
    /// Distinct client addresses in the room's life.
    pub unique_connections: u64,
    /// Bytes that the room's slowest client is behind.
    pub lag_bytes: u64,
    /// Bytes waiting on their way to the child.
    pub inbox_bytes: u64,
    /// Processor time that the child and all it started have used; `None` while there is no process
    /// to ask.
    pub cpu_seconds: Option<f64>,
    /// Memory of the child and all it started; `None` while there is no process to ask.
    pub memory_bytes: Option<u64>,
    /// Processes of the child and all it started; `None` while there is no process to ask.
    pub processes: Option<u64>,
}

/// A room's place in the figures; dropping it takes the room and its series out and frees the slot.
pub struct RoomSeries {
    rooms: Arc<Rooms>,
    id: u64,
}

/// The figures of all live rooms at one moment.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) rooms: u64,
    pub(super) without_series: u64,
    pub(super) connections: u64,
    pub(super) largest_lag_bytes: u64,
    pub(super) inbox_bytes: u64,
    /// Rooms with a slot, oldest first: where two share a name for a moment, the newer one is
    /// observed last and stays.
    pub(super) series: Vec<(KeyValue, RoomFigures)>,
}

/// The live rooms.
pub(super) struct Rooms {
    slots: usize,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    /// Rooms ever started; the number of the next one.
    started: u64,
    slots_taken: usize,
    /// By number, so that the order is that of their starts.
    rooms: BTreeMap<u64, Arc<Room>>,
}

struct Room {
    /// The label of the room's series, for a room that has a slot.
    label: Option<KeyValue>,
    figures: Box<dyn Fn() -> RoomFigures + Send + Sync>,
}

impl Rooms {
    pub(super) fn new(slots: usize) -> Rooms {
        Rooms {
            slots,
            live: Mutex::default(),
        }
    }

    pub(super) fn add(
        self: &Arc<Self>,
        name: &str,
        figures: Box<dyn Fn() -> RoomFigures + Send + Sync>,
    ) -> RoomSeries {
        let mut live = self.live.lock();
        let id = live.started;
        live.started += 1;
        let label = (live.slots_taken < self.slots).then(|| {
            live.slots_taken += 1;
            KeyValue::new("room", Arc::<str>::from(name))
        });
        live.rooms.insert(id, Arc::new(Room { label, figures }));
        RoomSeries {
            rooms: self.clone(),
            id,
        }
    }

    pub(super) fn started(&self) -> u64 {
        self.live.lock().started
    }

    pub(super) fn sample(&self) -> Sample {
        // Cloned, then asked with the lock released: figures may take a room's own locks, and a
        // room may drop its guard while it holds them.
        let rooms: Vec<Arc<Room>> = self.live.lock().rooms.values().cloned().collect();
        let mut sample = Sample::default();
        for room in rooms {
            let figures = (room.figures)();
            sample.rooms += 1;
            sample.connections += figures.connections;
            sample.inbox_bytes += figures.inbox_bytes;
            sample.largest_lag_bytes = sample.largest_lag_bytes.max(figures.lag_bytes);
            match &room.label {
                Some(label) => sample.series.push((label.clone(), figures)),
                None => sample.without_series += 1,
            }
        }
        sample
    }

    fn remove(&self, id: u64) {
        let mut live = self.live.lock();
        let removed = live.rooms.remove(&id);
        if removed.as_ref().is_some_and(|room| room.label.is_some()) {
            live.slots_taken -= 1;
        }
        // What the figures own is dropped only after the lock is released.
        drop(live);
    }
}

impl Drop for RoomSeries {
    fn drop(&mut self) {
        self.rooms.remove(self.id);
    }
}
