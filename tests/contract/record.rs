//! `--record`: what went in and out of a room is written down, and no room pays for it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use crate::harness::{PATIENCE, fails, serve, temporary};

/// What is written down in a directory of the room that has ended, line by line.
pub(super) async fn recorded(dir: &Path, room: &str) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let lines = find(dir, room).map(|path| lines(&path)).unwrap_or_default();
        if lines.iter().any(|line| !line["end"].is_null()) {
            return lines;
        }
        assert!(start.elapsed() < PATIENCE, "no whole recording: {lines:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The newest recording of a room.
pub(super) fn find(dir: &Path, room: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_it = |path: &PathBuf| {
        lines(path)
            .first()
            .is_some_and(|l| l["recording"]["room"] == room)
    };
    entries.map(|entry| entry.path()).filter(is_it).max()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// All text of one kind, put together.
fn all_text(lines: &[Value], kind: &str) -> String {
    lines
        .iter()
        .filter_map(|line| line[kind].as_str())
        .collect()
}

fn position(lines: &[Value], kind: &str) -> usize {
    let is_it = |line: &Value| !line[kind].is_null();
    lines
        .iter()
        .position(is_it)
        .unwrap_or_else(|| panic!("no {kind} in {lines:?}"))
}

#[tokio::test]
async fn what_goes_in_and_out_is_written_down_with_times() {
    let dir = temporary();
    let rooms = dir.path().join("rooms");
    let line = format!("--joinmsg come --record {} puppet echo", rooms.display());
    let server = serve(line).await;
    let door = server.door("/x?token=secret");
    let door = door.header("Cookie", "session=secret");
    let mut ann = door.header("Authorization", "Bearer secret").join().await;
    ann.hears("come").await;
    ann.says("héllo").await;
    ann.hears("héllo").await;
    ann.leaves().await;
    let lines = recorded(&rooms, "x").await;
    assert_eq!(all_text(&lines, "in"), "come\nhéllo\n");
    assert_eq!(all_text(&lines, "out"), "come\nhéllo\n");
    let order = [
        "recording",
        "start",
        "in",
        "out",
        "leave",
        "eof",
        "exit",
        "end",
    ];
    let order = order.map(|kind| position(&lines, kind));
    assert!(order.is_sorted(), "{lines:?}");
    let times: Vec<_> = lines
        .iter()
        .map(|line| line["at"].as_f64().unwrap())
        .collect();
    assert!(times.iter().all(|at| (0.0..60.0).contains(at)), "{times:?}");

    let start = &lines[position(&lines, "start")]["start"];
    assert!(
        start["program"].as_str().unwrap().ends_with("/puppet"),
        "{start}"
    );
    assert_eq!(start["args"], serde_json::json!(["echo"]));
    assert_eq!(start["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(start["env"]["ROOM"], "x");
    assert_eq!(lines[position(&lines, "exit")]["exit"], "exit 0");
    assert_eq!(lines[position(&lines, "join")]["join"], 1);

    // SECURITY: for the server's own user, and not what only the door is to know.
    let path = find(&rooms, "x").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&rooms)), (0o600, 0o700));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains("secret") && text.contains("HTTP_COOKIE"),
        "{text}"
    );
}

#[tokio::test]
async fn bytes_that_are_no_text_and_stderr_are_written_down_too() {
    let dir = temporary();
    let line = format!(
        "--record {} puppet bytes \\xff\\0\\n then whispers careful then exit 3",
        dir.path().display()
    );
    let server = serve(line).await;
    let mut ann = server.join("/caf%C3%A9").await;
    ann.hears_bytes(b"\xff\0").await;
    ann.hears_close(1011, "exit 3").await;
    let lines = recorded(dir.path(), "café").await;
    assert_eq!(all_text(&lines, "out64"), "/wAK");
    assert_eq!(all_text(&lines, "err"), "careful");
    assert_eq!(all_text(&lines, "exit"), "exit 3");
    let end = &lines[position(&lines, "end")]["end"];
    assert_eq!(end, &serde_json::json!({"code": 1011, "reason": "exit 3"}));
}

#[tokio::test]
async fn each_child_of_a_room_is_in_its_recording() {
    let dir = temporary();
    let line = format!(
        "--restart on-failure --record {} puppet print here then wait 2 then exit 3",
        dir.path().display()
    );
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    ann.hears("here").await;
    ann.says_all_of(["1", "2", "3"].map(str::to_owned)).await;
    ann.hears("here").await;
    ann.leaves().await;
    let lines = recorded(dir.path(), "x").await;
    let count = |kind: &str| lines.iter().filter(|line| !line[kind].is_null()).count();
    assert_eq!((count("start"), count("exit")), (2, 2), "{lines:?}");
    // What the first did not read, the second was given.
    let kept: i64 = lines.iter().fold(0, |kept, line| {
        kept + line["in"].as_str().unwrap_or_default().len() as i64
            - line["back"].as_i64().unwrap_or_default()
    });
    assert_eq!(kept, 6, "{lines:?}");
}

