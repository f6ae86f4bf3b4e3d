//! Nobody can wedge a room and nothing is unbounded: children that do not read, people who do not
//! read, and what each policy for slow people promises. Loads are small and bounds tight; nothing
//! here asserts a rate.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Person, Server, serve};

const MIB: u64 = 1 << 20;
/// Lines of this size, so many of them: more than every buffer of both kernels ends together hold.
const SIZE: usize = 16 << 10;
const LINES: usize = 1_000;

fn line(number: usize) -> String {
    let digits = number.to_string();
    let padding = ".".repeat(SIZE - 1 - digits.len());
    digits + &padding
}

fn flood() -> String {
    format!("puppet wait then flood {LINES} {SIZE}")
}

/// Three people who read, and one who does not until asked. All have small receive buffers: what
/// the kernel keeps for one and not for another would count as being behind.
async fn a_room_with_a_lazy_one(server: &Server) -> (Vec<Person>, Person) {
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(server.door("/x").receiving(64 << 10).join().await);
    }
    (readers, server.door("/x").narrow().join().await)
}

/// In step: nobody is further behind another than a message and what the kernel holds, so that
/// everybody keeps up whatever the scheduler does.
async fn all_hear_everything(readers: &mut [Person]) {
    for number in 1..=LINES {
        let expected = line(number);
        for reader in &mut *readers {
            reader.hears(&expected).await;
        }
    }
}

#[tokio::test]
async fn a_child_that_never_reads_costs_an_inbox_and_others_still_hear_it() {
    let server = serve("--inbox 256KiB --stop-eof 0.1 --stop-grace 0.1 puppet ticks").await;
    let mut ann = server.join("/x").await;
    let ready = ann.hears_text().await;
    let pid: i32 = ready
        .strip_prefix("ready ")
        .and_then(|pid| pid.parse().ok())
        .unwrap();
    let mut bob = server.join("/x").await;
    let before = server.memory_bytes();
    let word = "x".repeat(32 << 10);
    let ignored = bob
        .says_until_ignored(&word, 8_192, Duration::from_millis(500))
        .await;
    assert!(ignored, "256 MiB were taken for a child that reads nothing");
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(
        grown < MIB / 4 + 2 * MIB,
        "the server grew by {grown} bytes"
    );
    kill(Pid::from_raw(pid), Signal::SIGUSR1).unwrap();
    ann.hears("tick 1").await;
    bob.hears("tick 1").await;
    // Whoever is not read any more is still seen leaving.
    bob.vanishes();
    ann.leaves().await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn one_who_never_reads_is_told_so_and_the_others_lose_nothing() {
    let server = serve(format!("--backlog 1MiB {}", flood())).await;
    let (mut readers, mut lazy) = a_room_with_a_lazy_one(&server).await;
    let before = server.memory_bytes();
    readers[0].says("go").await;
    all_hear_everything(&mut readers).await;
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < MIB + 2 * MIB, "the server grew by {grown} bytes");
    for reader in &mut readers {
        reader.hears_close_code(1000).await;
    }
    let (heard, _) = lazy.hears_until_close(4008).await;
    assert!(heard < LINES as u64, "the lazy one was not behind at all");
}

#[tokio::test]
async fn one_who_is_cut_off_has_heard_a_part_without_holes() {
    let server = serve(format!("--backlog 1MiB {}", flood())).await;
    let (mut readers, mut lazy) = a_room_with_a_lazy_one(&server).await;
    readers[0].says("go").await;
    all_hear_everything(&mut readers).await;
    let part = lazy.hears_texts_until_close(4008).await;
    assert!(
        part.iter()
            .zip(1..)
            .all(|(given, number)| *given == line(number))
    );
}

#[tokio::test]
async fn with_drop_a_gap_is_told_and_the_numbers_add_up() {
    let server = serve(format!("--slow drop --backlog 1MiB {} then mute", flood())).await;
    let (mut readers, mut lazy) = a_room_with_a_lazy_one(&server).await;
    readers[0].says("go").await;
    all_hear_everything(&mut readers).await;
    let (mut next, mut gaps) = (1, 0);
    while next <= LINES {
        let text = lazy.hears_text().await;
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) if value.get("gap").is_some() => {
                let messages = value["gap"]["messages"].as_u64().unwrap() as usize;
                let bytes = value["gap"]["bytes"].as_u64().unwrap() as usize;
                // Payloads, with or without what frames them.
                let fits = messages * (SIZE - 1)..=messages * (SIZE + 16);
                assert!(
                    fits.contains(&bytes),
                    "{messages} messages of {bytes} bytes"
                );
                next += messages;
                gaps += 1;
            }
            _ => {
                assert_eq!(text, line(next));
                next += 1;
            }
        }
    }
    assert!(gaps > 0, "16 MiB were kept for somebody who did not read");
}

