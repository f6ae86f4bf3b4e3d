//! A server that listens nowhere and opens no room, for what brings its bytes itself: `fuzz/`.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::{Plan, Prepared, program::starter};
use crate::http::{Door, Readiness};
use crate::metrics::Metrics;
use crate::room::Rooms;
use crate::stop::Asked;

/// Its door: as draining, so that nobody gets further than to the rooms.
pub(super) fn door(plan: Plan) -> anyhow::Result<Arc<Door>> {
    let metrics = Metrics::new(plan.config.metrics_rooms)?;
    let tasks = TaskTracker::new();
    let nothing = Prepared {
        warden: None,
        program: None,
        division: None,
        terminal: None,
    };
    let starter = starter(&plan.config, &nothing, plan.cage);
    let rooms = Rooms::new(plan.rooms, starter, metrics.clone(), tasks.clone(), None);
    rooms.drain();
    let (_, ready) = watch::channel(Readiness::Ready);
    Ok(Arc::new(Door {
        rooms,
        gate: None,
        options: plan.door,
        connections: super::front::connections(&plan.config, &metrics, plan.descriptors),
        metrics,
        tasks,
        ready,
        stop: Asked::default(),
        started: Instant::now(),
    }))
}
