//! Service managers that want to be told (sd_notify(3)): when clients may come, and that the end has
//! begun and how long it may take.

use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use crate::harness::{Address, PATIENCE, Server, given, temporary};

/// What the server told next, field by field.
fn told(socket: &UnixDatagram) -> Vec<String> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).expect("the server tells");
    let text = String::from_utf8(message[..length].to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Nothing more was told than has been read.
fn knows_all(socket: &UnixDatagram) {
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 64]).is_err());
    socket.set_nonblocking(false).unwrap();
}

async fn serves(name: &str, socket: &UnixDatagram) -> Server {
    let server = given("--drain-timeout 7s --passenv * puppet env then echo")
        .env("NOTIFY_SOCKET", name)
        .serve()
        .await;
    let ready = told(socket);
    assert_eq!(ready[0], "READY=1");
    let Address::Tcp(address) = server.address() else {
        panic!("the default is TCP");
    };
    let room = format!("ws://{address}/lobby");
    assert!(ready[1].starts_with("STATUS=Serving "), "{ready:?}");
    assert!(ready[1].ends_with(&room), "{ready:?}");
    assert_eq!(ready.len(), 2);
    server
}

#[tokio::test]
async fn a_service_manager_hears_when_it_begins_and_how_long_its_end_may_take() {
    let place = temporary();
    let path = place.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let server = serves(path.to_str().unwrap(), &socket).await;
    let mut ann = server.join("/lobby").await;
    let env = ann.hears_json().await;
    // Else the program could say in our name that all is well.
    assert!(env["PATH"].is_string());
    assert_eq!(env["NOTIFY_SOCKET"], serde_json::Value::Null);
    knows_all(&socket);
    server.signal(Signal::SIGTERM);
    let end = told(&socket);
    assert_eq!(end[0], "STOPPING=1");
    let longest = end
        .iter()
        .find_map(|field| field.strip_prefix("EXTEND_TIMEOUT_USEC="))
        .and_then(|micros| micros.parse::<u64>().ok());
    // The drain, then --stop-eof twice and --stop-grace.
    assert!(longest.is_some_and(|micros| micros > 16_000_000), "{end:?}");
    ann.leaves().await;
    server.exits_with(0).await;
    knows_all(&socket);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn abstract_names_are_known() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let name = format!("scalesocket-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    serves(&format!("@{name}"), &socket).await;
}

#[tokio::test]
async fn one_that_cannot_be_told_fails_nothing() {
    let place = temporary();
    let nobody = place.path().join("nobody");
    for name in [nobody.to_str().unwrap(), "vsock:2:1234", "@", "relative"] {
        let server = given("cat").env("NOTIFY_SOCKET", name).serve().await;
        server.logged("the service manager").await;
        let mut ann = server.join("/lobby").await;
        ann.says("still here").await;
        ann.hears("still here").await;
    }
}
