//! A server without a fleet: what `fleet` does in builds with the feature `kube`, here is nothing.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Config, Listen, Listener, Prepared};
use crate::http::{Gate, Readiness};
use crate::metrics::Metrics;
use crate::room::{Close, Ownership, Rooms};

/// No fleet: nobody listens for others.
pub(super) async fn bind(_: &Config) -> anyhow::Result<Vec<Listener>> {
    Ok(Vec::new())
}

/// A client has a socket.
pub(super) fn descriptors_per_client(_: &Config) -> u64 {
    1
}

/// The address as it was given.
pub(super) fn reachable(listen: &Listen, _: &Config) -> Listen {
    listen.clone()
}

/// No fleet.
pub(super) struct Fleet;

impl Fleet {
    pub(super) async fn find(
        _: &Config,
        _: &[Listener],
        _: &[Listener],
        _: &Metrics,
    ) -> anyhow::Result<Self> {
        Ok(Fleet)
    }

    pub(super) fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        None
    }

    pub(super) fn join(
        self,
        _: &Config,
        _: &Rooms,
        _: &Prepared,
        ready: &watch::Sender<Readiness>,
    ) -> anyhow::Result<Member> {
        ready.send_replace(Readiness::Ready);
        Ok(Member)
    }
}

/// No member of any.
pub(super) struct Member;

impl Member {
    pub(super) fn gate(&self) -> Option<Arc<dyn Gate>> {
        None
    }

    pub(super) fn drain(&self) {}

    pub(super) async fn lost(&self) {
        std::future::pending().await
    }

    pub(super) async fn nobody_in_transit(&self) {}

    pub(super) fn end_transit(&self, _: &Close) {}

    pub(super) async fn leave(self) {}
}
