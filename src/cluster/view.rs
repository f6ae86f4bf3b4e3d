//! What this pod knows of its fleet: sessions, claims and pods, as the API server's watches tell.
//!
//! It may be old, and nothing that must hold rests on it: it says whom to ask, and the objects
//! themselves say who is right. It keeps of each object what is needed, so that 10,000 claims are
//! a few megabytes.

mod census;
mod scaling;

pub use census::Census;
pub use scaling::Scaling;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::chance::jittered;
use super::names;
use crate::room::{Owner, RoomName};

/// What a session says about its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its object's uid: which life of the server it is.
    pub id: u128,
    /// The object's name.
    pub name: String,
    /// The name of the pod.
    pub pod: String,
    /// The uid of the pod.
    pub pod_uid: String,
    /// Where other pods reach it.
    pub endpoint: SocketAddr,
    /// Where clients reach it.
    pub public: Option<SocketAddr>,
    /// Whether it takes new rooms.
    pub ready: bool,
    /// Rooms it had when it last said so.
    pub rooms: usize,
    /// Rooms it takes; 0 for a gateway.
    pub limit: usize,
    /// What every write changes.
    pub version: String,
    /// How long a renewal is good for; none if the session is not fenced.
    pub lease: Option<Duration>,
    /// When this version was first seen here.
    pub seen: Instant,
}

/// What a claim says about its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The room; empty if it does not say.
    pub room: Box<str>,
    /// The uid of the object.
    pub uid: String,
    /// The session that has the room.
    pub session: u128,
    /// That session's name.
    pub session_name: String,
}

/// What is known of a pod object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSeen {
    /// The object's uid.
    pub uid: String,
    /// Its condition `Ready`.
    pub ready: bool,
    /// Whether it is on its way out.
    pub leaving: bool,
    /// Whether each of its containers was seen to have ended for good.
    pub terminated: bool,
    /// Clients that it has, as it said last.
    pub clients: usize,
}

#[derive(Debug, Default)]
struct Known {
    /// By the object's name.
    sessions: HashMap<String, Arc<Session>>,
    /// By the object's name.
    claims: HashMap<String, Arc<Claimed>>,
    /// By the pod's name.
    pods: HashMap<String, Arc<PodSeen>>,
    /// Pods that were seen and are gone, by uid: since when, and whether all had ended before.
    gone: HashMap<String, Gone>,
    /// How many claims each session has.
    rooms: HashMap<u128, usize>,
    /// Whether the watches have told all there is at least once.
    leases_synced: bool,
    pods_synced: bool,
    /// Since when the watch of leases has not failed.
    steady: Option<Instant>,
}

/// Between two tries of a watch that fails.
#[derive(Debug, Default)]
struct Backoff(u32);

/// The first and the longest wait of a [`Backoff`].
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = WAITS.0.saturating_mul(2u32.saturating_pow(self.0));
        self.0 += 1;
        Some(jittered(wait.min(WAITS.1)))
    }
}

impl kube::runtime::utils::Backoff for Backoff {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// How long one watch lasts. It is also how long a dead connection may go unnoticed.
const WATCH_SECONDS: u32 = 60;
/// How long it is remembered that a pod is gone: longer than any takeover waits.
const GONE_KEPT: Duration = Duration::from_secs(3600);

/// That a pod object is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// Since when it is seen to be.
    pub since: Instant,
    /// Whether its containers had ended before.
    pub terminated: bool,
}

impl Known {
    fn put_lease(&mut self, lease: &Lease) {
        let name = lease.name_any();
        if name.starts_with(names::SESSION_PREFIX) {
            let Some(mut session) = Session::read(lease) else {
                warn!(lease = %name, "session ignored: it does not say who it is");
                return self.drop_lease(&name);
            };
            if let Some(old) = self.sessions.get(&name)
                && (old.id, &old.version) == (session.id, &session.version)
            {
                session.seen = old.seen;
            }
            self.sessions.insert(name, Arc::new(session));
        } else if name.starts_with(names::CLAIM_PREFIX) {
            let Some(claim) = Claimed::read(lease) else {
                warn!(lease = %name, "claim ignored: it does not say whose it is");
                return self.drop_lease(&name);
            };
            self.drop_lease(&name);
            *self.rooms.entry(claim.session).or_default() += 1;
            self.claims.insert(name, Arc::new(claim));
        }
    }

    fn drop_lease(&mut self, name: &str) {
        self.sessions.remove(name);
        if let Some(claim) = self.claims.remove(name)
            && let Some(rooms) = self.rooms.get_mut(&claim.session)
        {
            *rooms -= 1;
            if *rooms == 0 {
                self.rooms.remove(&claim.session);
            }
        }
    }

