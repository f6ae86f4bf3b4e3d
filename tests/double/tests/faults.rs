//! Faults: what was applied and what the client sees of it, for each kind, and that one seed is one
//! course of events.

use std::time::Duration;

use futures_util::future::join_all;
use kube::api::{DeleteParams, PostParams};
use tokio::time::{Instant, sleep, timeout};

use crate::double::{Double, Fault, Line, Loss, Odds, Resource, Verb};
use crate::{code, ends, is_broken, lease, leases};

/// What a client's create comes to when it gives up after three seconds; none: it gave up.
async fn create(double: &Double, client: &str, name: &str) -> Option<kube::Result<()>> {
    let api = leases(double, client);
    let (params, lease) = (PostParams::default(), lease(name));
    let create = async { api.create(&params, &lease).await.map(drop) };
    timeout(Duration::from_secs(3), create).await.ok()
}

fn exists(double: &Double, name: &str) -> bool {
    double.get(Resource::Leases, name).is_some()
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_never_applied() {
    let double = Double::new(1);
    let faults = double.faults("pod-a");
    faults.next(Verb::Create, Fault::LostRequest(Loss::Hang));
    faults.next(Verb::Create, Fault::LostRequest(Loss::Break));
    assert!(create(&double, "pod-a", "one").await.is_none());
    assert!(is_broken(&create(&double, "pod-a", "two").await.unwrap()));
    sleep(Duration::from_secs(3_600)).await;
    assert!(double.names(Resource::Leases).is_empty());
    assert!(
        create(&double, "pod-a", "three").await.unwrap().is_ok(),
        "the script is over"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hang_without_patience_ends_as_a_dead_connection() {
    let double = Double::new(1);
    let lost = Fault::LostRequest(Loss::Hang);
    double.faults("pod-a").next(Verb::Get, lost);
    let begun = Instant::now();
    let result = ends(leases(&double, "pod-a").get("one")).await;
    assert!(is_broken(&result));
    assert_eq!(begun.elapsed(), Duration::from_secs(900));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_applied() {
    let double = Double::new(1);
    let faults = double.faults("pod-a");
    faults.next(Verb::Create, Fault::LostReply(Loss::Hang));
    faults.next(Verb::Create, Fault::LostReply(Loss::Break));
    assert!(create(&double, "pod-a", "one").await.is_none());
    assert!(is_broken(&create(&double, "pod-a", "two").await.unwrap()));
    assert_eq!(double.names(Resource::Leases), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_comes_after_its_sender_gave_up() {
    let double = Double::new(1);
    let late = Fault::LateCommit(Duration::from_secs(8));
    double.faults("pod-a").next(Verb::Create, late);
    assert!(create(&double, "pod-a", "one").await.is_none());
    assert!(!exists(&double, "one"));
    sleep(Duration::from_secs(4)).await;
    assert!(!exists(&double, "one"));
    sleep(Duration::from_secs(2)).await;
    assert!(exists(&double, "one"));
}

#[tokio::test(start_paused = true)]
async fn a_server_in_trouble_may_have_applied_or_not() {
    let double = Double::new(1);
    let faults = double.faults("pod-a");
    faults.next(Verb::Create, Fault::Refused(429));
    faults.next(Verb::Create, Fault::Unsure(504));
    assert_eq!(code(create(&double, "pod-a", "one").await.unwrap()).0, 429);
    assert_eq!(code(create(&double, "pod-a", "two").await.unwrap()).0, 504);
    assert_eq!(double.names(Resource::Leases), ["two"]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_about_one_client() {
    let double = Double::new(1);
    let faults = double.faults("pod-a");
    faults.cut(Loss::Hang);
    assert!(create(&double, "pod-a", "one").await.is_none());
    assert!(create(&double, "pod-b", "two").await.unwrap().is_ok());
    faults.cut(Loss::Break);
    assert!(is_broken(&create(&double, "pod-a", "three").await.unwrap()));
    faults.heal();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(double.names(Resource::Leases), ["two"], "lost, not late");
    assert!(create(&double, "pod-a", "four").await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_frozen_client_goes_on_later() {
    let double = Double::new(1);
    double.faults("pod-a").freeze();
    assert!(create(&double, "pod-a", "one").await.is_none());
    assert!(!exists(&double, "one"));
    double.faults("pod-a").heal();
    ends(double.until(|it| exists(it, "one"))).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_about_everybody_and_stops_the_collector_too() {
    let double = Double::new(1);
    double.garbage_delay(Duration::from_secs(1)..=Duration::from_secs(1));
    double.create_pod("pod-a", "10.0.0.1", "set-1");
    // A pod that runs is collected as it is deleted: with grace.
    let is_ending = |double: &Double| {
        let pod = double.get(Resource::Pods, "pod-a").unwrap();
        pod["metadata"]["deletionTimestamp"].is_string()
    };
    double.outage(Line::Cut(Loss::Break));
    for client in ["pod-a", "pod-b"] {
        assert!(is_broken(&create(&double, client, "one").await.unwrap()));
    }
    double.outage(Line::Answers(503));
    assert_eq!(code(create(&double, "pod-a", "one").await.unwrap()).0, 503);
    double.owner_departed("set-1");
    sleep(Duration::from_secs(60)).await;
    assert!(
        !is_ending(&double),
        "its controllers cannot reach the server either"
    );
    double.outage(Line::Open);
    assert!(create(&double, "pod-a", "one").await.unwrap().is_ok());
    ends(double.until(is_ending)).await;
}

#[tokio::test(start_paused = true)]
async fn both_ways_take_their_time() {
    let double = Double::new(1);
    let second = Duration::from_secs(1);
    double.faults("pod-a").latency(second..=second);
    let begun = Instant::now();
    assert!(create(&double, "pod-a", "one").await.unwrap().is_ok());
    assert_eq!(begun.elapsed(), 2 * second);
    assert_eq!(double.calls()[0].at, second);
    double.faults("pod-a").calm();
    assert!(create(&double, "pod-a", "two").await.unwrap().is_ok());
    assert_eq!(begun.elapsed(), 2 * second);
}

/// What a seed makes of twenty clients that each create, read and delete under heavy faults.
async fn course(seed: u64) -> String {
    let double = Double::new(seed);
    let life = |number: usize| {
        let double = double.clone();
        async move {
            let (client, name) = (format!("pod-{number}"), format!("lease-{}", number % 7));
            let faults = double.faults(&client);
            faults.latency(Duration::from_millis(1)..=Duration::from_millis(50));
            faults.odds(Odds {
                lost_request: 0.1,
                lost_reply: 0.1,
                late_commit: 0.1,
                refused: 0.1,
                unsure: 0.1,
                late_by: (10, 10_000),
            });
            let mut outcomes = String::new();
            for _ in 0..5 {
                let outcome = create(&double, &client, &name).await;
                outcomes += &format!("{outcome:?}\n");
                let api = leases(&double, &client);
                let params = DeleteParams::default();
                let gone = api.delete(&name, &params);
                let gone = timeout(Duration::from_secs(3), gone).await;
                outcomes += &format!("{gone:?}\n");
            }
            outcomes
        }
    };
    let outcomes = join_all((0..20).map(life)).await.concat();
    sleep(Duration::from_secs(60)).await;
    let objects = double.objects(Resource::Leases);
    format!("{outcomes}{:?}{objects:?}", double.calls())
}

#[tokio::test(start_paused = true)]
async fn one_seed_is_one_course_of_events() {
    let (first, again, other) = (course(7).await, course(7).await, course(8).await);
    assert!(first == again, "the same seed took two courses");
    assert!(first != other, "the seed changes nothing");
}
