//! `--pty`: the program runs in a terminal that everybody in the room sees and types into.
//! Each test says what a person types and sees; whatever the terminal adds by itself (echo, the
//! carriage return before a newline) is part of what they see.

mod attacks;

use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::{Person, Server, fails, given, serve, temporary};

/// A program that types nothing back: what it prints is what is seen.
const QUIET: &str = "stty -echo -opost; echo ready; ";

async fn at_terminal(server: &Server, path: &str) -> Person {
    let mut person = server.join(path).await;
    person.sees_window(80, 24).await;
    person
}

/// A server whose program is this script, once it has said that it is ready.
async fn runs(flags: &str, script: &str) -> (Server, Person) {
    let server = serve(format!("{flags} sh -- -c '{QUIET}{script}'")).await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.sees("ready\n").await;
    (server, ann)
}

/// Bytes of every value but those that mean something to a terminal that reads lines.
fn paste(length: usize) -> Vec<u8> {
    let plain = (0x20..=0xff_u8).filter(|byte| *byte != 0x7f);
    plain.cycle().take(length).collect()
}

#[tokio::test]
async fn a_program_has_a_terminal_of_the_size_that_was_asked_for() {
    let server =
        serve("--pty=132x43 sh -- -c 'stty size; tty; test -t 0 -a -t 1 -a -t 2 && echo $TERM'")
            .await;
    let mut ann = server.join("/x").await;
    ann.sees_window(132, 43).await;
    ann.sees("43 132\r\n/dev/").await;
    ann.sees("\r\nxterm-256color\r\n").await;
    ann.sees_close(1000, "exit 0").await;
}

#[tokio::test]
async fn it_is_the_controlling_terminal_of_a_session_of_its_own() {
    let script = "echo to the tty >/dev/tty; test $(ps -o sid= -p $$) = $$ && ps -o tpgid=,pgid= -p $$ | \
                  { read a b; test $a = $b && echo foreground; }";
    let server = given(format!("--pty sh -- -c '{script}'")).serve().await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.sees("to the tty\r\n").await;
    ann.sees("foreground\r\n").await;
}

#[tokio::test]
async fn keys_mean_what_they_mean_at_a_terminal() {
    let (server, mut ann) = runs(
        "--pty",
        r#"trap "echo interrupted" INT; while :; do read line && echo "line $line"; done"#,
    )
    .await;
    ann.says("on\x7fne\n").await; // a text is typed, too
    ann.sees("line one\n").await;
    ann.says_bytes(b"forgotten\x15two\r").await;
    ann.sees("line two\n").await;
    ann.says_bytes(b"\x03").await;
    ann.says_bytes(b"\n").await; // a shell that had not begun to wait yet looks behind a line
    ann.sees("interrupted\n").await;
    drop(server);
}

#[tokio::test]
async fn a_shell_has_its_jobs() {
    let server = given("--pty bash -- --norc --noprofile")
        .env("PS1", "")
        .serve()
        .await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.says_bytes(b"PS1=; stty -echo\necho hel''lo\n").await;
    ann.sees("hello\r\n").await;
    ann.says_bytes(b"sh -c 'echo run; exec sleep 1000'\n").await;
    ann.sees("run\r\n").await;
    ann.says_bytes(b"\x1a").await;
    ann.sees("Stopped").await;
    ann.says_bytes(b"bg; jobs; kill %1; wait; echo do''ne\n")
        .await;
    ann.sees("Running").await;
    ann.sees("done\r\n").await;
    ann.says_bytes(b"exit 3\n").await;
    ann.sees_close(1011, "exit 3").await;
}

#[tokio::test]
async fn what_is_typed_reaches_a_program_that_reads_keys_byte_for_byte() {
    let (_server, mut ann) = runs("--pty", "stty raw; echo go; exec cat").await;
    ann.sees("go\n").await;
    let every = (0..=255_u8).collect::<Vec<_>>();
    ann.says_bytes(&every).await;
    ann.sees(&every).await;
}

