//! Terminals under attack: storms of sizes, programs that do not hear, leave their terminal or keep
//! it, and everything that may stand beside `--pty`.

use crate::harness::{Person, Server, given, serve, temporary};

/// A program that types nothing back.
const QUIET: &str = "stty -echo -opost; echo ready; ";

async fn runs(flags: &str, script: &str) -> (Server, Person) {
    let server = serve(format!("{flags} sh -- -c '{QUIET}{script}'")).await;
    let mut ann = server.join("/x").await;
    ann.sees_window(80, 24).await;
    ann.sees("ready\n").await;
    (server, ann)
}

fn resize(columns: usize, rows: usize) -> String {
    format!(r#"{{"_resize":[{columns},{rows}]}}"#)
}

#[tokio::test]
async fn a_storm_of_sizes_ends_with_the_last_ones_and_loses_no_key() {
    let (server, mut ann) = runs(
        "--stats --pty",
        r#"while read -r line; do echo "$line"; done"#,
    )
    .await;
    let mut bob = server.join("/x").await;
    bob.sees_window(80, 24).await;
    let storm = |from: usize| {
        let sizes =
            (0..2_000).map(move |n| resize(40 + (n * 7 + from) % 160, 10 + (n * 3 + from) % 60));
        sizes
            .enumerate()
            .flat_map(|(n, size)| [size, format!("{n}\n")])
    };
    tokio::join!(ann.says_all_of(storm(0)), async {
        bob.says_all_of((0..2_000).map(|n| resize(30 + n % 100, 70 - n % 50)))
            .await;
    });
    ann.says(&resize(100, 30)).await;
    bob.says(&resize(90, 40)).await;
    let all: String = (0..2_000).map(|n| format!("{n}\n")).collect();
    ann.sees_at_any_size(&all).await;
    let (mut cy, size) = (server.join("/x").await, (90, 30));
    // Whoever comes now is told no other.
    cy.sees_window(size.0, size.1).await;
    ann.says("stty\n").await;
    cy.sees("stty\n").await;
}

#[tokio::test]
async fn a_program_that_hears_no_signal_is_killed_and_its_clients_read_why() {
    let (server, mut ann) = runs(
        "--stats --stop-eof 0.1 --stop-grace 0.2 --pty",
        r#"trap "" HUP WINCH TERM INT; echo deaf; while :; do sleep 0.05; done"#,
    )
    .await;
    ann.sees("deaf\n").await;
    ann.says(&resize(100, 30)).await;
    ann.sees_window(100, 30).await;
    ann.says_bytes(b"\x03\x1c\x1a").await;
    ann.leaves().await;
    server.has_no_rooms().await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn who_lets_go_of_the_terminal_and_lives_on_keeps_the_room() {
    let dir = temporary();
    let go = dir.path().join("go");
    // It is still the leader, and has nothing of the terminal.
    let script = format!(
        "echo last; exec </dev/null >/dev/null 2>&1; while ! test -e {}; do sleep 0.02; done; exit 3",
        go.display()
    );
    let (_server, mut ann) = runs("--pty", &script).await;
    ann.sees("last\n").await;
    for _ in 0..3 {
        ann.says("nobody reads this\n").await;
    }
    ann.hears_nothing().await;
    std::fs::write(&go, "").unwrap();
    ann.sees_close(1011, "exit 3").await;
}

#[tokio::test]
async fn who_takes_a_session_of_its_own_ends_with_the_room() {
    let (server, mut ann) = runs(
        "--stats --stop-eof 0.1 --stop-grace 0.2 --pty",
        r#"setsid sh -c "trap \"\" HUP; echo away; exec sleep 1000" & read line; echo over"#,
    )
    .await;
    ann.sees("away\n").await;
    ann.says("\n").await;
    ann.sees("over\n").await;
    ann.sees_close(1000, "exit 0").await;
    server.has_no_rooms().await;
    server.has_programs(0).await;
}

/// Each of them is another moment: the end of the output and the end of the program race.
#[tokio::test]
async fn what_was_printed_last_is_seen_however_the_program_ends() {
    for (script, code, reason) in [
        ("printf last", 1000, "exit 0"),
        ("printf last; exit 7", 1011, "exit 7"),
        ("printf last; kill -KILL $$", 1011, "signal KILL"),
        ("printf last; exec 0<&- 1<&- 2<&-; exit 7", 1011, "exit 7"),
        (
            "sh -c \"sleep 0.05; printf last\" & wait; exit 7",
            1011,
            "exit 7",
        ),
    ] {
        for _ in 0..10 {
            let server = serve(format!("--pty sh -- -c '{script}'")).await;
            let mut ann = server.join("/x").await;
            ann.sees_window(80, 24).await;
            ann.sees("last").await;
            ann.sees_close(code, reason).await;
        }
    }
}

#[tokio::test]
async fn characters_may_be_cut_between_messages() {
    let (_server, mut ann) = runs("--pty", "exec cat").await;
    let text = "é ж 漢 😀\n".repeat(50);
    for byte in text.as_bytes() {
        ann.says_bytes(&[*byte]).await;
    }
    ann.sees(&text).await;
}

#[tokio::test]
async fn a_paste_of_a_mebibyte_while_sizes_change_loses_none() {
    let (server, mut ann) = runs("--max-message 2MiB --pty", "exec cat").await;
    let mut bob = server.join("/x").await;
    let all = [&b"0123456789abcdef".repeat(1 << 16)[..], b"\n"].concat();
    ann.says_bytes(&all).await;
    let sizes = (0..500).map(|n| resize(80 + n % 20, 24 + n % 10));
    tokio::join!(ann.sees_at_any_size(&all), bob.says_all_of(sizes));
}

#[tokio::test]
async fn a_room_that_lingers_keeps_its_program_and_its_size() {
    let (server, mut ann) = runs(
        "--linger 60s --cache 10 --pty",
        "read a; echo a$a; exec cat",
    )
    .await;
    ann.says(&resize(100, 30)).await;
    ann.sees_window(100, 30).await;
    ann.says("1\n").await;
    ann.sees("a1\n").await;
    ann.leaves().await;
    let mut bob = server.join("/x").await;
    bob.sees_window(100, 30).await;
    bob.sees("a1\n").await;
    bob.says("there\n").await;
    bob.sees("there\n").await;
}

#[tokio::test]
async fn what_is_kept_beyond_the_room_is_seen_in_the_next() {
    let server =
        serve("--stats --cache 100 --cachepersist --pty sh -- -c 'echo begun; read x; echo over'")
            .await;
    let mut ann = server.join("/x").await;
    ann.sees_window(80, 24).await;
    ann.sees("begun\r\n").await;
    ann.says("\n").await;
    ann.sees("over\r\n").await;
    ann.sees_close(1000, "exit 0").await;
    server.has_no_rooms().await;
    let mut bob = server.join("/x").await;
    bob.sees_window(80, 24).await;
    bob.sees("begun\r\n").await;
    bob.sees("over\r\n").await;
    bob.sees("begun\r\n").await;
}

#[tokio::test]
async fn a_terminal_is_recorded_as_it_was() {
    let dir = temporary();
    let line = format!(
        "--pty --record {} sh -- -c 'read x; echo $x'",
        dir.path().display()
    );
    let server = given(line).serve().await;
    let mut ann = server.join("/x").await;
    ann.sees_window(80, 24).await;
    ann.says_bytes(b"hello\r").await;
    ann.sees("hello\r\nhello\r\n").await;
    ann.sees_close(1000, "exit 0").await;
    let lines = super::super::record::recorded(dir.path(), "x").await;
    let all = |kind: &str| -> String {
        lines
            .iter()
            .filter_map(|line| line[kind].as_str())
            .collect()
    };
    assert_eq!(
        (all("in"), all("out")),
        ("hello\r".into(), "hello\r\nhello\r\n".into())
    );
    assert_eq!(lines[0]["recording"]["transport"], "terminal");
}
