//! What must hold of static files: nothing outside is reached, and HTTP is spoken well.

use std::{fs, os::unix::fs::symlink};

use http_body_util::BodyExt;
use proptest::prelude::*;

use super::*;

/// A site beside a secret.
struct Site {
    dir: tempfile::TempDir,
    files: Files,
}

fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let www = dir.path().join("www");
    fs::create_dir_all(www.join("sub/empty")).unwrap();
    fs::create_dir_all(www.join(".git")).unwrap();
    fs::create_dir_all(www.join(".well-known")).unwrap();
    fs::create_dir_all(www.join("a:b c")).unwrap();
    for (name, text) in [
        ("index.html", "<p>top"),
        ("sub/index.html", "<p>sub"),
        ("a:b c/index.html", "<p>odd"),
        ("digits.txt", "0123456789"),
        (".env", "secret"),
        (".git/config", "secret"),
        (".well-known/security.txt", "Contact:"),
        ("packed.js", "plain"),
        ("packed.js.br", "brotli"),
        ("packed.js.gz", "gzip"),
        ("back\\slash", "secret"),
        ("../secret", "secret"),
    ] {
        fs::write(www.join(name), text).unwrap();
    }
    symlink("../secret", www.join("way-out")).unwrap();
    symlink("../secret", www.join("digits.txt.br")).unwrap();
    symlink("sub", www.join("way-in")).unwrap();
    // As a mounted ConfigMap does it: a plain name that leads through a hidden one.
    symlink(".well-known/security.txt", www.join("contact")).unwrap();
    let files = Files::new(&www).unwrap();
    Site { dir, files }
}

impl Site {
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<Response<Body>> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.files.serve(request.body(()).unwrap()).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        self.ask("GET", path, headers)
            .await
            .unwrap_or_else(|| panic!("no file at {path}"))
    }
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn header_of<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_file_comes_with_its_type_and_says_not_to_guess() {
    let site = site();
    let page = site.get("/", &[]).await;
    assert_eq!(page.status(), 200);
    assert_eq!(header_of(&page, "content-type"), "text/html");
    assert_eq!(header_of(&page, "x-content-type-options"), "nosniff");
    assert_eq!(text(page).await, "<p>top");
    assert_eq!(text(site.get("/sub/?x=1", &[]).await).await, "<p>sub");
    assert_eq!(
        text(site.get("/di%67its.txt", &[]).await).await,
        "0123456789"
    );
    assert_eq!(text(site.get("/way-in/", &[]).await).await, "<p>sub");
}

#[tokio::test]
async fn what_leads_out_or_is_hidden_is_not_there() {
    let site = site();
    for path in [
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/%2E./secret",
        "/.%2e/secret",
        "/..%2fsecret",
        "/sub%2F..%2F..%2Fsecret",
        "/sub%2findex.html",
        "/%252e%252e/secret",
        "/..%5csecret",
        "/back%5Cslash",
        "/back\\slash",
        "/digits.txt%00",
        "/digits.txt%0a",
        "/%ff",
        "/way-out",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/sub/./index.html",
        "/sub/.well-known/x",
        "//",
        "//sub",
        "/sub//index.html",
        "//evil.example/%2e%2e",
        "/missing",
        "/digits.txt/",
        "/digits.txt/x",
        "/sub/empty",
        "/sub/empty/",
    ] {
        let answer = site.ask("GET", path, &[]).await;
        assert!(answer.is_none(), "{path}: {:?}", answer.map(|a| a.status()));
    }
    let long = format!("/{}", "n".repeat(5000));
    assert!(site.ask("GET", &long, &[]).await.is_none());
    assert!(site.ask("OPTIONS", "*", &[]).await.is_none());
}

#[tokio::test]
async fn public_names_that_look_hidden_are_served() {
    let site = site();
    assert_eq!(
        text(site.get("/.well-known/security.txt", &[]).await).await,
        "Contact:"
    );
    assert_eq!(text(site.get("/contact", &[]).await).await, "Contact:");
}

#[tokio::test]
async fn a_link_that_is_turned_outwards_later_is_not_followed() {
    let site = site();
    let link = site.dir.path().join("www/way-in");
    assert_eq!(site.get("/way-in/", &[]).await.status(), 200);
    fs::remove_file(&link).unwrap();
    symlink("..", &link).unwrap();
    assert!(site.ask("GET", "/way-in/secret", &[]).await.is_none());
}

#[tokio::test]
async fn a_directory_is_sent_to_its_slash_and_never_to_another_site() {
    let site = site();
    for (path, target) in [
        ("/sub", "./sub/"),
        ("/sub?to=//evil.example", "./sub/?to=//evil.example"),
        ("http://evil.example/sub", "./sub/"),
        ("/a:b%20c", "./a%3Ab%20c/"),
    ] {
        let answer = site.get(path, &[]).await;
        assert_eq!(answer.status(), 307, "{path}");
        assert_eq!(header_of(&answer, "location"), target, "{path}");
    }
}

