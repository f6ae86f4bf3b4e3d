//! The session: this server's standing in its fleet, as long as its Lease is there.
//!
//! It is created at the start under the name of the pod (S1), watched and, in a fenced fleet,
//! renewed (S2); when it is lost, or cannot be renewed in time, every room is killed (S3); at the
//! end it is deleted, and with that all rooms are free at once (S4). Its object's uid is which
//! life of the server it is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{error, info, warn};

use super::api::{Answer, Api, Failure, id_of};
use super::chance::{jittered, unique};
use super::claims::Claims;
use super::sent::Sent;
use super::view::View;
use super::{Addresses, Fence, Identity, names};
use crate::metrics::FleetMetrics;

/// Between two tries at the API server: the first and the longest wait.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How often the number of rooms in the session is brought up to date, for people and for pods
/// that see no claims.
const REFRESH: Duration = Duration::from_secs(10);
/// Between two questions whether the session is lost, when the first got no answer.
const DOUBT: Duration = Duration::from_secs(1);
/// How long the deletion at the end may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// The rooms of this server, as far as the session rules over them.
pub trait Household: std::fmt::Debug + Send + Sync {
    /// How many rooms live or are about to.
    fn rooms(&self) -> usize;
    /// Programs may live until then, whatever becomes of this process meanwhile. None: for ever.
    fn may_live_until(&self, deadline: Option<Instant>);
    /// Kills every room, at once, and lets none be opened.
    fn kill_all(&self);
    /// Rooms may be opened again.
    fn resume(&self);
    /// Waits until every room is gone.
    fn emptied(&self) -> BoxFuture<'_, ()>;
}

/// How this server stands in its fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The uid of the session; none without one.
    pub session: Option<u128>,
    /// Grows whenever rooms had to be killed: what was asked for before holds no more.
    pub epoch: u64,
    /// Whether rooms may be opened, apart from the time.
    pub open: bool,
    /// Until when, in a fenced fleet.
    pub valid_until: Option<Instant>,
}

impl Standing {
    /// The session, if rooms may be opened under it now.
    pub fn holds(&self) -> Option<u128> {
        let timely = self.valid_until.is_none_or(|until| Instant::now() < until);
        self.session.filter(|_| self.open && timely)
    }
}

/// What a session is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who this server is.
    pub identity: Identity,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Rooms it takes; 0 for a gateway.
    pub limit: usize,
    /// The times of a fenced fleet; none in others.
    pub fence: Option<Fence>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Session {
    api: Api,
    view: View,
    options: Options,
    household: Arc<dyn Household>,
    claims: Claims,
    metrics: FleetMetrics,
    standing: watch::Sender<Standing>,
    draining: watch::Sender<bool>,
    /// Name and uid of the pod's own owner, which owns the session too.
    owner: Mutex<Option<OwnerReference>>,
}

/// What the API server says of a session of ours.
enum Verdict {
    /// It is there, and so is our pod.
    Held,
    /// It is not.
    Lost(Lost),
    /// Nothing that would decide it.
    Unknown,
}

/// Why a session's life came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// The object is gone, or is another one.
    Over,
    /// Our pod is gone, or is another one.
    NoPod,
}

impl Session {
    /// Nothing is asked for yet. `standing` is what claims look at, and starts without a session.
    pub fn new(
        api: Api,
        view: View,
        options: Options,
        household: Arc<dyn Household>,
        claims: Claims,
        metrics: FleetMetrics,
    ) -> Self {
        let standing = claims.standing().clone();
        Session {
            api,
            view,
            options,
            household,
            claims,
            metrics,
            standing,
            draining: watch::Sender::new(false),
            owner: Mutex::new(None),
        }
    }

    /// The standing that nobody has yet.
    pub fn none() -> watch::Sender<Standing> {
        watch::Sender::new(Standing {
            session: None,
            epoch: 0,
            open: false,
            valid_until: None,
        })
    }

