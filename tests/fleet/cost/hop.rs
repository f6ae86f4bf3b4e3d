//! The hop: the same room, by the pod that has it and through a gateway, which leads every client elsewhere.

use tokio::net::TcpStream;

use super::figures::{Figures, cpu, memory, quantile};
use super::line::{BACKLOG, Line, many_descriptors, together, unattended};
use crate::stage::eventually;
use crate::yard::{At, Crew, Yard, crew, gateways, yard};

/// Each way is measured so often, in turns.
const RUNS: usize = 7;
/// Round trips of one client alone, and of each of many; and those before that do not count.
const TRIPS: usize = 20_000;
const TRIPS_OF_MANY: usize = 1_000;
const WARM: usize = 500;
const MANY: usize = 50;
/// A large message, and how many of them.
const LARGE: usize = 64 << 10;
const LARGE_TIMES: usize = 8_000;
/// Idle clients; each costs the gateway two descriptors.
const IDLE: usize = 9_000;
/// Those that keep the room meanwhile.
const FEW: usize = 8;
/// What the contract allows for each of them beyond its two sockets.
const IDLE_BYTES: f64 = 1024.0;

/// A pod with rooms in which `cat` runs, and a gateway.
async fn pod_and_gateway(yard: &Yard) -> [At; 2] {
    let cat = Crew {
        program: &["cat"],
        ..crew(1, "")
    };
    let pod = yard.has(&cat).await.remove(0);
    let gateway = yard.has(&gateways(1, "")).await.remove(0);
    [pod, gateway]
}

