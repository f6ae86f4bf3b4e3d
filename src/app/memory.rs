//! The server's own memory: looked at each second, and what is done when it is short.
//!
//! The bounds of a room hold for each room; there may be a thousand of them, each with somebody who
//! does not read. Above the limit no rooms are opened and clients are let go who hold the most, until
//! a tenth of it is free; nobody is let go before two looks have found the same unread. What was freed
//! but not given back counts as taken, and so the heap is trimmed before anybody is blamed.

mod limit;

use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::heap::give_back;
use crate::cli::Memory;
use crate::metrics::Metrics;
use crate::room::{Debts, Relief, Rooms};

/// How often it is looked at: reading the figure takes a few ten microseconds.
const LOOK: Duration = Duration::from_secs(1);
/// Looks after which the heap is trimmed each time while memory is short; then it is every tenth time:
/// for a large heap that takes a while.
const TRIMS: u32 = 5;

/// What the server may take; none if there is no limit, or it cannot be kept here.
pub(super) fn limit(memory: Memory) -> Option<u64> {
    let limit = match memory {
        Memory::NoLimit => return None,
        Memory::Limit(bytes) => Some(bytes),
        Memory::Half => limit::available().map(|bytes| bytes / 2),
    };
    if limit.is_none() || limit::used().is_none() {
        info!("memory cannot be measured on this system; --memory has no effect");
        return None;
    }
    limit
}

/// Keeps the server's memory within `limit` as long as somebody can be let go, until `stop`.
pub(super) async fn keep_within(
    limit: Option<u64>,
    rooms: Rooms,
    metrics: Metrics,
    stop: CancellationToken,
) {
    metrics.set_memory_limit(limit.unwrap_or_default());
    let mut watch = Watch {
        limit: limit.unwrap_or(u64::MAX),
        rooms,
        metrics,
        shortage: None,
    };
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = async {
        loop {
            looks.tick().await;
            if !watch.look().await {
                return;
            }
        }
    };
    stop.run_until_cancelled(looking).await;
}

struct Watch {
    limit: u64,
    rooms: Rooms,
    metrics: Metrics,
    /// While memory is short.
    shortage: Option<Shortage>,
}

/// What has been done since memory became short.
struct Shortage {
    since: Instant,
    looks: u32,
    /// What clients had yet to hear at the last look.
    debts: Debts,
    last: Relief,
    closed: usize,
}

impl Watch {
    /// Looks, and does what is to be done. False if there is nothing to be seen on this system.
    async fn look(&mut self) -> bool {
        let Some(mut used) = limit::used() else {
            return false;
        };
        let enough = enough(self.limit);
        let over = match &self.shortage {
            None => used > self.limit,
            Some(_) => used > enough,
        };
        if over && self.shortage.as_ref().is_none_or(Shortage::is_to_trim) {
            give_back().await;
            used = limit::used().unwrap_or(used);
        }
        self.metrics.set_memory(used);
        match &mut self.shortage {
            None if used > self.limit => {
                self.rooms.set_short_of_memory(true);
                warn!(
                    memory = used,
                    limit = self.limit,
                    "memory is short: no rooms are opened, and clients who are far behind are closed"
                );
                self.shortage = Some(Shortage {
                    since: Instant::now(),
                    looks: 0,
                    debts: self.rooms.debts(),
                    last: Relief::default(),
                    closed: 0,
                });
            }
            None => {}
            Some(shortage) if used <= enough => {
                info!(
                    memory = used,
                    limit = self.limit,
                    closed = shortage.closed,
                    seconds = shortage.since.elapsed().as_secs_f64(),
                    "memory is no longer short"
                );
                self.rooms.set_short_of_memory(false);
                self.shortage = None;
            }
            Some(shortage) => {
                shortage.looks = shortage.looks.saturating_add(1);
                shortage.last = self.rooms.relieve(&shortage.debts, used - enough);
                shortage.closed += shortage.last.clients;
                shortage.debts = self.rooms.debts();
            }
        }
        true
    }
}

impl Shortage {
    fn is_to_trim(&self) -> bool {
        self.looks < TRIMS || self.last.clients > 0 || self.looks.is_multiple_of(10)
    }
}

/// Once so much is in use, memory is no longer short.
fn enough(limit: u64) -> u64 {
    limit - limit / 10
}