    /// New rooms are no longer wanted here; whoever places rooms is told.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Holds a session until this future is dropped, or the pod turns out to be gone: then it
    /// returns, with every room dead.
    pub async fn run(&self) {
        loop {
            let Some((uid, until)) = self.begin().await else {
                break;
            };
            self.stand(Some(uid), true, until);
            info!(session = %names::uid_text(uid), "session begun");
            let lost = self.hold(uid, until).await;
            self.stand(None, false, None);
            error!(session = %names::uid_text(uid), ?lost, "session lost; every room is killed");
            self.fall();
            self.household.emptied().await;
            self.claims.forget();
            if lost == Lost::NoPod {
                break;
            }
        }
        self.stand(None, false, None);
        self.fall();
        self.household.emptied().await;
        error!("the pod is gone; so is this server's place in the fleet");
    }

    /// The end (S4): to be called once no room lives any more, and after [`Session::run`] was
    /// dropped, which would begin another.
    pub async fn end(&self) {
        let Some(uid) = self.standing.borrow().session else {
            return;
        };
        self.stand(None, false, None);
        let name = names::session(&self.options.identity.uid);
        let uid = names::uid_text(uid);
        let deleted = self.api.delete(&name, &uid, None);
        match timeout(FAREWELL, deleted).await {
            Ok(Ok(_)) => info!("session ended"),
            Ok(Err(error)) => warn!(%error, "session could not be deleted; others will end it"),
            Err(_) => warn!("session could not be deleted in time; others will end it"),
        }
    }

    fn stand(&self, session: Option<u128>, open: bool, valid_until: Option<Instant>) {
        // Only who may open rooms gets more time: those that are to be killed keep their deadline,
        // should this process be stopped before it has killed them. And the time comes first, so
        // that no room is opened under the one before.
        if open {
            // A little later than we do it ourselves, who can tell clients why; and early enough.
            let slack = self
                .options
                .fence
                .map_or(Duration::ZERO, |fence| fence.margin / 2);
            let deadline = valid_until.map(|until| until + slack);
            self.household.may_live_until(deadline);
            self.household.resume();
        }
        self.standing.send_modify(|standing| {
            standing.session = session;
            standing.open = open;
            standing.valid_until = valid_until;
        });
        self.metrics.session_valid(session.is_some() && open);
    }

    /// Kills every room; what was asked for before holds no more.
    fn fall(&self) {
        self.standing.send_modify(|standing| standing.epoch += 1);
        self.household.kill_all();
    }

