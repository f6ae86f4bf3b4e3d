//! RFC 6455 section 5.2: lengths in all their forms, reserved bits, opcodes, frames that come in
//! pieces.

use crate::case::{
    BINARY, CLOSE, CONTINUATION, Case, Chapter, FIN, Kind, MASK, PING, PONG, RSV1, TEXT, close,
    filler, frame,
};

const LENGTH: &str = "5.2";

/// The header of a masked frame, its length in 16 or 64 bits whether or not it needs them.
fn header(first: u8, bits: u32, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    if bits == 16 {
        bytes.push(0x80 | 126);
        bytes.extend((length as u16).to_be_bytes());
    } else {
        bytes.push(0x80 | 127);
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend(MASK);
    bytes
}

pub(crate) fn chapter() -> Chapter {
    let mut cases = Vec::new();
    lengths(&mut cases);
    bits_and_opcodes(&mut cases);
    pieces(&mut cases);
    Chapter {
        title: "Framing",
        rfc: 6455,
        packed: false,
        cases,
    }
}

fn lengths(cases: &mut Vec<Case>) {
    for kind in Kind::BOTH {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 65_537] {
            let name = format!("{kind}_of_{length}");
            let sent = format!("{kind} of {length} bytes");
            cases.push(Case::new(LENGTH, name, sent).says(kind, &filler(length)));
        }
    }
    for (bits, lengths) in [(16, &[0, 1, 125][..]), (64, &[0, 1, 125, 126, 65_535][..])] {
        for &length in lengths {
            let name = format!("length_{length}_in_{bits}_bits");
            let sent = format!("text of {length} bytes, the length in {bits} bits");
            let body = frame(0, &filler(length));
            let body = body[body.len() - length..].to_vec();
            let bytes = [header(FIN | TEXT, bits, length as u64), body];
            cases.push(
                Case::new(LENGTH, name, sent)
                    .send(bytes.concat())
                    .closed(1002),
            );
        }
    }
    for (name, length) in [
        ("length_2_63", 1 << 63),
        ("length_2_63_and_5", 1 << 63 | 5),
        ("length_all_ones", u64::MAX),
    ] {
        let sent = format!("a header of binary with the length {length:#x}");
        cases.push(
            Case::new(LENGTH, name, sent)
                .send(header(FIN | BINARY, 64, length))
                .closed(1002),
        );
    }
}

fn bits_and_opcodes(cases: &mut Vec<Case>) {
    for (bits, number) in [(0x40, "1"), (0x20, "2"), (0x10, "3"), (0x70, "1_2_3")] {
        for (opcode, what) in [
            (TEXT, "text"),
            (BINARY, "binary"),
            (PING, "ping"),
            (PONG, "pong"),
            (CLOSE, "close"),
        ] {
            let name = format!("rsv_{number}_on_{what}");
            let sent = format!(
                "{what} with RSV {} set, nothing agreed to",
                number.replace('_', ", ")
            );
            let payload = if opcode == CLOSE {
                close(1000, "")
            } else {
                b"x".to_vec()
            };
            cases.push(
                Case::new("5.2", name, sent)
                    .frame(FIN | bits | opcode, &payload)
                    .closed(1002),
            );
        }
    }
    let case = Case::new(
        "5.2",
        "rsv_1_on_continuation",
        "a message whose second fragment has RSV 1 set",
    );
    cases.push(
        case.frame(TEXT, b"a")
            .frame(FIN | RSV1 | CONTINUATION, b"b")
            .closed(1002),
    );
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        for (fin, payload, how) in [
            (FIN, &b"x"[..], "whole"),
            (FIN, b"", "empty"),
            (0, b"x", "not_final"),
        ] {
            let name = format!("opcode_{opcode:x}_{how}");
            let sent = format!("a frame with opcode {opcode:#x}, {}", how.replace('_', " "));
            cases.push(
                Case::new("5.2", name, sent)
                    .frame(fin | opcode, payload)
                    .closed(1002),
            );
        }
    }
    let case = Case::new(
        "5.2",
        "opcode_3_between_messages",
        "text, then opcode 0x3, then text",
    );
    cases.push(
        case.says(Kind::Text, b"before")
            .send([frame(FIN | 0x3, b"x"), frame(FIN | TEXT, b"after")].concat())
            .closed(1002),
    );
}

fn pieces(cases: &mut Vec<Case>) {
    for (name, length) in [("short", 20), ("middle", 300), ("long", 70_000)] {
        let payload = filler(length);
        let bytes = frame(FIN | BINARY, &payload);
        // The whole header a byte at a time; of the long one the payload in larger pieces.
        let (head, body) = bytes.split_at(bytes.len() - length);
        let case = Case::new(
            "5.2",
            format!("header_in_bytes_{name}"),
            format!("binary of {length} bytes, the header a byte a write"),
        );
        cases.push(
            case.send_in(head, 1)
                .send_in(body, 997)
                .echo(Kind::Binary, &payload),
        );
    }
    let payload = filler(200);
    let case = Case::new("5.2", "frame_in_bytes", "text of 200 bytes, a byte a write");
    cases.push(
        case.send_in(frame(FIN | TEXT, &payload), 1)
            .echo(Kind::Text, &payload),
    );
    for cut in 1..=8 {
        let bytes = [frame(FIN | TEXT, b"one"), frame(FIN | TEXT, b"two")].concat();
        let (head, tail) = bytes.split_at(9 + cut);
        let case = Case::new(
            "5.2",
            format!("second_frame_cut_at_{cut}"),
            format!("two texts in two writes, cut {cut} bytes into the second"),
        );
        cases.push(
            case.send(head)
                .echo(Kind::Text, b"one")
                .send(tail)
                .echo(Kind::Text, b"two"),
        );
    }
    let mut case = Case::new(
        "5.2",
        "many_frames_in_one_write",
        "100 texts and binaries in one write",
    );
    let messages: Vec<(Kind, Vec<u8>)> = (0..100_usize)
        .map(|n| (Kind::BOTH[n % 2], n.to_string().into_bytes()))
        .collect();
    case = case.send(
        messages
            .iter()
            .map(|(kind, payload)| frame(FIN | kind.opcode(), payload))
            .collect::<Vec<_>>()
            .concat(),
    );
    cases.push(
        messages
            .iter()
            .fold(case, |case, (kind, payload)| case.echo(*kind, payload)),
    );
}