    fn put_pod(&mut self, pod: &Pod) {
        let (Some(uid), name) = (pod.uid(), pod.name_any()) else {
            return;
        };
        let seen = PodSeen::read(uid, pod);
        let replaced = self.pods.get(&name).filter(|old| old.uid != seen.uid);
        if let Some(old) = replaced.cloned() {
            self.pod_has_gone(&old);
        }
        self.gone.remove(&seen.uid);
        self.pods.insert(name, Arc::new(seen));
    }

    fn drop_pod(&mut self, name: &str) {
        if let Some(old) = self.pods.remove(name) {
            self.pod_has_gone(&old);
        }
    }

    fn pod_has_gone(&mut self, pod: &PodSeen) {
        let now = Instant::now();
        self.gone.retain(|_, gone| now - gone.since < GONE_KEPT);
        let terminated = pod.terminated;
        let gone = Gone {
            since: now,
            terminated,
        };
        self.gone.insert(pod.uid.clone(), gone);
    }
}

impl Session {
    pub(super) fn read(lease: &Lease) -> Option<Session> {
        let spec = lease.spec.as_ref()?;
        let annotations = lease.annotations();
        let number = |name: &str| annotations.get(name).and_then(|text| text.parse().ok());
        let address = |name: &str| annotations.get(name).and_then(|text| text.parse().ok());
        let name = lease.name_any();
        Some(Session {
            id: names::uid(&lease.uid()?)?,
            pod: spec
                .holder_identity
                .as_deref()?
                .split_once('/')?
                .0
                .to_owned(),
            pod_uid: name.strip_prefix(names::SESSION_PREFIX)?.to_owned(),
            endpoint: address(names::ENDPOINT)?,
            public: address(names::PUBLIC),
            ready: annotations
                .get(names::STATE)
                .is_some_and(|state| state == names::READY),
            rooms: number(names::ROOMS).unwrap_or(0),
            limit: number(names::LIMIT).unwrap_or(0),
            version: lease.resource_version()?,
            lease: spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
            seen: Instant::now(),
            name,
        })
    }
}

impl Claimed {
    pub(super) fn read(lease: &Lease) -> Option<Claimed> {
        let owners = lease.owner_references();
        // What cannot be asked for cannot be a session: such a claim would be nobody's for ever.
        let is_session = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            name.starts_with(names::SESSION_PREFIX)
                && name
                    .bytes()
                    .all(|byte| plain(byte) || b"-.".contains(&byte))
        };
        let owner = owners
            .iter()
            .find(|owner| owner.kind == "Lease" && is_session(&owner.name))?;
        let room = lease.annotations().get(names::ROOM);
        Some(Claimed {
            room: room.map(String::as_str).unwrap_or_default().into(),
            uid: lease.uid()?,
            session: names::uid(&owner.uid)?,
            session_name: owner.name.clone(),
        })
    }
}

impl PodSeen {
    fn read(uid: String, pod: &Pod) -> PodSeen {
        let status = pod.status.as_ref();
        let condition = |kind: &str| {
            let conditions = status.and_then(|status| status.conditions.as_deref());
            conditions
                .unwrap_or_default()
                .iter()
                .any(|condition| condition.type_ == kind && condition.status == "True")
        };
        let ended = |all: Option<&Vec<ContainerStatus>>| {
            let all = all.map(Vec::as_slice).unwrap_or_default();
            let terminated = |one: &ContainerStatus| {
                one.state
                    .as_ref()
                    .is_some_and(|state| state.terminated.is_some())
            };
            all.iter().all(terminated)
        };
        let leaving = pod.metadata.deletion_timestamp.is_some();
        let containers = status.and_then(|status| status.container_statuses.as_ref());
        let inits = status.and_then(|status| status.init_container_statuses.as_ref());
        let clients = pod.annotations().get(names::CLIENTS);
        PodSeen {
            uid,
            clients: clients.and_then(|text| text.parse().ok()).unwrap_or(0),
            ready: condition("Ready"),
            leaving,
            // Of a pod that is not on its way out, containers are started again.
            terminated: leaving
                && containers.is_some_and(|all| !all.is_empty())
                && ended(containers)
                && ended(inits),
        }
    }
}

/// See the module's documentation. Clones share it.
#[derive(Debug, Clone)]
pub struct View {
    fleet: Arc<str>,
    known: Arc<RwLock<Known>>,
    changed: watch::Sender<u64>,
}

