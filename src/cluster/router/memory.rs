//! What the router learns on the way, and soon forgets: hints that save a hop, which nothing rests on.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::room::{Owner, RoomName};

/// Hints of one kind; more than that are not worth their memory.
const MOST: usize = 4096;

/// Hints that are good for a time.
#[derive(Debug)]
pub(super) struct Hints<K, V> {
    good_for: Duration,
    known: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K: Eq + Hash, V: Copy> Hints<K, V> {
    pub(super) fn new(good_for: Duration) -> Self {
        Hints {
            good_for,
            known: Mutex::default(),
        }
    }

    pub(super) fn put(&self, key: K, value: V) {
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() < MOST {
            known.insert(key, (value, now + self.good_for));
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut known = self.known.lock();
        let (value, until) = known.get(key).copied()?;
        if Instant::now() < until {
            return Some(value);
        }
        known.remove(key);
        None
    }

    pub(super) fn forget(&self, key: &K) {
        self.known.lock().remove(key);
    }
}

/// How many there are of each of something; one that is none any more is not kept.
#[derive(Debug)]
pub(super) struct Counts<K: Eq + Hash>(Arc<Mutex<HashMap<K, usize>>>);

impl<K: Eq + Hash + Clone> Counts<K> {
    pub(super) fn new() -> Self {
        Counts(Arc::default())
    }

    /// One more, until the guard is dropped.
    pub(super) fn add(&self, key: K) -> Counted<K> {
        *self.0.lock().entry(key.clone()).or_default() += 1;
        Counted {
            key,
            counts: Arc::clone(&self.0),
        }
    }

    /// How many different ones there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// One that is counted.
#[derive(Debug)]
pub(super) struct Counted<K: Eq + Hash> {
    key: K,
    counts: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// New rooms on their way to a pod, until it has answered: whoever comes meanwhile goes the same way.
#[derive(Debug, Default)]
pub(super) struct Dispatched(Arc<Mutex<HashMap<RoomName, (Owner, usize)>>>);

impl Dispatched {
    /// One more client of `room` goes to that pod, until the guard is dropped. Of two pods the
    /// first is remembered.
    pub(super) fn add(&self, room: &RoomName, owner: Owner) -> OnTheWay {
        let mut rooms = self.0.lock();
        rooms.entry(room.clone()).or_insert((owner, 0)).1 += 1;
        OnTheWay {
            room: room.clone(),
            rooms: Arc::clone(&self.0),
        }
    }

    /// Where the room is on its way to.
    pub(super) fn to(&self, room: &RoomName) -> Option<Owner> {
        self.0.lock().get(room).map(|(owner, _)| *owner)
    }

    /// How many rooms are on their way to each session.
    pub(super) fn loads(&self) -> HashMap<u128, usize> {
        let mut loads = HashMap::new();
        for (owner, _) in self.0.lock().values() {
            *loads.entry(owner.session).or_default() += 1;
        }
        loads
    }
}

/// A client whose room is on its way to a pod.
#[derive(Debug)]
pub(super) struct OnTheWay {
    room: RoomName,
    rooms: Arc<Mutex<HashMap<RoomName, (Owner, usize)>>>,
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        let mut rooms = self.rooms.lock();
        if let Some((_, clients)) = rooms.get_mut(&self.room) {
            *clients -= 1;
            if *clients == 0 {
                rooms.remove(&self.room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hint_is_forgotten_in_time() {
        let hints = Hints::new(Duration::from_secs(5));
        hints.put("room", 1);
        tokio::time::advance(Duration::from_millis(4999)).await;
        assert_eq!(hints.get(&"room"), Some(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(hints.get(&"room"), None);
        hints.put("room", 2);
        hints.forget(&"room");
        assert_eq!(hints.get(&"room"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn hints_take_no_more_than_their_memory() {
        let hints = Hints::new(Duration::from_secs(5));
        for room in 0..2 * MOST {
            hints.put(room, ());
        }
        assert_eq!(hints.known.lock().len(), MOST);
        tokio::time::advance(Duration::from_secs(5)).await;
        hints.put(usize::MAX, ());
        assert_eq!(hints.known.lock().len(), 1);
    }

    #[test]
    fn what_is_counted_is_counted_while_it_lasts() {
        let counts = Counts::new();
        let (first, second) = (counts.add("lobby"), counts.add("lobby"));
        let other = counts.add("den");
        assert_eq!(counts.len(), 2);
        drop((first, other));
        assert_eq!(counts.len(), 1);
        drop(second);
        assert_eq!(counts.len(), 0);
    }

    #[test]
    fn a_room_is_on_its_way_to_one_pod_while_anybody_is() {
        let dispatched = Dispatched::default();
        let pod = |session| Owner {
            endpoint: ([127, 0, 0, 1], 7900).into(),
            session,
        };
        let lobby = RoomName::parse("lobby").unwrap();
        let first = dispatched.add(&lobby, pod(1));
        let second = dispatched.add(&lobby, pod(2));
        assert_eq!(dispatched.to(&lobby), Some(pod(1)));
        assert_eq!(dispatched.loads(), HashMap::from([(1, 1)]));
        drop(first);
        assert_eq!(dispatched.to(&lobby), Some(pod(1)));
        drop(second);
        assert_eq!(dispatched.to(&lobby), None);
        assert!(dispatched.loads().is_empty());
    }
}
