//! The server's own life: draining, ending at once, ending hard, reloading.

use nix::sys::signal::Signal;

use crate::harness::serve;

#[tokio::test]
async fn sigterm_closes_people_with_1012_and_exits_0() {
    let server = serve("--drain-timeout 0 puppet mute").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/y").await);
    server.signal(Signal::SIGTERM);
    ann.hears_close_code(1012).await;
    bob.hears_close_code(1012).await;
    server.exits_with(0).await;
}

#[tokio::test]
async fn sigint_does_not_wait() {
    let server = serve("--drain-timeout 3600 puppet mute").await;
    let mut ann = server.join("/x").await;
    server.signal(Signal::SIGINT);
    ann.hears_close_code(1012).await;
    server.exits_with(0).await;
}

#[tokio::test]
async fn a_server_without_rooms_ends_at_once() {
    let server = serve("--drain-timeout 3600 cat").await;
    server.signal(Signal::SIGTERM);
    server.exits_with(0).await;
}

#[tokio::test]
async fn a_draining_server_keeps_its_rooms_and_opens_no_new_ones() {
    let server = serve("--drain-timeout 3600 cat").await;
    let mut ann = server.join("/x").await;
    assert_eq!(server.get("/ready").await.status, 200);
    server.signal(Signal::SIGTERM);
    server.logged("drain").await;
    let answer = server.get("/ready").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("drain"), "{}", answer.text());
    assert_eq!(server.get("/health").await.status, 200);
    let refusal = server.door("/new").refused(503).await;
    assert!(refusal.header("retry-after").is_some());
    let mut bob = server.join("/x").await;
    bob.says("still here").await;
    ann.hears("still here").await;
    bob.hears("still here").await;
    ann.leaves().await;
    bob.leaves().await;
    server.exits_with(0).await;
}

#[tokio::test]
async fn the_drain_timeout_ends_what_does_not_end_itself() {
    let server = serve("--drain-timeout 0.2 puppet mute").await;
    let mut ann = server.join("/x").await;
    server.signal(Signal::SIGTERM);
    ann.hears_close_code(1012).await;
    server.exits_with(0).await;
}

#[tokio::test]
async fn children_get_the_ladder_when_the_server_ends() {
    let directory = crate::harness::temporary();
    let file = directory.path().join("saved");
    let server = serve(format!("puppet mute then save {}", file.display())).await;
    let _ann = server.join("/x").await;
    server.has_programs(1).await;
    server.signal(Signal::SIGINT);
    server.exits_with(0).await;
    assert!(file.exists(), "the child had no time to save");
}

#[tokio::test]
async fn a_second_signal_kills_all() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let server = serve("--stop-eof 0.2 --stop-grace 3600 puppet stubborn").await;
        let mut ann = server.join("/x").await;
        ann.hears_text().await;
        server.signal(Signal::SIGINT);
        ann.hears_close_code(1012).await;
        server.signal(signal);
        server.exits_with(code).await;
        server
            .leaves_nothing(std::time::Duration::from_secs(2))
            .await;
    }
}

#[tokio::test]
async fn sighup_without_a_terminal_goes_on_serving() {
    let server = serve("cat").await;
    let mut ann = server.join("/x").await;
    server.signal(Signal::SIGHUP);
    ann.says("still").await;
    ann.hears("still").await;
    let mut bob = server.join("/y").await;
    bob.says("here").await;
    bob.hears("here").await;
}

#[tokio::test]
async fn one_who_reads_nothing_does_not_keep_the_server() {
    // It never counts as stalled, and the child has more to say than anybody took.
    let server =
        serve("--drain-timeout 0 --stall-timeout 3600 --stop-eof 0.1 puppet flood 100000000").await;
    let _lazy = server.door("/x").narrow().join().await;
    server.has_programs(1).await;
    server.signal(Signal::SIGTERM);
    server.exits_with(0).await;
}
