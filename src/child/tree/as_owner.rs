//! This thread, as somebody else in the eyes of file systems, for the time of one look.
//!
//! Only what is asked of files is asked so: no other process can signal or trace us for it. Whoever
//! has no right to it stays who it is, and is refused the file as before.

use nix::{
    sys::prctl,
    unistd::{Gid, Uid, setfsgid, setfsuid},
};

/// See the module's documentation; dropping it is the way back.
pub(super) struct AsOwner {
    uid: Uid,
    gid: Gid,
    dumpable: bool,
}

impl AsOwner {
    pub(super) fn new(uid: u32, gid: u32) -> AsOwner {
        // The change takes away that our memory may be dumped, as if there were secrets of theirs.
        let dumpable = prctl::get_dumpable().unwrap_or(false);
        AsOwner {
            gid: setfsgid(Gid::from_raw(gid)),
            uid: setfsuid(Uid::from_raw(uid)),
            dumpable,
        }
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        setfsuid(self.uid);
        setfsgid(self.gid);
        if self.dumpable {
            // Cannot fail: it is what we were.
            let _ = prctl::set_dumpable(true);
        }
    }
}
