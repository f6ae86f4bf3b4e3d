//! Who gets nothing of the console: who has no token, and pages of strangers with it too.

use super::*;

#[tokio::test]
async fn the_page_is_for_everybody_and_what_it_shows_for_whoever_has_the_token() {
    let (server, _dir) = with_console("--console cat").await;
    for path in ["/console", "/console/"] {
        let page = server.get(path).await;
        assert_eq!(page.status, 200);
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(!page.text().contains(TOKEN));
    }
    let _ann = server.join("/x").await;
    for path in [
        "/console/overview",
        "/console/rooms/x",
        "/console/rooms/x/watch",
        "/console/fleet",
    ] {
        for token in [
            "",
            "Bearer a-token-of-the-test",
            "Bearer a-token-of-the-tests2",
            TOKEN,
        ] {
            let answer = server
                .request("GET", path, &[("Authorization", token)])
                .await;
            assert_eq!(answer.status, 401, "{path} with {token:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(answer.json()["error"], "no_console_token");
        }
    }
    assert_eq!(
        sees(&server, "/console/overview").await["rooms_matching"],
        1
    );
}

#[tokio::test]
async fn without_the_flag_there_is_no_console() {
    let server = serve("--stats --api cat").await;
    for path in ["/console", "/console/overview"] {
        let status = server.get(path).await.status;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn with_an_admin_address_the_console_is_there_alone_and_knows_where_rooms_are() {
    let (server, _dir) = with_console("--console --admin-addr 127.0.0.1:0 cat").await;
    let admin = server.addresses(Some("admin")).remove(0);
    assert!((400..500).contains(&server.get("/console").await.status));
    assert_eq!(
        server
            .request_at(&admin, "GET", "/console", &[])
            .await
            .status,
        200
    );
    let header = bearer(TOKEN);
    let overview = server
        .request_at(
            &admin,
            "GET",
            "/console/overview",
            &[("Authorization", &header)],
        )
        .await
        .json();
    let port = server
        .address()
        .host()
        .rsplit_once(':')
        .map(|(_, port)| port.to_owned());
    assert_eq!(overview["join"]["port"].to_string(), port.unwrap());
}

#[tokio::test]
async fn no_strangers_page_and_no_strangers_name_gets_anything_with_the_token_either() {
    let (server, _dir) = with_console("--console cat").await;
    let token = bearer(TOKEN);
    let origin = [
        ("Authorization", token.as_str()),
        ("Origin", "https://evil.example"),
    ];
    let answer = server.request("GET", "/console/overview", &origin).await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (403, Some("origin_not_allowed"))
    );
    let address = server.address();
    let mut socket = server.connect(&address).await;
    let request = format!(
        "GET /console/overview HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nAuthorization: {token}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 421"));
}

#[tokio::test]
async fn a_token_that_nobody_gave_is_made_and_said() {
    let server = serve("--console cat").await;
    let ready = server.logged(r#""message":"ready""#).await;
    let url = ready["console"].as_str().expect("where the console is");
    let (_, token) = url.split_once("/console#token=").expect("the token");
    assert!(token.len() >= 32, "{token}");
    let header = bearer(token);
    let answer = server
        .request("GET", "/console/overview", &[("Authorization", &header)])
        .await;
    assert_eq!(answer.status, 200);
    let (given, _dir) = with_console("--console cat").await;
    given.logged(r#""message":"ready""#).await;
    assert!(given.log().iter().all(|line| !line.contains(TOKEN)));
}

#[tokio::test]
async fn what_cannot_be_a_token_ends_the_start() {
    let dir = temporary();
    let file = dir.path().join("token");
    std::fs::write(&file, "short\n").unwrap();
    let output = fails(format!(
        "--console --admin-token-file {} cat",
        file.display()
    ))
    .await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("--admin-token-file") && said.contains("16"),
        "{said}"
    );
}

#[tokio::test]
async fn what_acts_wants_the_token_json_and_no_stranger() {
    let (server, _dir) = with_console("--console=write cat").await;
    let mut ann = server.join("/x").await;
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let json = "Content-Type: application/json\r\n";
    for (headers, body, status) in [
        (json.to_owned(), r#"{"text":"x"}"#, 401),
        (
            format!("{token}Content-Type: text/plain\r\n"),
            r#"{"text":"x"}"#,
            415,
        ),
        (
            format!("{token}{json}Origin: https://evil.example\r\n"),
            r#"{"text":"x"}"#,
            403,
        ),
        (format!("{token}{json}"), r#"{"text":"#, 400),
        (format!("{token}{json}"), r#"{"text":7}"#, 422),
        (format!("{token}{json}"), r#"{"words":"x"}"#, 422),
    ] {
        for action in ["input", "say"] {
            let path = format!("/console/rooms/x/{action}");
            let (got, _) = posts_as(&server, &path, &headers, body).await;
            assert_eq!(got, status, "{headers}{body}");
        }
    }
    ann.hears_nothing().await;
}

#[tokio::test]
async fn no_other_way_of_asking_gets_past_the_token() {
    let (server, _dir) = with_console("--console=write --staticdir tests/harness cat").await;
    let mut ann = server.join("/x").await;
    let mut paths = Vec::new();
    for end in [
        "overview",
        "fleet",
        "rooms/x",
        "rooms/x/watch",
        "rooms/x/say",
        "rooms/x/input",
        "rooms/x/kick",
        "rooms/x/end",
    ] {
        for start in [
            "/console/",
            "//console/",
            "/console//",
            "/%63onsole/",
            "/console%2f",
            "/console/./",
            "/./console/",
            "/y/../console/",
            "/console/../console/",
            "/CONSOLE/",
        ] {
            paths.push(format!("{start}{end}"));
        }
        paths.push(format!("/console/{end}/"));
        paths.push(format!("/console/{end}?token={TOKEN}&access_token={TOKEN}"));
        paths.push(format!("/console/{end}%00"));
    }
    let cookie = format!("token={TOKEN}; Authorization=Bearer {TOKEN}");
    let headers = [("Cookie", cookie.as_str()), ("X-Token", TOKEN)];
    for path in &paths {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = server.request(method, path, &headers).await;
            assert!(answer.status >= 400, "{method} {path}: {}", answer.status);
            let text = answer.text();
            for told in ["last_ends", "lag_bytes", "\"seen\"", "\"pods\""] {
                assert!(!text.contains(told), "{method} {path}: {text}");
            }
        }
    }
    ann.hears_nothing().await;
}

#[tokio::test]
async fn whoever_only_asks_what_there_is_watches_nothing() {
    let (server, _dir) = with_console("--console cat").await;
    let mut ann = server.join("/x").await;
    let token = bearer(TOKEN);
    for method in ["HEAD", "OPTIONS", "POST"] {
        for path in [
            "/console/overview",
            "/console/rooms/x",
            "/console/rooms/x/watch",
        ] {
            let answer = server
                .request(method, path, &[("Authorization", &token)])
                .await;
            let expected = if method == "HEAD" { 200 } else { 405 };
            assert_eq!(answer.status, expected, "{method} {path}");
            assert!(answer.body.is_empty() || expected == 405, "{method} {path}");
        }
    }
    ann.says("still").await;
    ann.hears("still").await;
}

#[tokio::test]
async fn no_log_has_a_token_that_somebody_gave() {
    let (server, _dir) = with_console("-vvv --console=write cat").await;
    let _ann = server.join("/x").await;
    for (path, token) in [
        ("/console/overview".to_owned(), TOKEN),
        ("/console/overview".to_owned(), "a-token-of-somebody-else"),
        (
            format!("/console/overview?token={TOKEN}"),
            "mistaken-token-in-a-header",
        ),
        (format!("/console/{TOKEN}"), TOKEN),
    ] {
        server
            .request("GET", &path, &[("Authorization", &bearer(token))])
            .await;
    }
    posts(
        &server,
        "/console/rooms/x/say",
        json!({"text": "a secret of theirs"}),
    )
    .await;
    server.logged("an operator spoke").await;
    server.signal(nix::sys::signal::Signal::SIGINT);
    server.exits_with(0).await;
    for line in server.log() {
        for secret in [
            TOKEN,
            "a-token-of-somebody-else",
            "mistaken-token",
            "a secret of theirs",
        ] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[tokio::test]
async fn a_made_token_is_said_where_only_a_socket_in_the_file_system_leads_to_it() {
    let dir = temporary();
    let socket = dir.path().join("admin.sock");
    let server = serve(format!(
        "--console --admin-addr unix:{} cat",
        socket.display()
    ))
    .await;
    let ready = server.logged(r#""message":"ready""#).await;
    let console = ready["console"].as_str().expect("where the console is");
    let (_, rest) = console.split_once("/console#token=").expect("the token");
    let token = rest.split(' ').next().unwrap();
    assert!(console.contains("admin.sock"), "{console}");
    let admin = server.addresses(Some("admin")).remove(0);
    let header = bearer(token);
    let answer = server
        .request_at(
            &admin,
            "GET",
            "/console/overview",
            &[("Authorization", &header)],
        )
        .await;
    assert_eq!(answer.status, 200);
}
