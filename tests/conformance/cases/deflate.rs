//! RFC 7692 sections 6 to 8: compressed messages of every form that senders may choose, and what
//! must not be taken for one. The connection agreed, without context on either side.

use flate2::{Compress, Compression, FlushCompress};

use crate::case::{
    BINARY, CLOSE, CONTINUATION, Case, Chapter, FIN, Kind, LIMIT, PING, PONG, RSV1, TEXT, close,
    filler, frame,
};

/// "Hello" as section 7.2.3.1 shows it.
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// The payload that a sender without context makes of a message (section 7.2.1).
fn packed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1024);
    let mut stream = Compress::new(Compression::default(), false);
    stream
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .expect("memory is all it needs");
    out.strip_suffix(b"\x00\x00\xff\xff")
        .expect("a flush ends so")
        .to_vec()
}

/// A compressed message cut into fragments.
fn packed_fragments(kind: Kind, pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = crate::case::fragments(kind, pieces);
    if let Some(first) = bytes.first_mut() {
        *first |= RSV1;
    }
    bytes
}

pub(crate) fn chapter() -> Chapter {
    let mut cases = Vec::new();
    forms(&mut cases);
    cut(&mut cases);
    bits(&mut cases);
    wrong(&mut cases);
    limits(&mut cases);
    Chapter {
        title: "Compressed messages",
        rfc: 7692,
        packed: true,
        cases,
    }
}

fn forms(cases: &mut Vec<Case>) {
    for (section, name, what, payload) in [
        ("7.2.3.1", "hello", "\"Hello\" as the RFC shows it", HELLO),
        (
            "7.2.3.3",
            "stored_block",
            "\"Hello\" in a block without compression",
            b"\x00\x05\x00\xfa\xffHello\x00",
        ),
        (
            "7.2.3.4",
            "final_block",
            "\"Hello\" in a block with BFINAL",
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        ),
        (
            "7.2.3.5",
            "two_blocks",
            "\"Hello\" in two blocks",
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ),
    ] {
        let case = Case::new(section, name, what);
        cases.push(
            case.frame(FIN | RSV1 | TEXT, payload)
                .echo(Kind::Text, b"Hello"),
        );
    }
    let case = Case::new(
        "7.2.1",
        "after_a_final_block",
        "\"Hello\" in a final block, and \" again\" in blocks behind it",
    );
    let bytes = [
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        &packed(b" again"),
    ]
    .concat();
    cases.push(
        case.frame(FIN | RSV1 | TEXT, &bytes)
            .echo(Kind::Text, b"Hello again"),
    );
    for kind in Kind::BOTH {
        let case = Case::new(
            "7.2.3.6",
            format!("empty_{kind}"),
            format!("empty {kind}, as one byte"),
        );
        cases.push(
            case.frame(FIN | RSV1 | kind.opcode(), b"\x00")
                .echo(kind, b""),
        );
        let case = Case::new(
            "7.2.3.6",
            format!("empty_{kind}_without_payload"),
            format!("empty {kind}, as no byte at all"),
        );
        cases.push(case.frame(FIN | RSV1 | kind.opcode(), b"").echo(kind, b""));
        let case = Case::new(
            "7.2.1",
            format!("empty_{kind}_in_a_final_block"),
            format!("empty {kind}, as a final block"),
        );
        cases.push(
            case.frame(FIN | RSV1 | kind.opcode(), b"\x03\x00")
                .echo(kind, b""),
        );
        for length in [1, 125, 126, 65_536, 300_000] {
            let payload = filler(length);
            let case = Case::new(
                "7.2",
                format!("{kind}_of_{length}"),
                format!("{kind} of {length} bytes, compressed"),
            );
            cases.push(
                case.frame(FIN | RSV1 | kind.opcode(), &packed(&payload))
                    .echo(kind, &payload),
            );
        }
        let case = Case::new(
            "6",
            format!("plain_{kind}"),
            format!("{kind} without RSV 1: not compressed"),
        );
        cases.push(case.says(kind, b"plain"));
    }
    let case = Case::new(
        "6",
        "plain_that_looks_compressed",
        "binary without RSV 1 whose bytes are deflate data",
    );
    cases.push(case.says(Kind::Binary, HELLO));
    let case = Case::new("6", "taking_turns", "compressed, plain, compressed");
    cases.push(
        case.frame(FIN | RSV1 | TEXT, HELLO)
            .echo(Kind::Text, b"Hello")
            .says(Kind::Text, b"plain")
            .frame(FIN | RSV1 | TEXT, &packed(b"again"))
            .echo(Kind::Text, b"again"),
    );
}

