//! Turns: a client is slow when its socket is full, not when the server has not come to it yet.
//!
//! What is published is counted in rounds. A round ends only when every client that could write
//! at its beginning has done so: until all was written, or its socket took no more. Sockets that
//! are full never hold a round up, so that nobody's slowness delays the others; and a runtime
//! that runs one client and the pump in turn cannot leave the rest behind.

/// Where one client is in this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Turn {
    /// It has written what there was, or its socket is full: nobody waits for it.
    #[default]
    Settled,
    /// It was woken, or is writing.
    Running,
    /// So it was when the round began: the next one waits for it.
    Owing,
}

impl Turn {
    /// It has something to write, and will.
    pub(super) fn begin(&mut self) {
        if *self == Turn::Settled {
            *self = Turn::Running;
        }
    }
}

/// The rounds of one room.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The stream position up to which this round goes.
    until: u64,
    owing: usize,
}

impl Turns {
    /// Whether more may be published, `end` being where the stream ends now.
    pub(super) fn allow(&self, end: u64) -> bool {
        end < self.until || self.owing == 0
    }

    /// Begins the next round of `bytes`, if this one is over.
    pub(super) fn next_round<'a>(
        &mut self,
        end: u64,
        bytes: usize,
        turns: impl Iterator<Item = &'a mut Turn>,
    ) {
        if end < self.until || self.owing > 0 {
            return;
        }
        self.until = end + bytes as u64;
        for turn in turns.filter(|turn| **turn == Turn::Running) {
            *turn = Turn::Owing;
            self.owing += 1;
        }
    }

    /// Nobody need wait for this client.
    pub(super) fn settle(&mut self, turn: &mut Turn) {
        if std::mem::take(turn) == Turn::Owing {
            self.owing -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_ends_when_all_who_could_write_have_done_so() {
        let mut turns = Turns::default();
        let mut clients = [Turn::Settled; 3];
        turns.next_round(0, 100, clients.iter_mut());
        clients[0].begin();
        clients[1].begin();
        assert!(turns.allow(99), "the round goes on");
        turns.next_round(100, 100, clients.iter_mut());
        clients[2].begin();
        assert!(turns.allow(199));
        assert!(!turns.allow(200), "two were to write before it ended");
        turns.settle(&mut clients[0]);
        turns.settle(&mut clients[0]);
        assert!(!turns.allow(200));
        turns.settle(&mut clients[1]);
        assert!(turns.allow(200), "who came later is waited for in the next");
        turns.next_round(200, 100, clients.iter_mut());
        assert!(!turns.allow(300));
        turns.settle(&mut clients[2]);
        assert!(turns.allow(300));
    }
}
