//! What this pod knows of its fleet: sessions, claims and pods, as the API server's watches tell.
//!
//! It may be old, and nothing that must hold rests on it: it says whom to ask, and the objects
//! themselves say who is right. It keeps of each object what is needed, so that 10,000 claims are
//! a few megabytes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::Instant;

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
    /// The object's version.
    pub version: String,
    /// When this version was first seen here.
    pub seen: Instant,
}

/// What a claim says about its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The uid of the object.
    pub uid: String,
    /// The session that has the room.
    pub session: u128,
    /// That session's name.
    pub session_name: String,
    /// Where the owner was reached when it claimed the room.
    pub endpoint: SocketAddr,
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
    /// Whether both watches have told all there is at least once.
    leases_synced: bool,
    pods_synced: bool,
}

/// That a pod object is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// Since when it is seen to be.
    pub since: Instant,
    /// Whether its containers had ended before.
    pub terminated: bool,
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
}