    /// S1: a session of ours, and until when it is good. None: the pod is gone.
    async fn begin(&self) -> Option<(u128, Option<Instant>)> {
        let mut wait = BACKOFF.0;
        let mut last = String::new();
        loop {
            match self.try_to_begin().await {
                Ok(Some(begun)) => return Some(begun),
                Ok(None) => return None,
                Err(failure) => {
                    let text = failure.to_string();
                    if text != last {
                        warn!(error = %text, "no session yet; trying again");
                        last = text;
                    }
                }
            }
            sleep(jittered(wait)).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    async fn try_to_begin(&self) -> Answer<Option<(u128, Option<Instant>)>> {
        let identity = &self.options.identity;
        let pod = match self.api.pod(&identity.pod).await {
            Ok(pod) => pod,
            Err(Failure::NotFound) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        if pod.uid().as_deref() != Some(identity.uid.as_str()) {
            return Ok(None);
        }
        let label = pod.labels().get(names::FLEET);
        if label != Some(&identity.fleet) {
            return Err(Failure::Refused(format!(
                "the pod must carry the label {}={}, by which the others of its fleet know it",
                names::FLEET,
                identity.fleet
            )));
        }
        let owners = pod.owner_references().iter();
        *self.owner.lock() = owners
            .filter(|owner| owner.controller == Some(true))
            .map(|owner| OwnerReference {
                controller: None,
                block_owner_deletion: None,
                ..owner.clone()
            })
            .next();
        let name = names::session(&identity.uid);
        match self.api.lease(&name).await {
            // An earlier life of this pod: its children died with its container.
            Ok(old) => {
                let uid = names::uid_text(id_of(&old)?);
                self.api.delete(&name, &uid, None).await?;
            }
            Err(Failure::NotFound) => {}
            Err(failure) => return Err(failure),
        }
        let holder = format!("{}/{:032x}", identity.pod, unique());
        let sent = Sent::now();
        let made = match self.api.create(&self.lease(&name, &holder)).await {
            // It may have been made all the same.
            Err(Failure::Unknown(_)) => self.api.lease(&name).await,
            made => made,
        }?;
        let ours = made
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_ref());
        if ours != Some(&holder) {
            return Err(Failure::Conflict);
        }
        Ok(Some((id_of(&made)?, self.good_until(sent))))
    }

    fn good_until(&self, sent: Sent) -> Option<Instant> {
        let fence = self.options.fence?;
        Some(sent.end_of(fence.after.saturating_sub(fence.margin)))
    }

    fn lease(&self, name: &str, holder: &str) -> Lease {
        let addresses = &self.options.addresses;
        let mut annotations: std::collections::BTreeMap<String, String> = [
            (names::ENDPOINT, addresses.peer.to_string()),
            (names::LIMIT, self.options.limit.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(public) = addresses.public {
            annotations.insert(names::PUBLIC.to_owned(), public.to_string());
        }
        annotations.extend(self.says().into_iter().map(|(k, v)| (k.to_owned(), v)));
        let label = (names::FLEET.to_owned(), self.options.identity.fleet.clone());
        Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some([label].into()),
                annotations: Some(annotations),
                owner_references: self.owner.lock().clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: self.options.fence.map(|fence| {
                    i32::try_from(fence.after.as_secs_f64().ceil() as i64).unwrap_or(i32::MAX)
                }),
                acquire_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        }
    }

    /// What the session says of the server, as it is now.
    fn says(&self) -> [(&'static str, String); 2] {
        let state = match *self.draining.borrow() {
            true => names::DRAINING,
            false => names::READY,
        };
        [
            (names::STATE, state.to_owned()),
            (names::ROOMS, self.household.rooms().to_string()),
        ]
    }

    /// S2 and S3: holds the session until it is lost.
    async fn hold(&self, uid: u128, mut until: Option<Instant>) -> Lost {
        let fence = self.options.fence;
        let every = fence.map_or(REFRESH, |fence| fence.after / 3);
        let mut said = self.says();
        let mut next = Instant::now() + jittered(every);
        let mut changes = self.view.changes();
        let mut draining = self.draining.subscribe();
        let mut fenced = false;
        let mut tries = 0;
        // When the API server is asked again whether the session is lost.
        let mut doubt: Option<Instant> = None;
        loop {
            let deadline = until.filter(|_| !fenced);
            let due = tokio::select! {
                biased;
                () = sleep_until(deadline.unwrap_or(next)), if deadline.is_some() => {
                    warn!("session could not be renewed in time; every room is killed");
                    fenced = true;
                    self.stand(Some(uid), false, until);
                    self.fall();
                    continue;
                }
                () = sleep_until(next) => true,
                _ = draining.changed() => true,
                () = sleep_until(doubt.unwrap_or(next)), if doubt.is_some() => false,
                changed = changes.changed() => {
                    // The view lives as long as we do.
                    drop(changed);
                    false
                }
            };
            if !due {
                if doubt.is_none_or(|at| at <= Instant::now()) {
                    doubt = Some(Instant::now() + jittered(DOUBT));
                    if self.seems_lost(uid) {
                        // The deadline is not missed while an answer is waited for.
                        match before(deadline, self.verdict(uid)).await {
                            Some(Verdict::Lost(lost)) => return lost,
                            // Asked again after a while as long as it seems lost, and not at
                            // every change of the view: what it lacks may stay away, such as a
                            // pod that has lost its label.
                            Some(Verdict::Held | Verdict::Unknown) | None => {}
                        }
                    } else {
                        doubt = None;
                    }
                }
                continue;
            }
            let says = self.says();
            if fence.is_none() && says == said {
                next = Instant::now() + jittered(every);
                continue;
            }
            let sent = Sent::now();
            let Some(answer) = before(deadline, self.renew(uid, &says)).await else {
                continue;
            };
            match answer {
                Ok(()) => {
                    tries = 0;
                    said = says;
                    next = sent.at + jittered(every);
                    until = self.good_until(sent);
                    if fenced {
                        // Rooms that were killed under it are given back before any is taken.
                        self.household.emptied().await;
                        self.claims.released().await;
                        if until.is_some_and(|until| Instant::now() >= until) {
                            continue;
                        }
                        fenced = false;
                        info!("session renewed; rooms may be opened again");
                    }
                    self.stand(Some(uid), true, until);
                }
                Err(Failure::NotFound | Failure::Conflict) => {
                    if let Some(Verdict::Lost(lost)) = before(deadline, self.verdict(uid)).await {
                        return lost;
                    }
                    next = Instant::now() + jittered(DOUBT);
                }
                Err(failure) => {
                    if tries == 0 {
                        warn!(error = %failure, "session could not be renewed; trying again");
                    }
                    tries += 1;
                    let wait = (BACKOFF.0 * 2u32.saturating_pow(tries)).min(BACKOFF.1);
                    next = Instant::now() + jittered(wait.min(every));
                }
            }
        }
    }

    async fn renew(&self, uid: u128, says: &[(&'static str, String)]) -> Answer<()> {
        let annotations: Value = says.iter().map(|(k, v)| (*k, v.clone())).collect();
        let patch = json!({
            // Another object's uid cannot be patched: the server refuses.
            "metadata": { "uid": names::uid_text(uid), "annotations": annotations },
            "spec": { "renewTime": MicroTime(Timestamp::now()) },
        });
        let name = names::session(&self.options.identity.uid);
        match self.api.patch(&name, &patch).await {
            Ok(_) => Ok(()),
            // A uid that is not the object's is invalid (422).
            Err(Failure::Refused(why)) if why.contains("uid") => Err(Failure::Conflict),
            Err(failure) => Err(failure),
        }
    }

    /// Whether what is known here gives cause to ask the API server.
    fn seems_lost(&self, uid: u128) -> bool {
        if !self.view.is_synced() {
            return false;
        }
        let identity = &self.options.identity;
        let session = self.view.session_named(&names::session(&identity.uid));
        let pod = self.view.pod(&identity.pod);
        let fine = session.is_some_and(|session| session.id == uid)
            && pod.is_some_and(|pod| pod.uid == identity.uid);
        !fine
    }

    /// What the API server says; nothing is lost as long as it says nothing.
    async fn verdict(&self, uid: u128) -> Verdict {
        let identity = &self.options.identity;
        let pod_known = match self.api.pod(&identity.pod).await {
            Err(Failure::NotFound) => return Verdict::Lost(Lost::NoPod),
            Ok(pod) if pod.uid().as_deref() != Some(identity.uid.as_str()) => {
                return Verdict::Lost(Lost::NoPod);
            }
            Ok(_) => true,
            Err(_) => false,
        };
        let name = names::session(&identity.uid);
        match is_over(&self.api, &name, uid).await {
            Ok(Err(Over)) => Verdict::Lost(Lost::Over),
            Ok(Ok(_)) if pod_known => Verdict::Held,
            _ => Verdict::Unknown,
        }
    }
}

/// What a future gives, if the deadline does not come first.
async fn before<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

/// Whether a session is over: its object is gone, or is another one. Nothing else counts.
pub(super) async fn is_over(api: &Api, name: &str, uid: u128) -> Answer<Result<Lease, Over>> {
    match api.lease(name).await {
        Err(Failure::NotFound) => Ok(Err(Over)),
        Ok(lease) if id_of(&lease)? != uid => Ok(Err(Over)),
        Ok(lease) => Ok(Ok(lease)),
        Err(failure) => Err(failure),
    }
}

/// That a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over;
