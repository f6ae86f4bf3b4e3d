//! The programs of docs/quickstart.md, as they stand there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{serve, temporary};

/// The first block of code of that language.
fn block(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/quickstart.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(&format!("\n```{language}\n")).unwrap();
    let (code, _) = rest.split_once("\n```").unwrap();
    format!("{code}\n")
}

/// Whether that language is on this machine; in CI nothing is missing. Shims of version managers may be there
/// without it.
fn has(program: &str, version: &str) -> bool {
    let found = Command::new(program).arg(version).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "there is no {program} here"
        );
        eprintln!("skipped: there is no {program} here");
    }
    found
}

fn saved(dir: &Path, name: &str, code: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, code).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// Two people in a room of this program.
async fn counts(program: &Path) {
    let server = serve(program.display().to_string()).await;
    let mut ann = server.join("/lobby").await;
    ann.says("hello").await;
    ann.hears("1: hello").await;
    let mut bob = server.join("/lobby").await;
    bob.says("hi, ann").await;
    ann.hears("2: hi, ann").await;
    bob.hears("2: hi, ann").await;
    let mut cy = server.join("/chess").await;
    cy.says("e4").await;
    cy.hears("1: e4").await;
}

#[tokio::test]
async fn scripts_count_in_every_language() {
    let dir = temporary();
    for (language, name, interpreter) in [
        ("sh", "count.sh", "sh"),
        ("python", "count.py", "python3"),
        ("js", "count.js", "node"),
    ] {
        if language == "sh" || has(interpreter, "--version") {
            counts(&saved(dir.path(), name, &block(language), 0o755)).await;
        }
    }
}

#[tokio::test]
async fn compiled_programs_count_too() {
    let dir = temporary();
    let build = |compiler: &str, args: &[&str]| {
        let mut command = Command::new(compiler);
        command.args(args).current_dir(dir.path());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{compiler}: {said}");
    };
    saved(dir.path(), "count.rs", &block("rust"), 0o644);
    build("rustc", &["-O", "count.rs", "-o", "rust"]);
    counts(&dir.path().join("rust")).await;
    if has("go", "version") {
        saved(dir.path(), "count.go", &block("go"), 0o644);
        build("go", &["build", "-o", "go", "count.go"]);
        counts(&dir.path().join("go")).await;
    }
}
