//! The fleet in six numbers, for autoscalers: the block `scaling` of `/stats`.

use serde::Serialize;

use super::View;

/// What an autoscaler is told. Gateways do not count, except for what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Scaling {
    /// Rooms that live or are about to, on all pods.
    pub rooms: usize,
    /// Clients in them, as pods said last.
    pub clients: usize,
    /// Rooms that are waited for here, because no pod takes them yet.
    pub pending_rooms: usize,
    /// `rooms` and `pending_rooms`: what there should be pods for.
    pub rooms_wanted: usize,
    /// Rooms that one pod takes; 0 while there is none.
    pub limit_per_pod: usize,
    /// Pods that take rooms.
    pub pods_ready: usize,
}

impl View {
    /// The fleet as far as it is known here; `pending_rooms` are those that are waited for here.
    pub fn scaling(&self, pending_rooms: usize) -> Scaling {
        let known = self.known.read();
        let servers = known.sessions.values().filter(|session| session.limit > 0);
        let takes_rooms = |pod: &str, uid: &str| {
            let pod = known.pods.get(pod);
            pod.is_some_and(|pod| pod.uid == uid && pod.ready && !pod.leaving)
        };
        let ready = servers
            .clone()
            .filter(|session| session.ready && takes_rooms(&session.pod, &session.pod_uid));
        // Claims of sessions that are over are litter.
        let rooms: usize = servers
            .clone()
            .filter_map(|session| known.rooms.get(&session.id))
            .sum();
        Scaling {
            rooms,
            // An annotation may say any number.
            clients: known
                .pods
                .values()
                .fold(0, |sum, pod| usize::saturating_add(sum, pod.clients)),
            pending_rooms,
            rooms_wanted: rooms + pending_rooms,
            limit_per_pod: servers.map(|session| session.limit).max().unwrap_or(0),
            pods_ready: ready.count(),
        }
    }
}
