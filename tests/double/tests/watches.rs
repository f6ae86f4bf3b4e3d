//! Watches: what they hear, in which order, how they end, and that the runtime's own watcher lives
//! through all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::double::{Double, Faults, Loss, Resource};
use crate::{ends, lease, lease_with, leases};

/// The next event, as `ADDED name`; a bookmark or error as its version or code.
async fn hears<S>(stream: &mut S) -> Option<String>
where
    S: futures_util::Stream<Item = kube::Result<WatchEvent<Lease>>> + Unpin,
{
    let name = |lease: Lease| lease.metadata.name.unwrap_or_default();
    Some(match ends(stream.next()).await? {
        Ok(WatchEvent::Added(lease)) => format!("ADDED {}", name(lease)),
        Ok(WatchEvent::Modified(lease)) => format!("MODIFIED {}", name(lease)),
        Ok(WatchEvent::Deleted(lease)) => format!("DELETED {}", name(lease)),
        Ok(WatchEvent::Bookmark(mark)) => format!("BOOKMARK {}", mark.metadata.resource_version),
        Ok(WatchEvent::Error(status)) => format!("ERROR {} {}", status.code, status.reason),
        Err(_) => "broken".to_owned(),
    })
}

fn label(double: &Double, name: &str, fleet: &str) {
    let patch = json!({"metadata": {"labels": {"fleet": fleet}}});
    double.merge(Resource::Leases, name, &patch);
}

fn of(fleet: &str) -> WatchParams {
    WatchParams::default().labels(&format!("fleet={fleet}"))
}

async fn create(double: &Double, name: &str, fleet: &str) {
    let lease = lease_with(name, json!({"labels": {"fleet": fleet}}));
    let api = leases(double, "setup");
    let made = api.create(&PostParams::default(), &lease).await;
    made.expect("the name is free");
}

#[tokio::test(start_paused = true)]
async fn a_watch_hears_every_change_in_order() {
    let double = Double::new(1);
    create(&double, "before", "x").await;
    let from = double.version().to_string();
    let api = leases(&double, "pod-a");
    let mut all = api
        .watch(&WatchParams::default(), &from)
        .await
        .unwrap()
        .boxed();
    create(&double, "one", "x").await;
    label(&double, "one", "y");
    double.delete_lease("one");
    for heard in ["ADDED one", "MODIFIED one", "DELETED one"] {
        assert_eq!(hears(&mut all).await.as_deref(), Some(heard));
    }
    // From nowhere: what there is first, then what happens.
    let mut fresh = api
        .watch(&WatchParams::default(), "0")
        .await
        .unwrap()
        .boxed();
    assert_eq!(hears(&mut fresh).await.as_deref(), Some("ADDED before"));
}

