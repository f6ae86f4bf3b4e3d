//! The faults of scalesocket 0.2.4, each as it was found. Some are held by other tests as well;
//! here they stand together, so that nobody brings one back unseen.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::serve;

#[tokio::test]
async fn one_reader_of_a_long_sequence_loses_nothing() {
    let server = serve("seq -- 1 50000").await;
    let (heard, _) = server.join("/x").await.hears_until_close(1000).await;
    assert_eq!(heard, 50_000);
}

#[tokio::test]
async fn more_than_a_pipe_through_cat_does_not_lock_the_room() {
    let server = serve("--max-message 1MiB cat").await;
    let mut ann = server.join("/x").await;
    let big = "x".repeat(192 << 10);
    ann.says(&big).await;
    ann.hears(&big).await;
    ann.leaves().await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn three_thousand_short_lines_at_once_come_back() {
    let server = serve("cat").await;
    let mut ann = server.join("/x").await;
    ann.says_all_of((0..3_000).map(|n| n.to_string())).await;
    ann.hears_all_of((0..3_000).map(|n| n.to_string())).await;
}

#[tokio::test]
async fn a_child_that_never_reads_does_not_make_the_server_grow() {
    let server = serve("--stop-eof 0 puppet deaf").await;
    let mut ann = server.join("/x").await;
    let before = server.memory_bytes();
    let word = "x".repeat(64 << 10);
    assert!(
        ann.says_until_ignored(&word, 2_048, Duration::from_millis(500))
            .await
    );
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(
        grown < 4 << 20,
        "grew by {grown} bytes over an inbox of 1 MiB"
    );
}

#[tokio::test]
async fn wrong_packets_from_a_child_panic_nothing() {
    for bytes in [
        "\\0\\0\\0",
        "\\0\\0\\0\\0\\0\\0\\0\\x01\\xff\\xff\\xff\\xffx",
        "short",
    ] {
        let server = serve(format!("--frame=gwsocket puppet bytes {bytes}")).await;
        let mut ann = server.join("/x").await;
        let (code, _) = ann.hears_some_close().await;
        assert!([1000, 1011].contains(&code), "{code}");
        server.has_programs(0).await;
    }
}

#[tokio::test]
async fn messages_under_gwsocket_framing_leave_no_ghost() {
    let server = serve("--stats --client-frame=gwsocket puppet describe").await;
    let mut ann = server.join("/x").await;
    ann.hears_text().await;
    ann.says("hello").await;
    ann.hears("1 1 5 hello").await;
    ann.leaves().await;
    server.has_no_rooms().await;
    server.has_programs(0).await;
    assert_eq!(server.get("/x/stats").await.status, 404);
}

#[tokio::test]
async fn invalid_json_does_not_disconnect() {
    let server = serve("--frame=json cat").await;
    let mut ann = server.join("/x").await;
    ann.says("{broken").await;
    ann.says("{}").await;
    ann.hears(r#"{"id":1}"#).await;
}

#[tokio::test]
async fn every_end_has_a_close_frame() {
    let server = serve("puppet wait then exit 0").await;
    let mut ann = server.join("/x").await;
    ann.says("go").await;
    ann.hears_close_code(1000).await;
    let mut bob = server.join("/y").await;
    server.signal(Signal::SIGINT);
    bob.hears_close_code(1012).await;
    server.exits_with(0).await;

    let server = serve("cat").await;
    let mut eve = server.join("/x").await;
    eve.says(&"x".repeat(2 << 20)).await;
    eve.hears_close_code(1009).await;
}

#[tokio::test]
async fn cat_ends_although_a_grandchild_holds_the_pipe() {
    let server = serve("--stop-grace 0.1 -- sh -c 'sleep 1000 & cat'").await;
    let mut ann = server.join("/x").await;
    ann.says("hi").await;
    ann.hears("hi").await;
    ann.leaves().await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn a_line_that_is_not_utf8_is_not_dropped() {
    let server = serve("puppet bytes \\x80\\n").await;
    server.join("/x").await.hears_bytes(b"\x80").await;
}

#[tokio::test]
async fn the_documented_cache_flag_is_taken() {
    let server = serve("--cache 8 cat").await;
    let mut ann = server.join("/x").await;
    ann.says("a").await;
    ann.hears("a").await;
    server.join("/x").await.hears("a").await;
}
