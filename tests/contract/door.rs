//! The door behind proxies: whose word is taken, and what lies below a path.

use serde_json::Value;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{Door, PATIENCE, Server, parse_answer, serve};

/// The environment of the child that this client opens a room with.
async fn environment(door: Door<'_>) -> Value {
    door.join().await.hears_json().await
}

#[tokio::test]
async fn a_trusted_proxy_says_who_came_and_how() {
    let server = serve("--trusted-proxy 10.0.0.0/8,loopback puppet env then mute").await;
    let env = environment(
        server
            .door("/x")
            .header("X-Forwarded-For", "6.6.6.6, 192.0.2.1, 10.1.1.1")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "play.example"),
    )
    .await;
    for (name, value) in [
        ("REMOTE_ADDR", "192.0.2.1"),
        ("HTTPS", "on"),
        ("REQUEST_SCHEME", "https"),
        ("SERVER_NAME", "play.example"),
        ("SERVER_PORT", "443"),
        ("HTTP_HOST", "play.example"),
        ("HTTP_X_FORWARDED_FOR", "6.6.6.6, 192.0.2.1, 10.1.1.1"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    assert_eq!(env["REMOTE_PORT"], Value::Null, "nobody knows it");

    let said = r#"for=6.6.6.6, for="[2001:db8::7]:4711";proto=wss;host="play.example:8443""#;
    let env = environment(server.door("/y").header("Forwarded", said)).await;
    for (name, value) in [
        ("REMOTE_ADDR", "2001:db8::7"),
        ("REMOTE_PORT", "4711"),
        ("HTTPS", "on"),
        ("SERVER_NAME", "play.example"),
        ("SERVER_PORT", "8443"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    for flags in ["", "--trusted-proxy 192.0.2.0/24,unix"] {
        let server = serve(format!("{flags} puppet env then mute")).await;
        let forwarded = server
            .door("/x")
            .header("Forwarded", "for=192.0.2.1;proto=https;host=evil.example")
            .header("X-Forwarded-For", "192.0.2.9")
            .header("X-Forwarded-Proto", "https");
        let env = environment(forwarded).await;
        assert_eq!(env["REMOTE_ADDR"], "127.0.0.1");
        assert_eq!(env["SERVER_NAME"], "127.0.0.1");
        assert_eq!(env["REQUEST_SCHEME"], "http");
        assert_eq!(env["HTTPS"], Value::Null);
        assert_eq!(env["HTTP_X_FORWARDED_FOR"], "192.0.2.9", "it may be read");
    }
}

#[tokio::test]
async fn a_proxy_behind_a_unix_socket_may_be_trusted() {
    let directory = crate::harness::temporary();
    let socket = directory.path().join("s");
    let socket = socket.display();
    let server = serve(format!(
        "--addr unix:{socket} --trusted-proxy unix puppet env then mute"
    ))
    .await;
    let env = environment(server.door("/x").header("X-Forwarded-For", "192.0.2.1")).await;
    assert_eq!(env["REMOTE_ADDR"], "192.0.2.1");
}

#[tokio::test]
async fn what_a_trusted_proxy_cannot_mean_is_400() {
    let server = serve("--trusted-proxy loopback --header 'X-Mine: 1' cat").await;
    for lines in [
        vec![("Forwarded", r#"for="192.0.2.1"#)],
        vec![
            ("Forwarded", "for=192.0.2.1"),
            ("X-Forwarded-For", "192.0.2.2"),
        ],
        vec![("X-Forwarded-Host", "a b")],
    ] {
        let mut door = server.door("/x");
        for (name, value) in &lines {
            door = door.header(name, value);
        }
        let answer = door.refused(400).await;
        assert_eq!(answer.json()["error"], "bad_forwarded", "{lines:?}");
        assert_eq!(answer.header("x-mine"), Some("1"));
    }
}

#[tokio::test]
async fn a_long_way_costs_no_more_than_the_bytes_that_tell_of_it() {
    let server = serve("--trusted-proxy loopback cat").await;
    let (hops, host) = (",".repeat(15_000), "a".repeat(15_000));
    for way in [hops.clone(), format!("{hops}127.0.0.1")] {
        let door = server.door("/x").header("X-Forwarded-For", &way);
        door.header("X-Forwarded-Host", &host).join().await;
    }
    // A host for each of the hops would be 225 MB.
    let most = server.peak_memory_bytes();
    assert!(most < 100 << 20, "{most} bytes");
}

#[tokio::test]
async fn limits_of_an_address_are_those_of_the_client_behind_the_proxy() {
    let server = serve("--trusted-proxy loopback --max-clients-per-ip 1 cat").await;
    let from = |address: &str| server.door("/x").header("X-Forwarded-For", address);
    let _ann = from("192.0.2.1").join().await;
    let _bob = from("192.0.2.2").join().await;
    from("192.0.2.1").refused(429).await;
}

#[tokio::test]
async fn the_same_origin_is_what_the_proxy_was_asked_for() {
    let server = serve("--trusted-proxy loopback --same-origin cat").await;
    let page = |origin: &str| {
        server
            .door("/x")
            .header("X-Forwarded-Host", "play.example")
            .header("X-Forwarded-Proto", "https")
            .header("Origin", origin)
    };
    page("https://play.example").join().await;
    page("http://play.example").refused(403).await;
    page("https://other.example").refused(403).await;
}

#[tokio::test]
async fn everything_is_below_the_base_path() {
    let site = crate::harness::temporary();
    std::fs::create_dir(site.path().join("sub")).unwrap();
    for name in ["index.html", "sub/index.html"] {
        std::fs::write(site.path().join(name), name).unwrap();
    }
    let flags = format!(
        "--base-path /my/games --staticdir {}",
        site.path().display()
    );
    let server = serve(format!("{flags} --stats --api puppet env then mute")).await;
    let env = environment(server.door("/my/games/lobby/more?x=1")).await;
    for (name, value) in [
        ("ROOM", "lobby"),
        ("SCRIPT_NAME", "/my/games/lobby"),
        ("PATH_INFO", "/more"),
        ("REQUEST_URI", "/my/games/lobby/more?x=1"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    for (path, text) in [
        ("/my/games/", "index.html"),
        ("/my/games/sub/", "sub/index.html"),
    ] {
        assert_eq!(server.get(path).await.text(), text, "{path}");
    }
    for (path, target) in [
        ("/my/games", "./games/"),
        ("/my/games?q", "./games/?q"),
        ("/my/games/sub", "./sub/"),
    ] {
        assert_eq!(server.get(path).await.header("location"), Some(target));
    }
    for path in [
        "/my/games/stats",
        "/my/games/api/rooms/",
        "/my/games/health",
        "/health",
        "/readyz",
    ] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    for path in ["/", "/stats", "/my/gamesx", "/my", "/index.html"] {
        let answer = server.get(path).await;
        assert_eq!(answer.json()["error"], "outside_base_path", "{path}");
    }
    server.door("/lobby").refused(404).await;
    server.door("/health").refused(404).await;
}

#[tokio::test]
async fn a_room_of_any_path_may_be_at_the_base_path_itself() {
    let server = serve("--base-path /games --isolate puppet env then mute").await;
    let env = environment(server.door("/games")).await;
    assert_eq!(env["SCRIPT_NAME"], "/games/");
}

/// The status of `path` when it is asked of this host by that page, if a page asks.
async fn asked(server: &Server, path: &str, host: &str, origin: Option<&str>) -> (u16, Value) {
    let origin = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{origin}Connection: close\r\n\r\n");
    let mut socket = server.connect(&server.address()).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
    read.expect("an answer in time").unwrap();
    let (answer, end) = parse_answer(&bytes).unwrap();
    let body = serde_json::from_slice(&bytes[end..]).unwrap_or_default();
    (answer.status, body)
}

#[tokio::test]
async fn a_name_that_a_stranger_points_here_shows_nothing() {
    let server = serve("--stats --api --metrics --host play.example cat").await;
    let pages = ["/stats", "/api/rooms/", "/metrics", "/x/stats"];
    for path in pages {
        let (status, body) = asked(&server, path, "evil.example", None).await;
        assert_eq!(
            (status, &body["error"]),
            (421, &"unknown_host".into()),
            "{path}"
        );
    }
    let hosts = [
        "127.0.0.1:1",
        "[::1]",
        "localhost:9",
        "scalesocket",
        "a.svc",
        "Play.Example:443",
    ];
    for host in hosts {
        let (status, _) = asked(&server, "/stats", host, None).await;
        assert_eq!(status, 200, "{host}");
    }
    // Who asks for the server's health, or for a room, comes by any name.
    assert_eq!(asked(&server, "/health", "evil.example", None).await.0, 200);
    assert_eq!(asked(&server, "/x", "evil.example", None).await.0, 426);
}

#[tokio::test]
async fn pages_of_others_read_nothing() {
    let server = serve("--api --origin https://listed.example cat").await;
    for (host, origin, expected) in [
        ("127.0.0.1:9", Some("http://127.0.0.1:9"), 200),
        ("127.0.0.1:9", Some("http://127.0.0.1:8"), 403),
        ("127.0.0.1:9", Some("https://listed.example"), 200),
        ("127.0.0.1:9", Some("https://evil.example"), 403),
        ("127.0.0.1:9", Some("null"), 403),
        ("listed.example", None, 200),
    ] {
        let (status, _) = asked(&server, "/api/rooms", host, origin).await;
        assert_eq!(status, expected, "{host} {origin:?}");
    }
    drop(server);
    // Rooms are open to every page where nothing is said; what tells of them is not.
    let server = serve("--api cat").await;
    let evil = Some("https://evil.example");
    assert_eq!(asked(&server, "/api/rooms", "localhost", evil).await.0, 403);
}

#[tokio::test]
async fn no_page_of_another_origin_drains_the_server() {
    // Whoever lets every page into rooms has not let it do that.
    for rule in [
        "",
        "--origin *",
        "--origin null",
        "--origin https://listed.example",
    ] {
        let server = serve(format!("--admin-addr 127.0.0.1:0 --api {rule} cat")).await;
        let admin = &server.addresses(Some("admin"))[0];
        for evil in ["https://evil.example", "null"] {
            let evil = [("Origin", evil)];
            let answer = server.request_at(admin, "POST", "/drain", &evil).await;
            assert_eq!(answer.status, 403, "{rule} {evil:?}");
        }
        assert_eq!(server.get("/ready").await.status, 200);
        // Pages of lobbies are meant for every page then.
        let evil = [("Origin", "https://evil.example")];
        let answer = server.request_at(admin, "GET", "/api/rooms", &evil).await;
        let expected = if rule == "--origin *" { 200 } else { 403 };
        assert_eq!(answer.status, expected, "{rule}");
    }
}
