//! What a pod publishes about itself: given rooms that come and go, when the API server is well or
//! not, then this and no more is written. Time is paused, so minutes pass at once.

#[path = "double/mod.rs"]
mod double;

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use scalesocket::cluster::publish::{AnotherPod, Options, Publisher, Snapshot, State};
use scalesocket::room::RoomName;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use double::{ANNOTATIONS_LIMIT, Call, Double, Fault, Line, Loss, Resource, Verb};

const POD: &str = "games-0";
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A pod whose rooms the test decides, and the API it publishes to.
struct Stage {
    double: Double,
    now: Arc<Mutex<Snapshot>>,
    /// How often the publisher looked at the rooms.
    looks: Arc<AtomicUsize>,
    wake: watch::Sender<()>,
    publisher: JoinHandle<AnotherPod>,
}

thread_local! {
    /// What was logged by this test, which is this thread.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ToThisThread;

impl std::io::Write for ToThisThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One subscriber for all threads: with one for each, what a thread without any logs first would be
/// taken for something that nobody wants to read.
fn log_by_thread() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(|| ToThisThread)
            .init();
    });
}

fn name(text: &str) -> RoomName {
    RoomName::parse(text).expect("a name of a room")
}

/// A publisher of an empty pod, which may do nothing but read and patch pods.
fn stage() -> Stage {
    let double = Double::new(1);
    let uid = double.create_pod(POD, "10.0.0.1", "set-1");
    stage_of(double, &uid, 32 << 10)
}

fn stage_of(double: Double, uid: &str, rooms_annotation: usize) -> Stage {
    log_by_thread();
    double
        .faults(POD)
        .role(&[(Verb::Get, Resource::Pods), (Verb::Patch, Resource::Pods)]);
    let empty = Snapshot {
        rooms: Vec::new(),
        transit: 0,
        limit: 100,
        state: State::Ready,
    };
    let now = Arc::new(Mutex::new(empty));
    let (wake, woken) = watch::channel(());
    let looks = Arc::new(AtomicUsize::new(0));
    let source = {
        let (now, looks) = (now.clone(), looks.clone());
        let look = move || {
            looks.fetch_add(1, Relaxed);
            now.lock().clone()
        };
        (look, woken)
    };
    let api = kube::Api::default_namespaced(double.client(POD));
    let options = Options {
        pod: POD.to_owned(),
        uid: uid.to_owned(),
        rooms_annotation,
    };
    let publisher = Publisher::new(api, options, source);
    Stage {
        publisher: TaskTracker::new().spawn(publisher.run()),
        double,
        now,
        looks,
        wake,
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.publisher.abort();
    }
}

fn annotation(double: &Double, key: &str) -> Value {
    let pod = double.get(Resource::Pods, POD).unwrap_or_default();
    pod["metadata"]["annotations"][key].clone()
}

