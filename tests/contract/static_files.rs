//! `--staticdir`: what is served, and what is never.

use std::os::unix::fs::symlink;

use crate::harness::{Server, Setup, given, temporary};

/// A directory with a public part, and secrets beside it and in it.
fn site() -> (tempfile::TempDir, Setup) {
    let directory = temporary();
    let public = directory.path().join("public");
    std::fs::create_dir_all(public.join("sub")).unwrap();
    std::fs::create_dir_all(public.join(".git")).unwrap();
    for (name, text) in [
        ("secret.txt", "secret"),
        ("public/index.html", "<h1>front</h1>"),
        ("public/sub/index.html", "<h1>sub</h1>"),
        ("public/a.txt", "0123456789"),
        ("public/app.js", "plain"),
        ("public/app.js.gz", "zipped"),
        ("public/.env", "secret"),
        ("public/.git/config", "secret"),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    symlink("../secret.txt", public.join("out.txt")).unwrap();
    symlink("..", public.join("up")).unwrap();
    symlink("a.txt", public.join("in.txt")).unwrap();
    let setup = given(format!("--staticdir {} cat", public.display()));
    (directory, setup)
}

async fn served() -> (tempfile::TempDir, Server) {
    let (directory, setup) = site();
    let server = setup.serve().await;
    (directory, server)
}

#[tokio::test]
async fn files_and_indexes_are_served_beside_rooms() {
    let (_directory, server) = served().await;
    let front = server.get("/").await;
    assert_eq!(
        (front.status, front.text().as_str()),
        (200, "<h1>front</h1>")
    );
    assert!(
        front
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    assert_eq!(server.get("/a.txt").await.text(), "0123456789");
    assert_eq!(server.get("/sub/").await.text(), "<h1>sub</h1>");
    assert_eq!(server.get("/in.txt").await.text(), "0123456789");
    let mut ann = server.join("/a.txt").await;
    ann.says("a room of that name").await;
    ann.hears("a room of that name").await;
}

#[tokio::test]
async fn nothing_outside_the_directory_is_served() {
    let (_directory, server) = served().await;
    for path in [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2E%2Fsecret.txt",
        "/..%2fsecret.txt",
        "/sub%2f..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "/%252e%252e/secret.txt",
        "//secret.txt",
        "/out.txt",
        "/up/secret.txt",
        "/a.txt%00",
    ] {
        let answer = server.get(path).await;
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        assert!(
            !answer.text().contains("secret\n") && answer.text() != "secret",
            "{path}"
        );
    }
}

#[tokio::test]
async fn dotfiles_are_not_served() {
    let (_directory, server) = served().await;
    for path in ["/.env", "/%2eenv", "/.git/config", "/sub/../.env"] {
        let answer = server.get(path).await;
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn no_redirect_leads_to_another_host() {
    let (_directory, server) = served().await;
    for path in [
        "//evil.example",
        "//evil.example/%2e%2e",
        "/\\evil.example",
        "//sub",
    ] {
        let answer = server.get(path).await;
        let to = answer.header("location").unwrap_or_default();
        assert!(
            !to.starts_with("//") && !to.contains('\\') && !to.contains("://"),
            "{path} -> {to}"
        );
    }
}

#[tokio::test]
async fn ranges_and_tags_spare_the_line() {
    let (_directory, server) = served().await;
    let part = server
        .request("GET", "/a.txt", &[("Range", "bytes=2-4")])
        .await;
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let whole = server.get("/a.txt").await;
    let tag = whole.header("etag").expect("a file has a tag").to_owned();
    let again = server
        .request("GET", "/a.txt", &[("If-None-Match", &tag)])
        .await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let other = server
        .request("GET", "/a.txt", &[("If-None-Match", "\"other\"")])
        .await;
    assert_eq!(other.status, 200);
    let beyond = server
        .request("GET", "/a.txt", &[("Range", "bytes=50-60")])
        .await;
    assert_eq!(beyond.status, 416);
}

#[tokio::test]
async fn precompressed_files_are_used_when_they_are_wanted() {
    let (_directory, server) = served().await;
    let zipped = server
        .request("GET", "/app.js", &[("Accept-Encoding", "gzip")])
        .await;
    assert_eq!(
        (zipped.header("content-encoding"), zipped.text().as_str()),
        (Some("gzip"), "zipped")
    );
    let plain = server.get("/app.js").await;
    assert_eq!(
        (plain.header("content-encoding"), plain.text().as_str()),
        (None, "plain")
    );
}

#[tokio::test]
async fn only_get_and_head_are_answered() {
    let (_directory, server) = served().await;
    let head = server.request("HEAD", "/a.txt", &[]).await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("10"))
    );
    for method in ["POST", "PUT", "DELETE"] {
        let status = server.request(method, "/a.txt", &[]).await.status;
        assert!((400..500).contains(&status), "{method}: {status}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_there() {
    let (_directory, server) = served().await;
    let answer = server.get("/nothing.txt").await;
    assert!([404, 426].contains(&answer.status), "{answer:?}");
}

#[tokio::test]
async fn reserved_paths_are_not_shadowed_by_files() {
    let (directory, setup) = site();
    std::fs::write(directory.path().join("public/health"), "fake").unwrap();
    let server = setup.serve().await;
    assert_eq!(server.get("/health").await.json()["status"], "ok");
}
