//! Where the server listens and how it is configured: several addresses, unix sockets, sockets it
//! inherits, flags from the environment, headers, and the helpers.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use crate::harness::{Address, fails, given, serve, temporary};

#[tokio::test]
async fn several_addresses_lead_to_the_same_rooms() {
    let server = serve("--addr 127.0.0.1:0 --addr 127.0.0.1:0 cat").await;
    let addresses = server.addresses(None);
    assert_eq!(addresses.len(), 2);
    let mut ann = server.door("/x").at(&addresses[0]).join().await;
    let mut bob = server.door("/x").at(&addresses[1]).join().await;
    ann.says("hi").await;
    bob.hears("hi").await;
}

#[tokio::test]
async fn a_unix_socket_is_an_address() {
    let directory = temporary();
    let path = directory.path().join("socket");
    let line = format!(
        "--addr unix:{} --joinmsg '[#REMOTE_ADDR]' cat",
        path.display()
    );
    let server = serve(line).await;
    assert_eq!(server.addresses(None), [Address::Unix(path.clone())]);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    let mut ann = server.join("/x").await;
    ann.hears("[]").await;
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn the_mode_of_a_unix_socket_is_a_flag() {
    let directory = temporary();
    let path = directory.path().join("socket");
    let server = serve(format!(
        "--addr unix:{} --unix-mode 0600 cat",
        path.display()
    ))
    .await;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(server);
}

#[tokio::test]
async fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let directory = temporary();
    let path = directory.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.metadata().unwrap().file_type().is_socket());
    let line = format!("--addr unix:{} cat", path.display());
    let server = serve(&line).await;
    let told = fails(&line).await;
    assert_ne!(
        told.status.code(),
        Some(0),
        "a second server took a live socket"
    );
    let mut ann = server.join("/x").await;
    ann.says("still mine").await;
    ann.hears("still mine").await;
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = temporary();
    let path = directory.path().join("file");
    std::fs::write(&path, "precious").unwrap();
    let told = fails(format!("--addr unix:{} cat", path.display()).as_str()).await;
    assert_ne!(told.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let told = fails(format!("--addr {address} cat").as_str()).await;
    assert!(!told.status.success());
    let stderr = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(stderr.contains(&address.to_string()), "{stderr}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_inherited_socket_replaces_the_default_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    // The shell stays the process that LISTEN_PID names.
    let shell = "sh -c 'exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$@\" 3<&0 </dev/null' sh";
    let server = given("puppet env then fds then mute")
        .inside(shell)
        .inherits(listener)
        .serve()
        .await;
    assert_eq!(server.addresses(None), [address]);
    let mut ann = server.join("/x").await;
    let env = ann.hears_json().await;
    assert_eq!(env["LISTEN_FDS"], serde_json::Value::Null);
    ann.hears("0 1 2").await;
}

#[tokio::test]
async fn every_flag_is_a_variable_too_and_the_command_line_wins() {
    let room = |line: &str| {
        given(line)
            .env("SCALESOCKET_FRAME", "json")
            .env("SCALESOCKET_METRICS", "1")
            .env("SCALESOCKET_NONSENSE", "x")
    };
    let server = room("puppet echo").serve().await;
    let mut ann = server.join("/x").await;
    ann.says("{}").await;
    ann.hears(r#"{"id":1}"#).await;
    assert_eq!(server.get("/metrics").await.status, 200);
    drop(server);
    let server = room("--frame=gwsocket puppet packets").serve().await;
    let mut ann = server.join("/x").await;
    ann.says("not json").await;
    ann.hears("not json").await;
}

#[tokio::test]
async fn a_bad_variable_exits_2() {
    let told = given("cat")
        .env("SCALESOCKET_MAX_CLIENTS", "many")
        .output()
        .await;
    assert_eq!(told.status.code(), Some(2));
}

#[tokio::test]
async fn headers_are_added_to_responses() {
    let server = serve("--header 'X-One: 1' --header 'X-Two: 2' cat").await;
    for path in ["/health", "/nothing"] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.header("x-one"), answer.header("x-two")),
            (Some("1"), Some("2")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn probe_says_by_its_exit_whether_the_server_is_well() {
    let server = serve("cat").await;
    let url = format!("http://{}", server.address().host());
    assert!(fails(&format!("probe {url}/health")).await.status.success());
    assert!(fails(&format!("probe {url}/ready")).await.status.success());
    assert!(
        !fails(&format!("probe {url}/nothing"))
            .await
            .status
            .success()
    );
    drop(server);
    assert!(!fails(&format!("probe {url}/health")).await.status.success());
}

#[tokio::test]
async fn probe_finds_out_by_itself_where_a_process_listens() {
    let directory = temporary();
    let socket = directory.path().join("socket");
    let server = serve(&format!("--addr unix:{} cat", socket.display())).await;
    let asks = format!("probe --pid {}", server.pid());
    assert!(fails(&asks).await.status.success());
    // Another process than a server, and one that is gone.
    assert!(
        !fails(&format!("probe --pid {}", std::process::id()))
            .await
            .status
            .success()
    );
    drop(server);
    assert!(!fails(&asks).await.status.success());
}

#[tokio::test]
async fn install_puts_the_binary_there() {
    let directory = temporary();
    let told = fails(&format!("install {}", directory.path().display())).await;
    assert!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    let installed = directory.path().join("scalesocket").metadata().unwrap();
    assert!(installed.permissions().mode() & 0o111 != 0);
}

#[tokio::test]
async fn verbosity_is_a_flag_and_json_logs_are_json() {
    let server = serve("-v cat").await;
    server.join("/x").await.leaves().await;
    server.logged("room ended").await;
    for line in server.log() {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(
            event["timestamp"].is_string() && event["level"].is_string(),
            "{line}"
        );
        assert!(event["message"].is_string(), "{line}");
    }
}