fn cut(cases: &mut Vec<Case>) {
    for at in 0..=HELLO.len() {
        let (head, tail) = HELLO.split_at(at);
        let case = Case::new(
            "7.2.3.1",
            format!("fragments_cut_at_{at}"),
            format!("\"Hello\" in two fragments, cut at byte {at}"),
        );
        cases.push(
            case.send(packed_fragments(Kind::Text, &[head, tail]))
                .echo(Kind::Text, b"Hello"),
        );
    }
    let pieces: Vec<&[u8]> = HELLO.chunks(1).collect();
    let case = Case::new(
        "6.1",
        "fragments_of_a_byte",
        "\"Hello\" in fragments of a byte, a byte a write",
    );
    cases.push(
        case.send_in(packed_fragments(Kind::Text, &pieces), 1)
            .echo(Kind::Text, b"Hello"),
    );
    let case = Case::new(
        "6.1",
        "ping_between_fragments",
        "a compressed fragment, a ping, the other fragment",
    );
    let (head, tail) = HELLO.split_at(3);
    cases.push(
        case.frame(RSV1 | TEXT, head)
            .frame(FIN | PING, b"?")
            .pong(b"?")
            .frame(FIN, tail)
            .echo(Kind::Text, b"Hello"),
    );
    let case = Case::new(
        "6.1",
        "frame_in_bytes",
        "compressed text of 3,000 bytes, a byte a write",
    );
    cases.push(
        case.send_in(frame(FIN | RSV1 | TEXT, &packed(&filler(3000))), 1)
            .echo(Kind::Text, &filler(3000)),
    );
    let message = packed(&filler(200_000));
    let pieces: Vec<&[u8]> = message.chunks(17).collect();
    let case = Case::new(
        "6.1",
        "many_fragments",
        "compressed text of 200,000 bytes in fragments of 17",
    );
    cases.push(
        case.send(packed_fragments(Kind::Text, &pieces))
            .echo(Kind::Text, &filler(200_000)),
    );
}

fn bits(cases: &mut Vec<Case>) {
    for (opcode, what) in [(PING, "ping"), (PONG, "pong"), (CLOSE, "close")] {
        let payload = if opcode == CLOSE {
            close(1000, "")
        } else {
            b"\x00".to_vec()
        };
        let case = Case::new(
            "6",
            format!("rsv_1_on_{what}"),
            format!("a {what} with RSV 1"),
        );
        cases.push(case.frame(FIN | RSV1 | opcode, &payload).closed(1002));
    }
    let (head, tail) = HELLO.split_at(3);
    let case = Case::new(
        "6.1",
        "rsv_1_on_both_fragments",
        "two fragments, both with RSV 1",
    );
    cases.push(
        case.frame(RSV1 | TEXT, head)
            .frame(FIN | RSV1 | CONTINUATION, tail)
            .closed(1002),
    );
    let case = Case::new(
        "6.1",
        "rsv_1_on_the_second_fragment",
        "two fragments, only the second with RSV 1",
    );
    cases.push(
        case.frame(TEXT, b"a")
            .frame(FIN | RSV1 | CONTINUATION, tail)
            .closed(1002),
    );
    for (bits, name) in [(0x20, "2"), (0x10, "3"), (0x60, "1_2"), (0x50, "1_3")] {
        let case = Case::new(
            "6",
            format!("rsv_{name}_on_text"),
            format!("text with RSV {}", name.replace('_', ", ")),
        );
        cases.push(case.frame(FIN | bits | TEXT, HELLO).closed(1002));
    }
}

