//! The reason is always given: how children end reaches people, the log, the metrics and, with
//! `--oneshot`, whoever started the server.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{Setup, fails, given, serve, temporary};

#[tokio::test]
async fn how_a_child_ended_is_told_to_people_log_and_metrics() {
    for (steps, code, reason) in [
        ("exit 0", 1000, None),
        ("exit 3", 1011, Some("exit 3")),
        ("dies SEGV", 1011, Some("signal SEGV")),
        ("dies KILL", 1011, Some("signal KILL")),
    ] {
        let server = serve(format!("--metrics puppet {steps}")).await;
        let mut ann = server.join("/x").await;
        let told = ann.hears_close_code(code).await;
        if let Some(reason) = reason {
            assert_eq!(told, reason);
            let ended = server.logged("room ended").await;
            assert!(ended.to_string().contains(reason), "{ended}");
        }
        let label = format!("code=\"{code}\"");
        server
            .waits_for_metric("the close", |line| {
                line.contains(&label) && line.ends_with(" 1")
            })
            .await;
    }
}

#[tokio::test]
async fn everybody_in_the_room_is_told() {
    let server = serve("puppet wait then exit 7").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    ann.says("go").await;
    ann.hears_close(1011, "exit 7").await;
    bob.hears_close(1011, "exit 7").await;
}

/// A server whose program is gone when the first room is opened.
async fn without_its_program(flags: &str) -> (Setup, tempfile::TempDir) {
    let directory = temporary();
    let program = directory.path().join("program");
    std::fs::write(&program, "#!/bin/sh\ncat\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (given(format!("{flags} {}", program.display())), directory)
}

#[tokio::test]
async fn a_child_that_cannot_start_is_a_close_with_the_reason() {
    let (setup, directory) = without_its_program("--metrics").await;
    let server = setup.serve().await;
    std::fs::remove_file(directory.path().join("program")).unwrap();
    let mut ann = server.join("/x").await;
    let reason = ann.hears_close_code(1011).await;
    assert!(reason.starts_with("cannot start: "), "{reason}");
    server.logged("cannot start").await;
    assert!(server.get("/health").await.status == 200);
}

#[tokio::test]
async fn a_oneshot_server_ends_as_its_child_did() {
    for (steps, code, status) in [
        ("exit 0", 1000, 0),
        ("exit 3", 1011, 3),
        ("dies SEGV", 1011, 139),
    ] {
        let server = serve(format!("--oneshot puppet {steps}")).await;
        let mut ann = server.join("/x").await;
        ann.hears_close_code(code).await;
        server.exits_with(status).await;
    }
}

#[tokio::test]
async fn a_oneshot_server_ends_when_its_room_is_left() {
    let server = serve("--oneshot puppet mute then exit 5").await;
    server.join("/x").await.leaves().await;
    server.exits_with(5).await;
}

#[tokio::test]
async fn a_oneshot_server_says_127_and_126_when_its_child_cannot_start() {
    let (setup, directory) = without_its_program("--oneshot").await;
    let server = setup.serve().await;
    std::fs::remove_file(directory.path().join("program")).unwrap();
    server.join("/x").await.hears_close_code(1011).await;
    server.exits_with(127).await;
    let (setup, directory) = without_its_program("--oneshot").await;
    let server = setup.serve().await;
    let program = directory.path().join("program");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o644)).unwrap();
    server.join("/x").await.hears_close_code(1011).await;
    server.exits_with(126).await;
}

#[tokio::test]
async fn what_cannot_work_exits_2_with_one_sentence() {
    for line in [
        "",
        "--no-such-flag cat",
        "no-such-program-anywhere",
        "/etc/passwd",
        "/tmp",
        "--tcpports 5:9 cat",
        "--oneshot --restart on-failure cat",
        "--isolate --linger 1 cat",
        "--json --frame=json cat",
        "--null --frame=json cat",
        "--addr nonsense cat",
        "--staticdir /no/such/directory cat",
    ] {
        let told = fails(line).await;
        let stderr = String::from_utf8_lossy(&told.stderr).into_owned();
        assert_eq!(told.status.code(), Some(2), "{line}: {stderr}");
        assert!(!stderr.trim().is_empty(), "{line} says nothing");
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
        assert!(told.stdout.is_empty(), "{line} speaks on stdout");
    }
}

#[tokio::test]
async fn stderr_goes_where_it_is_sent() {
    let server = serve("puppet whispers psst then mute").await;
    let _ann = server.join("/lobby").await;
    let line = server.logged("psst").await;
    assert!(line.to_string().contains("lobby"), "{line}");
    drop(server);

    let server = serve("--stderr client puppet whispers psst then mute").await;
    let mut ann = server.join("/x").await;
    let told = ann.hears_json().await;
    assert_eq!(
        told,
        serde_json::json!({"stream": "stderr", "data": "psst"})
    );
    drop(server);

    let server = serve("--stderr inherit puppet whispers psst then mute").await;
    let _ann = server.join("/x").await;
    server
        .logged_where("the bare line", &|line| line == "psst")
        .await;
    drop(server);

    let server = serve("--stderr drop puppet whispers psst then print after").await;
    let mut ann = server.join("/x").await;
    ann.hears("after").await;
    ann.hears_close_code(1000).await;
    server.logged("room ended").await;
    assert!(
        !server.log().iter().any(|line| line.contains("psst")),
        "{:?}",
        server.log()
    );
}
