//! Compressing what a room says: once, before the lock that clients share, and only where somebody
//! reads it.

use std::sync::atomic::Ordering::Relaxed;

use super::feed::Feed;
use super::live::Room;
use super::outgoing::Outgoing;

impl Room {
    /// The client at `key` reads compressed frames from now on, of messages of at least `least` bytes.
    pub(super) fn read_packed(&self, key: usize, least: usize) {
        let mut hall = self.hall.lock();
        hall.feed.read_packed(key);
        self.pack_least.store(least.max(1), Relaxed);
    }

    /// Somebody left, who may have been the last to read compressed frames.
    pub(super) fn note_packed(&self, feed: &Feed) {
        if !feed.is_read_packed() {
            self.pack_least.store(0, Relaxed);
        }
    }

    /// Compresses what is worth it. Whoever begins to read compressed frames meanwhile hears this
    /// as it is.
    pub(super) fn pack(&self, outgoing: &mut Outgoing) {
        let least = self.pack_least.load(Relaxed);
        if least == 0 {
            return;
        }
        outgoing.pack_frames(least);
        if outgoing.packable(least).next().is_none() {
            return;
        }
        // The lock twice: it is held while looking for hearers, not while compressing for them.
        let worth: Vec<usize> = {
            let hall = self.hall.lock();
            outgoing
                .packable(least)
                .filter(|(_, who)| hall.feed.is_read_packed_by(who))
                .map(|(index, _)| index)
                .collect()
        };
        for index in worth {
            outgoing.pack_mark(index, least);
        }
    }
}
