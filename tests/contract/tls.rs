//! TLS: everything that holds without it, new certificates under live connections, and who comes in
//! by a certificate of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::harness::{
    Authority, Opcode, PATIENCE, Pair, Person, Process, Server, Socket, fails, given, serve,
    temporary,
};

/// An authority, and a directory with a certificate of it for this machine.
struct Site {
    authority: Authority,
    directory: TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site {
            authority: Authority::new(),
            directory: temporary(),
        };
        site.replace();
        site
    }

    /// A new certificate in the files of the old one.
    fn replace(&self) -> Pair {
        let pair = self.authority.server(&["localhost", "play.example"]);
        pair.write(self.directory.path(), "server");
        pair
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn flags(&self) -> String {
        let (chain, key) = (self.path("server.crt"), self.path("server.key"));
        format!("--tls-cert {} --tls-key {}", chain.display(), key.display())
    }

    async fn serve(&self, line: &str) -> Server {
        let server = serve(format!("{} {line}", self.flags())).await;
        server.trusted(self.authority.trust())
    }
}

#[tokio::test]
async fn people_speak_over_both_versions_of_tls() {
    let site = Site::new();
    let server = site.serve("cat").await;
    let mut people = Vec::new();
    for version in [&TLS12, &TLS13] {
        let trust = site.authority.trust_with(&[version], None);
        people.push(server.door("/x").trusting(trust).join().await);
    }
    people[0].says("hello").await;
    for person in &mut people {
        person.hears("hello").await;
    }
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn the_protocol_agreed_on_is_http_1() {
    let site = Site::new();
    let server = site.serve("cat").await;
    let offering = |protocols: &[&[u8]]| {
        let mut trust = site.authority.trust();
        trust.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        server.door("/x").trusting(trust)
    };
    let Socket::Tls(stream) = offering(&[b"h2", b"http/1.1"]).connects().await.unwrap() else {
        panic!("not over TLS");
    };
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    // And who insists on another is told so, in either version.
    for version in [&TLS12, &TLS13] {
        let mut trust = site.authority.trust_with(&[version], None);
        trust.alpn_protocols = vec![b"h2".to_vec()];
        let refused = server.door("/x").trusting(trust).connects().await;
        let told = format!("{:?}", refused.err());
        assert!(
            told.contains("NoApplicationProtocol"),
            "{version:?}: {told}"
        );
    }
}

#[tokio::test]
async fn long_messages_go_both_ways_whole() {
    let site = Site::new();
    let server = site.serve("--max-message 8MiB cat").await;
    for version in [&TLS12, &TLS13] {
        let trust = site.authority.trust_with(&[version], None);
        let mut ann = server.door("/x").trusting(trust).join().await;
        // Around the lengths of records and of what is read and written at once.
        for length in [
            1,
            16_383,
            16_384,
            16_385,
            65_535,
            65_536,
            65_537,
            131_072,
            5 << 20,
        ] {
            let text: String = (0..length)
                .map(|n| char::from(b'a' + (n % 23) as u8))
                .collect();
            ann.says(&text).await;
            ann.hears(&text).await;
        }
        ann.leaves().await;
    }
}

#[tokio::test]
async fn a_handshake_may_come_in_pieces_and_with_the_first_message() {
    let site = Site::new();
    let server = site.serve("cat").await;
    let door = server.door("/x");
    let mut request = door.request().into_bytes();
    request.extend(crate::harness::encode(0x81, Some([1, 2, 3, 4]), b"early"));
    let mut socket = door.connects().await.unwrap();
    for piece in request.chunks(7) {
        // A record each.
        socket.write_all(piece).await.unwrap();
        socket.flush().await.unwrap();
    }
    let mut heard = Vec::new();
    let read = async {
        while !heard.ends_with(b"\x81\x05early") {
            assert_ne!(socket.read_buf(&mut heard).await.unwrap(), 0, "{heard:?}");
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
}

const SIZE: usize = 16 << 10;
const LINES: usize = 1_000;

fn line(number: usize) -> String {
    let digits = number.to_string();
    let padding = ".".repeat(SIZE - 1 - digits.len());
    digits + &padding
}

fn flood() -> String {
    format!("puppet wait then flood {LINES} {SIZE}")
}

async fn three_who_read(server: &Server) -> Vec<Person> {
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(server.door("/x").receiving(64 << 10).join().await);
    }
    readers
}

async fn all_hear_everything(readers: &mut [Person]) {
    for number in 1..=LINES {
        let expected = line(number);
        for reader in &mut *readers {
            reader.hears(&expected).await;
        }
    }
}

#[tokio::test]
async fn one_who_never_reads_is_told_so_and_the_others_lose_nothing() {
    let site = Site::new();
    let server = site.serve(&format!("--backlog 1MiB {}", flood())).await;
    let mut readers = three_who_read(&server).await;
    let mut lazy = server.door("/x").narrow().join().await;
    let before = server.memory_bytes();
    readers[0].says("go").await;
    all_hear_everything(&mut readers).await;
    let grown = server.memory_bytes().saturating_sub(before);
    // The backlog, a chunk for each, and what the threads work in.
    assert!(grown < 4 << 20, "the server grew by {grown} bytes");
    for reader in &mut readers {
        reader.hears_close_code(1000).await;
    }
    let part = lazy.hears_texts_until_close(4008).await;
    assert!(part.len() < LINES, "the lazy one was not behind at all");
    assert!(
        part.iter()
            .zip(1..)
            .all(|(given, number)| *given == line(number))
    );
}

#[tokio::test]
async fn with_block_the_slowest_loses_nothing() {
    let site = Site::new();
    let server = site
        .serve(&format!("--slow block --backlog 64KiB {}", flood()))
        .await;
    let mut readers = three_who_read(&server).await;
    let mut slow = server.door("/x").narrow().join().await;
    readers[0].says("go").await;
    let slowly = async {
        for number in 1..=LINES {
            slow.hears(&line(number)).await;
        }
    };
    tokio::join!(all_hear_everything(&mut readers), slowly);
    slow.hears_close_code(1000).await;
}

#[tokio::test]
async fn one_who_accepts_no_byte_while_data_waits_is_closed() {
    let site = Site::new();
    let line = format!("--metrics --stall-timeout 0.3 --backlog 1MiB {}", flood());
    let server = site.serve(&line).await;
    let mut lazy = server.door("/x").narrow().join().await;
    lazy.says("go").await;
    let closed = r#"scalesocket_connections_closed_total{code="4008"} 1"#;
    server
        .waits_for_metric("a close with 4008", |line| line == closed)
        .await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn a_last_message_that_the_kernel_does_not_take_at_once_comes_whole() {
    let site = Site::new();
    // One message, after which nothing else is written that could push it on.
    let server = site
        .serve("--max-child-message 8MiB puppet wait then flood 1 4194304 then mute")
        .await;
    let mut ann = server.door("/x").narrow().join().await;
    ann.says("go").await;
    assert_eq!(ann.hears_text().await.len(), (4 << 20) - 1);
    ann.leaves().await;
}

#[tokio::test]
async fn a_full_inbox_stops_its_sender_and_who_hangs_up_is_not_kept() {
    let site = Site::new();
    let line = "--inbox 1KiB --stall-timeout 0.3 --stop-eof 0.1 puppet ticks";
    let server = site.serve(line).await;
    let mut ann = server.join("/x").await;
    ann.hears_text().await;
    let before = server.descriptors();
    for _ in 0..3 {
        let mut bob = server.join("/x").await;
        let word = "x".repeat(32 << 10);
        let patience = Duration::from_millis(100);
        assert!(bob.says_until_ignored(&word, 8_192, patience).await);
        bob.vanishes();
    }
    server.has_descriptors(before).await;
}

#[tokio::test]
async fn what_waited_for_a_full_inbox_arrives_in_order() {
    let site = Site::new();
    let file = site.path("now");
    let steps = format!("puppet pid then traps {} USR2 then count", file.display());
    let server = site.serve(&format!("--inbox 64KiB {steps}")).await;
    let mut ann = server.join("/x").await;
    let pid: i32 = ann.hears_text().await.parse().unwrap();
    ann.hears("trapping").await;
    ann.says_all_of((0..400).map(|_| "x".repeat(1 << 10))).await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGUSR2).unwrap();
    ann.hears_all_of((1..=400).map(|n| n.to_string())).await;
}

#[tokio::test]
async fn close_codes_arrive_and_then_the_end_of_tls() {
    let site = Site::new();
    let server = site.serve("puppet wait then exit 0").await;
    let (mut wire, _) = server.door("/x").wire().await;
    wire.says(Opcode::TEXT, b"go").await;
    wire.hears_close(1000).await;
    wire.says(Opcode::CLOSE, &1000u16.to_be_bytes()).await;
    // Without close_notify this would be an error of the library: the end could be an attack.
    wire.is_dropped().await;
    let (mut wire, _) = server.door("/y").wire().await;
    wire.says(0x3, b"").await;
    wire.hears_close(1002).await;
    wire.is_dropped().await;
}

#[tokio::test]
async fn who_is_gone_without_a_word_has_left() {
    let site = Site::new();
    let server = site.serve("--stats cat").await;
    let (wire, _) = server.door("/x").wire().await;
    let Socket::Tls(stream) = wire.socket else {
        panic!("not over TLS");
    };
    // The end of TCP, and nothing of TLS before it.
    drop(stream.into_inner().0);
    server.has_no_rooms().await;
}

#[tokio::test]
async fn a_server_that_drains_tells_people() {
    let site = Site::new();
    let server = site.serve("--drain-timeout 0 puppet mute").await;
    let mut ann = server.join("/x").await;
    server.signal(Signal::SIGTERM);
    ann.hears_close_code(1012).await;
    server.exits_with(0).await;
}

async fn shown(server: &Server) -> Vec<u8> {
    let socket = server.door("/x").connects().await.unwrap();
    socket.certificates().first().unwrap().to_vec()
}

#[tokio::test]
async fn new_certificates_are_shown_to_who_comes_and_nobody_who_is_there_notices() {
    let site = Site::new();
    let first = site.replace();
    let server = site.serve("cat").await;
    let mut people = Vec::new();
    for _ in 0..20 {
        people.push(server.join("/x").await);
    }
    assert_eq!(shown(&server).await, first.certificate.der().to_vec());
    let second = site.replace();
    server.logged("certificates replaced").await;
    assert_eq!(shown(&server).await, second.certificate.der().to_vec());
    people[0].says("still here").await;
    for person in &mut people {
        person.hears("still here").await;
    }
    assert_eq!(server.complaints(), [] as [String; 0]);
}

#[tokio::test]
async fn a_signal_has_the_files_read_at_once() {
    let site = Site::new();
    // Without a terminal, whose end the signal would mean.
    let line = format!("{} cat", site.flags());
    let server = given(line).inside("setsid -w").serve().await;
    let ours = |process: &Process| process.name == "scalesocket";
    for process in server.processes().into_iter().filter(ours) {
        let pid = nix::unistd::Pid::from_raw(process.pid);
        nix::sys::signal::kill(pid, Signal::SIGHUP).unwrap();
    }
    // Nobody would say so of files that did not change, unless asked.
    server.logged("certificates read again").await;
}

#[tokio::test]
async fn a_pair_that_does_not_match_changes_nothing_and_is_told_once() {
    let site = Site::new();
    let old = site.replace();
    let server = site.serve("cat").await;
    let new = site.authority.server(&["localhost"]);
    std::fs::write(site.path("server.crt"), new.certificate.pem()).unwrap();
    server.logged("certificates are of no use").await;
    assert_eq!(shown(&server).await, old.certificate.der().to_vec());
    std::fs::write(site.path("server.key"), new.key.serialize_pem()).unwrap();
    server.logged("certificates replaced").await;
    assert_eq!(shown(&server).await, new.certificate.der().to_vec());
    assert_eq!(server.complaints().len(), 1, "{:?}", server.complaints());
}

#[tokio::test]
async fn a_mounted_secret_that_is_swapped_is_followed() {
    // As a kubelet does it: files are links through a link, which is renamed over.
    let site = Site::new();
    let root = site.directory.path();
    let version = |name: &str, pair: &Pair| {
        std::fs::create_dir(root.join(name)).unwrap();
        pair.write(&root.join(name), "tls");
        std::os::unix::fs::symlink(name, root.join("..next")).unwrap();
        std::fs::rename(root.join("..next"), root.join("..data")).unwrap();
    };
    version("..1", &site.authority.server(&["localhost"]));
    for file in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(Path::new("..data").join(file), root.join(file)).unwrap();
    }
    let (chain, key) = (root.join("tls.crt"), root.join("tls.key"));
    let flags = format!("--tls-cert {} --tls-key {}", chain.display(), key.display());
    let server = serve(format!("{flags} cat"))
        .await
        .trusted(site.authority.trust());
    let new = site.authority.server(&["localhost"]);
    version("..2", &new);
    server.logged("certificates replaced").await;
    assert_eq!(shown(&server).await, new.certificate.der().to_vec());
}

#[tokio::test]
async fn the_metrics_tell_when_the_first_certificate_expires() {
    let site = Site::new();
    let directory = site.directory.path();
    let until = |name: &str, year| {
        let pair = site.authority.server_until("localhost", year);
        pair.write(directory, name)
    };
    until("server", 2031);
    let (chain, key) = until("other", 2033);
    let line = format!(
        "--tls-cert {} --tls-key {} --metrics cat",
        chain.display(),
        key.display()
    );
    let server = site.serve(&line).await;
    let name = "scalesocket_tls_certificate_not_after_timestamp_seconds";
    let shows = async |seconds: u64| {
        let line = format!("{name} {seconds}");
        server.waits_for_metric(&line, |shown| shown == line).await;
    };
    shows(1_924_992_000).await;
    // Of those that are there now, the other is the first.
    until("server", 2035);
    server.logged("certificates replaced").await;
    shows(1_988_150_400).await;
}

#[tokio::test]
async fn of_several_certificates_a_client_gets_the_one_for_its_host() {
    let site = Site::new();
    let other = site.authority.server(&["other.example"]);
    let (chain, key) = other.write(site.directory.path(), "other");
    // The one that is asked for stands second.
    let line = format!(
        "--tls-cert {} --tls-key {} {}",
        chain.display(),
        key.display(),
        site.flags()
    );
    let server = serve(format!("{line} cat"))
        .await
        .trusted(site.authority.trust());
    assert_ne!(shown(&server).await, other.certificate.der().to_vec());
    let socket = server.door("/x").plain().connects().await.unwrap();
    let trust = site.authority.trust().into();
    let socket = socket.secured(trust, "other.example").await.unwrap();
    assert_eq!(
        socket.certificates()[0].to_vec(),
        other.certificate.der().to_vec()
    );
}

#[tokio::test]
async fn files_that_are_of_no_use_are_refused_at_the_start() {
    let site = Site::new();
    let other = site.authority.server(&["localhost"]);
    let (chain, key) = other.write(site.directory.path(), "other");
    let (chain, key) = (chain.display(), key.display());
    let garbage = site.path("garbage");
    std::fs::write(&garbage, "nothing").unwrap();
    let garbage = garbage.display();
    let own = site.path("server.key");
    let own = own.display();
    for (flags, told) in [
        (
            format!("--tls-cert {chain} --tls-key {own}"),
            "does not belong to",
        ),
        (
            format!("--tls-cert {garbage} --tls-key {key}"),
            "no certificate",
        ),
        (
            format!("--tls-cert {chain} --tls-key {garbage}"),
            "no private key",
        ),
        (
            format!("--tls-cert {chain} --tls-key /nowhere/key"),
            "/nowhere/key",
        ),
        (
            format!("--tls-cert {chain} --tls-key {key} --tls-client-ca {garbage}"),
            "no certificate",
        ),
    ] {
        let output = fails(format!("{flags} cat")).await;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
        assert_eq!(stderr.trim().lines().count(), 1, "{stderr}");
    }
}

#[tokio::test]
async fn plain_http_at_a_port_of_tls_is_told_so() {
    let site = Site::new();
    let server = site.serve("--metrics cat").await;
    let answer = server.door("/x").plain().refused(400).await;
    assert_eq!(answer.json()["error"], "plain_http");
    assert!(answer.text().contains("https://"), "{}", answer.text());
    let counted = r#"scalesocket_tls_handshakes_failed_total{reason="plain_http"} 1"#;
    server
        .waits_for_metric("the failure", |line| line == counted)
        .await;
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_dropped() {
    let site = Site::new();
    let server = site.serve("--metrics cat").await;
    for garbage in [
        &b"\x00\x01\x02"[..],
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\xff\xff\xff\xff",
    ] {
        let mut socket = server.door("/x").plain().connects().await.unwrap();
        socket.write_all(garbage).await.unwrap();
        let mut told = Vec::new();
        let end = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut told)).await;
        // An alert at most (a record of type 21), or a reset because not all was read.
        assert!(end.is_ok(), "the connection stays open");
        assert!(told.first().is_none_or(|kind| *kind == 21), "{told:?}");
    }
    let counted = r#"scalesocket_tls_handshakes_failed_total{reason="protocol"} 3"#;
    server
        .waits_for_metric("the failures", |line| line == counted)
        .await;
}

