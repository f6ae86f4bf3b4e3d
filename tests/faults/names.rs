//! Names of rooms, by the thousand: those that are opened and gone, and those that never were.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{KEPT, Peak, begin};

#[tokio::test]
async fn rooms_that_were_opened_and_are_gone_are_forgotten() {
    const ROOMS: usize = 200;
    let (server, start) = begin("-v --metrics --metrics-rooms 10 puppet echo").await;
    let mut after = Vec::new();
    for half in 0..2 {
        for batch in 0..ROOMS / 2 / 25 {
            let enter = (0..25).map(|n| {
                let server = &server;
                async move {
                    let path = format!("/{half}-{batch}-{n}-{:x<64}", "");
                    let mut person = server.join(&path).await;
                    person.says("hello").await;
                    person.hears("hello").await;
                    person
                }
            });
            let people = futures_util::future::join_all(enter).await;
            let metrics = server.get("/metrics").await.text();
            let series = metrics
                .lines()
                .filter(|line| line.starts_with("scalesocket_connections{"));
            assert!(series.count() <= 10, "{metrics}");
            assert!(metrics.len() < 64 << 10, "{} bytes", metrics.len());
            drop(people);
        }
        start.is_back(&server).await;
        after.push(server.memory_bytes());
    }
    let metrics = server.get("/metrics").await.text();
    assert!(!metrics.contains("room=\""), "{metrics}");
    assert!(after[1] <= after[0] + KEPT / 4, "memory {after:?}");
}

#[tokio::test]
#[ignore = "takes minutes: just faults-long"]
async fn a_hundred_thousand_rooms_leave_nothing() {
    const TENTHS: usize = 10;
    const BATCHES: usize = 100;
    let (server, start) = begin("--metrics --metrics-rooms 10 cat").await;
    let mut after = Vec::new();
    for tenth in 0..TENTHS {
        for batch in 0..BATCHES {
            let enter = (0..100).map(|n| {
                let server = &server;
                async move {
                    let path = format!("/{tenth}-{batch}-{n}");
                    loop {
                        let (wire, answer) = server.door(&path).tries().await.unwrap();
                        match answer.status {
                            101 => return wire,
                            // Others have not ended yet, and take the places.
                            status => assert_eq!(status, 503, "{path}"),
                        }
                    }
                }
            });
            drop(futures_util::future::join_all(enter).await);
        }
        server.has_no_rooms().await;
        after.push(server.memory_bytes());
    }
    let page = server.get("/metrics").await.text();
    let started = page.lines().find_map(|line| {
        let value = line.strip_prefix("scalesocket_rooms_started_total ")?;
        value.parse::<f64>().ok()
    });
    assert!(
        started >= Some((TENTHS * BATCHES * 100) as f64),
        "{started:?}"
    );
    assert!(!page.contains("room=\""), "{page}");
    println!("memory after each 10,000: {after:?}");
    // What the allocator keeps of a thousand rooms at once it keeps from the first of them on.
    let (first, last) = (after[0], after[TENTHS - 1]);
    assert!(last <= first + first / 20, "memory {after:?}");
    let _ = start;
}

#[tokio::test]
async fn names_that_are_no_rooms_leave_nothing() {
    const NAMES: usize = 10_000;
    let (server, start) = begin("--rooms first,lobby --metrics puppet echo").await;
    let peak = Peak::of(&server);
    let socket = server.connect(&server.address()).await;
    let (mut reader, mut writer) = tokio::io::split(socket);
    // One connection, so that the names are all that there are thousands of.
    let asks = async {
        for name in 0..NAMES {
            let end = if name + 1 == NAMES {
                "close"
            } else {
                "keep-alive"
            };
            let request = format!(
                "GET /room-{name} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, {end}\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            if writer.write_all(request.as_bytes()).await.is_err() {
                break;
            }
        }
    };
    let mut answers = Vec::new();
    let (_, read) = tokio::join!(asks, reader.read_to_end(&mut answers));
    read.unwrap();
    let refused = String::from_utf8_lossy(&answers)
        .matches("HTTP/1.1 4")
        .count();
    assert_eq!(refused, NAMES);
    peak.at_most(&server, &start, KEPT);
    let metrics = server.get("/metrics").await.text();
    assert!(!metrics.contains("room-"), "{metrics}");
    drop((reader, writer));
    start.is_back(&server).await;
}
