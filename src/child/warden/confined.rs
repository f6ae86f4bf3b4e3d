//! What a room's cage needs while the room lives: its cgroup, and the limit behind its end.
//!
//! A cgroup that cannot be made is no reason to have no room: then the limits are kept by what
//! is left. One that cannot be removed at once, because something in it is still dying, is tried
//! again by whoever looks around.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::spawn::Kept;
use crate::child::{
    Exit,
    cage::{Cage, Limit, Limits},
    cgroup::{self, Division},
    tree,
};

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Confined {
    part: Option<PathBuf>,
    kept: Kept,
    limits: Limits,
}

impl Confined {
    /// Makes the cgroup of a room, where there are any.
    pub(super) fn new(division: Option<&Division>, id: u64, cage: &Cage) -> Confined {
        let limits = cage.limits;
        let Some(division) = division else {
            return Confined {
                limits,
                ..Confined::default()
            };
        };
        let part = division.part(std::process::id() as i32, id);
        let made = fs::create_dir(&part).is_ok();
        let set = |file: &str, value: &str| fs::write(part.join(file), value).is_ok();
        let limit = |has: bool, file: &str, most: Option<u64>| match most {
            Some(most) if made && has => set(file, &most.to_string()),
            _ => false,
        };
        let kept = Kept {
            memory: limit(division.memory, cgroup::MEMORY_MAX, limits.memory),
            processes: limit(division.pids, cgroup::PIDS_MAX, limits.processes),
        };
        if kept.memory {
            // Not in every kernel. What is swapped out is used all the same; and half a room is
            // worse than none.
            set("memory.swap.max", "0");
            set("memory.oom.group", "1");
        }
        Confined {
            part: made.then_some(part),
            kept,
            limits,
        }
    }

    pub(super) fn part(&self) -> Option<&Path> {
        self.part.as_deref()
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept
    }

    /// The same end, or the limit that was its reason. The leader is not reaped yet.
    pub(super) fn explain(&self, leader: i32, exit: Exit) -> Exit {
        let Limits {
            memory,
            cpu_seconds,
            ..
        } = self.limits;
        if exit.success() || (memory, cpu_seconds) == (None, None) {
            return exit;
        }
        let used = tree::used(leader).unwrap_or_default();
        let out_of_memory = |most: &u64| match (&self.part, self.kept.memory) {
            (Some(part), true) => cgroup::ran_out_of_memory(part),
            // It began on the warden's memory, which counts as its own if it had less later.
            _ => used.memory_bytes > (*most).max(tree::own_memory()),
        };
        let out_of_time = |most: &u64| match exit {
            Exit::Signal(libc::SIGXCPU) => true,
            Exit::Signal(libc::SIGKILL) => used.cpu_seconds > *most,
            _ => false,
        };
        let memory = memory.filter(out_of_memory).map(Limit::Memory);
        let time = cpu_seconds.filter(out_of_time).map(Limit::CpuSeconds);
        memory.or(time).map_or(exit, Exit::Over)
    }

    /// Kills all that lives in the cgroup, wherever it has gone otherwise.
    pub(super) fn kill(&self) {
        if let Some(part) = &self.part {
            let _ = fs::write(part.join("cgroup.kill"), "1"); // since Linux 5.14
        }
    }

    /// Nothing is known to live here: removes the cgroup. What hid, and lives in it, is killed; then
    /// the rest is to be removed later.
    pub(super) fn remove(self) -> Option<PathBuf> {
        self.kill();
        self.part.filter(|part| !cgroup::remove(part))
    }
}
