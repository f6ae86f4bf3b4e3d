//! Who is in the fleet and has which room, for people who look.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::View;

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Every pod with a session, by name.
    pub pods: Vec<Member>,
    /// Rooms that were asked for, by name.
    pub rooms: Vec<Held>,
    /// How many there are of these.
    pub rooms_matching: usize,
    /// How many rooms there are in all.
    pub rooms_live: usize,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its name.
    pub pod: String,
    /// Where clients reach it.
    pub public: Option<SocketAddr>,
    /// Whether it takes new rooms, and Kubernetes finds it ready.
    pub ready: bool,
    /// Whether it is on its way out.
    pub leaving: bool,
    /// Clients that it has, as it said last.
    pub clients: usize,
    /// Rooms that it has.
    pub rooms: usize,
    /// Rooms that it takes; 0 for a gateway.
    pub limit: usize,
}

/// One room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its name.
    pub room: String,
    /// The pod that has it; null if that is not known.
    pub pod: Option<String>,
}

impl View {
    /// Every pod, and the rooms whose names or whose pods' names hold `search` in any case: so many at
    /// the most.
    pub fn census(&self, search: &str, most: usize) -> Census {
        let known = self.known.read();
        let search = search.to_lowercase();
        let mut pods: Vec<Member> = known
            .sessions
            .values()
            .map(|session| {
                let pod = known.pods.get(&session.pod);
                let pod = pod.filter(|pod| pod.uid == session.pod_uid);
                Member {
                    pod: session.pod.clone(),
                    public: session.public,
                    ready: session.ready && pod.is_some_and(|pod| pod.ready),
                    leaving: pod.is_some_and(|pod| pod.leaving),
                    clients: pod.map_or(0, |pod| pod.clients),
                    rooms: known.rooms.get(&session.id).copied().unwrap_or(0),
                    limit: session.limit,
                }
            })
            .collect();
        pods.sort_by(|a, b| a.pod.cmp(&b.pod));
        let holders: HashMap<u128, &str> = known
            .sessions
            .values()
            .map(|session| (session.id, session.pod.as_str()))
            .collect();
        let holds = |text: &str| text.to_lowercase().contains(&search);
        let claims = known.claims.values();
        let matches = |room: &str, session: u128| {
            search.is_empty() || holds(room) || holders.get(&session).is_some_and(|pod| holds(pod))
        };
        let mut found: Vec<_> = claims
            .filter(|claim| matches(&claim.room, claim.session))
            .collect();
        found.sort_by(|a, b| a.room.cmp(&b.room));
        let rooms_matching = found.len();
        let rooms = found.into_iter().take(most).map(|claim| Held {
            room: claim.room.to_string(),
            pod: holders.get(&claim.session).map(|pod| (*pod).to_owned()),
        });
        Census {
            pods,
            rooms: rooms.collect(),
            rooms_matching,
            rooms_live: known.claims.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;
    use crate::cluster::view::{Claimed, PodSeen, Session};

    fn view() -> View {
        let view = View::new("chess");
        let mut known = view.known.write();
        let session = Session {
            id: 7,
            name: "ss-s-a".to_owned(),
            pod: "pod-a".to_owned(),
            pod_uid: "a".to_owned(),
            endpoint: "10.0.0.1:1".parse().unwrap(),
            public: "10.0.0.1:2".parse().ok(),
            ready: true,
            rooms: 0,
            limit: 10,
            version: "1".to_owned(),
            lease: None,
            seen: Instant::now(),
        };
        let pod = PodSeen {
            uid: "a".to_owned(),
            ready: true,
            leaving: false,
            terminated: false,
            clients: 4,
        };
        known
            .sessions
            .insert("ss-s-a".to_owned(), Arc::new(session));
        known.pods.insert("pod-a".to_owned(), Arc::new(pod));
        known.rooms.insert(7, 2);
        for (room, session) in [("Go-2", 7), ("go-1", 7), ("chess", 8)] {
            let claim = Claimed {
                room: room.into(),
                uid: "u".to_owned(),
                session,
                session_name: "ss-s-a".to_owned(),
            };
            known.claims.insert(room.to_owned(), Arc::new(claim));
        }
        drop(known);
        view
    }

    #[tokio::test]
    async fn every_pod_is_there_and_rooms_as_far_as_they_were_asked_for() {
        let census = view().census("go", 1);
        assert_eq!((census.rooms_matching, census.rooms_live), (2, 3));
        let held = |room: &str, pod: Option<&str>| Held {
            room: room.to_owned(),
            pod: pod.map(str::to_owned),
        };
        assert_eq!(census.rooms, [held("Go-2", Some("pod-a"))]);
        let member = &census.pods[0];
        assert_eq!((member.rooms, member.limit, member.clients), (2, 10, 4));
        assert!(member.ready && !member.leaving);
        let of_pod = view().census("POD-A", 9);
        assert_eq!((of_pod.rooms_matching, of_pod.rooms.len()), (2, 2));
        // Of a session that is over it is not known who has its rooms.
        assert_eq!(view().census("", 9).rooms[1], held("chess", None));
    }
}
