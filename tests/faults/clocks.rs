//! Clocks: one that starts anew, one that has run for a century, one that jumps because the machine
//! slept, and that of the wall, which only what comes from outside is compared with.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::given;
use crate::skip_unless;
use crate::stage::{SOON, begin, begin_with, works};

/// Seconds that the monotonic clock shows here.
fn uptime() -> i64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    text.split('.').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_age_of_the_machine_does_not_matter() {
    skip_unless!(
        works("unshare --time --monotonic 1 true"),
        "time namespaces need root and Linux 5.6"
    );
    for shows in [1, 100 * 365 * 86_400] {
        let offset = shows - uptime();
        let line = format!("{SOON} --ping 0.1 --max-idle 1h --linger 0.1 puppet echo");
        let setup = given(line).inside(&format!(
            "unshare --time --monotonic {offset} --boottime {offset}"
        ));
        let (server, start) = begin_with(setup).await;
        let mut ann = server.join("/x").await;
        ann.says("hello").await;
        ann.hears("hello").await;
        let stats = server.waits_for_json("/stats", |_| true).await;
        assert!(stats["uptime_seconds"].as_f64() < Some(60.0), "{stats}");
        ann.leaves().await;
        start.is_back(&server).await;
    }
}

#[tokio::test]
async fn a_machine_that_slept_longer_than_every_timeout_wakes_to_the_same_people() {
    // To the server, every timer is late at once, and what clients sent meanwhile waits unread.
    const SLEEP: Duration = Duration::from_secs(3);
    const PEOPLE: usize = 20;
    let line = "--ping 0.3 --ping-timeout 2 --stall-timeout 2 puppet ticks";
    let (server, start) = begin(line).await;
    let (tells, mut told) = tokio::sync::mpsc::channel(PEOPLE);
    // From the first word on they read, and so they answer pings, whoever else still comes in.
    let people = (0..PEOPLE).map(|room| {
        let (server, tells) = (&server, tells.clone());
        async move {
            let mut person = server.join(&format!("/{room}")).await;
            let ready = person.hears_text().await;
            let pid = ready.strip_prefix("ready ").unwrap().parse().unwrap();
            tells.send(Pid::from_raw(pid)).await.unwrap();
            person.hears("tick 1").await;
            person.leaves().await;
        }
    });
    let sleeps = async {
        let mut pids = Vec::new();
        while pids.len() < PEOPLE {
            pids.push(told.recv().await.unwrap());
        }
        server.signal(Signal::SIGSTOP);
        // The sleep is the fault, and waits for nothing.
        tokio::time::sleep(SLEEP).await;
        server.signal(Signal::SIGCONT);
        // Awake, it looks at all its timers once, and pings go to and fro.
        tokio::time::sleep(Duration::from_millis(500)).await;
        for pid in pids {
            kill(pid, Signal::SIGUSR1).unwrap();
        }
    };
    tokio::join!(futures_util::future::join_all(people), sleeps);
    start.is_back(&server).await;
}

/// Files that may ask for the time of day, and why a jump of it does no harm there.
const WALL: [(&str, &str); 13] = [
    (
        "src/auth/mod.rs",
        "how long a token is good is a time of day",
    ),
    ("src/auth/token.rs", "the same"),
    ("src/auth/token/tests.rs", "the same"),
    (
        "src/child/env.rs",
        "a part of an id that no other server has",
    ),
    (
        "src/cluster/peer.rs",
        "peers' signatures age, with an allowance",
    ),
    ("src/cluster/peer/tests.rs", "the same"),
    ("src/cluster/peer/secrets.rs", "whether a file has changed"),
    ("src/cluster/router.rs", "peers' signatures again"),
    ("src/cluster/router/", "the same"),
    ("src/http/away.rs", "the header Date of an answer"),
    ("src/metrics.rs", "when the server started, told once"),
    (
        "src/record/line.rs",
        "when a recording began; what is in it counts from there",
    ),
    (
        "src/room/tap.rs",
        "beside each thing that an operator is shown",
    ),
];

#[test]
fn nothing_else_asks_for_the_time_of_day() {
    fn visit(path: &Path, found: &mut Vec<String>) {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).unwrap();
            entries.for_each(|entry| visit(&entry.unwrap().path(), found));
        } else if std::fs::read_to_string(path).is_ok_and(|text| text.contains("SystemTime")) {
            found.push(path.display().to_string());
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    visit(&root.join("src"), &mut found);
    let known = |file: &String| WALL.iter().any(|(known, _)| file.contains(known));
    let others: Vec<String> = found.into_iter().filter(|file| !known(file)).collect();
    assert!(
        others.is_empty(),
        "a time of day jumps; use Instant, or say here why it does no harm: {others:?}"
    );
}
