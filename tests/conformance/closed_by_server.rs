//! RFC 6455 sections 7.1.2 to 7.1.4 where the server begins: whatever comes behind its close is not
//! answered, and the connection ends once the client has answered, hung up or broken the rules.

use crate::case::Kind;
use crate::case::{CLOSE, FIN, Heard, PING, TEXT, close, filler, fragments, frame};
use crate::engine::Line;
use crate::stage::{Stage, Transport};

#[tokio::test]
async fn what_comes_behind_a_close_of_the_server_is_not_answered() {
    let bye = frame(FIN | CLOSE, &close(1011, ""));
    for transport in Transport::ALL {
        let stage = Stage::new(transport, "--crash-limit 0", "wait then exit 3").await;
        for (name, answer) in [
            ("the same code", bye.clone()),
            ("another code", frame(FIN | CLOSE, &close(1000, "bye"))),
            ("no code", frame(FIN | CLOSE, b"")),
            (
                "a ping, then a close",
                [frame(FIN | PING, b"?"), bye.clone()].concat(),
            ),
            (
                "a text, then a close",
                [frame(FIN | TEXT, b"ghost"), bye.clone()].concat(),
            ),
            (
                "fragments, then a close",
                [fragments(Kind::Binary, &[b"a", b"b"]), bye.clone()].concat(),
            ),
            ("a wrong code", frame(FIN | CLOSE, &close(1005, ""))),
            ("half a code", frame(FIN | CLOSE, b"\x03")),
            ("an unmasked frame", b"\x81\x01x".to_vec()),
            ("text that is none", frame(FIN | TEXT, b"\xff")),
            (
                "much",
                [frame(FIN | TEXT, &filler(500_000)), bye.clone()].concat(),
            ),
        ] {
            let mut line = Line::open(stage.connect().await.unwrap(), "x", false)
                .await
                .unwrap();
            line.send(&frame(FIN | TEXT, b"go\n"), usize::MAX)
                .await
                .unwrap();
            assert_eq!(line.next().await, Ok(Heard::Close(Some(1011))), "{name}");
            line.send(&answer, usize::MAX).await.unwrap();
            assert_eq!(line.next().await, Ok(Heard::End), "{transport:?}: {name}");
        }
        let mut line = Line::open(stage.connect().await.unwrap(), "x", false)
            .await
            .unwrap();
        line.send(&frame(FIN | TEXT, b"go\n"), usize::MAX)
            .await
            .unwrap();
        assert_eq!(line.next().await, Ok(Heard::Close(Some(1011))));
        line.end().await;
        assert_eq!(
            line.next().await,
            Ok(Heard::End),
            "{transport:?}: it hangs up"
        );
    }
}
