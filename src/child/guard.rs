//! Limits of a room that no cgroup keeps: a look each second at what all its processes use.
//!
//! Between two looks a room can be above a limit; what one process alone can do in that time is
//! bounded by the system (`warden/spawn/steps.rs`). A look costs some microseconds a process, and
//! none is made for a limit that something else keeps.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Division, Gauge, Usage,
    cage::{Limit, Limits},
};

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches one child.
#[derive(Debug)]
pub(super) struct Guard {
    gauge: Arc<Gauge>,
    memory: Option<u64>,
    processes: Option<u64>,
    next: Instant,
}

impl Guard {
    /// None where there is nothing to watch for.
    pub(super) fn new(
        limits: &Limits,
        division: Option<&Division>,
        gauge: Arc<Gauge>,
    ) -> Option<Guard> {
        let (by_memory, by_pids) = division.map_or((false, false), |of| (of.memory, of.pids));
        let memory = limits.memory.filter(|_| !by_memory);
        let processes = limits.processes.filter(|_| !by_pids);
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
            self.next = Instant::now() + PAUSE;
            let passed = self.gauge.look().and_then(|usage| self.limit(&usage));
            if let Some(limit) = passed {
                return limit;
            }
        }
    }

    fn limit(&self, usage: &Usage) -> Option<Limit> {
        let over = |used: Option<u64>, most: Option<u64>| most.filter(|most| used > Some(*most));
        let memory = over(usage.memory_bytes, self.memory).map(Limit::Memory);
        memory.or_else(|| over(usage.processes, self.processes).map(Limit::Processes))
    }
}
