//! A service that is asked who clients are: what it hears, what its answers mean, and what becomes
//! of clients when it does not answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::Mutex;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use super::says;
use crate::harness::{Server, fails, given, serve, temporary};

/// A service on a port of its own. It answers by the header `X-Wish` that it was handed: the lines
/// of a head with commas between; without one it stays silent.
struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Service {
    fn new(tls: Option<Arc<rustls::ServerConfig>>) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Service {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            connections: Arc::default(),
        };
        let (asked, connections) = (Arc::clone(&service.asked), Arc::clone(&service.connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, SeqCst);
                let (asked, tls) = (Arc::clone(&asked), tls.clone());
                std::thread::spawn(move || match tls {
                    None => answers(stream, &asked),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(config).unwrap();
                        answers(rustls::StreamOwned::new(connection, stream), &asked);
                    }
                });
            }
        });
        service
    }

    fn heard(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

fn answers(stream: impl Read + Write, asked: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match stream.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let wish = head.lines().find_map(|line| line.strip_prefix("x-wish: "));
        let answer = wish.map(|wish| {
            let lines = wish.replace(", ", "\r\n");
            format!("HTTP/1.1 {lines}\r\nContent-Length: 2\r\n\r\nhi")
        });
        asked.lock().push(head);
        // Without one, it stays silent until whoever asked has had enough.
        if let Some(answer) = answer {
            stream.get_mut().write_all(answer.as_bytes()).ok();
        }
    }
}

async fn asking(service: &Service, line: &str) -> Server {
    let forward = "--auth-forward x-wish,authorization";
    let url = format!("http://{}/verify?by=us", service.address);
    serve(format!("--auth-url {url} {forward} {line}")).await
}

#[tokio::test]
async fn who_the_service_lets_in_is_who_it_says() {
    let service = Service::new(None);
    let server = asking(
        &service,
        "--stats --auth-copy x-groups puppet env then mute",
    )
    .await;
    let mut ann = server
        .door("/x/y?a=1&token=hush")
        .header(
            "X-Wish",
            "200 OK, Remote-User: ann, X-Groups: players, X-Other: no",
        )
        .header("Authorization", "Basic c2VjcmV0")
        .header("Remote-User", "root")
        .header("X-Groups", "admins")
        .header("X-Forwarded-Uri", "/made/up")
        .join()
        .await;
    let env = ann.hears_json().await;
    for (name, value) in [
        ("REMOTE_USER", json!("ann")),
        ("AUTH_TYPE", json!("Forward")),
        ("HTTP_X_GROUPS", json!("players")),
        ("HTTP_X_OTHER", Value::Null),
        ("HTTP_AUTHORIZATION", Value::Null),
        ("HTTP_X_WISH", Value::Null),
        ("HTTP_REMOTE_USER", Value::Null),
        ("QUERY_STRING", json!("a=1")),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    let heard = service.heard();
    let heard = heard.first().unwrap();
    assert!(
        heard.starts_with("GET /verify?by=us HTTP/1.1\r\n"),
        "{heard}"
    );
    for line in [
        "authorization: Basic c2VjcmV0",
        "x-forwarded-method: GET",
        "x-forwarded-proto: http",
        "x-forwarded-uri: /x/y?a=1&token=hush",
        "x-forwarded-for: 127.0.0.1",
        &format!("x-forwarded-host: {}", server.address().host()),
        &format!("host: {}", service.address),
    ] {
        assert_eq!(
            heard.matches(&format!("\r\n{line}\r\n")).count(),
            1,
            "{line} in {heard}"
        );
    }
    assert!(
        !heard.contains("remote-user") && !heard.contains("made"),
        "{heard}"
    );
    assert_eq!(server.get("/x/stats/users").await.json(), json!(["ann"]));
}

#[tokio::test]
async fn its_no_is_passed_on_and_all_else_means_that_it_cannot_tell() {
    let service = Service::new(None);
    let server = asking(&service, "--metrics --auth-timeout 0.5 cat").await;
    let door = |wish: &str| server.door("/x").header("X-Wish", wish);
    let answer = door("401 No, WWW-Authenticate: Digest realm=x")
        .refused(401)
        .await;
    says(&answer, "not_authenticated");
    assert_eq!(answer.header("www-authenticate"), Some("Digest realm=x"));
    says(&door("403 No").refused(403).await, "not_authorized");
    for odd in [
        "500 Oh",
        "302 Found, Location: /login",
        "404 No",
        "200 OK, Remote-User: ",
        "200 OK, Remote-User: ann, Remote-User: bob",
        "nonsense",
    ] {
        let answer = door(odd).refused(503).await;
        says(&answer, "auth_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    // It says nothing at all.
    says(&server.door("/x").refused(503).await, "auth_unavailable");
    let told = server.complaints();
    let told = told.iter().filter(|line| line.contains("cannot tell"));
    assert_eq!(told.clone().count(), 1, "more than once");
    // A key may stand in the query of its URL.
    assert!(told.clone().all(|line| !line.contains("by=us")));
    door("204 Yes").join().await;
    server
        .logged("the authentication service answers again")
        .await;
    assert!(server.programs().len() <= 1);
    let seven = |line: &str| line.contains("auth_unavailable") && line.ends_with(" 7");
    server
        .waits_for_metric("seven that nobody could tell", seven)
        .await;
}

#[tokio::test]
async fn a_service_that_is_not_there_lets_nobody_in() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = service.local_addr().unwrap();
    drop(service);
    let line = format!("--auth-url http://{address}/ --same-origin --refuse close cat");
    let server = serve(line).await;
    server.join("/x").await.hears_close_code(1013).await;
    assert!(server.programs().is_empty());
}

#[tokio::test]
async fn connections_to_it_are_used_again() {
    let service = Service::new(None);
    let server = asking(&service, "cat").await;
    for _ in 0..20 {
        let door = server
            .door("/x")
            .header("X-Wish", "200 OK, Remote-User: ann");
        door.join().await.leaves().await;
    }
    assert_eq!(service.heard().len(), 20);
    assert!(service.connections.load(SeqCst) < 10, "each time a new one");
}

#[tokio::test]
async fn cookies_are_handed_on_only_where_it_is_said_which_pages_may_connect() {
    // `null` does not say which: any page can be that.
    for rule in [
        "",
        "--origin null",
        "--same-origin --origin https://a.example,null",
    ] {
        let refused = fails(format!("--auth-url http://127.0.0.1:1/ {rule} cat")).await;
        assert_eq!(refused.status.code(), Some(2), "{rule}");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(told.contains("--same-origin"), "{told}");
    }
}

#[tokio::test]
async fn over_https_it_must_prove_who_it_is() {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(
        certified.signing_key.serialize_der(),
    ));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let service = Service::new(Some(Arc::new(config)));
    let directory = temporary();
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let known = write("known", certified.cert.pem());
    let unknown = write("unknown", other.cert.pem());
    let line = format!(
        "--auth-url https://{}/ --auth-forward x-wish cat",
        service.address
    );
    for (file, lets_in) in [(known, true), (unknown, false)] {
        let server = given(&line).env("SSL_CERT_FILE", &file).serve().await;
        let door = server
            .door("/x")
            .header("X-Wish", "200 OK, Remote-User: ann");
        match lets_in {
            true => door.join().await.leaves().await,
            false => says(&door.refused(503).await, "auth_unavailable"),
        }
    }
    assert_eq!(service.heard().len(), 1);
}
