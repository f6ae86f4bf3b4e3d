//! Children that listen on a port, and programs that already run somewhere.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::harness::serve;

/// A range of so many ports, free a moment ago, below those the kernel gives to clients. Every call
/// starts elsewhere, so that tests beside each other do not meet.
fn free_ports(count: u16) -> (u16, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = (std::process::id() % 500) as u16 * 40;
    for _ in 0..500 {
        let start = 10_000 + (offset + NEXT.fetch_add(count, Ordering::Relaxed)) % 20_000;
        let end = start + count - 1;
        let held: Result<Vec<_>, _> = (start..=end)
            .map(|port| TcpListener::bind(("127.0.0.1", port)))
            .collect();
        if held.is_ok() {
            return (start, end);
        }
    }
    panic!("no {count} free ports in a row");
}

fn tcp(count: u16, rest: &str) -> String {
    let (start, end) = free_ports(count);
    format!("--tcp --tcpports {start}:{end} {rest}")
}

#[tokio::test]
async fn a_child_is_talked_to_over_its_port() {
    let server = serve(tcp(2, "puppet tcp greets")).await;
    let mut ann = server.join("/x").await;
    assert!(ann.hears_text().await.starts_with("hello from "));
    let mut bob = server.join("/x").await;
    bob.says("over tcp").await;
    ann.hears("over tcp").await;
    bob.hears("over tcp").await;
}

#[tokio::test]
async fn a_child_that_binds_late_is_reached() {
    for flag in ["", "--cmd-attach-delay 0.05"] {
        let server = serve(tcp(2, &format!("{flag} puppet tcp late 300"))).await;
        let mut ann = server.join("/x").await;
        ann.says("patience").await;
        ann.hears("patience").await;
    }
}

#[tokio::test]
async fn a_child_that_never_binds_is_an_error_after_the_start_timeout() {
    let server = serve(tcp(2, "--start-timeout 1 puppet tcp never")).await;
    let mut ann = server.join("/x").await;
    let reason = ann.hears_close_code(1011).await;
    assert!(reason.starts_with("cannot start: "), "{reason}");
    server.has_programs(0).await;
}

#[tokio::test]
async fn a_child_that_ends_before_it_binds_is_not_waited_for() {
    let server = serve(tcp(2, "--start-timeout 3600 puppet exit 3")).await;
    let mut ann = server.join("/x").await;
    let reason = ann.hears_close_code(1011).await;
    assert!(reason.contains("exit 3"), "{reason}");
}

#[tokio::test]
async fn more_rooms_than_ports_is_a_refusal_and_ports_are_used_again() {
    let server = serve(tcp(1, "--stats puppet tcp greets")).await;
    let mut ann = server.join("/x").await;
    let port = ann.hears_text().await;
    let answer = server.door("/y").refused(503).await;
    assert!(answer.header("retry-after").is_some());
    ann.leaves().await;
    server.has_no_rooms().await;
    let mut bob = server.join("/y").await;
    bob.hears(&port).await;
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_not_given_out() {
    let (start, end) = free_ports(2);
    let _taken = TcpListener::bind(("127.0.0.1", start)).unwrap();
    let server = serve(format!("--tcp --tcpports {start}:{end} puppet tcp greets")).await;
    server
        .join("/x")
        .await
        .hears(&format!("hello from {end}"))
        .await;
}

#[tokio::test]
async fn leaving_is_a_half_close_that_lets_the_child_end_itself() {
    let server = serve(tcp(2, "--stderr log puppet tcp then whispers ended well")).await;
    let mut ann = server.join("/x").await;
    ann.says("hi").await;
    ann.hears("hi").await;
    ann.leaves().await;
    server.logged("ended well").await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn a_child_that_hangs_up_is_stopped() {
    let server = serve(tcp(
        2,
        "--stop-eof 0.1 --stop-grace 0.1 puppet tcp hangs-up",
    ))
    .await;
    let mut ann = server.join("/x").await;
    ann.says("last words").await;
    ann.hears("last words").await;
    let (code, _) = ann.hears_some_close().await;
    assert!(code == 1000 || code == 1011, "{code}");
    server.has_programs(0).await;
}

#[tokio::test]
async fn what_a_tcp_child_prints_goes_where_its_stderr_goes() {
    let server = serve(tcp(2, "puppet print to the log then tcp greets")).await;
    let mut ann = server.join("/x").await;
    assert!(ann.hears_text().await.starts_with("hello"));
    server.logged("to the log").await;
}

#[tokio::test]
async fn a_program_that_already_runs_serves_three_rooms_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Numbers its connections and answers each line with its number.
    let lines = async {
        let mut talks = tokio::task::JoinSet::new();
        for number in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            talks.spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    write
                        .write_all(format!("{number} {line}\n").as_bytes())
                        .await
                        .ok();
                }
            });
        }
    };
    let rooms = async {
        let server = serve(format!("--connect {address}")).await;
        let mut people = Vec::new();
        for room in 1..=3 {
            let mut person = server.join(&format!("/{room}")).await;
            person.says("hello").await;
            person.hears(&format!("{room} hello")).await;
            people.push(person);
        }
        let mut guest = server.join("/2").await;
        guest.says("again").await;
        guest.hears("2 again").await;
        people[1].hears("2 again").await;
        assert!(server.programs().is_empty());
    };
    tokio::select! { () = lines => {}, () = rooms => {} }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_after_the_start_timeout() {
    let (port, _) = free_ports(1);
    let server = serve(format!("--connect 127.0.0.1:{port} --start-timeout 0.2")).await;
    let reason = server.join("/x").await.hears_close_code(1011).await;
    assert!(reason.starts_with("cannot start: "), "{reason}");
}
