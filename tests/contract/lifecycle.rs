//! Rooms from the first client to the last process: how a child is asked to end, what becomes of
//! what it started, and that opening and closing leaves nothing behind.

use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::Signal;

use crate::harness::{given, serve, temporary};

/// Lets a test of the ladder's lower steps be quick.
const SOON: &str = "--stop-eof 0.1 --stop-grace 0.1";

#[tokio::test]
async fn when_the_last_one_leaves_the_child_gets_eof_and_time_to_save() {
    let directory = temporary();
    let file = directory.path().join("saved");
    let server = serve(format!("puppet mute then save {}", file.display())).await;
    let (ann, bob) = (server.join("/x").await, server.join("/x").await);
    ann.leaves().await;
    server.has_programs(1).await;
    bob.leaves().await;
    server.has_programs(0).await;
    assert_eq!(std::fs::read_to_string(file).unwrap(), "saved");
}

#[tokio::test]
async fn what_was_said_last_reaches_the_child_before_eof() {
    let directory = temporary();
    let file = directory.path().join("saved");
    let server = serve(format!(
        "--stats puppet wait 1000 then save {}",
        file.display()
    ))
    .await;
    let mut ann = server.join("/x").await;
    ann.says_all_of((0..1000).map(|n| n.to_string())).await;
    ann.leaves().await;
    server.has_no_rooms().await;
    assert!(file.exists());
}

#[tokio::test]
async fn one_who_vanishes_has_left_too() {
    let server = serve("puppet mute").await;
    let ann = server.join("/x").await;
    server.has_programs(1).await;
    ann.vanishes();
    server.has_programs(0).await;
}

#[tokio::test]
async fn a_child_that_ignores_eof_is_sent_the_stop_signal_and_its_trap_runs() {
    for (flag, signal) in [
        ("", "TERM"),
        ("--stop-signal USR2", "USR2"),
        ("--stop-signal SIGINT", "INT"),
    ] {
        let directory = temporary();
        let file = directory.path().join("trapped");
        let server = serve(format!(
            "--stop-eof 0.1 {flag} puppet traps {} {signal}",
            file.display()
        ))
        .await;
        let mut ann = server.join("/x").await;
        ann.hears("trapping").await;
        ann.leaves().await;
        server.has_programs(0).await;
        assert_eq!(std::fs::read_to_string(file).unwrap(), "trapped");
    }
}

