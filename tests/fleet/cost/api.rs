//! What a fleet asks of the API server: rooms that come and go, and ten thousand that stay.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::{MissedTickBehavior, interval};

use super::figures::{Figures, memory, quantile};
use super::line::{Line, many_descriptors, together, unattended};
use crate::people::{get, join};
use crate::stage::eventually;
use crate::yard::{At, Crew, Yard, crew, gateways, yard_alone};

/// Rooms a second, and for how many seconds.
const CHURN: usize = 50;
const CHURN_SECONDS: usize = 30;
/// Rooms that live at a time: each is seen, published and gone.
const PRESENT: usize = 100;
/// Rooms that stay, on so many pods.
const ROOMS: usize = 10_000;
const PODS: i32 = 10;
/// Clients that come at once to open them.
const AT_ONCE: usize = 32;
/// They end in more time than `eventually` has, but so many of them do not.
const STEP: usize = 500;
/// The default of `--kube-rooms-annotation`, and the API's limit for all annotations of an object.
const LIST_MOST: usize = 32 << 10;
const ANNOTATIONS_MOST: usize = 262_144;
/// Each of so many rooms is asked for at every door.
const SAMPLE: usize = 50;

/// What the API server itself has counted: requests of that verb on that resource, not on a subresource.
async fn counted(yard: &Yard, verb: &str, resource: &str) -> f64 {
    let request = http::Request::get("/metrics").body(Vec::new());
    let request = request.expect("a request");
    let text = yard.client.request_text(request).await.expect("metrics");
    let words = [
        format!("verb=\"{verb}\""),
        format!("resource=\"{resource}\""),
        "subresource=\"\"".to_owned(),
    ];
    text.lines()
        .filter(|line| line.starts_with("apiserver_request_total{"))
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// The same for what pods write.
async fn written(yard: &Yard) -> [f64; 4] {
    [
        counted(yard, "POST", "leases").await,
        counted(yard, "DELETE", "leases").await,
        counted(yard, "PATCH", "leases").await,
        counted(yard, "PATCH", "pods").await,
    ]
}

async fn no_claim_is_left(yard: &Yard) {
    eventually("no claim is left", async || {
        yard.leases_of("ss-r-").await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for a minute: just hop"]
async fn rooms_that_come_and_go_cost_two_writes_each() {
    let Some(yard) = yard_alone("churn").await else {
        return;
    };
    let cat = Crew {
        program: &["cat"],
        ..crew(3, "")
    };
    let doors = yard.has(&cat).await;
    let (before, begun) = (written(&yard).await, Instant::now());
    let (mut present, mut times) = (tokio::task::JoinSet::new(), Vec::new());
    let mut tick = interval(Duration::from_secs(1) / CHURN as u32);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 0..CHURN * CHURN_SECONDS {
        tick.tick().await;
        let door = doors[(n * 7 + n / 10) % doors.len()].address;
        present.spawn(async move {
            let begun = Instant::now();
            let mut person = join(door, &format!("room-{n}")).await.expect("a way in");
            person.hears_itself().await;
            (person, begun.elapsed())
        });
        if present.len() > PRESENT {
            let first = present.join_next().await.expect("there are some");
            times.push(first.expect("it came in").1);
        }
    }
    let opened_in = begun.elapsed().as_secs_f64();
    times.extend(present.join_all().await.into_iter().map(|(_, time)| time));
    no_claim_is_left(&yard).await;
    let seconds = begun.elapsed().as_secs_f64();
    let after = written(&yard).await;
    let [posts, deletes, lease_patches, pod_patches] =
        std::array::from_fn(|n| after[n] - before[n]);

    let rooms = (CHURN * CHURN_SECONDS) as f64;
    let (writes, patches) = ((posts + deletes) / rooms, pod_patches / seconds / 3.0);
    let mut figures = Figures::default();
    figures.add("rooms opened", "a second", rooms / opened_in);
    figures.add("writes of claims for a room's life", "", writes);
    figures.add("patches of its own Pod, each pod", "a second", patches);
    let renewals = lease_patches / seconds / 3.0;
    figures.add("patches of its session, each pod", "a second", renewals);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let time = quantile(&mut times, share).as_secs_f64() * 1e3;
        figures.add(
            format!("from connect to a new room's answer, {name}"),
            "ms",
            time,
        );
    }
    figures.print();
    assert!(
        posts >= rooms,
        "the API server saw {posts} claims made for {rooms} rooms"
    );
    assert!(
        writes <= 2.0,
        "{posts} claims made and {deletes} deleted for {rooms} rooms"
    );
    assert!(pod_patches > 0.0, "nothing was published");
    assert!(
        patches <= 1.0,
        "{pod_patches} patches of 3 pods in {seconds} s"
    );
    // What the pods say of it is the same.
    let mut told = [0.0; 2];
    for at in &doors {
        for (verb, sum) in ["create", "delete"].into_iter().zip(&mut told) {
            let words = ["resource=\"leases\"", &format!("verb=\"{verb}\"")];
            *sum += yard
                .counted(at, "scalesocket_api_requests_total", &words)
                .await;
        }
    }
    assert_eq!(
        told,
        [posts + 3.0, deletes],
        "the pods count otherwise; each made a session before"
    );
}

/// A name that makes the list of a pod's rooms longer than its budget.
fn name(n: usize) -> String {
    format!("table-{n:05}-of-the-tournament")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "measures for minutes: just hop"]
async fn ten_thousand_rooms_fit_on_ten_pods() {
    many_descriptors();
    let Some(yard) = yard_alone("many").await else {
        return;
    };
    // Its address in the flag is the pod's own.
    let crew = Crew {
        program: &[],
        ..crew(PODS, "--maxrooms=2000 --connect=0.0.0.0:9100")
    };
    let doors = yard.has(&crew).await;
    // It leads nobody: its memory is what it knows of the others.
    let watcher = yard.has(&gateways(1, "")).await.remove(0);
    // A room's program is a connection that the kernel took and nobody ever looks at.
    let program = |at: &At| unattended((at.address, 9100).into());
    let programs: Vec<_> = doors.iter().map(program).collect();
    let pid = |at: &At| yard.kubelet.process_id(&at.pod).expect("it runs");
    let idle = memory(pid(&watcher)).await;
    let alone = memory(pid(&doors[0])).await;

    let addresses: Vec<_> = doors.iter().map(|at| at.address).collect();
    let begun = Instant::now();
    let open = move |thread: usize| {
        let mine = (thread..ROOMS).step_by(AT_ONCE);
        let opened = mine.map(|n| {
            let door = addresses[(n * 7 + n / 13) % addresses.len()];
            let begun = Instant::now();
            (Line::join(door, &name(n)), begun.elapsed())
        });
        opened.collect::<Vec<_>>()
    };
    let opened = tokio::task::spawn_blocking(move || together(AT_ONCE, |n, _| open(n)));
    let opened = opened.await.expect("it ends well").into_iter().flatten();
    let (clients, mut times): (Vec<Line>, Vec<Duration>) = opened.unzip();
    let took = begun.elapsed().as_secs_f64();
    assert_eq!(clients.len(), ROOMS);

    // Everybody's view agrees, in sum and in each of a sample.
    for at in doors.iter().chain([&watcher]) {
        eventually("all rooms are known", async || {
            (yard.stats(at).await["scaling"]["rooms"] == ROOMS).then_some(())
        })
        .await;
    }
    for n in (0..ROOMS).step_by(ROOMS / SAMPLE) {
        let mut said = HashSet::new();
        for at in doors.iter().chain([&watcher]) {
            let (status, head, _) = get(at.address, 9090, &format!("/resolve/{}", name(n))).await;
            assert_eq!(status, 200, "{head}");
            let header = |line: &str| {
                let (name, value) = line.split_once(": ")?;
                let endpoint = name.eq_ignore_ascii_case("scalesocket-endpoint");
                endpoint.then(|| value.to_owned())
            };
            said.extend(head.lines().find_map(header));
        }
        assert_eq!(said.len(), 1, "{}: {said:?}", name(n));
    }
    let mut loads = Vec::new();
    for at in &doors {
        let rooms = yard.stats(at).await["rooms_live"].as_u64();
        loads.push(rooms.expect("a number"));
    }
    assert_eq!(loads.iter().sum::<u64>(), ROOMS as u64, "{loads:?}");

    let mut figures = Figures::default();
    for at in &doors {
        let pod = published(&yard, at).await;
        let annotations = pod.annotations();
        let list = annotations["scalesocket.dev/rooms"].len();
        let all: usize = annotations.iter().map(|(k, v)| k.len() + v.len()).sum();
        assert!(
            list <= LIST_MOST && all < ANNOTATIONS_MOST,
            "{list} of {all} bytes"
        );
        let truncated = annotations.contains_key("scalesocket.dev/rooms-truncated");
        let rooms: usize = annotations["scalesocket.dev/rooms-count"]
            .parse()
            .expect("a number");
        assert_eq!(
            truncated,
            rooms * (name(0).len() + 5) + 1 > LIST_MOST,
            "{rooms} in {list}"
        );
        figures.add("a pod's list of rooms", "KiB", list as f64 / 1024.0);
        figures.add("rooms of a pod", "", rooms as f64);
        figures.add("a pod's memory", "MiB", memory(pid(at)).await / 1048576.0);
    }
    figures.add("rooms opened", "a second", ROOMS as f64 / took);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let time = quantile(&mut times, share).as_secs_f64() * 1e3;
        figures.add(
            format!("from connect to 101, {AT_ONCE} at once, {name}"),
            "ms",
            time,
        );
    }
    figures.add("a pod's memory before", "MiB", alone / 1048576.0);
    figures.add("memory of who has no room, before", "MiB", idle / 1048576.0);
    let knows = memory(pid(&watcher)).await;
    figures.add(
        "memory of who has no room, with all claims known",
        "MiB",
        knows / 1048576.0,
    );
    figures.add(
        "memory of a known claim",
        "bytes",
        (knows - idle) / ROOMS as f64,
    );

    let begun = Instant::now();
    drop(clients);
    for left in (0..ROOMS).step_by(STEP).rev() {
        eventually(&format!("{left} rooms are left"), async || {
            let rooms = yard.stats(&watcher).await["scaling"]["rooms"].as_u64()?;
            (rooms <= left as u64).then_some(())
        })
        .await;
    }
    no_claim_is_left(&yard).await;
    figures.add(
        "until no claim is left when all leave",
        "s",
        begun.elapsed().as_secs_f64(),
    );
    figures.print();
    drop(programs);
}

/// The pod, once it has published as many rooms as it has.
async fn published(yard: &Yard, at: &At) -> Pod {
    eventually("its rooms are published", async || {
        let rooms = yard.stats(at).await["rooms_live"].to_string();
        let pod = yard.pods().get(&at.pod).await.ok()?;
        let told = pod.annotations().get("scalesocket.dev/rooms-count")?;
        (*told == rooms).then_some(pod.clone())
    })
    .await
}