#[tokio::test]
async fn five_thousand_quick_keystrokes_lose_none() {
    for mode in ["", "stty raw;"] {
        let (_server, mut ann) = runs("--pty", &format!("{mode} echo go; exec cat")).await;
        ann.sees("go\n").await;
        let keys = (0..5_000).map(|n| char::from(b'a' + (n % 26) as u8).to_string());
        let mut all: String = keys.clone().collect();
        ann.says_all_of(keys).await;
        ann.says("\n").await;
        all.push('\n');
        ann.sees(&all).await;
    }
}

#[tokio::test]
async fn a_mebibyte_without_a_line_end_is_pasted_whole() {
    for mode in ["", "stty raw;"] {
        let (_server, ann) = runs(
            "--max-message 2MiB --pty",
            &format!("{mode} echo go; exec cat"),
        )
        .await;
        let mut ann = ann;
        ann.sees("go\n").await;
        let all = paste(1 << 20);
        ann.says_bytes(&all).await;
        ann.says_bytes(b"\n").await;
        ann.sees(&[&all[..], b"\n"].concat()).await;
    }
}

#[tokio::test]
async fn a_mebibyte_of_lines_waits_for_who_reads_late() {
    for mode in ["", "stty raw;"] {
        let script = format!("{mode} echo go; read first; echo begun; exec cat");
        let (_server, mut ann) = runs("--max-message 2MiB --pty", &script).await;
        ann.sees("go\n").await;
        let line = [&paste(77)[..], b"\n"].concat();
        let all = line.repeat((1 << 20) / line.len());
        ann.says_bytes(b"first\n").await;
        ann.says_bytes(&all).await;
        ann.sees("begun\n").await;
        ann.sees(&all).await;
    }
}

/// A piece of a line is handed over by a character that could be taken for the end of the input.
#[tokio::test]
async fn who_reads_byte_by_byte_reads_a_long_line_to_its_end() {
    let (_server, mut ann) = runs(
        "--pty",
        "read -r line; echo ${#line}; read -r next; echo $next",
    )
    .await;
    ann.says_bytes(&[&[b'x'; 9_000][..], b"\nnext\n"].concat())
        .await;
    ann.sees("9000\nnext\n").await;
}

#[tokio::test]
async fn ten_mebibytes_are_seen_whole_by_everybody() {
    let (_server, mut ann) = runs("--pty", "read go; seq 1500000").await;
    let mut bob = at_terminal(&_server, "/x").await;
    ann.says("\n").await;
    let all: String = (1..=1_500_000).map(|n| format!("{n}\n")).collect();
    assert!(all.len() > 10 << 20);
    tokio::join!(ann.sees(&all), bob.sees(&all));
    ann.sees_close(1000, "exit 0").await;
    bob.sees_close(1000, "exit 0").await;
}

#[tokio::test]
async fn the_last_bytes_are_seen_before_the_end() {
    for _ in 0..20 {
        let server = serve("--pty puppet flood 5000 then bytes last then exit 7").await;
        let mut ann = at_terminal(&server, "/x").await;
        let mut all: String = (1..=5_000).map(|n| format!("{n}\r\n")).collect();
        all.push_str("last");
        ann.sees(&all).await;
        ann.sees_close(1011, "exit 7").await;
    }
}

