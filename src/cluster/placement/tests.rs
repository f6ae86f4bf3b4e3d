//! What placement promises, for any fleet.

use proptest::prelude::*;

use super::*;

/// A fleet that rooms are placed into one after the other.
#[derive(Debug, Clone)]
struct Fleet(Vec<(String, usize, usize, bool)>);

impl Fleet {
    fn empty(pods: usize, limit: usize) -> Self {
        let pod = |n| (format!("pod-{n}"), 0, limit, true);
        Fleet((0..pods).map(pod).collect())
    }

    fn candidates(&self) -> Vec<Candidate<'_>> {
        let mut all = Vec::new();
        for (id, load, limit, eligible) in &self.0 {
            all.push(Candidate {
                id,
                load: *load,
                limit: *limit,
                eligible: *eligible,
            });
        }
        all
    }

    fn place(&self, room: &str, policy: Placement) -> Option<usize> {
        place(room, policy, &self.candidates())
    }

    fn fill(&mut self, rooms: usize, policy: Placement) {
        for room in 0..rooms {
            if let Some(at) = self.place(&format!("room-{room}"), policy) {
                self.0[at].1 += 1;
            }
        }
    }

    fn loads(&self) -> Vec<usize> {
        self.0.iter().map(|pod| pod.1).collect()
    }
}

fn any_fleet() -> impl Strategy<Value = Fleet> {
    let pod = (0usize..20, 0usize..20, any::<bool>());
    proptest::collection::vec(pod, 0..12).prop_map(|pods| {
        let named = (0..).zip(pods);
        Fleet(
            named
                .map(|(n, (load, limit, eligible))| (format!("pod-{n}"), load, limit, eligible))
                .collect(),
        )
    })
}

fn any_policy() -> impl Strategy<Value = Placement> {
    prop_oneof![
        Just(Placement::Spread),
        (0usize..25).prop_map(Placement::Packed),
    ]
}

proptest! {
    #[test]
    fn somebody_is_chosen_exactly_when_somebody_is_open(
        fleet in any_fleet(), policy in any_policy(), room in "\\PC{0,20}",
    ) {
        let open = fleet.candidates().iter().any(Candidate::is_open);
        match fleet.place(&room, policy) {
            Some(at) => prop_assert!(fleet.candidates()[at].is_open()),
            None => prop_assert!(!open),
        }
    }

    #[test]
    fn every_pod_chooses_the_same_in_whatever_order_it_knows_the_others(
        fleet in any_fleet(), policy in any_policy(), room in "\\PC{0,20}", turn in 0usize..12,
    ) {
        let mut other = fleet.clone();
        other.0.reverse();
        let turns = turn % other.0.len().max(1);
        other.0.rotate_left(turns);
        let name = |fleet: &Fleet| fleet.place(&room, policy).map(|at| fleet.0[at].0.clone());
        prop_assert_eq!(name(&fleet), name(&other));
    }

    #[test]
    fn no_pod_gets_more_than_a_quarter_above_its_share(pods in 1usize..12, rooms in 0usize..300) {
        let mut fleet = Fleet::empty(pods, usize::MAX);
        fleet.fill(rooms, Placement::Spread);
        let most = (5 * rooms).div_ceil(4 * pods);
        prop_assert!(fleet.loads().iter().all(|load| *load <= most), "{:?} > {most}", fleet.loads());
        prop_assert_eq!(fleet.loads().iter().sum::<usize>(), rooms);
    }

    #[test]
    fn another_pod_takes_rooms_for_itself_and_moves_none_between_others(
        pods in 1usize..12, load in 0usize..50, room in "\\PC{0,20}",
    ) {
        let mut fleet = Fleet::empty(pods, usize::MAX);
        fleet.0.iter_mut().for_each(|pod| pod.1 = load);
        let before = fleet.place(&room, Placement::Spread);
        fleet.0.push(("the new one".to_owned(), load, usize::MAX, true));
        let after = fleet.place(&room, Placement::Spread);
        prop_assert!(after == before || after == Some(pods));
    }

    #[test]
    fn packing_opens_no_pod_while_another_has_room_below_the_target(
        pods in 1usize..8, target in 1usize..20, rooms in 0usize..100,
    ) {
        let mut fleet = Fleet::empty(pods, usize::MAX);
        fleet.fill(rooms, Placement::Packed(target));
        let used = fleet.loads().iter().filter(|load| **load > 0).count();
        prop_assert_eq!(used, rooms.div_ceil(target).min(pods));
        // Above the target all of them grow evenly.
        if rooms > pods * target {
            let (least, most) = (fleet.loads().into_iter().min(), fleet.loads().into_iter().max());
            prop_assert!(most <= least.map(|least| least + 1));
        }
    }
}

#[test]
fn one_pod_more_among_ten_takes_about_its_share_of_new_rooms() {
    let (ten, eleven) = (Fleet::empty(10, 100), Fleet::empty(11, 100));
    let moved = (0..1000)
        .filter(|n| {
            let room = format!("room-{n}");
            ten.place(&room, Placement::Spread) != eleven.place(&room, Placement::Spread)
        })
        .count();
    assert!(
        (45..=140).contains(&moved),
        "{moved} of 1000 placements moved"
    );
}

#[test]
fn a_full_or_excluded_pod_gets_nothing_and_its_load_does_not_count() {
    let mut fleet = Fleet::empty(3, 10);
    fleet.0[0].1 = 10;
    fleet.0[1] = ("gone".to_owned(), 9, 10, false);
    for policy in [Placement::Spread, Placement::Packed(8)] {
        assert_eq!(fleet.place("any", policy), Some(2));
    }
    fleet.0[2].1 = 10;
    assert_eq!(fleet.place("any", Placement::Spread), None);
}

#[test]
fn a_packed_pod_gets_rooms_up_to_the_target_and_the_fullest_first() {
    let mut fleet = Fleet::empty(3, 10);
    (fleet.0[0].1, fleet.0[1].1, fleet.0[2].1) = (2, 7, 8);
    let policy = Placement::Packed(8);
    assert_eq!(fleet.place("a", policy), Some(1));
    fleet.0[1].1 = 8;
    assert_eq!(fleet.place("b", policy), Some(0));
    fleet.0[0].1 = 9;
    // All at the target or above: the least full, of which there are two.
    assert!(matches!(fleet.place("c", policy), Some(1 | 2)));
}