#[tokio::test]
async fn with_drop_json_framing_names_the_gap_gap() {
    let server = serve(format!(
        "--frame=json --slow drop --backlog 1MiB {} then mute",
        flood()
    ))
    .await;
    let (mut readers, mut lazy) = a_room_with_a_lazy_one(&server).await;
    readers[0].says("{}").await;
    all_hear_everything(&mut readers).await;
    let gap = loop {
        let text = lazy.hears_text().await;
        if text.starts_with('{') {
            break text;
        }
    };
    let gap: serde_json::Value = serde_json::from_str(&gap).unwrap();
    assert!(gap["_gap"]["messages"].as_u64().unwrap() > 0, "{gap}");
}

#[tokio::test]
async fn with_block_the_slowest_loses_nothing() {
    let server = serve(format!("--slow block --backlog 64KiB {}", flood())).await;
    let (mut readers, mut slow) = a_room_with_a_lazy_one(&server).await;
    readers[0].says("go").await;
    let slowly = async {
        for number in 1..=LINES {
            slow.hears(&line(number)).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(all_hear_everything(&mut readers), slowly);
    slow.hears_close_code(1000).await;
}

#[tokio::test]
async fn with_block_one_who_never_reads_holds_the_room_until_the_stall_timeout() {
    let server = serve(format!(
        "--slow block --stall-timeout 0.5 --backlog 64KiB {}",
        flood()
    ))
    .await;
    let (mut readers, mut lazy) = a_room_with_a_lazy_one(&server).await;
    readers[0].says("go").await;
    all_hear_everything(&mut readers).await;
    let (heard, _) = lazy.hears_until_close(4008).await;
    assert!(heard < LINES as u64);
}

#[tokio::test]
async fn one_who_accepts_no_byte_while_data_waits_is_closed() {
    // Alone, so that nobody is ahead: only the stall can end this.
    let server = serve(format!(
        "--metrics --stall-timeout 0.3 --backlog 1MiB {}",
        flood()
    ))
    .await;
    let mut lazy = server.door("/x").narrow().join().await;
    lazy.says("go").await;
    server
        .waits_for_metric("a close with 4008", &|line: &str| is_closed(line, "4008"))
        .await;
    server.has_programs(0).await;
}

fn is_closed(line: &str, code: &str) -> bool {
    line.starts_with("scalesocket_")
        && line.contains(&format!("code=\"{code}\""))
        && !line.ends_with(" 0")
}

#[tokio::test]
async fn with_nobody_there_the_child_is_never_paced() {
    let server = serve("--linger 60 --backlog 64KiB puppet wait then flood 200000 100").await;
    let mut ann = server.join("/x").await;
    ann.says("go").await;
    ann.vanishes();
    // 20 MB into a backlog of 64 KiB: only a pump that goes on reading lets the child end.
    server.logged("room ended").await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn a_full_inbox_stops_its_sender_and_lets_go_when_the_child_reads() {
    let directory = crate::harness::temporary();
    let file = directory.path().join("now");
    let steps = format!("traps {} USR2 then count", file.display());
    let server = serve(format!("--inbox 64KiB puppet pid then {steps}")).await;
    let mut ann = server.join("/x").await;
    let pid: i32 = ann.hears_text().await.parse().unwrap();
    ann.hears("trapping").await;
    let words: Vec<String> = (0..400).map(|_| "x".repeat(1 << 10)).collect();
    // 400 KiB are more than the inbox and the pipe hold; kernels' buffers take the rest.
    ann.says_all_of(words).await;
    kill(Pid::from_raw(pid), Signal::SIGUSR2).unwrap();
    ann.hears_all_of((1..=400).map(|n| n.to_string())).await;
}

#[tokio::test]
async fn who_hung_up_is_not_kept_for_a_child_that_takes_nothing() {
    let server = serve("--inbox 1KiB --stall-timeout 0.3 --stop-eof 0.1 puppet ticks").await;
    let mut ann = server.join("/x").await;
    ann.hears_text().await;
    let before = server.descriptors();
    for _ in 0..3 {
        let mut bob = server.join("/x").await;
        let word = "x".repeat(32 << 10);
        let patience = Duration::from_millis(100);
        assert!(bob.says_until_ignored(&word, 8_192, patience).await);
        bob.vanishes();
    }
    server.has_descriptors(before).await;
}
