//! The rules of sessions: what a server that loses its standing does to its rooms, and how it
//! comes by another.

use std::time::Duration;

use scalesocket::cluster::names;
use scalesocket::cluster::session::Standing;
use scalesocket::room::Unclaimed;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::double::{Double, Fault, Loss, Resource, Verb};
use crate::fleet::{FENCE, Fleet, Mode, room};
use crate::process::{Process, Said};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(300);

fn cut(fleet: &Fleet, process: &Process) {
    for line in process.pod.lines() {
        fleet.double.faults(&line).cut(Loss::Hang);
    }
}

fn heal(fleet: &Fleet, process: &Process) {
    for line in process.pod.lines() {
        fleet.double.faults(&line).heal();
    }
}

fn claims(double: &Double) -> usize {
    let leases = double.names(Resource::Leases);
    leases.iter().filter(|it| it.starts_with("ss-r-")).count()
}

#[tokio::test(start_paused = true)]
async fn a_session_deleted_by_hand_ends_every_room_and_begins_again() {
    for mode in [Mode::Pod, Mode::Fenced] {
        let (fleet, pods) = Fleet::of(1, mode).await;
        let lobby = room("lobby");
        assert!(fleet.visit(&pods[0], &lobby).await.is_ok());
        let first = pods[0].standing();
        fleet.double.delete_lease(&names::session(&pods[0].pod.uid));
        let again = pods[0]
            .stands(|now| now.holds().is_some() && now.session != first.session)
            .await;
        assert!(again.epoch > first.epoch);
        assert_eq!(fleet.ledger.living(pods[0].id), 0);
        assert!(fleet.reach(&pods[0], &lobby).await.is_some());
        fleet.all_is_well();
    }
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_is_heard_of_once_is_asked_after_until_there_is_an_answer() {
    let (fleet, pods) = Fleet::of(1, Mode::Pod).await;
    assert!(fleet.visit(&pods[0], &room("lobby")).await.is_ok());
    let first = pods[0].standing().session;
    // Nothing else will happen in this fleet that would be cause to ask again.
    let day = Duration::from_secs(86_400);
    fleet.double.garbage_delay(day..=day);
    tokio::time::sleep(Duration::from_secs(30)).await;
    for fault in [Fault::Refused(503), Fault::LostRequest(Loss::Hang)] {
        fleet
            .double
            .faults(&pods[0].pod.name)
            .next(Verb::Get, fault);
    }
    fleet.double.delete_lease(&names::session(&pods[0].pod.uid));
    let again = |now: &Standing| now.holds().is_some() && now.session != first;
    let begun = Instant::now();
    pods[0].stands(again).await;
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn who_is_told_half_an_answer_is_in_no_hurry() {
    let (fleet, pods) = Fleet::of(1, Mode::Fenced).await;
    let get = (Verb::Get, Resource::Pods);
    let patch = (Verb::Patch, Resource::Leases);
    // It may not read sessions, so it cannot know whether its own is over.
    fleet.double.faults(&pods[0].pod.name).role(&[get, patch]);
    fleet.double.delete_lease(&names::session(&pods[0].pod.uid));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let asked = fleet
        .double
        .count(&pods[0].pod.name, Verb::Patch, Resource::Leases);
    assert!((1..40).contains(&asked), "{asked} times");
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_pod_is_gone_ends_with_its_rooms() {
    for mode in [Mode::Pod, Mode::Fenced] {
        let (fleet, pods) = Fleet::of(2, mode).await;
        for pod in &pods {
            assert!(fleet.visit(pod, &room(&pod.pod.name)).await.is_ok());
            fleet.double.force_delete_pod(&pod.pod.name);
        }
        // As a StatefulSet does: another pod of the same name.
        fleet
            .double
            .create_pod(&pods[1].pod.name, "10.0.0.9", "set-1");
        for pod in &pods {
            timeout(PATIENCE, pod.ended()).await.expect("it ends");
            assert_eq!(fleet.ledger.living(pod.id), 0);
        }
        fleet.all_is_well();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_hears_nothing_in_mode_pod_keeps_its_rooms() {
    let (fleet, pods) = Fleet::of(2, Mode::Pod).await;
    assert!(fleet.visit(&pods[0], &room("lobby")).await.is_ok());
    cut(&fleet, &pods[0]);
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(fleet.ledger.homes(&room("lobby")), [pods[0].id]);
    assert!(matches!(
        pods[1].ask(&room("lobby")).await,
        Said::Elsewhere(_)
    ));
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_kills_in_time_and_goes_on_under_the_same_session() {
    let (fleet, pods) = Fleet::of(1, Mode::Fenced).await;
    let lobby = room("lobby");
    assert!(fleet.visit(&pods[0], &lobby).await.is_ok());
    let first = pods[0].standing();
    cut(&fleet, &pods[0]);
    let begun = Instant::now();
    let fenced = pods[0].stands(|now| !now.open).await;
    let took = begun.elapsed();
    assert!(took <= FENCE.after - FENCE.margin, "{took:?}");
    assert_eq!(fenced.session, first.session);
    // The first child of this fleet.
    let dead = timeout(FENCE.margin, fleet.ledger.ended(1)).await;
    dead.expect("its rooms are dead in time");
    let said = pods[0].ask(&lobby).await;
    assert_eq!(said, Said::No(Unclaimed::Suspended));
    assert_eq!(claims(&fleet.double), 1, "it could not be given back");
    heal(&fleet, &pods[0]);
    let again = pods[0].stands(|now| now.holds().is_some()).await;
    assert_eq!(again.session, first.session);
    assert!(again.epoch > first.epoch);
    assert_eq!(claims(&fleet.double), 0, "it was given back first");
    assert!(fleet.visit(&pods[0], &lobby).await.is_ok());
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn the_rooms_of_a_stopped_server_die_in_time() {
    let (fleet, pods) = Fleet::of(1, Mode::Fenced).await;
    assert!(fleet.visit(&pods[0], &room("lobby")).await.is_ok());
    pods[0].freeze();
    let dead = timeout(FENCE.after, fleet.ledger.ended(1)).await;
    dead.expect("the warden keeps the deadline");
    pods[0].thaw();
    assert!(fleet.reach(&pods[0], &room("lobby")).await.is_some());
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_again_ends_its_earlier_session() {
    for mode in [Mode::Pod, Mode::Fenced] {
        let (fleet, pods) = Fleet::of(2, mode).await;
        let lobby = room("lobby");
        assert!(fleet.visit(&pods[0], &lobby).await.is_ok());
        pods[0].kill();
        fleet.ledger.ended(1).await;
        let again = fleet.start(&pods[0].pod);
        let standing = again.is_up().await;
        assert_ne!(standing.session, pods[0].standing().session);
        assert_eq!(fleet.visit(&pods[1], &lobby).await, Ok(pods[1].id));
        fleet.all_is_well();
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_begun_whatever_becomes_of_the_requests() {
    for fault in [
        Fault::LostRequest(Loss::Hang),
        Fault::LostReply(Loss::Break),
        Fault::LateCommit(Duration::from_secs(6)),
        Fault::Refused(503),
        Fault::Unsure(500),
    ] {
        let (fleet, _) = Fleet::of(1, Mode::Fenced).await;
        let pod = fleet.create_pod();
        // What an earlier life of the pod left.
        fleet.double.create(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": names::session(&pod.uid)},
            "spec": {"holderIdentity": "somebody/1"},
        }));
        for verb in [Verb::Get, Verb::Delete, Verb::Create] {
            fleet.double.faults(&pod.name).next(verb, fault);
        }
        let process = fleet.start(&pod);
        process.is_up().await;
        assert!(fleet.visit(&process, &room("lobby")).await.is_ok());
        fleet.all_is_well();
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_server_leaves_its_rooms_to_others_at_once() {
    let (fleet, pods) = Fleet::of(2, Mode::Pod).await;
    let lobby = room("lobby");
    assert!(fleet.visit(&pods[0], &lobby).await.is_ok());
    pods[0].drain();
    let said = pods[0].ask(&room("another")).await;
    assert_eq!(said, Said::No(Unclaimed::Suspended));
    assert_eq!(fleet.visit(&pods[1], &lobby).await, Ok(pods[0].id));
    timeout(PATIENCE, pods[0].ended()).await.expect("it ends");
    assert_eq!(
        fleet
            .double
            .get(Resource::Leases, &names::session(&pods[0].pod.uid)),
        None
    );
    assert_eq!(fleet.visit(&pods[1], &lobby).await, Ok(pods[1].id));
    fleet.all_is_well();
}