impl Stage {
    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.now.lock());
        self.wake.send_replace(());
    }

    fn rooms(&self, rooms: &[(&str, usize)]) {
        let rooms = rooms.iter().map(|(room, clients)| (name(room), *clients));
        self.change(|now| now.rooms = rooms.collect());
    }

    fn annotation(&self, key: &str) -> Value {
        annotation(&self.double, key)
    }

    fn listed(&self) -> Value {
        self.annotation("scalesocket.dev/rooms")
    }

    fn patches(&self) -> usize {
        self.double.count(POD, Verb::Patch, Resource::Pods)
    }

    /// Waits until the list of rooms is that, and gives how long it took.
    async fn lists(&self, rooms: &str) -> Duration {
        let begun = Instant::now();
        let lists = |double: &Double| annotation(double, "scalesocket.dev/rooms") == rooms;
        let wait = self.double.until(lists);
        let waited = tokio::time::timeout(Duration::from_secs(600), wait).await;
        assert!(waited.is_ok(), "{rooms} never came: {}", self.listed());
        begun.elapsed()
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_pod_says_at_once_that_it_is_there() {
    let stage = stage();
    assert!(stage.lists("{}").await < seconds(0.1));
    assert_eq!(stage.annotation("scalesocket.dev/state"), "ready");
    assert_eq!(stage.annotation("scalesocket.dev/rooms-count"), "0");
    assert_eq!(stage.annotation("scalesocket.dev/rooms-limit"), "100");
    assert_eq!(stage.annotation(COST), "0");
}

#[tokio::test(start_paused = true)]
async fn rooms_are_told_after_a_second_and_counts_after_ten() {
    let stage = stage();
    stage.lists("{}").await;
    sleep(seconds(60.0)).await;
    stage.rooms(&[("chess", 1)]);
    let took = stage.lists(r#"{"chess":1}"#).await;
    assert!(took >= seconds(0.8) && took <= seconds(1.5), "{took:?}");
    let pod = stage.double.get(Resource::Pods, POD).unwrap();
    assert_eq!(
        pod["metadata"]["labels"]["scalesocket.dev/occupied"],
        "true"
    );
    assert_eq!(
        stage.annotation("cluster-autoscaler.kubernetes.io/safe-to-evict"),
        "false"
    );
    assert_eq!(stage.annotation("karpenter.sh/do-not-disrupt"), "true");

    stage.rooms(&[("chess", 2)]);
    let took = stage.lists(r#"{"chess":2}"#).await;
    assert!(took >= seconds(8.0) && took <= seconds(12.5), "{took:?}");

    stage.rooms(&[]);
    stage.lists("{}").await;
    let pod = stage.double.get(Resource::Pods, POD).unwrap();
    assert!(pod["metadata"]["labels"]["scalesocket.dev/occupied"].is_null());
    assert_eq!(
        pod["metadata"]["labels"]["scalesocket.dev/fleet"],
        "scalesocket"
    );
    assert!(stage.annotation("karpenter.sh/do-not-disrupt").is_null());
    assert_eq!(stage.annotation(COST), "0");
}

#[tokio::test(start_paused = true)]
async fn an_end_of_readiness_is_told_at_once() {
    let stage = stage();
    stage.rooms(&[("chess", 1)]);
    stage.lists(r#"{"chess":1}"#).await;
    let begun = Instant::now();
    stage.change(|now| now.state = State::Draining);
    let drains = |double: &Double| annotation(double, "scalesocket.dev/state") == "draining";
    stage.double.until(drains).await;
    assert!(begun.elapsed() <= seconds(0.3), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_when_nothing_changed() {
    let stage = stage();
    stage.rooms(&[("chess", 1)]);
    stage.lists(r#"{"chess":1}"#).await;
    sleep(seconds(60.0)).await; // the young cost, if it was held back
    let before = stage.patches();
    for _ in 0..600 {
        stage.wake.send_replace(());
        sleep(seconds(1.0)).await;
    }
    // Somebody comes and leaves before it would be told.
    stage.rooms(&[("chess", 2)]);
    sleep(seconds(5.0)).await;
    stage.rooms(&[("chess", 1)]);
    sleep(seconds(60.0)).await;
    assert_eq!(stage.patches(), before);
}

#[tokio::test(start_paused = true)]
async fn churn_costs_at_most_one_patch_a_second() {
    let stage = stage();
    // Rooms come and go while a patch is on its way, too.
    let way = Duration::from_millis(30);
    stage.double.faults(POD).latency(way..=way);
    stage.lists("{}").await;
    let begun = Instant::now();
    for number in 0..6_000_usize {
        // 50 rooms a second, each for about two.
        let first = number.saturating_sub(100);
        let mut rooms: Vec<_> = (first..=number)
            .map(|it| (name(&format!("room-{it}")), it % 9))
            .collect();
        rooms.sort();
        stage.change(|now| now.rooms = rooms);
        sleep(seconds(0.02)).await;
    }
    let lasted = begun.elapsed();
    let sent: Vec<Duration> = stage.double.calls().iter().map(|call| call.at).collect();
    let most = lasted.as_secs() as usize + 2;
    assert!(sent.len() <= most, "{} patches in {lasted:?}", sent.len());
    assert!(
        sent.len() > 60,
        "the newest is told all the same: {}",
        sent.len()
    );
    for pair in sent.windows(2) {
        assert!(pair[1] - pair[0] >= seconds(1.0), "{pair:?}");
    }
    let looks = stage.looks.load(Relaxed);
    assert!(
        looks <= 8 * most,
        "{looks} walks through all rooms in {lasted:?}"
    );
    let last = stage.now.lock().clone();
    sleep(seconds(3.0)).await;
    let listed: Value = serde_json::from_str(stage.listed().as_str().unwrap()).unwrap();
    assert_eq!(listed.as_object().unwrap().len(), last.rooms.len());
}

#[tokio::test(start_paused = true)]
async fn the_cost_changes_every_half_minute_at_most() {
    let stage = stage();
    stage.lists("{}").await;
    let mut costs: Vec<(Instant, String)> = Vec::new();
    for step in 0..1_200_u32 {
        let clients = 1_usize << (step / 10 % 8);
        stage.rooms(&[("chess", clients), (&format!("room-{step}"), 0)]);
        sleep(seconds(0.5)).await;
        let cost = stage
            .annotation(COST)
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if costs.last().is_none_or(|(_, last)| *last != cost) {
            costs.push((Instant::now(), cost));
        }
    }
    // The first is 0, of the empty pod; what follows it is told with the first room.
    assert!(costs.len() > 5, "{costs:?}");
    for pair in costs[1..].windows(2) {
        let apart = pair[1].0 - pair[0].0;
        assert!(apart >= seconds(29.0), "{apart:?}: {costs:?}");
    }
    stage.rooms(&[]);
    assert!(stage.lists("{}").await < seconds(2.0));
    assert_eq!(stage.annotation(COST), "0", "idle is told at once");
}

#[tokio::test(start_paused = true)]
async fn transit_alone_makes_a_pod_occupied() {
    let stage = stage();
    stage.lists("{}").await;
    stage.change(|now| now.transit = 500);
    sleep(seconds(2.0)).await;
    assert_eq!(stage.annotation(COST), "81");
    assert_eq!(stage.annotation("scalesocket.dev/clients-count"), "0");
    assert_eq!(stage.annotation("karpenter.sh/do-not-disrupt"), "true");
}

#[tokio::test(start_paused = true)]
async fn another_pod_of_the_same_name_is_left_alone() {
    let double = Double::new(1);
    double.create_pod(POD, "10.0.0.1", "set-1");
    let mut stage = stage_of(double, "the-uid-before", 32 << 10);
    let ended = tokio::time::timeout(seconds(60.0), &mut stage.publisher).await;
    assert!(ended.is_ok(), "publishing ends");
    let calls = stage.double.calls();
    assert_eq!(
        calls.iter().map(|call| call.code).collect::<Vec<_>>(),
        [422]
    );
    assert!(stage.listed().is_null());
}

#[tokio::test(start_paused = true)]
async fn nothing_but_patches_of_our_pod_is_asked_for() {
    let stage = stage();
    for number in 0..50 {
        stage.rooms(&[(&format!("room-{number}"), number)]);
        sleep(seconds(1.7)).await;
    }
    let stray = |call: &Call| {
        let ours = call.name.as_deref() == Some(POD);
        (call.verb, call.resource, ours) != (Verb::Patch, Resource::Pods, true)
    };
    let calls = stage.double.calls();
    assert!(calls.len() > 20);
    assert!(!calls.iter().any(stray), "{calls:?}");
    assert!(calls.iter().all(|call| call.code == 200), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_rooms_with_hostile_names_stay_within_the_budget() {
    let double = Double::new(1);
    let uid = double.create_pod(POD, "10.0.0.1", "set-1");
    let budget = 128 << 10;
    let stage = stage_of(double, &uid, budget);
    let worst = ["\"", "\\", "\u{1f3b2}", "\u{2028}", "\u{7fff}"];
    let mut rooms: Vec<_> = (0..10_000)
        .map(|number| {
            let filler = worst[number % worst.len()];
            let text = format!("{}{number}", filler.repeat(120 / filler.len()));
            (name(&text), number)
        })
        .collect();
    rooms.sort();
    stage.change(|now| now.rooms = rooms);
    let truncated =
        |double: &Double| annotation(double, "scalesocket.dev/rooms-truncated") == "true";
    stage.double.until(truncated).await;
    let listed = stage.listed();
    let text = listed.as_str().unwrap();
    assert!(
        text.len() <= budget && text.len() > budget - 300,
        "{}",
        text.len()
    );
    assert!(serde_json::from_str::<Value>(text).is_ok());
    assert_eq!(stage.annotation("scalesocket.dev/rooms-count"), "10000");
    assert!(stage.double.calls().iter().all(|call| call.code == 200));
}

#[tokio::test(start_paused = true)]
async fn where_others_filled_the_annotations_the_list_gives_way() {
    let double = Double::new(1);
    let uid = double.create_pod(POD, "10.0.0.1", "set-1");
    let theirs = "x".repeat(ANNOTATIONS_LIMIT - 2_000);
    let patch = json!({"metadata": {"annotations": {"else/where": theirs}}});
    double.merge(Resource::Pods, POD, &patch);
    let stage = stage_of(double, &uid, 32 << 10);
    let rooms: Vec<_> = (1_000..3_000)
        .map(|it| (name(&format!("room-{it}")), 1))
        .collect();
    stage.change(|now| now.rooms = rooms);
    let counted = |double: &Double| annotation(double, "scalesocket.dev/rooms-count") == "2000";
    let wait = tokio::time::timeout(seconds(600.0), stage.double.until(counted)).await;
    assert!(wait.is_ok(), "the rest is published");
    assert_eq!(stage.annotation("scalesocket.dev/rooms-truncated"), "true");
}

#[tokio::test(start_paused = true)]
async fn a_refused_pod_goes_on_trying_and_seldom() {
    let stage = stage();
    stage.double.faults(POD).role(&[]);
    sleep(seconds(600.0)).await;
    let tries = stage.double.calls().len();
    assert!((8..=20).contains(&tries), "{tries} tries in ten minutes");
    stage
        .double
        .faults(POD)
        .role(&[(Verb::Patch, Resource::Pods)]);
    stage.rooms(&[("chess", 1)]);
    let took = stage.lists(r#"{"chess":1}"#).await;
    assert!(took <= seconds(75.0), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_once_and_so_is_its_end() {
    LOG.take(); // of a test that had this thread before
    let stage = stage();
    stage.double.faults(POD).role(&[]);
    sleep(seconds(600.0)).await;
    stage
        .double
        .faults(POD)
        .role(&[(Verb::Patch, Resource::Pods)]);
    stage.lists("{}").await;
    stage.double.force_delete_pod(POD);
    stage.rooms(&[("chess", 1)]);
    sleep(seconds(600.0)).await;
    let text = LOG.with_borrow(|log| String::from_utf8_lossy(log).into_owned());
    let told: Vec<&str> = text.lines().filter(|it| it.contains("publish")).collect();
    let says = [
        "may not patch pods",
        "published again",
        "there is no such pod",
    ];
    assert_eq!(told.len(), says.len(), "{text}");
    for (line, says) in told.iter().zip(says) {
        assert!(line.contains(says), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_or_late_patch_left_is_written_over() {
    let stage = stage();
    stage.lists("{}").await;
    sleep(seconds(60.0)).await;
    let faults = stage.double.faults(POD);
    // It is applied when everything after it was: the pod would say what is long over.
    faults.next(Verb::Patch, Fault::LateCommit(seconds(30.0)));
    stage.rooms(&[("chess", 1)]);
    sleep(seconds(3.0)).await;
    stage.rooms(&[("go", 1)]);
    stage.lists(r#"{"go":1}"#).await;
    stage.lists(r#"{"chess":1}"#).await;
    let took = stage.lists(r#"{"go":1}"#).await;
    assert!(took <= seconds(75.0), "{took:?}");

    faults.next(Verb::Patch, Fault::LostRequest(Loss::Hang));
    faults.next(Verb::Patch, Fault::LostReply(Loss::Break));
    faults.next(Verb::Patch, Fault::Unsure(504));
    stage.rooms(&[]);
    let took = stage.lists("{}").await;
    assert!(took <= seconds(20.0), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_newest_is_told() {
    let stage = stage();
    stage.double.outage(Line::Cut(Loss::Break));
    for number in 0..300 {
        stage.rooms(&[(&format!("room-{number}"), 1)]);
        sleep(seconds(1.0)).await;
    }
    assert!(stage.listed().is_null());
    stage.double.outage(Line::Open);
    let took = stage.lists(r#"{"room-299":1}"#).await;
    assert!(took <= seconds(75.0), "{took:?}");
}

/// What happens to rooms over time: at most so many clients, so much later.
fn history() -> impl Strategy<Value = Vec<(u8, u8, u16)>> {
    proptest::collection::vec((0_u8..5, 0_u8..4, 0_u16..15_000), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_happens_the_pod_says_the_truth_in_the_end(history in history()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (listed, expected) = runtime.block_on(async {
            let stage = stage();
            let mut rooms = std::collections::BTreeMap::new();
            for (room, clients, later) in history {
                match clients {
                    0 => drop(rooms.remove(&room)),
                    clients => drop(rooms.insert(room, clients)),
                }
                let list: Vec<_> = rooms
                    .iter()
                    .map(|(room, clients)| (name(&room.to_string()), usize::from(*clients)))
                    .collect();
                stage.change(|now| now.rooms = list);
                sleep(Duration::from_millis(later.into())).await;
            }
            sleep(seconds(13.0)).await;
            let expected = rooms.iter().map(|(room, n)| format!("\"{room}\":{n}"));
            let expected = format!("{{{}}}", expected.collect::<Vec<_>>().join(","));
            (stage.listed(), expected)
        });
        prop_assert_eq!(listed, expected);
    }
}
