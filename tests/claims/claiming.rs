//! The rules of claims, one by one: whoever asks, and whatever becomes of a request, a room is
//! opened once, and a claim that nothing runs under is in nobody's way.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use scalesocket::room::Unclaimed;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::double::{Fault, Line, Loss, Resource, Verb};
use crate::fleet::{Fleet, Mode, claim_of, is_unavailable, room};
use crate::ledger::Lives;
use crate::process::{FLEET, LeftOut, Process, Said};

/// A claim's object that no process here has made.
fn put_claim(fleet: &Fleet, name: &str, owner: Option<(&str, &str)>) -> String {
    let owners: Vec<Value> = owner
        .map(|(name, uid)| {
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": name, "uid": uid})
        })
        .into_iter()
        .collect();
    fleet.double.create(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": claim_of(name),
            "labels": {"scalesocket.dev/fleet": FLEET},
            "annotations": {"scalesocket.dev/room": name},
            "ownerReferences": owners,
        },
        "spec": {"holderIdentity": "somebody/1"},
    }))
}

/// The object of a process's session: its name and uid.
fn session_of(process: &Process) -> (String, String) {
    let id = process.standing().session.expect("a session");
    let session = process.view.session(id).expect("it is known to itself");
    let uid = scalesocket::cluster::names::uid_text(id);
    (session.name.clone(), uid)
}

fn claim_uid(fleet: &Fleet, name: &str) -> Option<String> {
    let claim = fleet.double.get(Resource::Leases, &claim_of(name))?;
    claim["metadata"]["uid"].as_str().map(str::to_owned)
}

