//! RFC 6455 sections 10.4 and 7.4.1: messages at the limit and above it, and large ones in small pieces.

use crate::case::{
    BINARY, CONTINUATION, Case, Chapter, FIN, Kind, LIMIT, MASK, PING, TEXT, filler, fragments,
    frame,
};

pub(crate) fn chapter() -> Chapter {
    let mut cases = Vec::new();
    let most = filler(LIMIT);
    for kind in Kind::BOTH {
        let case = Case::new(
            "10.4",
            format!("{kind}_of_the_limit"),
            format!("{kind} of 1 MiB, in one write"),
        );
        cases.push(case.says(kind, &most));
        let case = Case::new(
            "10.4",
            format!("{kind}_in_pieces_of_997"),
            format!("{kind} of 1 MiB, in writes of 997 bytes"),
        );
        cases.push(
            case.send_in(frame(FIN | kind.opcode(), &most), 997)
                .echo(kind, &most),
        );
        let case = Case::new(
            "10.4",
            format!("{kind}_in_fragments_of_997"),
            format!("{kind} of 1 MiB, in fragments of 997 bytes"),
        );
        let pieces: Vec<&[u8]> = most.chunks(997).collect();
        cases.push(case.send(fragments(kind, &pieces)).echo(kind, &most));
        let case = Case::new(
            "10.4",
            format!("{kind}_above_the_limit"),
            format!("{kind} of 1 MiB and a byte"),
        );
        cases.push(
            case.frame(FIN | kind.opcode(), &filler(LIMIT + 1))
                .closed(1009),
        );
    }
    let case = Case::new("10.4", "16_kib_in_bytes", "text of 16 KiB, a byte a write");
    cases.push(
        case.send_in(frame(FIN | TEXT, &filler(16 << 10)), 1)
            .echo(Kind::Text, &filler(16 << 10)),
    );
    for (name, length) in [
        ("limit_and_1", LIMIT as u64 + 1),
        ("2_32", 1 << 32),
        ("2_63_less_1", (1 << 63) - 1),
    ] {
        let case = Case::new(
            "10.4",
            format!("header_of_{name}"),
            format!("only the header of {length} bytes of binary"),
        );
        let bytes = [
            &[FIN | BINARY, 0x80 | 127][..],
            &length.to_be_bytes(),
            &MASK,
        ];
        cases.push(case.send(bytes.concat()).closed(1009));
    }
    let half = filler(LIMIT / 2);
    let case = Case::new(
        "10.4",
        "fragments_up_to_the_limit",
        "two fragments of 512 KiB, a ping between and an empty one last",
    );
    cases.push(
        case.frame(TEXT, &half)
            .frame(FIN | PING, b"?")
            .pong(b"?")
            .frame(CONTINUATION, &half)
            .frame(FIN, b"")
            .echo(Kind::Text, &[half.clone(), half.clone()].concat()),
    );
    let case = Case::new(
        "10.4",
        "fragments_above_the_limit",
        "two fragments of 512 KiB and one of a byte",
    );
    cases.push(
        case.frame(BINARY, &half)
            .frame(CONTINUATION, &half)
            .frame(FIN, b"x")
            .closed(1009),
    );
    let case = Case::new(
        "10.4",
        "second_header_above_the_limit",
        "a fragment of 512 KiB, then only the header of as much and a byte",
    );
    let length = (LIMIT / 2 + 1) as u64;
    let bytes = [&[FIN, 0x80 | 127][..], &length.to_be_bytes(), &MASK];
    cases.push(case.frame(TEXT, &half).send(bytes.concat()).closed(1009));
    let many = filler(2000);
    let pieces: Vec<&[u8]> = many.chunks(1).collect();
    let case = Case::new(
        "5.4",
        "two_thousand_fragments",
        "binary in 2,000 fragments of a byte",
    );
    cases.push(
        case.send(fragments(Kind::Binary, &pieces))
            .echo(Kind::Binary, &many),
    );
    let mut case = Case::new("5.2", "ten_thousand_messages", "10,000 texts in one write");
    let texts: Vec<Vec<u8>> = (0..10_000)
        .map(|n| format!("message {n}").into_bytes())
        .collect();
    case = case.send(
        texts
            .iter()
            .flat_map(|text| frame(FIN | TEXT, text))
            .collect::<Vec<u8>>(),
    );
    cases.push(
        texts
            .iter()
            .fold(case, |case, text| case.echo(Kind::Text, text)),
    );
    Chapter {
        title: "Limits, and large messages in small pieces",
        rfc: 6455,
        packed: false,
        cases,
    }
}
