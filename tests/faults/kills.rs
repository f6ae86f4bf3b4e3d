//! kill -9: of children, of half the clients, of the server.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Person, Server, given, temporary};
use crate::stage::{SOON, begin};

/// Enters so many rooms, each with a child that says its pid.
async fn fill(server: &Server, rooms: usize) -> Vec<(Person, Pid)> {
    let mut people = Vec::new();
    for room in 0..rooms {
        let mut person = server.join(&format!("/room-{room}")).await;
        let pid: i32 = person.hears_text().await.parse().unwrap();
        people.push((person, Pid::from_raw(pid)));
    }
    people
}

#[tokio::test]
async fn killed_children_end_their_rooms_and_no_others() {
    let (server, start) = begin("puppet pid then echo").await;
    let mut people = fill(&server, 20).await;
    let mut spared = people.split_off(10);
    for (_, pid) in &people {
        kill(*pid, Signal::SIGKILL).unwrap();
    }
    for (person, _) in &mut people {
        person.hears_close(1011, "signal KILL").await;
    }
    for (person, _) in &mut spared {
        person.says("still there").await;
        person.hears("still there").await;
    }
    server.has_programs(10).await;
    for (person, _) in spared {
        person.leaves().await;
    }
    start.is_back(&server).await;
}

#[tokio::test]
async fn children_killed_over_and_over_leave_nothing() {
    let (server, start) = begin("--restart on-failure puppet pid then echo").await;
    for _ in 0..3 {
        let people = fill(&server, 10).await;
        for (_, pid) in &people {
            kill(*pid, Signal::SIGKILL).unwrap();
        }
        for (mut person, pid) in people {
            // The next child of the same room, and the same client.
            let next: i32 = person.hears_text().await.parse().unwrap();
            assert_ne!(next, pid.as_raw());
            person.says("hello").await;
            person.hears("hello").await;
            person.leaves().await;
        }
        start.is_back(&server).await;
    }
}

#[tokio::test]
async fn half_of_the_clients_killed_cost_the_others_no_message() {
    // What the kernel sends for a process that is killed with things unread is a reset.
    const LINES: u64 = 20_000;
    let (server, start) = begin(&format!("puppet wait then flood {LINES} 100 then mute")).await;
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        stay.push(server.join("/x").await);
        go.push(server.join("/x").await);
    }
    let expected = |line: u64| format!("{line:.<99}");
    stay[0].says("go").await;
    let hears = stay.into_iter().map(|mut person| async move {
        person.hears_all_of((1..=LINES).map(expected)).await;
        person
    });
    let dies = go.into_iter().map(|mut person| async move {
        // Each in the middle of what it hears.
        person.hears_all_of((1..=200).map(expected)).await;
        person.vanishes();
    });
    let (stayed, _) = tokio::join!(
        futures_util::future::join_all(hears),
        futures_util::future::join_all(dies)
    );
    drop(stayed);
    start.is_back(&server).await;
}

#[tokio::test]
async fn a_killed_server_leaves_no_process_and_its_socket_can_be_taken_again() {
    let directory = temporary();
    let line = format!(
        "{SOON} --addr unix:{}/socket puppet forks then quiet-daemon then mute",
        directory.path().display()
    );
    let server = given(&line).serve().await;
    let mut people = Vec::new();
    for room in 0..10 {
        let mut person = server.join(&format!("/{room}")).await;
        person.hears_text().await;
        person.hears_text().await;
        people.push(person);
    }
    server.has_programs(30).await;
    server.signal(Signal::SIGKILL);
    server.exits_with(128 + 9).await;
    server.leaves_nothing(Duration::from_secs(5)).await;
    for person in &mut people {
        person.hears_the_end().await;
    }
    let next = given(&line).serve().await;
    next.join("/0").await.leaves().await;
    next.has_programs(0).await;
}
