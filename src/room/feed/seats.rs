//! Who hears in a room, as operators see it: each client and how far it is behind.

use super::{Feed, Member};

/// One client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::room) struct Seat {
    pub(in crate::room) id: u32,
    /// Bytes that it has not been sent yet, of what everybody hears.
    pub(in crate::room) lag: u64,
    /// Messages that wait for it alone.
    pub(in crate::room) queued: usize,
    /// It reads compressed frames.
    pub(in crate::room) compressed: bool,
    /// It is about to be closed.
    pub(in crate::room) leaving: bool,
}

impl Feed {
    /// Those who are furthest behind, so many at the most, the furthest first.
    pub(in crate::room) fn seats(&self, most: usize) -> Vec<Seat> {
        let end = self.backlog.end().at;
        let seat = |member: &Member| Seat {
            id: member.id.get(),
            lag: end - member.cursor.at,
            queued: member.side.len(),
            compressed: member.packed,
            leaving: member.expelled.is_some() || member.kicked.is_some(),
        };
        let mut seats: Vec<Seat> = self
            .members
            .iter()
            .map(|(_, member)| seat(member))
            .collect();
        let order = |seat: &Seat| (std::cmp::Reverse((seat.lag, seat.queued)), seat.id);
        if seats.len() > most {
            seats.select_nth_unstable_by_key(most, order);
            seats.truncate(most);
        }
        seats.sort_unstable_by_key(order);
        seats
    }

    /// Whether that client is in.
    pub(in crate::room) fn has(&self, id: u32) -> bool {
        self.keys.contains_key(&id)
    }
}