#[tokio::test(start_paused = true)]
async fn to_leave_the_selector_is_to_be_gone() {
    let double = Double::new(1);
    let from = double.version().to_string();
    let mut x = leases(&double, "pod-a")
        .watch(&of("x"), &from)
        .await
        .unwrap()
        .boxed();
    create(&double, "one", "y").await;
    label(&double, "one", "x");
    label(&double, "one", "y");
    let left_at = double.version().to_string();
    double.delete_lease("one");
    create(&double, "two", "x").await;
    assert_eq!(hears(&mut x).await.as_deref(), Some("ADDED one"));
    let Some(Ok(WatchEvent::Deleted(gone))) = ends(x.next()).await else {
        panic!("it left");
    };
    assert_eq!(
        gone.metadata.labels.unwrap()["fleet"],
        "x",
        "as it was last seen"
    );
    assert_eq!(gone.metadata.resource_version, Some(left_at));
    assert_eq!(hears(&mut x).await.as_deref(), Some("ADDED two"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_has_bookmarks_and_an_end() {
    let double = Double::new(1);
    let from = double.version().to_string();
    let params = WatchParams::default().timeout(100);
    let mut stream = leases(&double, "pod-a")
        .watch(&params, &from)
        .await
        .unwrap()
        .boxed();
    double.create_pod("pod-a", "10.0.0.1", "set-1");
    let begun = Instant::now();
    let mark = format!("BOOKMARK {}", double.version());
    assert_eq!(
        hears(&mut stream).await,
        Some(mark),
        "other kinds move it forward too"
    );
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert_eq!(hears(&mut stream).await, None);
    assert_eq!(begun.elapsed().as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn forgotten_history_is_gone() {
    let double = Double::new(1);
    double.remembers(2);
    for name in ["a", "b", "c"] {
        create(&double, name, "x").await;
    }
    let newest = double.version();
    let api = leases(&double, "pod-a");
    let mut near = api
        .watch(&of("x"), &(newest - 2).to_string())
        .await
        .unwrap()
        .boxed();
    assert_eq!(hears(&mut near).await.as_deref(), Some("ADDED b"));
    let mut far = api
        .watch(&of("x"), &(newest - 3).to_string())
        .await
        .unwrap()
        .boxed();
    assert_eq!(hears(&mut far).await.as_deref(), Some("ERROR 410 Expired"));
    assert_eq!(hears(&mut far).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lagging_watch_hears_later_and_in_order() {
    let double = Double::new(3);
    let lag = Duration::from_secs(2)..=Duration::from_secs(9);
    double.faults("pod-a").watch_lag(lag);
    let from = double.version().to_string();
    let mut stream = leases(&double, "pod-a")
        .watch(&of("x"), &from)
        .await
        .unwrap()
        .boxed();
    let begun = Instant::now();
    for name in ["a", "b", "c"] {
        create(&double, name, "x").await;
    }
    for name in ["a", "b", "c"] {
        assert_eq!(hears(&mut stream).await, Some(format!("ADDED {name}")));
        assert!(begun.elapsed() >= Duration::from_secs(2));
    }
    assert!(begun.elapsed() <= Duration::from_secs(9));
}

/// The runtime's watcher with nothing but its own retries, and the names it believes in.
struct Believer {
    names: watch::Receiver<Vec<String>>,
    _task: tokio_util::sync::DropGuard,
}

impl Believer {
    fn start(api: Api<Lease>) -> Believer {
        let (names, receiver) = watch::channel(Vec::new());
        let end = tokio_util::sync::CancellationToken::new();
        let task = end.clone();
        TaskTracker::new().spawn(async move {
            let events = watcher(api, watcher::Config::default().labels("fleet=x"));
            let events = kube::runtime::WatchStreamExt::default_backoff(events);
            let mut events = std::pin::pin!(events);
            let mut known: BTreeMap<String, ()> = BTreeMap::new();
            let mut listed = BTreeMap::new();
            while let Some(event) = task.run_until_cancelled(events.next()).await.flatten() {
                let name = |lease: Lease| lease.metadata.name.unwrap_or_default();
                match event {
                    Ok(watcher::Event::Init) => listed.clear(),
                    Ok(watcher::Event::InitApply(lease)) => drop(listed.insert(name(lease), ())),
                    Ok(watcher::Event::InitDone) => known = std::mem::take(&mut listed),
                    Ok(watcher::Event::Apply(lease)) => drop(known.insert(name(lease), ())),
                    Ok(watcher::Event::Delete(lease)) => drop(known.remove(&name(lease))),
                    Err(_) => {}
                }
                names.send_replace(known.keys().cloned().collect());
            }
        });
        Believer {
            names: receiver,
            _task: end.drop_guard(),
        }
    }

    async fn believes(&mut self, expected: &[&str]) {
        let seen = ends(self.names.wait_for(|names| names == expected)).await;
        assert!(seen.is_ok(), "the watcher is alive");
    }
}

#[tokio::test(start_paused = true)]
async fn the_watcher_of_the_runtime_survives_all_of_it() {
    let double = Double::new(1);
    let faults: Faults = double.faults("pod-a");
    let mut believer = Believer::start(leases(&double, "pod-a"));
    create(&double, "a", "x").await;
    believer.believes(&["a"]).await;

    faults.break_watches();
    create(&double, "b", "x").await;
    believer.believes(&["a", "b"]).await;

    // Cut off while the history it would need is forgotten: it must list again.
    faults.cut(Loss::Break);
    create(&double, "c", "x").await;
    double.delete_lease("a");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(*believer.names.borrow(), ["a", "b"], "it cannot know");
    double.forget_history();
    faults.heal();
    believer.believes(&["b", "c"]).await;

    faults.freeze();
    label(&double, "c", "y");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(*believer.names.borrow(), ["b", "c"], "silence is no news");
    faults.heal();
    believer.believes(&["b"]).await;

    faults.cut(Loss::Hang);
    create(&double, "d", "x").await;
    sleep(Duration::from_secs(20)).await;
    faults.heal();
    believer.believes(&["b", "d"]).await;
    let lists = double
        .calls()
        .iter()
        .filter(|call| call.verb.as_str() == "list")
        .count();
    assert_eq!(lists, 2, "once at first, once for the forgotten history");
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_a_stream_of_results() {
    // A break is an error in the stream, not an end: code under test must tell them apart.
    let double = Double::new(1);
    let from = double.version().to_string();
    let api = leases(&double, "pod-a");
    api.create(&PostParams::default(), &lease("one"))
        .await
        .unwrap();
    let stream = api.watch(&WatchParams::default(), &from).await.unwrap();
    double.faults("pod-a").break_watches();
    let result: kube::Result<Vec<_>> = ends(stream.try_collect()).await;
    assert!(result.is_err());
}
