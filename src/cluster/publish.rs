//! Publishing: the pod's own annotations say what runs here, so that other people's ingress,
//! autoscaler and dashboards need not ask. Level-triggered: a loop compares what is with what was
//! written last and writes the newest, one patch at a time, at the pace of `pace`. It needs
//! nothing but the right to patch pods, and without it the server goes on as before.

mod facts;
mod pace;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::metrics::FleetMetrics;

pub use facts::{Snapshot, State};

use super::chance::jittered;
use pace::{Outcome, Pace};

/// How long a patch may take; after that nobody knows what became of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at the rooms: a look is a walk through all of them.
const LOOK_GAP: Duration = Duration::from_millis(200);
/// The list of rooms is given up rather than made shorter than this many bytes.
const LIST_LEAST: usize = 256;

/// Whose annotations these are.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pod's name.
    pub pod: String,
    /// The pod's uid: another pod of that name is left alone.
    pub uid: String,
    /// Most bytes of the list of rooms.
    pub rooms_annotation: usize,
}

/// Where the newest state comes from.
pub trait Source: Send {
    /// What runs here now.
    fn snapshot(&self) -> Snapshot;

    /// Waits for the next change. Safe to cancel: a change that nobody waited for ends the next
    /// wait. When nothing will change any more it never ends.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

/// Anything that can be asked, with a `watch` that wakes.
impl<F, T> Source for (F, watch::Receiver<T>)
where
    F: Fn() -> Snapshot + Send,
    T: Send + Sync,
{
    fn snapshot(&self) -> Snapshot {
        (self.0)()
    }

    async fn changed(&mut self) {
        if self.1.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Why publishing ended: the pod of our name is another one, and what runs here is of the past.
#[derive(Debug, thiserror::Error)]
#[error("the pod of this name has another uid")]
pub struct AnotherPod;

/// The loop that publishes.
pub struct Publisher<S> {
    api: Api<Pod>,
    options: Options,
    source: S,
    metrics: FleetMetrics,
    pace: Pace,
    /// The refusal that was told last, so that it is told once.
    refused: Option<u16>,
}

impl<S: Source> Publisher<S> {
    /// Publishes `source` in the annotations of a pod that `api` reaches.
    pub fn new(api: Api<Pod>, options: Options, source: S) -> Self {
        Publisher {
            api,
            options,
            source,
            metrics: FleetMetrics::default(),
            pace: Pace::default(),
            refused: None,
        }
    }

    /// Counts its requests there.
    pub fn counted(self, metrics: FleetMetrics) -> Self {
        Publisher { metrics, ..self }
    }

    /// Publishes until it is dropped, or the pod turns out to be another one.
    pub async fn run(mut self) -> AnotherPod {
        loop {
            let now = Instant::now();
            let newest = self.source.snapshot();
            match self.pace.next(&newest, now, jittered) {
                Some(due) if due <= now => {
                    if self.write(newest).await.is_err() {
                        warn!(pod = %self.options.pod, "publishing ended: the pod is another one");
                        return AnotherPod;
                    }
                }
                due => self.wait(due, now).await,
            }
        }
    }

    /// Waits for the time to write or for something new, but not to look too often.
    async fn wait(&mut self, due: Option<Instant>, looked: Instant) {
        let next_look = looked + LOOK_GAP;
        let due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let news = async {
            self.source.changed().await;
            sleep_until(next_look).await;
        };
        tokio::select! {
            biased;
            () = due => {}
            () = news => {}
        }
    }

    async fn write(&mut self, newest: Snapshot) -> Result<(), AnotherPod> {
        let sent = Instant::now();
        let Options {
            pod,
            uid,
            rooms_annotation,
        } = &self.options;
        let cost = self.pace.cost(&newest, sent);
        let patch = Patch::Merge(newest.patch(uid, cost, *rooms_annotation));
        let params = PatchParams::default();
        self.pace.sent(cost, sent);
        let answer = timeout(PATIENCE, self.api.patch_metadata(pod, &params, &patch)).await;
        let now = Instant::now();
        let failure = match answer {
            Ok(Ok(_)) => {
                self.count("ok");
                if self.pace.told(newest, now) > 0 {
                    info!(%pod, "published again");
                }
                self.refused = None;
                return Ok(());
            }
            Ok(Err(kube::Error::Api(status))) if status.code < 429 => {
                return self.refused(&status, now);
            }
            Ok(Err(error)) => error.to_string(),
            Err(late) => late.to_string(),
        };
        self.count("unknown");
        debug!(%pod, failure, "publishing failed; trying again");
        self.pace.failed(Outcome::Unknown, now, jittered);
        Ok(())
    }

    fn count(&self, result: &'static str) {
        self.metrics.api_request("patch", "pods", result);
    }

    /// The server says no, and will until somebody changes something: told once, tried seldom.
    fn refused(&mut self, status: &Status, now: Instant) -> Result<(), AnotherPod> {
        self.count(match status.code {
            404 => "not_found",
            409 => "conflict",
            _ => "refused",
        });
        let complains_of = |field: &str| {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            status.code == 422 && causes.into_iter().any(|cause| cause.field == field)
        };
        if complains_of("metadata.uid") {
            return Err(AnotherPod);
        }
        let budget = &mut self.options.rooms_annotation;
        if complains_of("metadata.annotations") && *budget > 2 {
            // Somebody else's annotations take the room of ours. The rest matters more than the list.
            *budget = if *budget > LIST_LEAST { *budget / 2 } else { 2 };
        }
        if self.refused.replace(status.code) != Some(status.code) {
            let advice = match status.code {
                403 => "its service account may not patch pods",
                404 => "there is no such pod: look at --pod-name and --pod-namespace",
                _ => "trying again",
            };
            warn!(
                pod = %self.options.pod, code = status.code, reason = %status.message, advice,
                "publishing was refused"
            );
        }
        self.pace.failed(Outcome::Refused, now, jittered);
        Ok(())
    }
}
