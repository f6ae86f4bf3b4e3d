//! When a server may end the session of another: as late as it must, and as early as it may.

use std::time::Duration;

use scalesocket::cluster::names;
use tokio::time::{Instant, sleep, timeout};

use crate::double::{Line, Loss, Resource, Verb};
use crate::fleet::{FENCE, Fleet, Mode, room};
use crate::process::{Process, Said, TAKEOVER_DELAY};

/// How often others are looked at, and what the answers take.
const LOOK: Duration = Duration::from_millis(1_300);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long it takes until a session is ended; none if it is not, for so long.
async fn ended_after(fleet: &Fleet, process: &Process, patience: Duration) -> Option<Duration> {
    let begun = Instant::now();
    let name = names::session(&process.pod.uid);
    let gone = fleet
        .double
        .until(|double| double.get(Resource::Leases, &name).is_none());
    let ended = timeout(patience, gone).await;
    ended.ok().map(|()| begun.elapsed())
}

/// Two pods, and a room in the first, which loses its node.
async fn lost_pod(mode: Mode) -> (Fleet, Process, Process) {
    let (fleet, pods) = Fleet::of(2, mode).await;
    assert_eq!(fleet.visit(&pods[0], &room("lobby")).await, Ok(pods[0].id));
    pods[0].kill();
    fleet.ledger.vanish(pods[0].id);
    let [lost, other] = [pods[0].clone(), pods[1].clone()];
    (fleet, lost, other)
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_is_inherited_after_the_delay() {
    let (fleet, lost, other) = lost_pod(Mode::Pod).await;
    fleet.double.force_delete_pod(&lost.pod.name);
    let took = ended_after(&fleet, &lost, seconds(60))
        .await
        .expect("ended");
    assert!(
        took >= TAKEOVER_DELAY && took <= TAKEOVER_DELAY + LOOK,
        "{took:?}"
    );
    assert_eq!(fleet.visit(&other, &room("lobby")).await, Ok(other.id));
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_seen_to_end_is_inherited_at_once() {
    for mode in [Mode::Pod, Mode::Fenced] {
        let (fleet, lost, other) = lost_pod(mode).await;
        fleet.double.delete_pod(&lost.pod.name);
        fleet.tell_terminated(&lost.pod);
        fleet.double.force_delete_pod(&lost.pod.name);
        let took = ended_after(&fleet, &lost, seconds(60))
            .await
            .expect("ended");
        assert!(took <= LOOK, "{took:?}");
        assert_eq!(fleet.visit(&other, &room("lobby")).await, Ok(other.id));
        fleet.all_is_well();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_there_is_not_inherited_in_mode_pod() {
    let (fleet, lost, other) = lost_pod(Mode::Pod).await;
    // Its containers have ended, and will be started again.
    fleet.tell_terminated(&lost.pod);
    assert_eq!(ended_after(&fleet, &lost, seconds(600)).await, None);
    assert!(matches!(
        other.ask(&room("lobby")).await,
        Said::Elsewhere(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_fenced_session_is_ended_when_its_rooms_must_be_dead() {
    for forced in [false, true] {
        let (fleet, pods) = Fleet::of(2, Mode::Fenced).await;
        assert_eq!(fleet.visit(&pods[0], &room("lobby")).await, Ok(pods[0].id));
        // It runs on where nobody sees it.
        for line in pods[0].pod.lines() {
            fleet.double.faults(&line).cut(Loss::Hang);
        }
        if forced {
            fleet.double.force_delete_pod(&pods[0].pod.name);
        }
        let took = ended_after(&fleet, &pods[0], seconds(60))
            .await
            .expect("ended");
        // Its last renewal was up to a third of its time ago.
        let lease = FENCE.after + FENCE.margin;
        let renewed = FENCE.after.mul_f64(0.4);
        assert!(took >= lease - renewed && took <= lease + LOOK, "{took:?}");
        assert_eq!(fleet.visit(&pods[1], &room("lobby")).await, Ok(pods[1].id));
        fleet.all_is_well();
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_renewal_wins() {
    let (fleet, pods) = Fleet::of(2, Mode::Fenced).await;
    let before = pods[0].standing().session;
    assert_eq!(fleet.visit(&pods[0], &room("lobby")).await, Ok(pods[0].id));
    // The other does not hear that it is renewed, and asks for its end.
    let [requests, watches] = pods[1].pod.lines();
    fleet.double.faults(&watches).freeze();
    sleep(seconds(60)).await;
    let refused = fleet.double.calls().iter().any(|call| {
        (call.client == requests, call.verb, call.code) == (true, Verb::Delete, 409)
            && call.name == Some(names::session(&pods[0].pod.uid))
    });
    assert!(refused, "it was tried");
    assert_eq!(pods[0].standing().session, before);
    assert_eq!(fleet.ledger.homes(&room("lobby")), [pods[0].id]);
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_everybody_gets_the_time_to_renew() {
    let (fleet, pods) = Fleet::of(2, Mode::Fenced).await;
    let before = pods[0].standing().session;
    fleet.double.outage(Line::Cut(Loss::Break));
    sleep(seconds(120)).await;
    let faults = fleet.double.faults(&pods[0].pod.name);
    faults.cut(Loss::Break);
    fleet.double.outage(Line::Open);
    pods[1].stands(|now| now.holds().is_some()).await;
    sleep(FENCE.after / 2).await;
    faults.heal();
    let again = pods[0].stands(|now| now.holds().is_some()).await;
    assert_eq!(again.session, before);
    fleet.all_is_well();
}
