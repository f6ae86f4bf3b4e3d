//! `--watch`: a program that changes while it is served.

use std::path::{Path, PathBuf};

use crate::harness::{Server, fails, given, serve, temporary};

/// What the log says of a change.
const CHANGED: &str = "the program has changed";

/// Replaces a program as editors do: by another file of the same name.
fn write(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let draft = path.with_extension("draft~");
    std::fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&draft, path).unwrap();
}

/// A program in a directory of its own, and a server that watches it.
async fn watched(flags: &str, script: &str) -> (tempfile::TempDir, PathBuf, Server) {
    let dir = temporary();
    let game = dir.path().join("game");
    write(&game, script);
    let path = game.display();
    let server = serve(format!("{flags} --watch {path} {path}")).await;
    (dir, game, server)
}

#[tokio::test]
async fn new_rooms_run_the_new_program_and_live_ones_keep_theirs() {
    let (_dir, game, server) = watched("", "echo one; exec cat").await;
    let mut ann = server.join("/x").await;
    ann.hears("one").await;
    write(&game, "echo two; exec cat");
    // Who comes right after the change is not too early.
    server.join("/y").await.hears("two").await;
    let told = server.logged(CHANGED).await;
    assert_eq!(told["file"], game.display().to_string());
    ann.says("still here").await;
    ann.hears("still here").await;
    server.join("/x").await.hears_nothing().await;
}

#[tokio::test]
async fn a_change_is_told_also_when_nobody_comes() {
    let (_dir, game, server) = watched("", "echo one; exec cat").await;
    let mut ann = server.join("/x").await;
    ann.hears("one").await;
    write(&game, "echo two; exec cat");
    let told = server.logged(CHANGED).await;
    assert_eq!((&told["files"], &told["old_rooms"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn live_rooms_end_for_the_new_program_where_that_is_asked_for() {
    let (_dir, game, server) = watched("--watch-restart", "echo one; exec cat").await;
    let mut ann = server.join("/x").await;
    ann.hears("one").await;
    write(&game, "echo two; exec cat");
    ann.hears_close(1012, "the program has changed").await;
    let mut ann = server.join("/x").await;
    ann.hears("two").await;
    // What runs the new one is left alone.
    server.logged(CHANGED).await;
    ann.says("hello").await;
    ann.hears("hello").await;
}

#[tokio::test]
async fn a_program_that_is_gone_or_half_written_is_waited_for() {
    let (_dir, game, server) = watched("", "echo one; exec cat").await;
    std::fs::remove_file(&game).unwrap();
    let mut ann = server.join("/x").await;
    write(&game, "echo two; exec cat");
    ann.hears("two").await;
    // Nothing that is executable is empty.
    std::fs::write(&game, "").unwrap();
    let mut bob = server.join("/y").await;
    write(&game, "echo three; exec cat");
    bob.hears("three").await;
}

#[tokio::test]
async fn a_program_that_stays_away_is_a_failed_start() {
    let (_dir, game, server) = watched("--start-timeout 0.2", "exec cat").await;
    std::fs::remove_file(&game).unwrap();
    let mut ann = server.join("/x").await;
    let reason = ann.hears_close_code(1011).await;
    assert!(reason.contains("not found"), "{reason}");
}

#[tokio::test]
async fn a_room_that_failed_may_try_the_new_program_at_once() {
    let (_dir, game, server) = watched("--crash-limit 1", "exit 4").await;
    server.join("/x").await.hears_close(1011, "exit 4").await;
    server.door("/x").refused(503).await;
    write(&game, "echo mended; exec cat");
    server.logged(CHANGED).await;
    server.join("/x").await.hears("mended").await;
}

#[tokio::test]
async fn of_a_directory_all_counts_but_what_nobody_wrote() {
    let dir = temporary();
    let game = dir.path().join("game");
    write(&game, "cat rules; exec cat");
    std::fs::write(dir.path().join("rules"), "one\n").unwrap();
    let path = dir.path().display();
    let line = format!("--chdir {path} --watch {path} {path}/game");
    let server = given(line).serve().await;
    server.join("/x").await.hears("one").await;
    std::fs::create_dir(dir.path().join("__pycache__")).unwrap();
    for other in ["__pycache__/rules.pyc", ".rules.swp", "rules~"] {
        std::fs::write(dir.path().join(other), "x").unwrap();
    }
    std::fs::write(dir.path().join("rules"), "two\n").unwrap();
    server.join("/y").await.hears("two").await;
    let told = server.logged(CHANGED).await;
    let rules = dir.path().join("rules").display().to_string();
    assert_eq!((&told["file"], &told["files"]), (&rules.into(), &1.into()));
}

#[tokio::test]
async fn what_cannot_be_watched_ends_the_start() {
    for (line, sentence) in [
        (
            "--watch /no/such/file cat",
            "`/no/such/file` does not exist",
        ),
        ("--watch-restart cat", "add --watch"),
        (
            "--watch x --connect a:1",
            "--watch cannot go with --connect",
        ),
    ] {
        let output = fails(line).await;
        assert_eq!(output.status.code(), Some(2), "{line}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(sentence), "{line}: {told}");
    }
}