async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("it ends well")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: just hop"]
async fn the_hop_beside_the_direct_way() {
    let Some(yard) = yard("hop").await else {
        return;
    };
    let ways = pod_and_gateway(&yard).await;
    let gateway = yard.kubelet.process_id(&ways[1].pod).expect("it runs");
    let mut figures = Figures::default();
    for run in 0..RUNS {
        for (at, way) in ways.iter().zip(["direct", "proxied"]) {
            let door = at.address;
            let mut alone = off_the_runtime(move || {
                let mut line = Line::join(door, &format!("alone-{run}"));
                line.round_trips(&[b'x'; 64], WARM);
                line.round_trips(&[b'x'; 64], TRIPS)
            })
            .await;
            let many = off_the_runtime(move || {
                together(MANY, |n, all| {
                    let mut line = Line::join(door, &format!("many-{run}-{n}"));
                    all.wait();
                    line.round_trips(&[b'x'; 64], WARM);
                    line.round_trips(&[b'x'; 64], TRIPS_OF_MANY)
                })
            });
            let mut many = many.await.concat();
            for (name, times) in [("1 client", &mut alone), ("50 clients", &mut many)] {
                for (quantile_name, share) in [("p50", 0.5), ("p99", 0.99)] {
                    let time = quantile(times, share).as_secs_f64() * 1e6;
                    figures.add(
                        format!("echo of 64 bytes, {name}, {quantile_name}, {way}"),
                        "µs",
                        time,
                    );
                }
            }
            let before = cpu(gateway);
            let time = off_the_runtime(move || {
                let mut line = Line::join(door, &format!("large-{run}"));
                line.pour(&[b'x'; LARGE], LARGE_TIMES)
            });
            let megabytes = (LARGE * LARGE_TIMES) as f64 / 1e6;
            let rate = megabytes / time.await.as_secs_f64();
            figures.add(format!("messages of 64 KiB, each way, {way}"), "MB/s", rate);
            if way == "proxied" {
                let each = (cpu(gateway) - before) * 1e3 / (megabytes / 1e3);
                figures.add(
                    "gateway's processor time for a GB there and back",
                    "ms",
                    each,
                );
            }
        }
    }
    figures.print();
    for what in [
        "echo of 64 bytes, 1 client, p50",
        "echo of 64 bytes, 50 clients, p50",
        "messages of 64 KiB, each way",
    ] {
        let [direct, proxied] =
            ["direct", "proxied"].map(|way| figures.median(&format!("{what}, {way}")));
        println!("{what}: proxied is {:.2} of direct", proxied / direct);
    }
    let led = yard
        .counted(&ways[1], "scalesocket_proxied_total", &["result=\"taken\""])
        .await;
    assert_eq!(
        led,
        (RUNS * (2 + MANY)) as f64,
        "not every client was led through the gateway"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for a minute: just hop"]
async fn an_idle_client_that_is_led_through_costs_a_kibibyte_at_most() {
    many_descriptors();
    let Some(yard) = yard("idle").await else {
        return;
    };
    let [pod, gateway] = pod_and_gateway(&yard).await;
    let mut figures = Figures::default();
    for (at, way) in [
        (&pod, "direct, on the pod with the room"),
        (&gateway, "proxied, on the gateway"),
    ] {
        let pid = yard.kubelet.process_id(&at.pod).expect("it runs");
        let few = crowd(at, FEW).await;
        are_there(&yard, [&pod, at], FEW).await;
        let empty = memory(pid).await;
        for which in ["first", "second"] {
            let crowd = crowd(at, IDLE).await;
            are_there(&yard, [&pod, at], IDLE + FEW).await;
            let held = (memory(pid).await - empty) / IDLE as f64;
            figures.add(
                format!("memory of an idle client, {way}, {which} crowd"),
                "bytes",
                held,
            );
            drop(crowd);
            are_there(&yard, [&pod, at], FEW).await;
            let kept = (memory(pid).await - empty) / IDLE as f64;
            figures.add(
                format!("the same when they have left, {way}, {which} crowd"),
                "bytes",
                kept,
            );
        }
        drop(few);
        are_there(&yard, [&pod, at], 0).await;
    }
    let socket = socket_alone().await;
    figures.add("a socket of the runtime, nothing else", "bytes", socket);
    figures.print();
    for crowd in ["first", "second"] {
        let name = format!("memory of an idle client, proxied, on the gateway, {crowd} crowd");
        let own = figures.median(&name) - 2.0 * socket;
        println!("{own:.0} bytes for each client of the {crowd} crowd beyond its two sockets");
        assert!(own <= IDLE_BYTES, "{own} bytes beyond two sockets");
    }
}

/// What the runtime keeps for a socket that nobody looks at: here, with the allocator that the server has.
async fn socket_alone() -> f64 {
    let own = std::process::id().cast_signed();
    // Taken by the kernel alone, which takes no more than 4096 for one of them.
    let listeners: Vec<_> = (0..IDLE.div_ceil(BACKLOG))
        .map(|_| unattended(([127, 0, 0, 1], 0).into()))
        .collect();
    let before = memory(own).await;
    let mut sockets = Vec::with_capacity(IDLE);
    for n in 0..IDLE {
        let address = listeners[n / BACKLOG].local_addr().expect("an address");
        sockets.push(
            TcpStream::connect(address)
                .await
                .expect("the kernel takes it"),
        );
    }
    let held = memory(own).await - before;
    drop(sockets);
    held / IDLE as f64
}

/// Clients in one room who say nothing.
async fn crowd(at: &At, count: usize) -> Vec<Line> {
    let door = at.address;
    let come = move |n: usize| {
        let share = count / FEW + usize::from(n < count % FEW);
        (0..share)
            .map(|_| Line::join(door, "idle"))
            .collect::<Vec<_>>()
    };
    let all = off_the_runtime(move || together(FEW, |n, _| come(n))).await;
    all.into_iter().flatten().collect()
}

/// Waits until each of the pods has so many clients, those that it leads elsewhere too.
async fn are_there(yard: &Yard, pods: [&At; 2], count: usize) {
    for at in pods {
        eventually(&format!("{count} clients are at {}", at.pod), async || {
            (yard.stats(at).await["connections"] == count).then_some(())
        })
        .await;
    }
}
