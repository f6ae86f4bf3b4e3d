//! `replay`: a program is given again what a recorded room gave it, and the first message that is
//! another is shown.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::record::{find, recorded};
use crate::harness::{given, puppet, serve, temporary};

const RACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract/replay/race.py");
const JOINS: &str = r#"--joinmsg '{"join":true,"id":#ID}' --leavemsg '{"leave":true,"id":#ID}'"#;

/// What `replay` says of a recording: its exit code, what it prints, what it complains of.
async fn replay(options: &str, file: &Path, program: &str) -> (i32, String, String) {
    let line = format!("replay {options} {} -- {program}", file.display());
    let output = given(line).output().await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("an exit code");
    (code, text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn is_same((code, out, complaints): (i32, String, String)) -> String {
    assert_eq!(code, 0, "{out}{complaints}");
    assert!(out.starts_with("same: "), "{out}");
    out
}

#[track_caller]
fn differs((code, out, complaints): (i32, String, String), parts: &[&str]) {
    assert_eq!(code, 1, "{out}{complaints}");
    for part in parts {
        assert!(out.contains(part), "no {part:?} in {out}{complaints}");
    }
}

/// The recording of a whole race between two.
async fn recorded_race(dir: &Path) -> PathBuf {
    let line = format!("--frame=json {JOINS} --record {} {RACE}", dir.display());
    let server = serve(line).await;
    let mut ann = server.join("/race").await;
    ann.hears(r#"{"id": 1, "welcome": "to the race"}"#).await;
    ann.hears(r#"{"board": {"1": 0}}"#).await;
    let mut bob = server.join("/race").await;
    bob.hears(r#"{"id": 2, "welcome": "to the race"}"#).await;
    bob.hears(r#"{"board": {"1": 0, "2": 0}}"#).await;
    ann.hears(r#"{"board": {"1": 0, "2": 0}}"#).await;
    // Ann throws until she has won.
    loop {
        bob.says(r#"{"do":"sleep"}"#).await;
        ann.says(r#"{"do":"throw"}"#).await;
        if ann.hears_json().await["winner"] == 1 {
            break;
        }
    }
    ann.hears(r#"{"board": {"1": 0, "2": 0}}"#).await;
    bob.leaves().await;
    ann.hears(r#"{"board": {"1": 0}}"#).await;
    ann.leaves().await;
    recorded(dir, "race").await;
    find(dir, "race").unwrap()
}

#[tokio::test]
async fn a_recorded_game_replays_to_the_same_output() {
    let dir = temporary();
    let file = recorded_race(dir.path()).await;
    for options in ["", "--fast", "--speed 20", "--json --fast"] {
        let told = is_same(replay(options, &file, RACE).await);
        let messages = std::fs::read_to_string(&file).unwrap();
        // Whoever throws nothing but sixes has won with the fifth.
        let boards = messages.matches("board").count();
        assert!(boards >= 8 && !told.contains("ends before"), "{told}");
    }
}

/// The game of the examples, whose clock ticks as it likes: what the ticks were is in the recording.
#[tokio::test]
async fn a_game_with_a_clock_replays_to_the_same_output() {
    let game = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/game/game.py");
    let dir = temporary();
    let leaves = r#"--leavemsg '{"left":#ID}'"#;
    let line = format!(
        "--frame=json {leaves} --record {} {game}",
        dir.path().display()
    );
    let server = serve(line).await;
    let mut people = Vec::new();
    for name in ["Ann", "Bob"] {
        let mut person = server.join("/game").await;
        let enter = serde_json::json!({ "type": "enter", "name": name });
        person.says(&enter.to_string()).await;
        people.push(person);
    }
    // They walk into walls, each some steps of the clock after the other.
    for way in ["left", "up", "right", "down"] {
        for person in &mut people {
            person
                .says(&format!(r#"{{"type":"go","way":"{way}"}}"#))
                .await;
            for _ in 0..2 {
                while person.hears_json().await["painted"] == serde_json::json!([]) {}
            }
        }
    }
    for person in people {
        person.leaves().await;
    }
    recorded(dir.path(), "game").await;
    let file = find(dir.path(), "game").unwrap();
    for options in ["", "--fast", "--speed 3"] {
        is_same(replay(options, &file, game).await);
    }
    // Whoever goes up goes a little further up.
    let changed = std::fs::read_to_string(game).unwrap();
    assert!(changed.contains(r#""up": (0, -1)"#));
    let path = dir.path().join("changed.py");
    std::fs::write(
        &path,
        changed.replace(r#""up": (0, -1)"#, r#""up": (0, -2)"#),
    )
    .unwrap();
    let changed = format!("python3 {}", path.display());
    differs(
        replay("--fast", &file, &changed).await,
        &[
            " is another, recorded at ",
            "\n  recorded: {\"type\":\"state\"",
            "\n  came:     {\"type\":\"state\"",
        ],
    );
}

#[tokio::test]
async fn a_changed_game_shows_the_first_message_that_is_another() {
    let dir = temporary();
    let file = recorded_race(dir.path()).await;
    let game = std::fs::read_to_string(RACE).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(game.contains(from));
        let path = dir.path().join("changed.py");
        std::fs::write(&path, game.replace(from, to)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    // Whoever throws begins at once with a hundred: the fifth message is the first that tells.
    let cheat = changed("at[who] += thrown", "at[who] += thrown + 100");
    for options in ["", "--fast"] {
        let found = replay(options, &file, &cheat).await;
        let parts = [
            "message 5 is another, recorded at ",
            "\n  recorded: {\"board\": {\"1\": ",
            "\n  came:     {\"winner\": 1}\n",
        ];
        differs(found, &parts);
    }
    // Told to the wrong one, in other words: whom it is for counts.
    let astray = changed("say(id=who, ", "say(id=1, ");
    differs(
        replay("--fast", &file, &astray).await,
        &["message 3 is another", "{\"id\": 2, ", "{\"id\": 1, "],
    );
    // It falls over at the first throw.
    let broken = changed("dice.randint(1, 6)", "dice.randint(6, 1)");
    let (code, out, complaints) = replay("--fast", &file, &broken).await;
    assert!(complaints.contains("Traceback"), "{complaints}");
    differs(
        (code, out, complaints),
        &[
            "message 5 is another",
            "came:     nothing (the program: exit 1)",
        ],
    );
    // It keeps back what it says.
    let mute = changed("flush=True", "flush=False");
    let mute = format!("env -u PYTHONUNBUFFERED {mute}");
    differs(
        replay("--fast --timeout 0.2", &file, &mute).await,
        &[
            "message 1 is another",
            "came:     nothing (silent for 200ms more)",
        ],
    );
    // Other spaces are another message, but do not mean one.
    let dense = changed(
        "json.dumps(message)",
        "json.dumps(message, separators=(',', ':'))",
    );
    differs(
        replay("--fast", &file, &dense).await,
        &["message 1 is another"],
    );
    is_same(replay("--fast --json", &file, &dense).await);
}

#[tokio::test]
async fn what_a_killed_server_has_recorded_replays_as_far_as_it_goes() {
    let dir = temporary();
    let line = format!(
        "--frame=json {JOINS} --record {} {RACE}",
        dir.path().display()
    );
    let server = serve(line).await;
    let mut ann = server.join("/race").await;
    ann.hears(r#"{"id": 1, "welcome": "to the race"}"#).await;
    ann.hears(r#"{"board": {"1": 0}}"#).await;
    for _ in 0..3 {
        ann.says(r#"{"do":"throw"}"#).await;
        ann.hears_json().await;
    }
    let file = find(dir.path(), "race").unwrap();
    while std::fs::read_to_string(&file)
        .unwrap()
        .matches("board")
        .count()
        < 4
    {
        tokio::task::yield_now().await;
    }
    server.signal(Signal::SIGKILL);
    server.ends().await;
    let told = is_same(replay("--fast", &file, RACE).await);
    assert!(told.contains("ends before the room did"), "{told}");
    // In the midst of a line, too.
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 3]).unwrap();
    is_same(replay("--fast", &file, RACE).await);
}

/// A room that lives as long as what is said in it, and its recording.
async fn lives(flags: &str, program: &str, says: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = temporary();
    let line = format!("{flags} --record {} {program}", dir.path().display());
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    for text in says {
        ann.says(text).await;
    }
    ann.leaves().await;
    recorded(dir.path(), "x").await;
    let file = find(dir.path(), "x").unwrap();
    (dir, file)
}

#[tokio::test]
async fn every_framing_replays() {
    let puppet = puppet().display().to_string();
    for (flags, steps) in [
        ("", "echo"),
        ("--null", "echo-raw"),
        ("--delimiters ;", "echo-raw"),
        ("--binary", "echo-raw"),
        ("--frame=gwsocket", "packets-to-all"),
        ("--frame=json", "echo"),
    ] {
        let says = [r#"{"one;":1}"#, r#"{"é":"\u0007"}"#];
        let (_dir, file) = lives(flags, &format!("{puppet} -- {steps}"), &says).await;
        is_same(replay("--fast", &file, &format!("{puppet} {steps}")).await);
        let other = replay("--fast", &file, &format!("{puppet} print other")).await;
        differs(other, &["message 1 is another"]);
    }
}

#[tokio::test]
async fn each_program_of_a_room_that_was_restarted_is_replayed() {
    let puppet = puppet().display().to_string();
    let dir = temporary();
    let line = format!(
        "--restart on-failure --record {} {puppet} -- print here then wait 2 then print there then exit 3",
        dir.path().display()
    );
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    ann.hears("here").await;
    ann.says_all_of(["1", "2", "3"].map(str::to_owned)).await;
    ann.hears("there").await;
    ann.hears("here").await;
    ann.leaves().await;
    recorded(dir.path(), "x").await;
    let file = find(dir.path(), "x").unwrap();
    let again = |steps: &str| format!("{puppet} {steps}");
    let steps = "print here then wait 2 then print there then exit 3";
    is_same(replay("--fast", &file, &again(steps)).await);
    let other = "print here then wait 2 then print there then exit 4";
    differs(
        replay("--fast", &file, &again(other)).await,
        &[
            "the program ended otherwise, in the life of program 1 of 2",
            "recorded: exit 3",
            "came:     exit 4",
        ],
    );
}

#[tokio::test]
async fn a_program_that_prints_by_the_clock_and_never_reads_replays() {
    let script = "trap '' TERM; echo on; for n in 1 2 3; do sleep 0.05; echo $n; done; while sleep 1; do :; done";
    let dir = temporary();
    let path = dir.path().join("clock.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let program = path.display().to_string();
    let rooms = dir.path().join("rooms");
    let line = format!(
        "--stop-eof 0.1 --stop-grace 0.1 --record {} {program}",
        rooms.display()
    );
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    ann.says(&"x".repeat(500_000)).await;
    for text in ["on", "1", "2", "3"] {
        ann.hears(text).await;
    }
    ann.leaves().await;
    recorded(&rooms, "x").await;
    let file = find(&rooms, "x").unwrap();
    for options in ["--timeout 0.5", "--fast --timeout 0.5"] {
        is_same(replay(options, &file, &program).await);
    }
}

#[tokio::test]
async fn that_a_program_ends_where_it_went_on_is_a_difference() {
    let puppet = puppet().display().to_string();
    let steps = "print hi then wait 1 then deaf";
    let stops = "--stop-eof 0.1 --stop-grace 0.1";
    let (_dir, file) = lives(stops, &format!("{puppet} -- {steps}"), &["a", "b"]).await;
    let again = |steps: &str| format!("{puppet} {steps}");
    is_same(replay("--fast --timeout 0.5", &file, &again(steps)).await);
    let (_dir, file) = lives("", &format!("{puppet} -- echo"), &["a", "b"]).await;
    for (steps, came) in [
        ("print a then print b then exit 5", "came:     exit 5"),
        (
            "print a then print b then dies SEGV",
            "came:     signal SEGV",
        ),
        ("print a then print b then deaf", "came:     it still runs"),
    ] {
        let found = replay("--fast --timeout 0.3", &file, &again(steps)).await;
        differs(
            found,
            &["the program ended otherwise", "recorded: exit 0", came],
        );
    }
    let more = replay("--fast", &file, &again("echo then print c")).await;
    let parts = [
        "message 3 is another",
        "recorded: nothing (the program had ended)",
        "came:     c",
    ];
    differs(more, &parts);
}

#[tokio::test]
async fn over_tcp_the_bytes_are_replayed_and_a_terminal_is_not() {
    let puppet = puppet().display().to_string();
    let (_dir, file) = lives("--tcp", &format!("{puppet} -- tcp echo"), &["a", "b"]).await;
    let (code, out, complaints) = replay("--fast", &file, &format!("{puppet} echo")).await;
    assert!(complaints.contains("recorded over TCP"), "{complaints}");
    is_same((code, out, complaints));

    let dir = temporary();
    let line = format!("--pty --record {} cat", dir.path().display());
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    ann.sees_window(80, 24).await;
    ann.says_bytes(b"hello\n").await;
    ann.sees("hello\r\nhello\r\n").await;
    ann.leaves().await;
    recorded(dir.path(), "x").await;
    let file = find(dir.path(), "x").unwrap();
    let (code, _, complaints) = replay("--fast", &file, "cat").await;
    assert_eq!(code, 2, "{complaints}");
    assert!(complaints.contains("recorded with --pty"), "{complaints}");
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused_in_a_sentence() {
    let (dir, file) = lives("", "cat", &["a"]).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let saved = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let newer = saved("newer", &text.replace("\"version\":1", "\"version\":2"));
    // The program starts while somebody joins: which of them is written first is left to chance.
    let input = text.lines().position(|line| line.contains("\"in\":"));
    let torn_line = format!("line {}: ", input.unwrap() + 1);
    let torn = saved("torn", &text.replacen("\"in\":", "in:", 1));
    let other = saved("other", "hello\n");
    for (path, sentence) in [
        (dir.path().join("missing"), "cannot read"),
        (dir.path().to_path_buf(), "cannot replay"),
        (newer, "its form is version 2"),
        (torn, &*torn_line),
        (other, "it is not a recording"),
        (PathBuf::from("/dev/zero"), "line 1 is longer"),
    ] {
        let (code, out, complaints) = replay("--fast", &path, "cat").await;
        assert_eq!((code, &*out), (2, ""), "{complaints}");
        assert!(complaints.contains(sentence), "{sentence}: {complaints}");
        assert_eq!(complaints.lines().count(), 1, "{complaints}");
    }
    let (code, _, complaints) = replay("--fast", &file, "/no/such/program").await;
    assert_eq!(code, 2, "{complaints}");
    assert!(complaints.contains("is not found"), "{complaints}");
}

#[tokio::test]
async fn nothing_that_was_started_outlives_the_replay() {
    let (_dir, file) = lives("", "cat", &["a"]).await;
    // What is left behind would hold the output: who reads it to its end would wait for ever.
    let script = r#"sh -c "sleep 1000 & trap '' TERM; cat; sleep 1000""#;
    differs(
        replay("--fast --timeout 0.2", &file, script).await,
        &["recorded: exit 0", "it still runs"],
    );
}
