//! The fleet as the router sees it: who has a room, and which pods could get one.

use std::fmt;
use std::net::SocketAddr;

use crate::cluster::view::{Census, Scaling, View};
use crate::room::{Owner, RoomName};

/// A pod that has a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its uid, which lasts as long as the pod: what rooms are placed by.
    pub uid: String,
    /// Its session, and its peer port.
    pub owner: Owner,
    /// Where clients reach it.
    pub public: Option<SocketAddr>,
    /// Rooms it has.
    pub rooms: usize,
    /// Rooms it takes.
    pub limit: usize,
    /// Whether it takes new ones, apart from that.
    pub eligible: bool,
}

/// What is known of a fleet; it may be old.
pub trait Fleet: fmt::Debug + Send + Sync {
    /// Who has the room, if that is known.
    fn owner(&self, room: &RoomName) -> Option<Owner>;
    /// Every pod with a session.
    fn pods(&self) -> Vec<Pod>;
    /// Where clients reach the pod with that session.
    fn public(&self, session: u128) -> Option<SocketAddr>;
    /// All of it in six numbers; so many rooms are waited for here.
    fn scaling(&self, pending_rooms: usize) -> Scaling;
    /// Every pod, and which rooms they have: those whose names hold a text, so many at the most.
    fn census(&self, search: &str, most: usize) -> Census;
}

impl Fleet for View {
    fn owner(&self, room: &RoomName) -> Option<Owner> {
        View::owner(self, room)
    }

    fn pods(&self) -> Vec<Pod> {
        let sessions = self.sessions();
        let pods = sessions.iter().map(|session| {
            let pod = self.pod(&session.pod);
            let fit =
                pod.is_some_and(|pod| pod.uid == session.pod_uid && pod.ready && !pod.leaving);
            Pod {
                uid: session.pod_uid.clone(),
                owner: Owner {
                    endpoint: session.endpoint,
                    session: session.id,
                },
                public: session.public,
                // Claims are there before their rooms, and go after them; the session's own figure
                // is seconds old.
                rooms: self.rooms_of(session.id),
                limit: session.limit,
                eligible: session.ready && fit,
            }
        });
        pods.collect()
    }

    fn public(&self, session: u128) -> Option<SocketAddr> {
        self.session(session)?.public
    }

    fn scaling(&self, pending_rooms: usize) -> Scaling {
        View::scaling(self, pending_rooms)
    }

    fn census(&self, search: &str, most: usize) -> Census {
        View::census(self, search, most)
    }
}
