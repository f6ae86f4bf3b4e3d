//! What a pod says about itself: from the rooms as they are now to the values of its annotations and
//! the one label. Pure; whatever the rooms are called, the list never passes its budget of bytes.

use serde_json::{Value, json};

use crate::cluster::names;
use crate::room::RoomName;

/// Rooms and their clients, in the order of the names.
const ROOMS: &str = "scalesocket.dev/rooms";
/// There are more rooms than the list has.
const ROOMS_TRUNCATED: &str = "scalesocket.dev/rooms-truncated";
const ROOMS_COUNT: &str = "scalesocket.dev/rooms-count";
const CLIENTS_COUNT: &str = "scalesocket.dev/clients-count";
const ROOMS_LIMIT: &str = "scalesocket.dev/rooms-limit";
/// Also the label by which a disruption budget selects pods.
const OCCUPIED: &str = "scalesocket.dev/occupied";
/// Kubernetes: among equals, the pod with the lowest goes first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";

/// Whether new rooms are welcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// They are.
    Ready,
    /// Rooms that live go on, and no others are taken.
    Draining,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Ready => names::READY,
            State::Draining => names::DRAINING,
        }
    }
}

/// What runs here at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The live rooms and how many clients each has, in the order of their names.
    pub rooms: Vec<(RoomName, usize)>,
    /// Clients that are led from here to rooms on other pods.
    pub transit: usize,
    /// Most rooms this pod takes.
    pub limit: usize,
    /// Whether new rooms are welcome.
    pub state: State,
}

/// How two snapshots differ, in the order of urgency.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Difference {
    /// In nothing that is published.
    None,
    /// In how many clients there are.
    Counts,
    /// In which rooms there are, or whether there is anybody.
    Rooms,
    /// In whether new rooms are welcome.
    State,
}

impl Snapshot {
    /// Clients of the rooms here. Those in transit are counted where their room is.
    fn clients(&self) -> usize {
        self.rooms.iter().map(|(_, clients)| clients).sum()
    }

    fn names(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.iter().map(|(name, _)| name)
    }

    /// Whether ending this pod would end something: a room, or a client on its way to one.
    pub(super) fn is_occupied(&self) -> bool {
        !self.rooms.is_empty() || self.transit > 0
    }

    /// What ending this pod costs, for Kubernetes to compare: in steps of doubled clients, so that
    /// it changes seldom; 0 is for those that nobody would miss.
    pub(super) fn cost(&self) -> u32 {
        match self.is_occupied() {
            true => 1 + 10 * (self.clients() + self.transit).max(1).ilog2(),
            false => 0,
        }
    }

    /// How urgently somebody who knows `old` should hear of this.
    pub(super) fn differs_from(&self, old: &Snapshot) -> Difference {
        if self.state != old.state {
            Difference::State
        } else if self.limit != old.limit
            || self.is_occupied() != old.is_occupied()
            || self.rooms.len() != old.rooms.len()
            || !self.names().eq(old.names())
        {
            Difference::Rooms
        } else if self.rooms != old.rooms {
            Difference::Counts
        } else {
            Difference::None
        }
    }

    /// The merge patch that says all of it: for the pod with that uid and no other (the API server
    /// answers 422 to another), with a list of rooms of at most `budget` bytes.
    ///
    /// It says everything each time, so that no patch depends on one before it.
    pub(super) fn patch(&self, uid: &str, cost: u32, budget: usize) -> Value {
        let (rooms, truncated) = self.listed(budget);
        let occupied = self.is_occupied();
        let only = |holds: bool, text: &str| match holds {
            true => Value::from(text),
            false => Value::Null, // a merge patch removes
        };
        json!({
            "metadata": {
                "uid": uid,
                "labels": { OCCUPIED: only(occupied, "true") },
                "annotations": {
                    ROOMS: rooms,
                    ROOMS_TRUNCATED: only(truncated, "true"),
                    ROOMS_COUNT: self.rooms.len().to_string(),
                    CLIENTS_COUNT: self.clients().to_string(),
                    ROOMS_LIMIT: self.limit.to_string(),
                    names::STATE: self.state.as_str(),
                    DELETION_COST: cost.to_string(),
                    SAFE_TO_EVICT: only(occupied, "false"),
                    DO_NOT_DISRUPT: only(occupied, "true"),
                },
            },
        })
    }