#[tokio::test]
async fn a_recording_ends_at_its_limit_and_the_room_goes_on() {
    let dir = temporary();
    let line = format!(
        "--metrics --record-max 4KiB --record {} puppet echo",
        dir.path().display()
    );
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    for round in 0..50 {
        let text = format!("{round} {}", "x".repeat(200));
        ann.says(&text).await;
        ann.hears(&text).await;
    }
    server.logged("the recording ends; the room goes on").await;
    let path = find(dir.path(), "x").unwrap();
    let lines = lines(&path);
    let why = lines.last().unwrap()["cut"].as_str().unwrap().to_owned();
    assert!(why.contains("--record-max"), "{why}");
    assert!(std::fs::metadata(&path).unwrap().len() <= 4096);
    let cut = "scalesocket_recordings_cut_total 1";
    server.waits_for_metric(cut, |line| line == cut).await;
}

#[tokio::test]
async fn a_disk_that_fails_costs_recordings_and_is_told_once() {
    let dir = temporary();
    let rooms = dir.path().join("rooms");
    let line = format!("--metrics --record {} puppet echo", rooms.display());
    let server = serve(line).await;
    std::fs::remove_dir(&rooms).unwrap();
    for room in ["/x", "/y"] {
        let mut ann = server.join(room).await;
        ann.says("hello").await;
        ann.hears("hello").await;
    }
    let cut = "scalesocket_recordings_cut_total 2";
    server.waits_for_metric(cut, |line| line == cut).await;
    let told = "a recording was cut short";
    server.logged(told).await;
    let mut complaints = server.complaints();
    complaints.retain(|line| line.contains(told));
    assert_eq!(complaints.len(), 1, "{complaints:?}");
}

/// The recorder has less to do than the room, or none of it is recorded any more.
#[tokio::test]
async fn a_flood_that_is_recorded_is_heard_whole() {
    let dir = temporary();
    let line = format!(
        "--record {} puppet wait then flood 300000",
        dir.path().display()
    );
    let server = serve(line).await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    ann.says("go").await;
    let all = || (1..=300_000).map(|n| n.to_string());
    tokio::join!(ann.hears_all_of(all()), bob.hears_all_of(all()));
    ann.hears_close(1000, "exit 0").await;
    let lines = recorded(dir.path(), "x").await;
    let cut = lines.iter().any(|line| !line["cut"].is_null());
    let expected: String = all().map(|n| n + "\n").collect();
    assert!(cut || all_text(&lines, "out") == expected);
}

#[tokio::test]
async fn what_a_killed_server_has_seen_is_there() {
    let dir = temporary();
    let line = format!("--record {} puppet echo", dir.path().display());
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    ann.says("hello").await;
    ann.hears("hello").await;
    // Written by a thread of its own, somewhat later.
    let path = loop {
        match find(dir.path(), "x") {
            Some(path) if all_text(&lines(&path), "out") == "hello\n" => break path,
            _ => tokio::task::yield_now().await,
        }
    };
    server.signal(nix::sys::signal::Signal::SIGKILL);
    server.ends().await;
    let lines = lines(&path);
    assert_eq!(all_text(&lines, "in"), "hello\n", "{lines:?}");
}

#[tokio::test]
async fn that_a_program_is_ended_by_signals_is_written_down() {
    let dir = temporary();
    let line = format!(
        "--stop-eof 0.1 --stop-grace 0.1 --record {} puppet print here then deaf",
        dir.path().display()
    );
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    ann.hears("here").await;
    ann.leaves().await;
    let lines = recorded(dir.path(), "x").await;
    let order = ["eof", "stop", "exit", "end"].map(|kind| position(&lines, kind));
    assert!(order.is_sorted(), "{lines:?}");
    assert_eq!(lines[position(&lines, "exit")]["exit"], "signal TERM");
}

#[tokio::test]
async fn recordings_among_watched_files_are_no_change() {
    let dir = temporary();
    let game = dir.path().join("game");
    std::fs::write(&game, "#!/bin/sh\nexec cat\n").unwrap();
    std::fs::set_permissions(&game, PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.path().display();
    let server = serve(format!("--watch {path} --record {path}/rooms {path}/game")).await;
    for room in ["x", "y", "z"] {
        let mut ann = server.join(&format!("/{room}")).await;
        ann.says("hello").await;
        ann.hears("hello").await;
        ann.leaves().await;
        recorded(&dir.path().join("rooms"), room).await;
    }
    let changed = server.log().iter().any(|line| line.contains("has changed"));
    assert!(!changed);
}

#[tokio::test]
async fn recordings_are_not_served_as_files() {
    let dir = temporary();
    let path = dir.path().display();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
    for rooms in ["", "/rooms", "/link/rooms/new"] {
        let output = fails(format!("--staticdir {path} --record {path}{rooms} cat")).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("is inside --staticdir"), "{told}");
    }
}

#[tokio::test]
async fn where_nothing_can_be_written_nothing_is_served() {
    let output = fails("--addr 127.0.0.1:0 --record /dev/null/rooms cat").await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("--record: cannot write to /dev/null/rooms"),
        "{told}"
    );
}