/// What is not deflate data: the RFC names no code.
fn wrong(cases: &mut Vec<Case>) {
    for (name, what, payload) in [
        (
            "reserved_block",
            "a block of the type that is reserved",
            &b"\xff\xff\xff"[..],
        ),
        (
            "stored_length",
            "a block whose length and its complement differ",
            b"\x00\x05\x00\x00\x00Hello\x00",
        ),
        (
            "bad_code",
            "a dynamic block whose codes are too many",
            b"\xfd\xff\xff\xff\xff\xff",
        ),
    ] {
        let case = Case::new("7.2.2", format!("wrong_{name}"), what);
        cases.push(case.frame(FIN | RSV1 | BINARY, payload).closed(1007));
    }
    let case = Case::new(
        "7.2.2",
        "wrong_cut_off",
        "the first half of compressed text",
    );
    let whole = packed(&filler(5000));
    cases.push(
        case.frame(
            FIN | RSV1 | TEXT,
            whole.get(..whole.len() / 2).unwrap_or_default(),
        )
        .closed(1007),
    );
    let case = Case::new(
        "7.1.1.2",
        "wrong_context",
        "two messages, the second of which refers back to the first",
    );
    let mut stream = Compress::new(Compression::default(), false);
    let both = [
        b"the same words, the same words",
        &b"and the same words, the same words"[..],
    ]
    .map(|message| {
        let mut out = Vec::with_capacity(256);
        stream
            .compress_vec(message, &mut out, FlushCompress::Sync)
            .expect("memory is all it needs");
        out.strip_suffix(b"\x00\x00\xff\xff")
            .expect("a flush ends so")
            .to_vec()
    });
    let [first, second] = both;
    cases.push(
        case.frame(FIN | RSV1 | TEXT, &first)
            .echo(Kind::Text, b"the same words, the same words")
            .frame(FIN | RSV1 | TEXT, &second)
            .closed(1007),
    );
    for (name, text) in [
        ("ff", &b"\xff"[..]),
        ("surrogate", b"a\xed\xa0\x80"),
        ("cut", b"caf\xc3"),
    ] {
        let case = Case::new(
            "7.2.2",
            format!("text_{name}"),
            format!("compressed text `{}`", text.escape_ascii()),
        );
        cases.push(case.frame(FIN | RSV1 | TEXT, &packed(text)).closed(1007));
        let case = Case::new("7.2.2", format!("binary_{name}"), "the same as binary");
        cases.push(
            case.frame(FIN | RSV1 | BINARY, &packed(text))
                .echo(Kind::Binary, text),
        );
    }
}

fn limits(cases: &mut Vec<Case>) {
    let most = filler(LIMIT);
    let case = Case::new("8", "of_the_limit", "binary of 1 MiB, compressed");
    cases.push(
        case.frame(FIN | RSV1 | BINARY, &packed(&most))
            .echo(Kind::Binary, &most),
    );
    let case = Case::new(
        "8",
        "above_the_limit",
        "binary of 1 MiB and a byte, compressed",
    );
    cases.push(
        case.frame(FIN | RSV1 | BINARY, &packed(&filler(LIMIT + 1)))
            .closed(1009),
    );
    let case = Case::new("8", "bomb", "64 MiB of zeros, compressed to 64 KB");
    // Each block ends on a byte, so that one may follow another.
    let zeros = [packed(&vec![0; LIMIT]), b"\x00\x00\xff\xff".to_vec()].concat();
    let zeros = zeros.repeat(64);
    cases.push(case.frame(FIN | RSV1 | BINARY, &zeros).closed(1009));
    let case = Case::new(
        "8",
        "bomb_in_fragments",
        "the same in fragments of 1,000 bytes",
    );
    let pieces: Vec<&[u8]> = zeros.chunks(1000).collect();
    cases.push(
        case.send(packed_fragments(Kind::Binary, &pieces))
            .closed(1009),
    );
}