impl View {
    /// Nothing is known yet.
    pub fn new(fleet: &str) -> Self {
        View {
            fleet: fleet.into(),
            known: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// Wakes whoever waits for something new.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether all there is was told at least once.
    pub fn is_synced(&self) -> bool {
        let known = self.known.read();
        known.leases_synced && known.pods_synced
    }

    /// Who has the room, as far as is known: its claim, and its session if that is not over.
    pub fn owner(&self, room: &RoomName) -> Option<Owner> {
        let known = self.known.read();
        let claim = known.claims.get(&names::claim(&self.fleet, room))?;
        let session = known.sessions.get(&claim.session_name)?;
        (session.id == claim.session).then_some(Owner {
            endpoint: session.endpoint,
            session: session.id,
        })
    }

    /// The session with that id.
    pub fn session(&self, id: u128) -> Option<Arc<Session>> {
        let known = self.known.read();
        known
            .sessions
            .values()
            .find(|session| session.id == id)
            .cloned()
    }

    /// The session object of that name.
    pub fn session_named(&self, name: &str) -> Option<Arc<Session>> {
        self.known.read().sessions.get(name).cloned()
    }

    /// All sessions, by name.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        let mut sessions: Vec<_> = self.known.read().sessions.values().cloned().collect();
        sessions.sort_by(|a, b| a.name.cmp(&b.name));
        sessions
    }

    /// How many claims there are.
    pub fn claims(&self) -> usize {
        self.known.read().claims.len()
    }

    /// How many claims that session has.
    pub fn rooms_of(&self, session: u128) -> usize {
        self.known.read().rooms.get(&session).copied().unwrap_or(0)
    }

    /// The claims of that session: name and uid of each.
    pub fn claims_of(&self, session: u128) -> Vec<(String, String)> {
        let known = self.known.read();
        let claims = known.claims.iter();
        claims
            .filter(|(_, claim)| claim.session == session)
            .map(|(name, claim)| (name.clone(), claim.uid.clone()))
            .collect()
    }

    /// Since when the watch of leases has told everything without a break; none while it does not.
    pub fn steady(&self) -> Option<Instant> {
        self.known.read().steady
    }

    /// The pod object of that name.
    pub fn pod(&self, name: &str) -> Option<Arc<PodSeen>> {
        self.known.read().pods.get(name).cloned()
    }

    /// Since when the pod with that name and uid is gone, if it is. One that never was seen is
    /// gone since it is asked for.
    pub fn pod_gone(&self, name: &str, uid: &str) -> Option<Gone> {
        let mut known = self.known.write();
        if !known.pods_synced || known.pods.get(name).is_some_and(|pod| pod.uid == uid) {
            return None;
        }
        let now = Instant::now();
        let gone = known.gone.entry(uid.to_owned());
        Some(*gone.or_insert(Gone {
            since: now,
            terminated: false,
        }))
    }

    /// Follows the API server for ever.
    pub async fn run(&self, leases: Api<Lease>, pods: Api<Pod>) {
        let selector = format!("{}={}", names::FLEET, self.fleet);
        let config = watcher::Config::default()
            .labels(&selector)
            .timeout(WATCH_SECONDS);
        tokio::join!(
            self.follow_leases(leases, config.clone()),
            self.follow_pods(pods, config)
        );
    }

    async fn follow_leases(&self, leases: Api<Lease>, config: watcher::Config) {
        let mut events = watcher(leases, config).backoff(Backoff::default()).boxed();
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            let mut known = self.known.write();
            if event.is_ok() {
                known.steady.get_or_insert_with(Instant::now);
            }
            match event {
                Ok(Event::Apply(lease)) => known.put_lease(&lease),
                Ok(Event::Delete(lease)) => known.drop_lease(&lease.name_any()),
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(lease)) => {
                    listed.insert(lease.name_any());
                    known.put_lease(&lease);
                }
                Ok(Event::InitDone) => {
                    let all = known.sessions.keys().chain(known.claims.keys());
                    let over: Vec<_> = all
                        .filter(|name| !listed.contains(*name))
                        .cloned()
                        .collect();
                    over.iter().for_each(|name| known.drop_lease(name));
                    listed = HashSet::new();
                    known.leases_synced = true;
                }
                Err(error) => {
                    known.steady = None;
                    debug!(%error, "watch of leases failed; trying again");
                    continue;
                }
            }
            drop(known);
            self.changed.send_modify(|count| *count += 1);
        }
    }

    async fn follow_pods(&self, pods: Api<Pod>, config: watcher::Config) {
        let mut events = watcher(pods, config).backoff(Backoff::default()).boxed();
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            let mut known = self.known.write();
            match event {
                Ok(Event::Apply(pod)) => known.put_pod(&pod),
                Ok(Event::Delete(pod)) => {
                    // What it says at its end is what was last known of its containers.
                    known.put_pod(&pod);
                    known.drop_pod(&pod.name_any());
                }
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(pod)) => {
                    listed.insert(pod.name_any());
                    known.put_pod(&pod);
                }
                Ok(Event::InitDone) => {
                    let over = known.pods.keys().filter(|name| !listed.contains(*name));
                    let over: Vec<_> = over.cloned().collect();
                    over.iter().for_each(|name| known.drop_pod(name));
                    listed = HashSet::new();
                    known.pods_synced = true;
                }
                Err(error) => {
                    debug!(%error, "watch of pods failed; trying again");
                    continue;
                }
            }
            drop(known);
            self.changed.send_modify(|count| *count += 1);
        }
    }
}
