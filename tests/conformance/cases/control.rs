//! RFC 6455 sections 5.5, 5.5.2 and 5.5.3: pings, pongs, and what no control frame may be.

use crate::case::{
    CLOSE, CONTINUATION, Case, Chapter, FIN, Heard, Kind, MASK, PING, PONG, close, filler, frame,
};

pub(crate) fn chapter() -> Chapter {
    let mut cases = Vec::new();
    for length in [0, 1, 124, 125] {
        let payload = filler(length);
        let case = Case::new(
            "5.5.2",
            format!("ping_of_{length}"),
            format!("a ping of {length} bytes"),
        );
        cases.push(case.frame(FIN | PING, &payload).pong(&payload));
    }
    for payload in [&b"\xff\xfe\x00\x80"[..], b"\x00\x00\x00\x00", b"\x81\x01x"] {
        let case = Case::new(
            "5.5.2",
            format!(
                "ping_{}",
                payload
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
            ),
            "a ping of these bytes",
        );
        cases.push(case.frame(FIN | PING, payload).pong(payload));
    }
    let case = Case::new(
        "5.5.2",
        "ping_in_bytes",
        "a ping of 125 bytes, a byte a write",
    );
    cases.push(
        case.send_in(frame(FIN | PING, &filler(125)), 1)
            .pong(&filler(125)),
    );
    let case = Case::new("5.5.2", "ten_pings", "ten pings in one write");
    let pings: Vec<u8> = (0..10).flat_map(|n| frame(FIN | PING, &[n])).collect();
    cases.push((0..10).fold(case.send(pings), |case, n| case.pong(&[n])));
    let case = Case::new("5.5.3", "a_hundred_pings", "a hundred pings in one write");
    let pings: Vec<u8> = (0..100).flat_map(|n| frame(FIN | PING, &[n])).collect();
    cases.push(case.send(pings).hears(Heard::LastPong(vec![99])));
    let case = Case::new("5.5.2", "ping_and_text", "a ping and a text in one write");
    cases.push(
        case.frame(FIN | PING, b"?")
            .pong(b"?")
            .says(Kind::Text, b"text"),
    );

    for length in [0, 1, 125] {
        let case = Case::new(
            "5.5.3",
            format!("pong_of_{length}_unasked"),
            format!("a pong of {length} bytes that nobody asked for"),
        );
        cases.push(case.frame(FIN | PONG, &filler(length)));
    }
    let case = Case::new(
        "5.5.3",
        "pong_then_ping",
        "a pong nobody asked for, then a ping",
    );
    cases.push(
        case.frame(FIN | PONG, b"!")
            .frame(FIN | PING, b"?")
            .pong(b"?"),
    );

    for (opcode, what) in [(PING, "ping"), (PONG, "pong"), (CLOSE, "close")] {
        let mut payload = close(1000, "");
        payload.resize(126, b'x');
        for length in [126, 127, 65_536] {
            payload.resize(length, b'x');
            let case = Case::new(
                "5.5",
                format!("{what}_of_{length}"),
                format!("a {what} of {length} bytes"),
            );
            cases.push(case.frame(FIN | opcode, &payload).closed(1002));
        }
        let case = Case::new(
            "5.5",
            format!("{what}_with_long_length"),
            format!("a {what} of 2 bytes, the length in 16 bits"),
        );
        let bytes = [
            &[FIN | opcode, 0x80 | 126, 0, 2][..],
            &MASK,
            &frame(0, &close(1000, ""))[6..],
        ];
        cases.push(case.send(bytes.concat()).closed(1002));
        let case = Case::new(
            "5.5",
            format!("{what}_fragmented"),
            format!("a {what} without FIN, then a continuation"),
        );
        let bytes = [
            frame(opcode, &close(1000, "")),
            frame(FIN | CONTINUATION, b"x"),
        ];
        cases.push(case.send(bytes.concat()).closed(1002));
    }
    Chapter {
        title: "Control frames",
        rfc: 6455,
        packed: false,
        cases,
    }
}
