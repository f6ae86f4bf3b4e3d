//! RFC 6455 and RFC 7692, section by section, as cases that are data: what is sent, what must come
//! back, what the child must have heard. The whole server is what is tested, over each transport;
//! `docs/conformance.md` is made from the cases. A second implementation judges the same cases.

// A test that cannot go on says so by panicking, also in the functions around the tests.
#![allow(clippy::unwrap_used)]

mod case;
mod cases;
mod closed_by_server;
mod differences;
mod differential;
mod engine;
mod half_open;
mod handshakes;
#[path = "../harness/mod.rs"]
mod harness;
mod page;
mod reader;
mod stage;

use case::Chapter;
use stage::{Stage, Transport};

/// Plays a chapter over every transport; `CASE` in the environment names a part of it.
async fn conforms(chapter: &Chapter) {
    let only = std::env::var("CASE").unwrap_or_default();
    let mut wrong = Vec::new();
    for transport in Transport::ALL {
        let stage = Stage::for_cases(transport, chapter.packed).await;
        for case in chapter
            .cases
            .iter()
            .filter(|case| case.name.contains(&only))
        {
            if let Err(what) = stage.judge(case, chapter.packed).await {
                wrong.push(format!(
                    "{transport:?} {} ({}): {what}",
                    case.name, case.sent
                ));
            }
        }
        let complaints = stage.server.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn framing() {
    conforms(&cases::FRAMING).await;
}

#[tokio::test]
async fn masking() {
    conforms(&cases::MASKING).await;
}

#[tokio::test]
async fn fragmentation() {
    conforms(&cases::FRAGMENTATION).await;
}

#[tokio::test]
async fn control_frames() {
    conforms(&cases::CONTROL).await;
}

#[tokio::test]
async fn closing() {
    conforms(&cases::CLOSING).await;
}

#[tokio::test]
async fn text() {
    conforms(&cases::TEXT).await;
}

#[tokio::test]
async fn limits() {
    conforms(&cases::LIMITS).await;
}

#[tokio::test]
async fn compressed_messages() {
    conforms(&cases::DEFLATE).await;
}