#[tokio::test]
async fn plain_http_is_sent_to_https() {
    let site = Site::new();
    let server = site
        .serve("--redirect-addr 127.0.0.1:0 --staticdir . cat")
        .await;
    let redirect = server.addresses(Some("redirect")).remove(0);
    let port = server
        .address()
        .host()
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    let ask = async |host: &str, path: &str| {
        let mut socket = server.connect(&redirect).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = ask("localhost:8080", "/a%20b?c=d").await;
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    let target = format!("\r\nlocation: https://localhost:{port}/a%20b?c=d\r\n");
    assert!(answer.contains(&target), "{answer}");
    for (host, path) in [
        ("evil.example", "/"),
        ("localhost@evil.example", "/"),
        ("", "/"),
    ] {
        let answer = ask(host, path).await;
        assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
        assert!(!answer.contains("location:"), "{answer}");
    }
    // Nothing else is there: no rooms, no files, no endpoints.
    let refused = server.door("/x").at(&redirect).refused(421).await;
    assert_eq!(refused.json()["error"], "unknown_host");
}

#[tokio::test]
async fn a_certificate_of_the_right_authority_opens_the_door_and_is_told_to_the_child() {
    let site = Site::new();
    let people = Authority::new();
    std::fs::write(site.path("people.crt"), people.pem()).unwrap();
    let ca = site.path("people.crt");
    let flags = format!("--metrics --tls-client-ca {}", ca.display());
    let joined = "--joinmsg '[#SSL_CLIENT_S_DN][#SSL_CLIENT_S_DN_CN][#SSL_CLIENT_VERIFY]'";
    let server = site
        .serve(&format!("{flags} {joined} puppet env then echo"))
        .await;
    let own = people.client("ann \"a\"", Some("spiffe://example/ann"));
    for version in [&TLS12, &TLS13] {
        let trust = site.authority.trust_with(&[version], Some(&own));
        let door = server
            .door("/x")
            .trusting(trust)
            .header("SSL_CLIENT_S_DN", "CN=mallory");
        let mut ann = door.join().await;
        let env = ann.hears_json().await;
        for (name, value) in [
            ("HTTPS", "on"),
            ("REQUEST_SCHEME", "https"),
            ("SSL_CLIENT_VERIFY", "SUCCESS"),
            ("SSL_CLIENT_S_DN", "CN=ann \\\"a\\\",O=Example"),
            ("SSL_CLIENT_S_DN_CN", "ann \"a\""),
            ("SSL_CLIENT_SAN_URI_0", "spiffe://example/ann"),
        ] {
            assert_eq!(env[name], value, "{name}");
        }
        let dn = "CN%3Dann%20%5C%22a%5C%22%2CO%3DExample";
        ann.hears(&format!("[{dn}][ann%20%22a%22][SUCCESS]")).await;
        ann.leaves().await;
    }
    let stranger = Authority::new().client("mallory", None);
    for (own, version) in [
        (None, &TLS12),
        (None, &TLS13),
        (Some(&stranger), &TLS12),
        (Some(&stranger), &TLS13),
    ] {
        let trust = site.authority.trust_with(&[version], own);
        // In TLS 1.3 a client learns of it when it reads.
        let refused = match server.door("/x").trusting(trust).connects().await {
            Ok(mut socket) => socket.read(&mut [0]).await.is_err(),
            Err(_) => true,
        };
        assert!(refused);
    }
}

#[tokio::test]
async fn the_server_s_own_pages_are_those_under_https() {
    let site = Site::new();
    let server = site.serve("--same-origin cat").await;
    let host = server.address().host();
    let page = |scheme: &str| {
        server
            .door("/x")
            .header("Origin", &format!("{scheme}://{host}"))
    };
    page("https").join().await.leaves().await;
    page("http").refused(403).await;
    server
        .door("/x")
        .header("Origin", "null")
        .refused(403)
        .await;
}

#[tokio::test]
async fn an_origin_without_a_scheme_is_worth_a_warning() {
    let site = Site::new();
    let server = site.serve("--origin play.example cat").await;
    server.logged("write https://play.example").await;
    drop(server);
    let server = serve("--origin play.example cat").await;
    assert_eq!(server.complaints(), [] as [String; 0]);
}

#[tokio::test]
async fn a_probe_asks_over_tls_where_tls_is_spoken() {
    let site = Site::new();
    let server = site.serve("cat").await;
    let host = server.address().host();
    let asks = async |url: String| fails(format!("probe {url}")).await.status.success();
    assert!(asks(format!("https://{host}/health")).await);
    assert!(!asks(format!("https://{host}/nothing")).await);
    assert!(!asks(format!("http://{host}/health")).await);
}

#[tokio::test]
async fn a_probe_knows_that_nothing_but_a_certificate_of_its_own_is_missing() {
    use scalesocket::probe::{Target, probe, wants_certificate};

    let site = Site::new();
    let ca = site.path("ca.crt");
    std::fs::write(&ca, Authority::new().pem()).unwrap();
    let wanting = format!("--tls-client-ca {} cat", ca.display());
    let wanting = site.serve(&wanting).await;
    let content = site.serve("cat").await;
    for (server, path, missing) in [(&wanting, "/health", true), (&content, "/nothing", false)] {
        let target = Target::Tls(server.address().host());
        let asked = tokio::task::spawn_blocking(move || probe(&target, path, PATIENCE));
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(wants_certificate(&error), missing, "{error:#}");
    }
}

#[tokio::test]
async fn unix_sockets_and_the_operators_address_stay_plain() {
    let site = Site::new();
    let path = site.path("socket");
    let line = format!(
        "--addr 127.0.0.1:0 --addr unix:{} --admin-addr 127.0.0.1:0 cat",
        path.display()
    );
    let server = site.serve(&line).await;
    let [tcp, unix] = &server.addresses(None)[..] else {
        panic!("not two addresses");
    };
    let mut ann = server.door("/x").at(tcp).join().await;
    let mut bob = server.door("/x").at(unix).join().await;
    ann.says("hi").await;
    bob.hears("hi").await;
    let admin = server.addresses(Some("admin")).remove(0);
    assert_eq!(
        server
            .request_at(&admin, "GET", "/metrics", &[])
            .await
            .status,
        200
    );
}
