//! Relief: rooms while the server is short of memory.
//!
//! No more of them are opened, and of all clients those are let go who hold the most that they have
//! not heard. Whether memory is short is not known here: somebody looks twice, some time apart, and
//! says how much should be free.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::task::Waker;

use super::feed::{Burden, Debt};
use super::live::Room;
use super::rooms::Rooms;

/// What the clients of all rooms had yet to hear at one look.
///
/// A room that ends meanwhile is not kept for it.
#[derive(Default)]
pub struct Debts(Vec<(Weak<Room>, Vec<Debt>)>);

impl fmt::Debug for Debts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Debts")
            .field("rooms", &self.0.len())
            .finish_non_exhaustive()
    }
}

/// Who was let go, and what they held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relief {
    /// How many clients.
    pub clients: usize,
    /// How much is free without them.
    pub bytes: u64,
}

impl Rooms {
    /// Whether no rooms are opened for want of memory; those that live go on.
    pub fn set_short_of_memory(&self, short: bool) {
        self.0.short_of_memory.store(short, Relaxed);
    }

    /// Who has much to hear now.
    pub fn debts(&self) -> Debts {
        let rooms = self.list().into_iter();
        let debts = rooms.map(|room| {
            let debts = room.hall.lock().feed.debts();
            (Arc::downgrade(&room), debts)
        });
        Debts(debts.filter(|(_, debts)| !debts.is_empty()).collect())
    }

    /// Lets clients go who have not heard since what was theirs to hear then, those who cost the most
    /// first, until about `bytes` are free.
    pub fn relieve(&self, debts: &Debts, bytes: u64) -> Relief {
        let mut burdens: Vec<(Arc<Room>, Burden)> = Vec::new();
        for (room, debts) in &debts.0 {
            let Some(room) = room.upgrade() else { continue };
            let of_room = room.hall.lock().feed.burdens(debts).into_iter();
            burdens.extend(of_room.map(|burden| (Arc::clone(&room), burden)));
        }
        // Stable: within a room who is further behind stays before who depends on that.
        burdens.sort_by(|(_, a), (_, b)| b.weigh(a));
        let mut relief = Relief::default();
        for (room, burden) in burdens {
            if relief.bytes >= bytes {
                break;
            }
            relief.clients += room.let_go(&burden.clients);
            relief.bytes += burden.bytes;
        }
        relief
    }
}

impl Room {
    /// Lets these clients go, for want of memory. Returns how many there still were.
    fn let_go(&self, clients: &[u32]) -> usize {
        let mut wake = Vec::new();
        let gone = self.hall.lock().feed.let_go(clients, &mut wake);
        wake.into_iter().for_each(Waker::wake);
        gone
    }
}
