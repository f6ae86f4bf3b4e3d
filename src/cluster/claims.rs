//! Claims: at most one pod of the fleet has a room, because its claim is an object that only one
//! of them can have created.
//!
//! A claim is created before the program is started (C2) and deleted after its last process is
//! gone (C5); between the two it is never written to. It is dead when the session that owns it is
//! over, and only then may somebody else delete it (C4). A claim that we have not created in this
//! very request is never used, whatever it says: it is deleted, and made anew.

mod strays;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::api::{Answer, Api, Failure};
use super::chance::{jittered, unique};
use super::session::{Standing, is_over};
use super::view::{Claimed, Session};
use super::{Identity, names};
use crate::metrics::FleetMetrics;
use crate::room::{Claim, Owner, Ownership, RoomName, Unclaimed};

/// Tries before a client is told to try again (C6).
const ROUNDS: u32 = 4;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a claim waits for the deletion of an earlier one of the same room.
const BURN: Duration = Duration::from_secs(2);
/// Deletions under way at once.
const DELETIONS: usize = 8;
/// Between two tries of a deletion: the first and the longest wait.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// See the module's documentation. Clones share everything.
#[derive(Debug, Clone)]
pub struct Claims(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    api: Api,
    identity: Identity,
    /// `ip:port` for other pods.
    endpoint: String,
    standing: watch::Sender<Standing>,
    metrics: FleetMetrics,
    /// Claims on their way out, by name: nothing is served under them ever again.
    burnt: Mutex<BTreeMap<String, Burnt>>,
    /// Counts the changes of `burnt`.
    burning: watch::Sender<u64>,
    /// Names that a claim is held under or just being asked for, and how often.
    used: Mutex<HashMap<String, usize>>,
}

/// What is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Burnt {
    /// The object with that uid.
    Known(String),
    /// What a request may have made of which we know no answer: the object with that holder.
    Perhaps(String),
}

/// What a look at somebody's claim came to.
enum Look {
    /// It is gone, or was dead and is gone now: try again.
    Free,
    /// It is the one that this very request has made.
    Ours(Box<Lease>),
    /// Its owner lives.
    Owned(Owner),
}

impl Claims {
    /// Nothing is claimed yet; `standing` says under which session, and whether, it may be.
    pub fn new(
        api: Api,
        identity: Identity,
        endpoint: String,
        standing: watch::Sender<Standing>,
        metrics: FleetMetrics,
    ) -> Self {
        Claims(Arc::new(Inner {
            api,
            identity,
            endpoint,
            standing,
            metrics,
            burnt: Mutex::default(),
            burning: watch::Sender::new(0),
            used: Mutex::default(),
        }))
    }

    /// Under which session rooms are claimed.
    pub fn standing(&self) -> &watch::Sender<Standing> {
        &self.0.standing
    }

    /// Deletes what was given back, until this future is dropped.
    pub async fn release(&self) {
        let inner = &*self.0;
        let mut burning = inner.burning.subscribe();
        let mut under_way: HashMap<String, ()> = HashMap::new();
        let mut deletions = FuturesUnordered::new();
        loop {
            burning.borrow_and_update();
            let next: Vec<_> = {
                let burnt = inner.burnt.lock();
                let idle = burnt
                    .iter()
                    .filter(|(name, _)| !under_way.contains_key(*name));
                idle.take(DELETIONS.saturating_sub(under_way.len()))
                    .map(|(name, burnt)| (name.clone(), burnt.clone()))
                    .collect()
            };
            for (name, burnt) in next {
                under_way.insert(name.clone(), ());
                deletions.push(async move {
                    inner.delete(&name, &burnt).await;
                    (name, burnt)
                });
            }
            tokio::select! {
                biased;
                changed = burning.changed() => drop(changed),
                Some((name, burnt)) = deletions.next() => {
                    under_way.remove(&name);
                    inner.quench(&name, &burnt);
                }
            }
        }
    }

    /// Waits until everything that was given back is deleted.
    pub async fn released(&self) {
        let mut burning = self.0.burning.subscribe();
        let _sender_lives = burning.wait_for(|_| self.0.burnt.lock().is_empty()).await;
    }

    /// Nothing of what was given back matters any more: its session is over.
    pub fn forget(&self) {
        self.0.burnt.lock().clear();
        self.0.burning.send_modify(|count| *count += 1);
    }

