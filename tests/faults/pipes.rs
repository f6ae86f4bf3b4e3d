//! Children that stop, that do not read or write as one should, that close what they were given or
//! leave it to others.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::Server;
use crate::stage::{Peak, begin};

const MIB: u64 = 1 << 20;

/// Texts that are told apart, of 16 KiB.
fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:.<16000}")).collect()
}

async fn inbox_is_full(server: &Server) {
    server
        .waits_for_json("/x/stats", |stats| {
            stats["inbox_bytes"].as_u64() > Some(MIB / 2)
        })
        .await;
}

/// Somebody comes to another room, is answered there, and goes.
async fn others_are_served(server: &Server) {
    let mut bob = server.join("/y").await;
    bob.hears_text().await;
    bob.says("hello").await;
    bob.hears("hello").await;
    bob.leaves().await;
}

#[tokio::test]
async fn a_stopped_child_holds_up_its_own_room_alone_and_nothing_is_lost_when_it_goes_on() {
    let (server, start) = begin("--backlog 64MiB puppet pid then echo").await;
    let mut ann = server.join("/x").await;
    let pid = Pid::from_raw(ann.hears_text().await.parse().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let peak = Peak::of(&server);
    let stopped = async {
        inbox_is_full(&server).await;
        others_are_served(&server).await;
        peak.at_most(&server, &start, MIB + 8 * MIB);
        kill(pid, Signal::SIGCONT).unwrap();
    };
    ann.says_and_later_hears(&texts(1500), stopped).await;
    ann.leaves().await;
}

#[tokio::test]
async fn full_pipes_both_ways_hold_no_more_than_they_may_and_lose_nothing() {
    let (server, start) =
        begin("--slow block --stall-timeout 1m --backlog 256KiB puppet pid then echo").await;
    let mut ann = server.door("/x").narrow().join().await;
    ann.hears_text().await;
    let peak = Peak::of(&server);
    // She does not hear: the child cannot print, and so does not read, and so nothing is taken.
    let stuck = async {
        inbox_is_full(&server).await;
        others_are_served(&server).await;
    };
    ann.says_and_later_hears(&texts(1500), stuck).await;
    peak.at_most(&server, &start, MIB + 8 * MIB);
    ann.leaves().await;
    start.is_back(&server).await;
}

#[tokio::test]
async fn a_gigabyte_without_a_newline_ends_the_room_at_the_limit() {
    let print = r#"sh -- -c 'read go; head -c 1073741824 /dev/zero | tr "\0" x'"#;
    for (frame, go) in [("", "go"), ("--frame=json", "{}"), ("--null", "go\n")] {
        let (server, start) = begin(&format!("{frame} {print}")).await;
        let mut ann = server.join("/x").await;
        let peak = Peak::of(&server);
        ann.says(go).await;
        ann.hears_close(1011, "message over 16777216 bytes").await;
        // The message so far, and once more while its buffer grows.
        peak.at_most(&server, &start, 40 * MIB);
        start.is_back(&server).await;
    }
}

#[tokio::test]
async fn raw_output_without_end_goes_through_in_bounded_memory() {
    const BYTES: usize = 32 << 20;
    let line = format!("--slow block -b sh -- -c 'read go; head -c {BYTES} /dev/zero; cat'");
    let (server, start) = begin(&line).await;
    let mut ann = server.join("/x").await;
    let peak = Peak::of(&server);
    ann.says_bytes(b"go\n").await;
    ann.hears_chunks(&vec![0; BYTES]).await;
    peak.at_most(&server, &start, 4 * MIB + 8 * MIB);
    ann.leaves().await;
    start.is_back(&server).await;
}

#[tokio::test]
async fn a_child_that_closes_stdout_lives_on_and_is_heard_no_more() {
    let (server, start) = begin("sh -- -c 'echo last; exec 1>&-; read word; exit 7'").await;
    let mut ann = server.join("/x").await;
    ann.hears("last").await;
    server.has_programs(1).await;
    ann.hears_nothing().await;
    // It still hears, and its end is the room's.
    ann.says("word").await;
    ann.hears_close(1011, "exit 7").await;
    start.is_back(&server).await;
}

#[tokio::test]
async fn a_child_that_closes_stdin_is_heard_on_and_what_is_said_to_it_is_counted() {
    let line = "--metrics sh -- -c 'exec 0<&-; echo deaf; exec sleep 1000'";
    let (server, start) = begin(line).await;
    let mut ann = server.join("/x").await;
    ann.hears("deaf").await;
    for _ in 0..1000 {
        ann.says("does anybody hear me").await;
    }
    let dropped = r#"scalesocket_messages_dropped_total{reason="input_closed"} "#;
    server
        .waits_for_metric("1000 dropped", |line| {
            line.strip_prefix(dropped)
                .is_some_and(|count| count == "1000")
        })
        .await;
    ann.leaves().await;
    start.is_back(&server).await;
}

#[tokio::test]
async fn forks_that_hold_the_pipes_hold_neither_room_nor_server() {
    let (server, start) = begin("puppet pid then daemon then forks then mute").await;
    let mut people = Vec::new();
    for room in 0..10 {
        let mut person = server.join(&format!("/{room}")).await;
        let pid = Pid::from_raw(person.hears_text().await.parse().unwrap());
        person.hears_text().await;
        person.hears_text().await;
        people.push((person, pid));
    }
    for (_, pid) in &people {
        kill(*pid, Signal::SIGKILL).unwrap();
    }
    for (person, _) in &mut people {
        person.hears_close(1011, "signal KILL").await;
    }
    start.is_back(&server).await;
}
