//! A server short of memory: it opens no rooms, lets those go who are the furthest behind, tells
//! them why, and touches nobody who keeps up.
#![cfg(target_os = "linux")]

use crate::harness::{Person, Server, fails, serve};

/// Prints a megabyte to everybody for each `more`, 25 for `flood`, and answers all else.
const PROGRAM: &str = r#"sh -- -c 'while read word; do
    case $word in
        more) head -c 1048575 /dev/zero | tr "\0" x; echo;;
        flood) for n in 0 1 2 3 4 5 6 7 8 9; do
            head -c 2621439 /dev/zero | tr "\0" x; echo; done;;
        *) echo "$word";;
    esac
done'"#;
/// What is held while nobody has anything to hear fits many times, and 25 MiB unread do not.
const LIMITS: &str = "--memory 16MiB --backlog 100MiB --stall-timeout 5m --metrics";

async fn figure(server: &Server, name: &str) -> f64 {
    let start = format!("{name} ");
    let line = server
        .waits_for_metric(name, |line| line.starts_with(&start))
        .await;
    line[start.len()..].parse().unwrap()
}

async fn is_answered(person: &mut Person, word: &str) {
    person.says(word).await;
    person.hears(word).await;
}

#[tokio::test]
async fn one_who_never_reads_is_closed_and_told_why_and_other_rooms_notice_nothing() {
    let server = serve(format!("{LIMITS} {PROGRAM}")).await;
    let mut ann = server.join("/x").await;
    let mut lazy = server.door("/y").narrow().join().await;
    lazy.says("flood").await;
    let pressed = server.logged("memory is short").await;
    assert_eq!(pressed["level"], "WARN", "{pressed}");
    server.logged("memory is no longer short").await;
    let (_, reason) = lazy.hears_until_close(4008).await;
    assert!(reason.contains("memory"), "{reason}");
    for _ in 0..100 {
        is_answered(&mut ann, "still there").await;
    }
    let told = server.complaints();
    let begun = told.iter().filter(|line| line.contains("memory is short"));
    assert_eq!(begun.count(), 1, "{told:?}");
}

#[tokio::test]
async fn of_one_room_the_one_behind_goes_and_who_keeps_up_hears_all() {
    let server = serve(format!("{LIMITS} {PROGRAM}")).await;
    let mut lazy = server.door("/x").narrow().join().await;
    let mut ann = server.join("/x").await;
    // Each before the next is asked for: she is never further behind than one of them.
    for _ in 0..25 {
        ann.says("more").await;
        assert_eq!(ann.hears_text().await.len(), (1 << 20) - 1);
    }
    server.logged("memory is no longer short").await;
    is_answered(&mut ann, "still there").await;
    let (heard, reason) = lazy.hears_until_close(4008).await;
    assert!(heard < 25 && reason.contains("memory"), "{heard} {reason}");
}

#[tokio::test]
async fn what_one_alone_is_told_counts_as_well() {
    const TOLD: &str = r#"sh -- -c 'read go; for n in 0 1 2 3 4 5 6 7 8 9; do
        printf "{\"id\":1,\"text\":\""; head -c 2621439 /dev/zero | tr "\0" x; echo "\"}"; done; cat'"#;
    let server = serve(format!("{LIMITS} --frame=json {TOLD}")).await;
    let mut lazy = server.door("/x").narrow().join().await;
    let mut ann = server.join("/x").await;
    ann.says("{}").await;
    server.logged("memory is no longer short").await;
    let (_, reason) = lazy.hears_until_close(4008).await;
    assert!(reason.contains("memory"), "{reason}");
    ann.says(r#"{"n":1}"#).await;
    ann.hears(r#"{"n":1,"id":2}"#).await;
}

#[tokio::test]
async fn while_memory_is_short_no_room_is_opened_and_afterwards_they_are() {
    // What is on its way to a program that reads nothing is nobody's lag.
    let program = "puppet print hello then deaf";
    let ladder = "--stop-eof 0.1 --stop-grace 0.1";
    let server = serve(format!("{LIMITS} --inbox 100MiB {ladder} {program}")).await;
    let mut ann = server.join("/x").await;
    ann.hears("hello").await;
    let mut bob = server.join("/y").await;
    bob.hears("hello").await;
    let text = "x".repeat(1_000_000);
    bob.says_all_of((0..25).map(|_| text.clone())).await;
    server.logged("memory is short").await;
    let answer = server.door("/new").refused(503).await;
    assert_eq!(answer.json()["error"], "short_of_memory");
    assert!(answer.header("retry-after").is_some());
    // A room that lives is open, and the server is as ready as before.
    let eve = server.join("/x").await;
    assert_eq!(server.get("/ready").await.status, 200);
    assert!(figure(&server, "scalesocket_memory_bytes").await > f64::from(14 << 20));
    let refused = r#"scalesocket_connections_refused_total{reason="short_of_memory"}"#;
    assert_eq!(figure(&server, refused).await, 1.0);
    bob.leaves().await;
    server.logged("memory is no longer short").await;
    let mut new = server.join("/new").await;
    new.hears("hello").await;
    for person in [ann, eve, new] {
        person.leaves().await;
    }
    let slow = r#"scalesocket_connections_closed_total{code="4008"}"#;
    assert_eq!(figure(&server, slow).await, 0.0);
}

#[tokio::test]
async fn the_limit_is_half_of_what_there_is_unless_it_is_said() {
    const LIMIT: &str = "scalesocket_memory_limit_bytes";
    let machine = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = machine.lines().find_map(|line| {
        let rest = line.strip_prefix("MemTotal:")?.strip_suffix("kB")?;
        rest.trim().parse::<f64>().ok()
    });
    let server = serve("--metrics cat").await;
    let half = figure(&server, LIMIT).await;
    assert!(half > 0.0 && half <= total.unwrap() * 512.0, "{half}");
    let server = serve("--metrics --memory 64MiB cat").await;
    assert_eq!(figure(&server, LIMIT).await, f64::from(64 << 20));
    let server = serve("--metrics --memory 0 cat").await;
    assert_eq!(figure(&server, LIMIT).await, 0.0);
    let ann = server.join("/x").await;
    ann.leaves().await;
    let output = fails("--memory 1MiB cat").await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("16MiB"), "{told}");
}