#[tokio::test(start_paused = true)]
async fn twenty_first_clients_meet_in_one_child() {
    let (fleet, pods) = Fleet::of(3, Mode::Pod).await;
    for pod in &pods {
        let ms = Duration::from_millis;
        fleet.double.faults(&pod.pod.name).latency(ms(1)..=ms(40));
    }
    let lobby = room("lobby");
    // Three doors are the pods themselves; two are gateways, which place the room on different ones.
    let doors = [0, 1, 2, 1, 2];
    let visits = (0..20).map(|client| fleet.visit(&pods[doors[client % doors.len()]], &lobby));
    let homes: BTreeSet<_> = join_all(visits)
        .await
        .into_iter()
        .map(|visit| visit.expect("served"))
        .collect();
    assert_eq!(homes.len(), 1, "{homes:?}");
    assert_eq!(fleet.ledger.born(), 1);
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_costs_no_room() {
    let (fleet, pods) = Fleet::of(2, Mode::Pod).await;
    for (name, fault) in [
        ("a", Fault::LostReply(Loss::Break)),
        ("b", Fault::LostReply(Loss::Hang)),
        ("c", Fault::Unsure(504)),
    ] {
        fleet
            .double
            .faults(&pods[0].pod.name)
            .next(Verb::Create, fault);
        assert_eq!(fleet.visit(&pods[0], &room(name)).await, Ok(pods[0].id));
        assert_eq!(fleet.visit(&pods[1], &room(name)).await, Ok(pods[0].id));
    }
    assert_eq!(fleet.ledger.born(), 3);
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn however_late_a_claim_is_made_the_room_can_be_had() {
    let fleet = Fleet::new(1, Mode::Pod, LeftOut::Nothing, Lives::For(700));
    let pods = fleet.grow(2).await;
    for step in 0..60 {
        let (name, late) = (format!("room-{step}"), Duration::from_millis(step * 200));
        let faults = fleet.double.faults(&pods[0].pod.name);
        faults.next(Verb::Create, Fault::LateCommit(late));
        for pod in &pods {
            let reached = fleet.reach(pod, &room(&name)).await;
            assert!(
                reached.is_some_and(|it| it < Duration::from_secs(20)),
                "{late:?}"
            );
        }
    }
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_half_way_leaves_nothing_behind() {
    let (fleet, pods) = Fleet::of(1, Mode::Pod).await;
    let faults = fleet.double.faults(&pods[0].pod.name);
    faults.next(Verb::Create, Fault::LateCommit(Duration::from_secs(1)));
    let claimed = {
        use scalesocket::room::Ownership;
        let claims = pods[0].claims();
        let room = room("lobby");
        let impatient = Duration::from_millis(100);
        tokio::time::timeout(impatient, claims.claim(&room)).await
    };
    assert!(claimed.is_err());
    // The look for it finds nothing yet; the next who asks finds a claim that nobody serves.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(fleet.visit(&pods[0], &room("lobby")).await, Ok(pods[0].id));
    assert_eq!(fleet.ledger.born(), 1);
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_a_session_that_is_over_is_nobodys() {
    let (fleet, pods) = Fleet::of(2, Mode::Pod).await;
    let (session, _) = session_of(&pods[1]);
    let nobody = "0b7f5a0e-5a3b-4c9d-8e21-00c0ffee0001";
    let (lost, replaced) = (("ss-s-lost", nobody), (session.as_str(), nobody));
    // Garbage collection is slow: it is not what frees a room.
    let day = Duration::from_secs(86_400);
    fleet.double.garbage_delay(day..=day);
    for (name, owner) in [("a", Some(lost)), ("b", Some(replaced)), ("c", None)] {
        let dead = put_claim(&fleet, name, owner);
        assert_eq!(fleet.visit(&pods[0], &room(name)).await, Ok(pods[0].id));
        assert_ne!(claim_uid(&fleet, name), Some(dead));
    }
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_its_owner_does_not_serve_is_made_anew_there() {
    let (fleet, pods) = Fleet::of(2, Mode::Pod).await;
    let (session, uid) = session_of(&pods[1]);
    let litter = put_claim(&fleet, "lobby", Some((&session, &uid)));
    let Said::Elsewhere(owner) = pods[0].ask(&room("lobby")).await else {
        panic!("it is the other's");
    };
    assert_eq!(Some(owner.session), pods[1].standing().session);
    assert_eq!(claim_uid(&fleet, "lobby"), Some(litter.clone()));
    assert_eq!(fleet.visit(&pods[0], &room("lobby")).await, Ok(pods[1].id));
    assert_ne!(claim_uid(&fleet, "lobby"), Some(litter));
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn who_may_not_or_cannot_ask_opens_nothing() {
    let (fleet, pods) = Fleet::of(2, Mode::Pod).await;
    assert_eq!(fleet.visit(&pods[1], &room("taken")).await, Ok(pods[1].id));
    let faults = fleet.double.faults(&pods[0].pod.name);
    // 404 here is that of something on the way, which knows nothing of our objects.
    for code in [401, 403, 404, 409, 429, 500, 503] {
        fleet.double.outage(Line::Answers(code));
        for name in ["taken", "new"] {
            let said = fleet.visit(&pods[0], &room(name)).await;
            assert!(is_unavailable(&said), "{code}: {said:?}");
        }
        fleet.double.outage(Line::Open);
    }
    let (leases, pod) = (Resource::Leases, Resource::Pods);
    for role in [
        vec![
            (Verb::Get, leases),
            (Verb::Delete, leases),
            (Verb::Get, pod),
        ],
        vec![(Verb::Create, leases), (Verb::Delete, leases)],
    ] {
        faults.role(&role);
        let said = fleet.visit(&pods[0], &room("taken")).await;
        assert!(is_unavailable(&said), "{role:?}: {said:?}");
    }
    assert_eq!(fleet.ledger.born(), 1);
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn a_room_is_given_back_when_it_is_over_and_not_before() {
    let fleet = Fleet::new(1, Mode::Pod, LeftOut::Nothing, Lives::For(5_000));
    let pods = fleet.grow(2).await;
    let lobby = room("lobby");
    assert_eq!(fleet.visit(&pods[0], &lobby).await, Ok(pods[0].id));
    let claim = claim_uid(&fleet, "lobby");
    sleep(Duration::from_secs(4)).await;
    assert_eq!(claim_uid(&fleet, "lobby"), claim);
    assert_eq!(fleet.visit(&pods[1], &lobby).await, Ok(pods[0].id));
    // Its deletion is lost at first; until it is confirmed nobody opens the room under it.
    let faults = fleet.double.faults(&pods[0].pod.name);
    faults.next(Verb::Delete, Fault::LostRequest(Loss::Hang));
    sleep(Duration::from_secs(2)).await;
    assert!(fleet.ledger.homes(&lobby).is_empty());
    assert_eq!(claim_uid(&fleet, "lobby"), claim);
    // One that was sent and not answered is waited for, for as long as an answer may take.
    let waited = fleet.reach(&pods[0], &lobby).await;
    assert!(
        waited.is_some_and(|it| it > Duration::from_secs(2)),
        "{waited:?}"
    );
    assert_eq!(fleet.ledger.homes(&lobby), [pods[0].id]);
    assert_ne!(claim_uid(&fleet, "lobby"), claim);
    fleet.all_is_well();
}

#[tokio::test(start_paused = true)]
async fn without_a_session_nothing_is_opened() {
    let (fleet, _) = Fleet::of(1, Mode::Pod).await;
    fleet.double.outage(Line::Cut(Loss::Break));
    let alone = fleet.start(&fleet.create_pod());
    let said = fleet.visit(&alone, &room("lobby")).await;
    assert_eq!(said, Err(Said::No(Unclaimed::Suspended)));
    assert_eq!(fleet.ledger.born(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_room_costs_two_writes() {
    const LIVES: usize = 500;
    let fleet = Fleet::new(1, Mode::Pod, LeftOut::Nothing, Lives::For(2_000));
    let pods = fleet.grow(3).await;
    let before = fleet.double.calls().len();
    for life in 0..LIVES {
        let room = room(&format!("room-{life}"));
        assert!(fleet.visit(&pods[life % pods.len()], &room).await.is_ok());
        sleep(Duration::from_millis(20)).await;
    }
    let claims = |names: Vec<String>| names.iter().any(|name| name.starts_with("ss-r-"));
    let all_over = |double: &crate::double::Double| !claims(double.names(Resource::Leases));
    fleet.double.until(all_over).await;
    let calls = fleet.double.calls();
    let of_claim = |name: &Option<String>| name.as_deref().is_none_or(|it| it.starts_with("ss-r-"));
    let writes = |verb| {
        let is = |call: &&crate::double::Call| call.verb == verb && of_claim(&call.name);
        calls[before..].iter().filter(is).count()
    };
    assert_eq!(fleet.ledger.born(), LIVES as u64);
    assert_eq!(writes(Verb::Create), LIVES);
    assert_eq!(writes(Verb::Delete), LIVES);
    assert_eq!(writes(Verb::Patch) + writes(Verb::Update), 0);
    fleet.all_is_well();
}
