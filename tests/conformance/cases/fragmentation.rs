//! RFC 6455 section 5.4: messages in fragments, control frames between them, fragments out of order.

use crate::case::{
    BINARY, CLOSE, CONTINUATION, Case, Chapter, FIN, Kind, PING, PONG, TEXT, close, filler,
    fragments, frame,
};

pub(crate) fn chapter() -> Chapter {
    let mut cases = Vec::new();
    whole(&mut cases);
    between(&mut cases);
    out_of_order(&mut cases);
    Chapter {
        title: "Fragmentation",
        rfc: 6455,
        packed: false,
        cases,
    }
}

fn whole(cases: &mut Vec<Case>) {
    for kind in Kind::BOTH {
        for (name, pieces) in [
            ("two", &[&b"frag"[..], b"ments"][..]),
            ("three", &[b"a", b"b", b"c"]),
            ("empty_first", &[b"", b"rest"]),
            ("empty_middle", &[b"a", b"", b"b"]),
            ("empty_last", &[b"all", b""]),
            ("all_empty", &[b"", b"", b""]),
        ] {
            let case = Case::new(
                "5.4",
                format!("{kind}_in_{name}"),
                format!(
                    "{kind} in fragments of {:?} bytes",
                    pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>()
                ),
            );
            cases.push(
                case.send(fragments(kind, pieces))
                    .echo(kind, &pieces.concat()),
            );
        }
        let payload = filler(1000);
        let pieces: Vec<&[u8]> = payload.chunks(1).collect();
        let bytes = fragments(kind, &pieces);
        let case = Case::new(
            "5.4",
            format!("{kind}_in_1000"),
            format!("{kind} in 1,000 fragments of a byte, in one write"),
        );
        cases.push(case.send(bytes.clone()).echo(kind, &payload));
        let case = Case::new(
            "5.4",
            format!("{kind}_in_1000_chopped"),
            "the same in writes of 3 bytes",
        );
        cases.push(case.send_in(bytes, 3).echo(kind, &payload));
    }
    let case = Case::new(
        "5.4",
        "message_after_message",
        "two fragmented messages and a whole one",
    );
    let bytes = [
        fragments(Kind::Text, &[b"a", b"b"]),
        fragments(Kind::Binary, &[b"c", b"d"]),
        frame(FIN | TEXT, b"e"),
    ];
    cases.push(
        case.send(bytes.concat())
            .echo(Kind::Text, b"ab")
            .echo(Kind::Binary, b"cd")
            .echo(Kind::Text, b"e"),
    );
}

fn between(cases: &mut Vec<Case>) {
    let case = Case::new(
        "5.4",
        "ping_between",
        "a fragment, a ping, the other fragment",
    );
    cases.push(
        case.frame(TEXT, b"a")
            .frame(FIN | PING, b"?")
            .pong(b"?")
            .frame(FIN, b"b")
            .echo(Kind::Text, b"ab"),
    );
    let bytes = [frame(TEXT, b"a"), frame(FIN | PING, b"?"), frame(FIN, b"b")].concat();
    let case = Case::new("5.4", "ping_between_chopped", "the same a byte a write");
    cases.push(case.send_in(bytes, 1).pong(b"?").echo(Kind::Text, b"ab"));
    let case = Case::new(
        "5.4",
        "pong_between",
        "a fragment, a pong, the other fragment",
    );
    cases.push(
        case.frame(BINARY, b"a")
            .frame(FIN | PONG, b"!")
            .frame(FIN, b"b")
            .echo(Kind::Binary, b"ab"),
    );
    let mut case = Case::new(
        "5.4",
        "ping_between_all",
        "ten fragments, a ping behind each but the last",
    )
    .frame(TEXT, b"0");
    for n in 1..10_u8 {
        case = case.frame(FIN | PING, &[n]).pong(&[n]);
        case = case.frame(if n == 9 { FIN } else { CONTINUATION }, &[b'0' + n]);
    }
    cases.push(case.echo(Kind::Text, b"0123456789"));
    let case = Case::new("5.4", "close_between", "a fragment, then a close");
    cases.push(
        case.frame(TEXT, b"never heard")
            .frame(FIN | CLOSE, &close(1000, ""))
            .closed(1000),
    );
}

fn out_of_order(cases: &mut Vec<Case>) {
    for (fin, how) in [(FIN, "final"), (0, "not_final")] {
        for (payload, what) in [(&b"x"[..], ""), (b"", "empty_")] {
            let case = Case::new(
                "5.4",
                format!("{what}continuation_of_nothing_{how}"),
                format!(
                    "a{} continuation, {}, with no message begun",
                    if what.is_empty() { "" } else { "n empty" },
                    how.replace('_', " ")
                ),
            );
            cases.push(case.frame(fin | CONTINUATION, payload).closed(1002));
        }
    }
    let case = Case::new(
        "5.4",
        "continuation_after_whole",
        "a whole message, then a continuation",
    );
    cases.push(
        case.says(Kind::Text, b"whole")
            .frame(FIN | CONTINUATION, b"x")
            .closed(1002),
    );
    let case = Case::new(
        "5.4",
        "continuation_after_last",
        "a message in fragments, then one more",
    );
    cases.push(
        case.send(fragments(Kind::Text, &[b"a", b"b"]))
            .echo(Kind::Text, b"ab")
            .frame(FIN | CONTINUATION, b"c")
            .closed(1002),
    );
    for (first, what) in [
        (TEXT, "text"),
        (BINARY, "binary"),
        (FIN | TEXT, "whole_text"),
        (FIN | BINARY, "whole_binary"),
    ] {
        let case = Case::new(
            "5.4",
            format!("{what}_inside_text"),
            format!(
                "a fragment of text, then {} that is no continuation",
                what.replace('_', " ")
            ),
        );
        cases.push(case.frame(TEXT, b"a").frame(first, b"b").closed(1002));
    }
    let case = Case::new(
        "5.4",
        "text_inside_after_ping",
        "a fragment, a ping, then whole text",
    );
    cases.push(
        case.frame(TEXT, b"a")
            .frame(FIN | PING, b"?")
            .pong(b"?")
            .frame(FIN | TEXT, b"b")
            .closed(1002),
    );
}