    async fn claimed(&self, room: &RoomName) -> Result<Claim, Unclaimed> {
        let inner_arc = &self.0;
        let inner = &**inner_arc;
        let name = names::claim(&inner.identity.fleet, room);
        // Before `burnt` is looked at, so that what is burnt as a stray is waited for.
        let used = Used::new(Arc::clone(inner_arc), &name);
        for round in 0..ROUNDS {
            if round > 0 {
                sleep(jittered(PAUSE * round)).await;
            }
            let standing = *inner.standing.borrow();
            let Some(session) = standing.holds() else {
                return Err(Unclaimed::Suspended);
            };
            inner.burnt_down(&name).await?;
            let holder = format!("{}/{:032x}", names::uid_text(session), unique());
            let mut attempt = Attempt {
                inner,
                name: &name,
                holder: &holder,
                over: false,
            };
            let made = match inner
                .api
                .create(&inner.lease(&name, room, session, &holder))
                .await
            {
                Ok(lease) => Some(lease),
                Err(Failure::Refused(why)) => {
                    warn!(%room, error = %why, "claim refused");
                    attempt.end();
                    return Err(Unclaimed::Unavailable);
                }
                // It did not arrive.
                Err(Failure::NotSent(why)) => {
                    debug!(%room, error = %why, "claim not asked for");
                    attempt.end();
                    return Err(Unclaimed::Unavailable);
                }
                // Not made; somebody else's object says whose the room is.
                Err(Failure::Conflict | Failure::NotFound) => {
                    attempt.end();
                    None
                }
                // Perhaps made (C3), now or later: the object says.
                Err(Failure::Unknown(_)) => None,
            };
            let made = match made {
                Some(made) => made,
                None => match inner.look(&name, session, &holder).await {
                    Ok(Look::Ours(lease)) => *lease,
                    Ok(Look::Free) => continue,
                    Ok(Look::Owned(owner)) => return Err(Unclaimed::Elsewhere(owner)),
                    Err(failure) => {
                        debug!(%room, error = %failure, "claim not known");
                        return Err(Unclaimed::Unavailable);
                    }
                },
            };
            let (Some(uid), Some(token)) = (made.uid(), made.resource_version()) else {
                return Err(Unclaimed::Unavailable);
            };
            attempt.end();
            let (claims, name) = (self.clone(), name.clone());
            let claim = Claim::new(token, move || {
                claims.0.burn(name, Burnt::Known(uid));
                drop(used);
            });
            // Anything may have happened meanwhile. If so, the claim is given back by its drop.
            let now = *inner.standing.borrow();
            if (now.session, now.epoch) != (standing.session, standing.epoch)
                || now.holds().is_none()
            {
                return Err(Unclaimed::Suspended);
            }
            return Ok(claim);
        }
        Err(Unclaimed::Unavailable)
    }
}

impl Ownership for Claims {
    fn claim<'a>(&'a self, room: &'a RoomName) -> BoxFuture<'a, Result<Claim, Unclaimed>> {
        Box::pin(async move {
            let claimed = self.claimed(room).await;
            self.0.metrics.claimed(match &claimed {
                Ok(_) => "claimed",
                Err(Unclaimed::Elsewhere(_)) => "elsewhere",
                Err(Unclaimed::Unavailable) => "unavailable",
                Err(Unclaimed::Suspended) => "suspended",
            });
            claimed
        })
    }
}