#[tokio::test]
async fn a_child_that_ignores_both_is_killed_after_the_grace() {
    let server = serve(format!("{SOON} puppet stubborn")).await;
    let mut ann = server.join("/x").await;
    assert!(ann.hears_text().await.starts_with("stubborn "));
    ann.leaves().await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn everything_the_child_started_goes_with_it() {
    for verb in ["forks", "daemon", "quiet-daemon"] {
        let server = serve(format!("{SOON} puppet {verb} then {verb} then mute")).await;
        let mut ann = server.join("/x").await;
        ann.hears_text().await;
        ann.hears_text().await;
        server.has_programs(3).await;
        ann.leaves().await;
        server.has_programs(0).await;
    }
}

#[tokio::test]
async fn a_stopped_child_ends_too() {
    let server = serve(format!("{SOON} puppet pid then mute")).await;
    let mut ann = server.join("/x").await;
    let pid: i32 = ann.hears_text().await.parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    ann.leaves().await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_does_not_hold_the_room() {
    let server = serve(format!("{SOON} puppet daemon then exit 3")).await;
    let mut ann = server.join("/x").await;
    ann.hears_text().await;
    ann.hears_close(1011, "exit 3").await;
    server.has_programs(0).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn rooms_opened_and_closed_leave_nothing_behind() {
    let server = serve("--stats cat").await;
    server.join("/warm").await.leaves().await;
    server.has_no_rooms().await;
    let before = server.descriptors();
    for round in 0..5 {
        let people = join_all((0..20).map(|n| {
            let server = &server;
            async move { server.join(&format!("/room-{round}-{n}")).await }
        }))
        .await;
        join_all(people.into_iter().map(|person| person.leaves())).await;
    }
    server.has_no_rooms().await;
    server.has_programs(0).await;
    server.has_descriptors(before).await;
}

#[tokio::test]
async fn a_killed_server_leaves_nothing_running() {
    let server = serve("puppet forks then quiet-daemon then daemon then stubborn").await;
    let mut people = Vec::new();
    for room in 0..3 {
        let mut person = server.join(&format!("/{room}")).await;
        for _ in 0..4 {
            person.hears_text().await;
        }
        people.push(person);
    }
    server.has_programs(12).await;
    server.signal(Signal::SIGKILL);
    server.leaves_nothing(Duration::from_secs(2)).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn when_the_warden_is_killed_the_server_ends_and_nothing_stays() {
    let server = serve("puppet forks then quiet-daemon then stubborn").await;
    let mut ann = server.join("/x").await;
    for _ in 0..3 {
        ann.hears_text().await;
    }
    let processes = server.processes();
    let warden = processes.iter().find(|process| process.name == "ss-warden");
    let warden = nix::unistd::Pid::from_raw(warden.expect("a warden").pid);
    nix::sys::signal::kill(warden, Signal::SIGKILL).unwrap();
    server.exits_with(1).await;
    server.leaves_nothing(Duration::from_secs(2)).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn as_the_first_process_of_a_namespace_it_reaps_what_daemons_leave() {
    let unshare = "unshare --user --map-root-user --mount --pid --fork --kill-child --mount-proc";
    let steps = "quiet-daemon then daemon then mute";
    let server = given(format!("{SOON} puppet {steps}"))
        .inside(unshare)
        .serve()
        .await;
    let mut ann = server.join("/x").await;
    ann.hears_text().await;
    ann.hears_text().await;
    // unshare stands where the server stands elsewhere, so the server counts here.
    server.has_programs(4).await;
    ann.leaves().await;
    server.has_programs(1).await;
    let inner = server
        .programs()
        .first()
        .map(|process| process.pid)
        .unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(inner), Signal::SIGTERM).unwrap();
    server.exits_with(0).await;
}

#[tokio::test]
async fn a_room_has_at_most_one_live_child_however_people_come_and_go() {
    let directory = temporary();
    let file = directory.path().join("alone").display().to_string();
    let server = serve(format!(
        "--stats puppet alone {file} then mute then remove {file}"
    ))
    .await;
    join_all((0..20).map(|_| async {
        for _ in 0..5 {
            server.join("/x").await.leaves().await;
        }
    }))
    .await;
    server.has_no_rooms().await;
    server.has_programs(0).await;
    assert_eq!(server.complaints(), Vec::<String>::new());
    assert!(
        !server.log().iter().any(|line| line.contains("not alone")),
        "{:?}",
        server.log()
    );
}

#[tokio::test]
async fn a_join_while_the_room_ends_opens_a_new_one() {
    let directory = temporary();
    let file = directory.path().join("alone").display().to_string();
    let steps = format!("alone {file} then print new then mute then after 300 then remove {file}");
    let server = serve(format!("puppet {steps}")).await;
    let mut ann = server.join("/x").await;
    ann.hears("new").await;
    ann.leaves().await;
    let mut bob = server.join("/x").await;
    bob.hears("new").await;
    assert!(
        !server.log().iter().any(|line| line.contains("not alone")),
        "{:?}",
        server.log()
    );
}

#[tokio::test]
async fn a_room_that_takes_too_long_to_end_is_a_refusal() {
    let server = serve("--start-timeout 0.2 --stop-eof 2 --stop-grace 0.1 puppet stubborn").await;
    let mut ann = server.join("/x").await;
    ann.hears_text().await;
    ann.leaves().await;
    let answer = server.door("/x").refused(503).await;
    assert!(answer.text().contains("ending"), "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_room_that_lingers_is_found_as_it_was() {
    let server = serve("--linger 60 puppet count").await;
    let mut ann = server.join("/x").await;
    ann.says("a").await;
    ann.hears("1").await;
    ann.leaves().await;
    let mut bob = server.join("/x").await;
    bob.says("b").await;
    bob.hears("2").await;
}

#[tokio::test]
async fn a_room_that_does_not_linger_begins_again() {
    for flag in ["", "--linger 0.05"] {
        let server = serve(format!("{flag} puppet count")).await;
        let mut ann = server.join("/x").await;
        ann.says("a").await;
        ann.hears("1").await;
        ann.leaves().await;
        server.has_programs(0).await;
        let mut bob = server.join("/x").await;
        bob.says("b").await;
        bob.hears("1").await;
    }
}

#[tokio::test]
async fn a_child_that_goes_on_talking_does_not_make_its_room_linger_longer() {
    let server = serve("--linger 0.5 --max-idle 0.2 puppet flood 100000000").await;
    let mut ann = server.join("/x").await;
    ann.hears("1").await;
    ann.vanishes();
    server.has_programs(0).await;
}

#[tokio::test]
async fn idle_and_old_rooms_end_with_1001() {
    for flag in ["--max-idle 0.2", "--max-lifetime 0.2"] {
        let server = serve(format!("{flag} puppet mute")).await;
        let mut ann = server.join("/x").await;
        ann.hears_close_code(1001).await;
        server.has_programs(0).await;
    }
}

#[tokio::test]
async fn a_crashed_child_is_started_again_and_people_stay() {
    let server = serve("--restart on-failure puppet bytes up\\npart then wait then exit 3").await;
    let mut ann = server.join("/x").await;
    ann.hears("up").await;
    ann.says("crash").await;
    ann.hears("part").await;
    ann.hears("up").await;
}

#[tokio::test]
async fn join_messages_are_said_again_to_a_restarted_child() {
    let flags = "--restart on-failure --joinmsg 'in #ID'";
    let server = serve(format!(
        "{flags} puppet wait 3 then print crashing then dies SEGV"
    ))
    .await;
    let mut ann = server.join("/x").await;
    let mut bob = server.join("/x").await;
    ann.says("one").await;
    ann.hears("crashing").await;
    bob.hears("crashing").await;
    // Two joins said again leave one line to wait for.
    bob.says("two").await;
    bob.hears("crashing").await;
}

#[tokio::test]
async fn a_child_that_ends_well_is_not_started_again() {
    let server = serve("--restart on-failure puppet print up").await;
    let mut ann = server.join("/x").await;
    ann.hears("up").await;
    ann.hears_close_code(1000).await;
}

#[tokio::test]
async fn a_child_that_keeps_crashing_is_given_up() {
    let server = serve("--restart on-failure puppet print up then exit 1").await;
    let mut ann = server.join("/x").await;
    let (starts, reason) = ann.hears_until_close(1011).await;
    assert_eq!((starts, reason.as_str()), (5, "restart limit"));
}

#[tokio::test]
async fn isolated_people_have_a_child_each() {
    let server = serve("--isolate puppet count").await;
    let (mut ann, mut bob) = (server.join("/x/y").await, server.join("/x/y").await);
    server.has_programs(2).await;
    ann.says("a").await;
    ann.hears("1").await;
    bob.hears_nothing().await;
    bob.says("b").await;
    bob.hears("1").await;
    ann.leaves().await;
    server.has_programs(1).await;
}

#[tokio::test]
async fn the_attach_delay_is_waited_for_without_tcp_too() {
    for flag in ["--cmd-attach-delay 0.1", "--delay 0.1"] {
        let server = serve(format!("{flag} cat")).await;
        let mut ann = server.join("/x").await;
        ann.says("early").await;
        ann.hears("early").await;
    }
}