#[tokio::test]
async fn only_get_and_head_are_for_files() {
    let site = site();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let answer = site.ask(method, "/digits.txt", &[]).await.unwrap();
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(header_of(&answer, "allow"), "GET, HEAD", "{method}");
        assert!(
            site.ask(method, "/missing", &[]).await.is_none(),
            "{method}"
        );
    }
    let head = site
        .ask("HEAD", "/digits.txt", &[("range", "bytes=0-1")])
        .await
        .unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(header_of(&head, "content-length"), "10");
    assert_eq!(text(head).await, "");
}

#[tokio::test]
async fn a_range_is_one_part_of_the_file() {
    let site = site();
    let part = site.get("/digits.txt", &[("range", "bytes=2-4")]).await;
    assert_eq!(part.status(), 206);
    assert_eq!(header_of(&part, "content-range"), "bytes 2-4/10");
    assert_eq!(text(part).await, "234");
    let tail = site.get("/digits.txt", &[("range", "bytes=-3")]).await;
    assert_eq!(text(tail).await, "789");
    let beyond = site.get("/digits.txt", &[("range", "bytes=10-")]).await;
    assert_eq!(beyond.status(), 416);
    assert_eq!(header_of(&beyond, "content-range"), "bytes */10");
    for whole in ["bytes=0-1,4-5", "lines=1-2", "2-4"] {
        let answer = site.get("/digits.txt", &[("range", whole)]).await;
        assert_eq!(answer.status(), 200, "{whole}");
        assert_eq!(text(answer).await, "0123456789", "{whole}");
    }
}

#[tokio::test]
async fn a_known_version_is_not_sent_again_and_a_part_of_another_never() {
    let site = site();
    let whole = site.get("/digits.txt", &[]).await;
    let (tag, date) = (
        header_of(&whole, "etag"),
        header_of(&whole, "last-modified"),
    );
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");

    let weak = format!("W/{tag}");
    let list = format!("\"other\", {tag}");
    for known in [tag, &weak, &list, "*"] {
        let answer = site.get("/digits.txt", &[("if-none-match", known)]).await;
        assert_eq!(answer.status(), 304, "{known}");
        assert_eq!(header_of(&answer, "etag"), tag);
        assert_eq!(header_of(&answer, "vary"), "accept-encoding");
    }
    assert_eq!(
        site.get("/digits.txt", &[("if-none-match", "\"other\"")])
            .await
            .status(),
        200
    );

    for (version, status) in [
        (tag, 206),
        (date, 206),
        (weak.as_str(), 200),
        ("\"other\"", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ] {
        let headers = [("range", "bytes=2-4"), ("if-range", version)];
        assert_eq!(
            site.get("/digits.txt", &headers).await.status(),
            status,
            "{version}"
        );
    }
    let beyond = [("range", "bytes=90-"), ("if-range", "\"other\"")];
    assert_eq!(
        text(site.get("/digits.txt", &beyond).await).await,
        "0123456789"
    );
}

#[tokio::test]
async fn a_packed_variant_is_sent_to_who_takes_it() {
    let site = site();
    for (accepts, encoding, body) in [
        ("br, gzip", "br", "brotli"),
        ("gzip", "gzip", "gzip"),
        ("identity", "", "plain"),
    ] {
        let answer = site
            .get("/packed.js", &[("accept-encoding", accepts)])
            .await;
        assert_eq!(
            header_of(&answer, "content-encoding"),
            encoding,
            "{accepts}"
        );
        assert_eq!(
            header_of(&answer, "content-type"),
            "text/javascript",
            "{accepts}"
        );
        assert_eq!(header_of(&answer, "vary"), "accept-encoding", "{accepts}");
        assert_eq!(text(answer).await, body, "{accepts}");
    }
    // Its packed variant is a link out of the directory.
    let answer = site.get("/digits.txt", &[("accept-encoding", "br")]).await;
    assert_eq!(text(answer).await, "0123456789");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_path_that_passes_is_made_of_plain_names(path in "(/(%2[eEfF]|%5[cC]|%00|[.a%\\\\]){0,4}){0,4}") {
        if let Some(asked) = Asked::parse(&path) {
            for (depth, name) in asked.names.iter().enumerate() {
                let mut parts = Path::new(name).components();
                prop_assert!(matches!(parts.next(), Some(std::path::Component::Normal(_))));
                prop_assert!(parts.next().is_none());
                prop_assert!(!name.starts_with('.') || depth == 0 && name == WELL_KNOWN);
            }
        }
    }
}
