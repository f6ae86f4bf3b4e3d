//! Limits of a room that no cgroup keeps: a look each second at what all its processes use.
//!
//! Between two looks a room can be above a limit; what one process alone can do in that time is
//! bounded by the system (`warden/spawn/steps.rs`). A look costs some ten microseconds a process, and
//! none is made for a limit that something else keeps.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Gauge, Usage,
    cage::{Limit, Limits},
    cgroup,
};

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// A pause is at least so many times as long as the look before it: a crowd of processes must not
/// keep the server at counting them.
const SPARING: u32 = 10;

/// Watches one child.
#[derive(Debug)]
pub(super) struct Guard {
    gauge: Arc<Gauge>,
    memory: Option<u64>,
    processes: Option<u64>,
    next: Instant,
}

impl Guard {
    /// None where there is nothing to watch for. `part` is the room's cgroup, if it got one.
    pub(super) fn new(limits: &Limits, part: Option<&Path>, gauge: Arc<Gauge>) -> Option<Guard> {
        let kept = |file| part.is_some_and(|part| cgroup::keeps(part, file));
        let memory = limits.memory.filter(|_| !kept(cgroup::MEMORY_MAX));
        let processes = limits.processes.filter(|_| !kept(cgroup::PIDS_MAX));
        let any = memory.is_some() || processes.is_some();
        any.then(|| Guard {
            gauge,
            memory,
            processes,
            next: Instant::now() + PAUSE,
        })
    }

    /// Waits until a limit is passed. Cancel-safe.
    pub(super) async fn passed(&mut self) -> Limit {
        loop {
            tokio::time::sleep_until(self.next).await;
            let begun = Instant::now();
            let usage = self.gauge.look(|sum| self.limit(sum).is_some());
            if let Some(limit) = usage.and_then(|usage| self.limit(&usage)) {
                return limit;
            }
            self.next = begun + PAUSE.max(begun.elapsed() * SPARING);
        }
    }

    fn limit(&self, usage: &Usage) -> Option<Limit> {
        let over = |used: Option<u64>, most: Option<u64>| most.filter(|most| used > Some(*most));
        let memory = over(usage.memory_bytes, self.memory).map(Limit::Memory);
        memory.or_else(|| over(usage.processes, self.processes).map(Limit::Processes))
    }
}
