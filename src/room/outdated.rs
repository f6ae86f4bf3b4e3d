//! Rooms whose program has changed on disk since it was started for them.

use std::sync::atomic::Ordering::Relaxed;

use super::close::Close;
use super::live::{Order, Phase};
use super::rooms::Rooms;

/// The label of the end of such rooms, where they are ended for it.
const CHANGED: &str = "changed";

impl Rooms {
    /// How many live rooms run a program older than that version.
    pub fn outdated(&self, version: u64) -> usize {
        let rooms = self.list();
        let old = rooms.iter().filter(|room| is_older(room, version));
        old.count()
    }

    /// Ends them, so that their clients meet the new one. One that is just being started is known to
    /// be old only when it runs: ask again.
    pub fn end_outdated(&self, version: u64) {
        for room in self.list() {
            if is_older(&room, version) {
                let close = Close::new(Close::RESTART, "the program has changed");
                room.order(Order::End(close, CHANGED));
            }
        }
    }

    /// Programs that failed were others: rooms that are refused for it may try at once.
    pub fn forgive(&self) {
        self.0.crashes.forget();
    }
}

fn is_older(room: &super::live::Room, version: u64) -> bool {
    room.phase() == Phase::Running && room.version.load(Relaxed) < version
}