impl Inner {
    fn lease(&self, name: &str, room: &RoomName, session: u128, holder: &str) -> Lease {
        let label = (names::FLEET.to_owned(), self.identity.fleet.clone());
        let annotations = [
            (names::ROOM.to_owned(), room.as_str().to_owned()),
            (names::ENDPOINT.to_owned(), self.endpoint.clone()),
        ];
        Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some([label].into()),
                annotations: Some(annotations.into()),
                owner_references: Some(vec![OwnerReference {
                    api_version: "coordination.k8s.io/v1".to_owned(),
                    kind: "Lease".to_owned(),
                    name: names::session(&self.identity.uid),
                    uid: names::uid_text(session),
                    ..OwnerReference::default()
                }]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                ..LeaseSpec::default()
            }),
        }
    }

    /// C4: whose claim it is; a dead one is deleted.
    async fn look(&self, name: &str, session: u128, holder: &str) -> Answer<Look> {
        let lease = match self.api.lease(name).await {
            Ok(lease) => lease,
            Err(Failure::NotFound) => return Ok(Look::Free),
            Err(failure) => return Err(failure),
        };
        let made_by = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        if made_by == Some(holder) {
            return Ok(Look::Ours(Box::new(lease)));
        }
        let uid = lease.uid().unwrap_or_default();
        let Some(claim) = Claimed::read(&lease) else {
            warn!(claim = %name, "claim deleted: it says of no session that it is its");
            self.api.delete(name, &uid, None).await?;
            return Ok(Look::Free);
        };
        if claim.session != session {
            match is_over(&self.api, &claim.session_name, claim.session).await? {
                Ok(owner) => match Session::read(&owner) {
                    Some(owner) => {
                        return Ok(Look::Owned(Owner {
                            endpoint: owner.endpoint,
                            session: owner.id,
                        }));
                    }
                    None => return Err(Failure::Unknown("a session without endpoint".into())),
                },
                Err(_over) => debug!(claim = %name, "claim of a session that is over"),
            }
        }
        // Dead, or of an earlier request of ours: nothing runs under it.
        self.api.delete(name, &uid, None).await?;
        Ok(Look::Free)
    }

    /// Waits until no earlier claim of the name is on its way out.
    async fn burnt_down(&self, name: &str) -> Result<(), Unclaimed> {
        if !self.burnt.lock().contains_key(name) {
            return Ok(());
        }
        let mut burning = self.burning.subscribe();
        let down = burning.wait_for(|_| !self.burnt.lock().contains_key(name));
        match timeout(BURN, down).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Unclaimed::Unavailable),
        }
    }

    fn burn(&self, name: String, burnt: Burnt) {
        self.burnt.lock().insert(name, burnt);
        self.burning.send_modify(|count| *count += 1);
    }

    /// It is deleted, unless something newer of that name is to be.
    fn quench(&self, name: &str, done: &Burnt) {
        let mut burnt = self.burnt.lock();
        if burnt.get(name) == Some(done) {
            burnt.remove(name);
        }
        drop(burnt);
        self.burning.send_modify(|count| *count += 1);
    }

    /// Deletes until the server has said that it is not there.
    async fn delete(&self, name: &str, burnt: &Burnt) {
        let mut wait = BACKOFF.0;
        loop {
            // What was forgotten meanwhile is nobody's.
            if self.burnt.lock().get(name) != Some(burnt) {
                return;
            }
            let deleted = match burnt {
                Burnt::Known(uid) => self.api.delete(name, uid, None).await.map(drop),
                Burnt::Perhaps(holder) => self.delete_of(name, holder).await,
            };
            match deleted {
                Ok(()) => return,
                Err(Failure::NotFound | Failure::Conflict) => return,
                Err(failure) => debug!(claim = %name, error = %failure, "claim not deleted yet"),
            }
            sleep(jittered(wait)).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    async fn delete_of(&self, name: &str, holder: &str) -> Answer<()> {
        let lease = self.api.lease(name).await?;
        let made_by = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        if made_by == Some(holder) {
            let uid = lease.uid().unwrap_or_default();
            self.api.delete(name, &uid, None).await?;
        }
        Ok(())
    }
}

/// A name in use, until it is dropped.
struct Used {
    inner: Arc<Inner>,
    name: String,
}

impl Used {
    fn new(inner: Arc<Inner>, name: &str) -> Self {
        *inner.used.lock().entry(name.to_owned()).or_default() += 1;
        Used {
            inner,
            name: name.to_owned(),
        }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        let mut used = self.inner.used.lock();
        if let Some(count) = used.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.name);
            }
        }
    }
}

/// A request to make a claim. Unless it ended well, what it may have made is looked for and
/// deleted: also when whoever asked has gone.
struct Attempt<'a> {
    inner: &'a Inner,
    name: &'a str,
    holder: &'a str,
    over: bool,
}

impl Attempt<'_> {
    /// Its outcome is known.
    fn end(&mut self) {
        self.over = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.over {
            let burnt = Burnt::Perhaps(self.holder.to_owned());
            self.inner.burn(self.name.to_owned(), burnt);
        }
    }
}