#[tokio::test]
async fn the_window_is_as_large_as_all_can_show() {
    let (server, mut ann) = runs(
        "--pty",
        r#"trap "stty size" WINCH; echo set; while sleep 0.01; do :; done"#,
    )
    .await;
    ann.sees("set\n").await;
    ann.says(r#"{"_resize":[100,40]}"#).await;
    ann.sees_window(100, 40).await;
    ann.sees("40 100\n").await;
    let mut bob = server.join("/x").await;
    bob.sees_window(100, 40).await;
    bob.says(r#"{"_resize":[120,30]}"#).await;
    for person in [&mut ann, &mut bob] {
        person.sees_window(100, 30).await;
        person.sees("30 100\n").await;
    }
    bob.leaves().await;
    ann.sees_window(100, 40).await;
    ann.sees("40 100\n").await;
    // Too small for anybody, and no size at all.
    ann.says(r#"{"_resize":[1,1]}"#).await;
    ann.sees_window(20, 5).await;
    ann.sees("5 20\n").await;
    ann.says(r#"{"_resize":["wide"]}"#).await;
    ann.says(r#"{"_resize":[30,10]}"#).await;
    ann.sees_window(30, 10).await;
    ann.sees("10 30\n").await;
}

#[tokio::test]
async fn in_a_binary_message_all_is_typed() {
    let (_server, mut ann) = runs("--pty", r#"read -r line; echo "$line""#).await;
    ann.says_bytes(b"{\"_resize\":[100,40]}\n").await;
    ann.sees("{\"_resize\":[100,40]}\n").await;
    ann.sees_close(1000, "exit 0").await;
}

#[tokio::test]
async fn a_program_that_reads_lines_ends_by_eof() {
    let dir = temporary();
    let file = dir.path().join("saved");
    let server = serve(format!(
        "--stats --stop-eof 60 --pty puppet mute then save {}",
        file.display()
    ))
    .await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.says("a line that is not ended").await;
    ann.sees("a line that is not ended").await;
    ann.leaves().await;
    server.has_no_rooms().await;
    assert!(file.exists());
}

#[tokio::test]
async fn a_shell_that_reads_keys_hears_the_line_hang_up() {
    let dir = temporary();
    let file = dir.path().join("hung-up");
    let server = given("--stats --stop-eof 0.1 --stop-grace 60 --pty bash -- --norc --noprofile")
        .serve()
        .await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.says_bytes(format!("trap \"echo >{}\" EXIT; echo tra''pped\n", file.display()).as_bytes())
        .await;
    ann.sees("trapped\r\n").await;
    ann.leaves().await;
    server.has_no_rooms().await;
    assert!(file.exists());
}

#[tokio::test]
async fn another_signal_can_be_asked_for() {
    let dir = temporary();
    let file = dir.path().join("trapped");
    let server = serve(format!(
        "--stats --stop-eof 0 --stop-signal TERM --pty puppet traps {} TERM",
        file.display()
    ))
    .await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.sees("trapping\r\n").await;
    ann.leaves().await;
    server.has_no_rooms().await;
    assert!(file.exists());
}

#[tokio::test]
async fn the_program_has_its_terminal_and_no_other_descriptor() {
    let server = serve("--stats --pty puppet fds then mute").await;
    let mut before = 0;
    for room in 0..10 {
        let mut ann = at_terminal(&server, &format!("/{room}")).await;
        ann.sees("0 1 2\r\n").await;
        ann.leaves().await;
        server.has_no_rooms().await;
        if room == 0 {
            // What the server opens once, whatever for, is open by now.
            before = server.descriptors();
        }
    }
    server.has_descriptors(before + 2).await;
}

#[tokio::test]
async fn the_terminal_belongs_to_the_user_that_the_program_runs_as() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let script = "cd /; stat -c %u $(tty); echo by name >$(tty); echo as the tty >/dev/tty; stat -c %a $(tty)";
    let server = serve(format!("--user 12345:12345 --pty sh -- -c '{script}'")).await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.sees("12345\r\nby name\r\nas the tty\r\n6").await;
    ann.sees_close(1000, "exit 0").await;
}

#[tokio::test]
async fn a_job_in_the_background_does_not_outlive_the_room() {
    let server =
        serve("--stats --stop-eof 0.1 --stop-grace 0.2 --pty bash -- --norc --noprofile").await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.says_bytes(b"(trap '' HUP TERM; sleep 1000; sleep 1000) & echo st''arted\n")
        .await;
    ann.sees("started\r\n").await;
    ann.leaves().await;
    server.has_no_rooms().await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn what_holds_the_terminal_behind_its_end_is_heard_for_a_moment_only() {
    let server = serve("--pty puppet forks then exit 0").await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.sees("\r\n").await;
    ann.sees_close(1000, "exit 0").await;
}

#[tokio::test]
async fn a_failed_program_is_started_again_in_a_terminal_of_the_same_size() {
    let server = serve(format!(
        "--restart on-failure --pty sh -- -c '{QUIET} stty size; read line; echo $line; exit 1'"
    ))
    .await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.sees("24 80\n").await;
    ann.says(r#"{"_resize":[90,30]}"#).await;
    ann.sees_window(90, 30).await;
    ann.says("one\n").await;
    ann.says("two\n").await;
    ann.sees("one\n").await;
    ann.sees("ready\n").await;
    ann.sees("two\n").await;
}

#[tokio::test]
async fn with_isolate_everybody_has_a_terminal_of_their_own() {
    let server = serve("--isolate --pty sh -- -c 'tty; cat'").await;
    let (mut ann, mut bob) = (
        at_terminal(&server, "/x").await,
        at_terminal(&server, "/x").await,
    );
    ann.says(r#"{"_resize":[90,30]}"#).await;
    ann.sees_window(90, 30).await;
    let (hers, his) = (ann.sees("\r\n").await, bob.sees("\r\n").await);
    assert_ne!(hers, his);
    bob.hears_nothing().await;
}

#[tokio::test]
async fn a_late_joiner_sees_what_is_kept() {
    let server = serve("--cache 100 --pty cat").await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.says("hello\n").await;
    ann.sees("hello\r\nhello\r\n").await;
    let mut bob = server.join("/x").await;
    bob.sees("hello\r\nhello\r\n").await;
}

#[tokio::test]
async fn a_late_joiner_hears_the_modes_and_has_the_screen_drawn_anew() {
    let script = r#"trap "stty size" WINCH; printf "\033[?1049h\033[?1h\033[?25lfirst\n"; while sleep 0.01; do :; done"#;
    let (server, mut ann) = runs("--pty", script).await;
    ann.sees("first\n").await;
    let mut bob = at_terminal(&server, "/x").await;
    bob.sees("\x1b[?1049h\x1b[?1h\x1b[?25l").await;
    bob.says(r#"{"_resize":[80,24]}"#).await;
    // Twice: as something else, and as it was.
    bob.sees("23 80\n").await;
    bob.sees("24 80\n").await;
    ann.says(r#"{"_resize":[80,20]}"#).await;
    bob.sees_window(80, 20).await;
    bob.sees("20 80\n").await;
}

#[tokio::test]
async fn what_a_failed_program_did_to_the_terminal_is_undone() {
    let script = format!("{QUIET} printf \"\\033[?1049h\\033[?25lfull\n\"; read x; exit 1");
    let server = serve(format!("--restart on-failure --pty sh -- -c '{script}'")).await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.sees("full\n").await;
    ann.says("\n").await;
    ann.sees("\x1b[?1049l\x1b[?25h").await;
    ann.sees("ready\n").await;
}

#[tokio::test]
async fn our_own_terminal_is_not_the_programs() {
    let set = |line: &str| {
        given(line)
            .env("TERM", "dumb")
            .env("COLUMNS", "7")
            .env("LINES", "3")
    };
    for (flags, expected) in [
        ("", "xterm-256color::\r\n"),
        ("--passenv=*", "xterm-256color::\r\n"),
        ("--passenv=PATH,TERM,LINES", "dumb::3\r\n"),
    ] {
        let line = format!(
            "{flags} --pty sh -- -c 'exec printf \"%s:%s:%s\\n\" $TERM \"$COLUMNS\" \"$LINES\"'"
        );
        let server = set(&line).serve().await;
        at_terminal(&server, "/x").await.sees(expected).await;
    }
}

#[tokio::test]
async fn what_no_terminal_has_is_refused() {
    for other in [
        "--tcp",
        "--frame",
        "--json",
        "--null",
        "--stderr log",
        "--joinmsg hi",
        "--delimiters x",
    ] {
        let output = fails(format!("--pty {other} cat")).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let flag = other.split(' ').next().unwrap();
        assert!(
            said.contains(&format!("--pty cannot go with {flag}: ")),
            "{said}"
        );
    }
    for size in ["0x24", "80", "80x", "80x1001", "x", ""] {
        let output = fails(format!("--pty={size} cat")).await;
        assert_eq!(output.status.code(), Some(2), "{size}");
    }
}

#[tokio::test]
async fn the_server_keeps_its_own_terminal_and_no_room_gets_it() {
    // A server that leads a session without a terminal must not get that of a room.
    let server = given("--stats --pty cat").inside("setsid -w").serve().await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.says_bytes(b"\x03").await;
    ann.sees_close(1011, "signal INT").await;
    server.has_no_rooms().await;
    server.signal(Signal::SIGTERM);
    server.exits_with(0).await;
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| Path::new(&dir).join(program).is_file());
    // Where everything is to be tried, nothing is passed over.
    let all = std::env::var_os("CI").is_some();
    assert!(there || !all, "{program} is not installed");
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

#[tokio::test]
async fn two_people_write_in_one_vim() {
    if !installed("vim") {
        return;
    }
    let dir = temporary();
    let file = dir.path().join("poem");
    let server = serve(format!("--pty vim -- -u NONE -N {}", file.display())).await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.sees("poem").await;
    let mut bob = at_terminal(&server, "/x").await;
    ann.says_bytes(b"iroses\x1b").await;
    bob.sees("roses").await;
    bob.says_bytes(b"oviolets\x1b").await;
    ann.sees("violets").await;
    let typed: String = (0..5_000)
        .map(|n| char::from(b'a' + (n % 26) as u8))
        .collect();
    ann.says("o").await;
    ann.says_all_of(typed.chars().map(String::from)).await;
    ann.says_bytes(b"\x1b:wq\r").await;
    ann.sees_close(1000, "exit 0").await;
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, format!("roses\nviolets\n{typed}\n"));
}

#[tokio::test]
async fn two_people_use_one_python() {
    if !installed("python3") {
        return;
    }
    let server = serve("--pty python3 -- -q").await;
    let mut ann = at_terminal(&server, "/x").await;
    let mut bob = at_terminal(&server, "/x").await;
    ann.sees(">>> ").await;
    ann.says("x = 6 * 7\n").await;
    ann.sees(">>> ").await;
    bob.says("print(\"it is\", x)\n").await;
    for person in [&mut ann, &mut bob] {
        person.sees("it is 42").await;
    }
    // Whatever mode it is in when each of them comes.
    for n in 0..50 {
        ann.says(&format!("x = {n}; y = 'z'\n")).await;
    }
    ann.says("print(x, 'en' + 'd')\n").await;
    ann.sees("49 end").await;
    // Before it asks, the key would be a terminal's that reads lines: the end of one.
    ann.sees(">>> ").await;
    ann.says_bytes(b"\x04").await;
    ann.sees_close(1000, "exit 0").await;
}

#[tokio::test]
async fn htop_draws_for_two_and_is_left() {
    if !installed("htop") {
        return;
    }
    let server = serve("--pty htop").await;
    let mut ann = at_terminal(&server, "/x").await;
    ann.sees("Help").await;
    let mut bob = at_terminal(&server, "/x").await;
    bob.says(r#"{"_resize":[100,30]}"#).await;
    bob.sees_window(100, 30).await;
    ann.sees_window(100, 30).await;
    bob.sees("Help").await;
    ann.says("q").await;
    ann.sees_close(1000, "exit 0").await;
}
