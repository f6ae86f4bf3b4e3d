//! RFC 6455 sections 5.5.1 and 7: every kind of close code, reasons, and what comes after a close.

use crate::case::{CLOSE, Case, Chapter, FIN, Kind, MASK, PING, TEXT, close, filler, frame};

/// Codes that an endpoint may send: sections 7.4.1 and 7.4.2, and IANA's registry (1012 to 1014).
pub(crate) const VALID: [u16; 16] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
];
/// Codes that none may: not given out, or never to be sent.
const INVALID: [u16; 17] = [
    0, 1, 500, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2500, 2999, 5000, 10_000,
    65_535,
];

pub(crate) fn chapter() -> Chapter {
    let mut cases = Vec::new();
    let case = Case::new("5.5.1", "without_payload", "a close without a payload");
    cases.push(case.frame(FIN | CLOSE, b"").closed_without_code());
    let case = Case::new("5.5.1", "one_byte", "a close with half a code");
    cases.push(case.frame(FIN | CLOSE, b"\x03").closed(1002));
    for code in VALID {
        let case = Case::new(
            "7.4",
            format!("code_{code}"),
            format!("a close with {code}"),
        );
        cases.push(case.frame(FIN | CLOSE, &close(code, "")).closed(code));
        let case = Case::new(
            "7.1.6",
            format!("code_{code}_and_reason"),
            format!("a close with {code} and a reason"),
        );
        cases.push(
            case.frame(FIN | CLOSE, &close(code, "why: ünïcödé"))
                .closed(code),
        );
    }
    for code in INVALID {
        let case = Case::new(
            "7.4",
            format!("code_{code}"),
            format!("a close with {code}"),
        );
        cases.push(case.frame(FIN | CLOSE, &close(code, "")).closed(1002));
    }
    let case = Case::new(
        "5.5.1",
        "code_1005_and_reason",
        "a close with 1005 and a reason",
    );
    cases.push(case.frame(FIN | CLOSE, &close(1005, "none")).closed(1002));

    for length in [1, 122, 123] {
        let case = Case::new(
            "5.5.1",
            format!("reason_of_{length}"),
            format!("a close with a reason of {length} bytes"),
        );
        cases.push(
            case.frame(FIN | CLOSE, &close(1000, filler(length)))
                .closed(1000),
        );
    }
    let case = Case::new(
        "5.5.1",
        "reason_of_124",
        "a close with a reason of 124 bytes",
    );
    cases.push(
        case.frame(FIN | CLOSE, &close(1000, filler(124)))
            .closed(1002),
    );
    for (name, reason) in [
        ("not_utf8", &b"\xff"[..]),
        ("cut", b"caf\xc3"),
        ("surrogate", b"\xed\xa0\x80"),
        ("over_long", b"\xc0\x80"),
        ("too_large", b"\xf4\x90\x80\x80"),
    ] {
        let case = Case::new(
            "8.1",
            format!("reason_{name}"),
            format!("a close whose reason is `{}`", reason.escape_ascii()),
        );
        cases.push(case.frame(FIN | CLOSE, &close(1000, reason)).closed(1007));
    }
    let case = Case::new("5.5.1", "in_bytes", "a close with a reason, a byte a write");
    cases.push(
        case.send_in(frame(FIN | CLOSE, &close(4321, "slowly")), 1)
            .closed(4321),
    );
    let case = Case::new("5.5.1", "mask_0", "a close under the mask 0");
    cases.push(
        case.send(crate::harness::encode(
            FIN | CLOSE,
            Some([0; 4]),
            &close(1001, ""),
        ))
        .closed(1001),
    );

    let bye = frame(FIN | CLOSE, &close(1000, "bye"));
    for (name, what, after) in [
        ("text", "a text", frame(FIN | TEXT, b"ghost")),
        ("ping", "a ping", frame(FIN | PING, b"ghost")),
        (
            "close",
            "another close",
            frame(FIN | CLOSE, &close(1001, "")),
        ),
        ("wrong_frame", "an unmasked frame", b"\x81\x01x".to_vec()),
        (
            "half_frame",
            "half a frame",
            [&[FIN | TEXT, 0x80 | 5][..], &MASK[..2]].concat(),
        ),
        (
            "noise",
            "bytes that are no frame",
            b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        ),
        (
            "much",
            "100 KB of text",
            frame(FIN | TEXT, &filler(100_000)),
        ),
    ] {
        let case = Case::new(
            "5.5.1",
            format!("close_then_{name}"),
            format!("a close and {what}, in one write"),
        );
        cases.push(case.send([bye.clone(), after].concat()).closed(1000));
    }
    let case = Case::new(
        "7.1.5",
        "after_messages",
        "two texts and a close, the echoes awaited",
    );
    cases.push(
        case.says(Kind::Text, b"first")
            .says(Kind::Text, b"second")
            .frame(FIN | CLOSE, &close(1000, ""))
            .closed(1000),
    );
    Chapter {
        title: "Closing",
        rfc: 6455,
        packed: false,
        cases,
    }
}