    /// The rooms as compact JSON, and whether some were left out. The first of them by name that
    /// fit are kept: which rooms are listed then changes no more often than the rooms do.
    fn listed(&self, budget: usize) -> (String, bool) {
        let mut list = String::from("{");
        for (name, clients) in &self.rooms {
            let comma = if list.len() > 1 { "," } else { "" };
            let entry = format!("{comma}{}:{clients}", Value::from(name.as_str()));
            if list.len() + entry.len() + 1 > budget {
                return (list + "}", true);
            }
            list += &entry;
        }
        (list + "}", false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot(rooms: &[(&str, usize)], transit: usize) -> Snapshot {
        let room = |(name, clients): &(&str, usize)| (RoomName::parse(name).unwrap(), *clients);
        Snapshot {
            rooms: rooms.iter().map(room).collect(),
            transit,
            limit: 100,
            state: State::Ready,
        }
    }

    fn annotation(patch: &Value, name: &str) -> Value {
        patch["metadata"]["annotations"][name].clone()
    }

    #[test]
    fn an_occupied_pod_says_so_everywhere() {
        let patch = snapshot(&[("chess", 2), ("go \"9\"", 0)], 3).patch("uid-1", 21, 32 << 10);
        let expected = json!({
            "metadata": {
                "uid": "uid-1",
                "labels": {"scalesocket.dev/occupied": "true"},
                "annotations": {
                    "scalesocket.dev/rooms": r#"{"chess":2,"go \"9\"":0}"#,
                    "scalesocket.dev/rooms-truncated": null,
                    "scalesocket.dev/rooms-count": "2",
                    "scalesocket.dev/clients-count": "2",
                    "scalesocket.dev/rooms-limit": "100",
                    "scalesocket.dev/state": "ready",
                    "controller.kubernetes.io/pod-deletion-cost": "21",
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                    "karpenter.sh/do-not-disrupt": "true",
                },
            },
        });
        assert_eq!(patch, expected);
    }

    #[test]
    fn an_idle_pod_removes_what_protected_it() {
        let idle = snapshot(&[], 0);
        let patch = idle.patch("uid-1", idle.cost(), 32 << 10);
        assert_eq!(annotation(&patch, ROOMS), "{}");
        assert_eq!(annotation(&patch, DELETION_COST), "0");
        for gone in [SAFE_TO_EVICT, DO_NOT_DISRUPT, ROOMS_TRUNCATED] {
            let all = patch["metadata"]["annotations"].as_object().unwrap();
            assert_eq!(all.get(gone), Some(&Value::Null), "{gone}");
        }
        let label = patch["metadata"]["labels"]
            .as_object()
            .unwrap()
            .get(OCCUPIED);
        assert_eq!(label, Some(&Value::Null));
    }

    #[test]
    fn the_cost_counts_who_would_be_missed() {
        assert_eq!(snapshot(&[], 0).cost(), 0);
        assert_eq!(snapshot(&[("a", 0)], 0).cost(), 1);
        assert_eq!(snapshot(&[("a", 1)], 0).cost(), 1);
        assert_eq!(snapshot(&[("a", 1)], 1).cost(), 11);
        assert_eq!(
            snapshot(&[], 500).cost(),
            81,
            "500 in transit are not nobody"
        );
        assert_eq!(snapshot(&[("a", 1_000), ("b", 24)], 0).cost(), 101);
        assert!(i32::try_from(snapshot(&[("a", usize::MAX)], 0).cost()).is_ok());
    }

    #[test]
    fn what_is_new_is_as_urgent_as_it_is() {
        let old = snapshot(&[("a", 1), ("b", 2)], 0);
        let is = |new: &Snapshot, expected| assert_eq!(new.differs_from(&old), expected);
        is(&old.clone(), Difference::None);
        is(&snapshot(&[("a", 1), ("b", 2)], 7), Difference::None);
        is(&snapshot(&[("a", 2), ("b", 2)], 0), Difference::Counts);
        is(&snapshot(&[("a", 1), ("c", 2)], 0), Difference::Rooms);
        is(&snapshot(&[("a", 1)], 0), Difference::Rooms);
        let mut draining = old.clone();
        draining.state = State::Draining;
        is(&draining, Difference::State);
        assert_eq!(
            snapshot(&[], 1).differs_from(&snapshot(&[], 0)),
            Difference::Rooms
        );
    }

    /// Any name a room may have, those that grow in JSON often.
    fn name() -> impl Strategy<Value = RoomName> {
        let hostile = prop_oneof![
            Just("\"".to_owned()),
            Just("\\".to_owned()),
            Just("\u{2028}".to_owned()),
            Just("\u{1f600}".to_owned()),
            any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(hostile, 1..40).prop_filter_map("no name of a room", |parts| {
            RoomName::parse(&parts.concat()).ok()
        })
    }

    proptest! {
        #[test]
        fn the_list_never_passes_its_budget(
            rooms in proptest::collection::btree_map(name(), any::<u32>(), 0..60),
            budget in 2_usize..4_000,
        ) {
            let snapshot = Snapshot {
                rooms: rooms.iter().map(|(name, n)| (name.clone(), *n as usize)).collect(),
                transit: 0,
                limit: 100,
                state: State::Ready,
            };
            let patch = snapshot.patch("uid-1", 0, budget);
            let text = annotation(&patch, ROOMS);
            let text = text.as_str().unwrap();
            prop_assert!(text.len() <= budget);
            let listed: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
            for (name, clients) in &listed {
                let name = RoomName::parse(name).unwrap();
                let has = rooms.get(&name).map(|clients| json!(clients));
                prop_assert_eq!(Some(clients), has.as_ref());
            }
            let marked = annotation(&patch, ROOMS_TRUNCATED) == "true";
            prop_assert_eq!(marked, listed.len() < rooms.len());
            prop_assert_eq!(annotation(&patch, ROOMS_COUNT), rooms.len().to_string());
        }
    }
}
