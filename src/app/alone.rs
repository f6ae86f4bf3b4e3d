//! A server without a fleet: what `fleet` does in builds with the feature `kube`, here is nothing.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Config, Listener, Prepared};
use crate::http::Readiness;
use crate::metrics::Metrics;
use crate::room::{Ownership, Rooms};

/// No fleet.
pub(super) struct Fleet;

impl Fleet {
    pub(super) async fn find(_: &Config, _: &[Listener], _: &Metrics) -> anyhow::Result<Self> {
        Ok(Fleet)
    }

    pub(super) fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        None
    }

    pub(super) fn join(self, _: &Rooms, _: &Prepared, ready: &watch::Sender<Readiness>) -> Member {
        ready.send_replace(Readiness::Ready);
        Member
    }
}

/// No member of any.
pub(super) struct Member;

impl Member {
    pub(super) fn drain(&self) {}

    pub(super) async fn lost(&self) {
        std::future::pending().await
    }

    pub(super) async fn leave(self) {}
}
