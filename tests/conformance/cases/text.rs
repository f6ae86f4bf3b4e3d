//! RFC 6455 sections 5.6 and 8.1: UTF-8 at its edges, cut anywhere, and what only looks like it.

use crate::case::{BINARY, Case, Chapter, FIN, Kind, TEXT, fragments, frame};

/// Every length of a character, and the neighbours of what is forbidden.
const VALID: [(&str, &str); 16] = [
    ("u0000", "\0"),
    ("u007f", "\u{7f}"),
    ("u0080", "\u{80}"),
    ("u07ff", "\u{7ff}"),
    ("u0800", "\u{800}"),
    ("u1000", "\u{1000}"),
    ("ucfff", "\u{cfff}"),
    ("ud7ff", "\u{d7ff}"),
    ("ue000", "\u{e000}"),
    ("ufeff", "\u{feff}"),
    ("ufffe", "\u{fffe}"),
    ("uffff", "\u{ffff}"),
    ("u10000", "\u{10000}"),
    ("u3ffff", "\u{3ffff}"),
    ("u100000", "\u{100000}"),
    ("u10ffff", "\u{10ffff}"),
];

/// What no decoder may accept: sections 3, 4 and 10 of RFC 3629.
const INVALID: [(&str, &[u8]); 28] = [
    ("continuation_80", b"\x80"),
    ("continuation_bf", b"\xbf"),
    ("continuations", b"\x80\xbf\x80\xbf"),
    ("two_bytes_cut", b"\xc3"),
    ("three_bytes_cut_at_1", b"\xe2"),
    ("three_bytes_cut_at_2", b"\xe2\x82"),
    ("four_bytes_cut_at_1", b"\xf0"),
    ("four_bytes_cut_at_2", b"\xf0\x9f"),
    ("four_bytes_cut_at_3", b"\xf0\x9f\x98"),
    ("two_bytes_broken", b"\xc3\x28"),
    ("three_bytes_broken_at_2", b"\xe2\x28\xa1"),
    ("three_bytes_broken_at_3", b"\xe2\x82\x28"),
    ("four_bytes_broken_at_2", b"\xf0\x28\x8c\xbc"),
    ("four_bytes_broken_at_4", b"\xf0\x90\x8c\x28"),
    ("over_long_nul", b"\xc0\x80"),
    ("over_long_7f", b"\xc1\xbf"),
    ("over_long_7ff", b"\xe0\x9f\xbf"),
    ("over_long_slash_in_3", b"\xe0\x80\xaf"),
    ("over_long_slash_in_4", b"\xf0\x80\x80\xaf"),
    ("over_long_ffff", b"\xf0\x8f\xbf\xbf"),
    ("surrogate_d800", b"\xed\xa0\x80"),
    ("surrogate_dfff", b"\xed\xbf\xbf"),
    ("surrogate_pair", b"\xed\xa0\xbd\xed\xb8\x80"),
    ("above_10ffff", b"\xf4\x90\x80\x80"),
    ("f5", b"\xf5\x80\x80\x80"),
    ("five_bytes", b"\xf8\x88\x80\x80\x80"),
    ("fe", b"\xfe"),
    ("ff", b"\xff"),
];

/// Characters of one to four bytes.
const SAMPLE: &str = "aß€😀κόσμε";

pub(crate) fn chapter() -> Chapter {
    let mut cases = Vec::new();
    for (name, text) in VALID {
        let case = Case::new(
            "8.1",
            format!("valid_{name}"),
            "text of that character alone, then between others",
        );
        cases.push(
            case.says(Kind::Text, text.as_bytes())
                .says(Kind::Text, format!("<{text}>").as_bytes()),
        );
    }
    split(&mut cases);
    for (name, bytes) in INVALID {
        let shown = bytes.escape_ascii();
        let case = Case::new("8.1", format!("invalid_{name}"), format!("text `{shown}`"));
        cases.push(case.frame(FIN | TEXT, bytes).closed(1007));
        let surrounded = [b"before ", bytes, b" after"].concat();
        let case = Case::new(
            "8.1",
            format!("invalid_{name}_inside"),
            "the same between other text, in writes of 1 byte",
        );
        cases.push(case.send_in(frame(FIN | TEXT, &surrounded), 1).closed(1007));
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        let case = Case::new(
            "8.1",
            format!("invalid_{name}_in_fragments"),
            "the same cut into fragments, empty ones between",
        );
        cases.push(
            case.send(fragments(Kind::Text, &[b"ok", head, b"", tail, b""]))
                .closed(1007),
        );
        let case = Case::new(
            "5.6",
            format!("binary_{name}"),
            "the same as binary: bytes are bytes",
        );
        cases.push(case.says(Kind::Binary, bytes));
    }
    early(&mut cases);
    Chapter {
        title: "Text",
        rfc: 6455,
        packed: false,
        cases,
    }
}

fn split(cases: &mut Vec<Case>) {
    let bytes = SAMPLE.as_bytes();
    for cut in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(cut);
        let case = Case::new(
            "8.1",
            format!("split_at_{cut}"),
            format!("`{SAMPLE}` in two fragments, cut at byte {cut}"),
        );
        cases.push(
            case.send(fragments(Kind::Text, &[head, tail]))
                .echo(Kind::Text, bytes),
        );
    }
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    let case = Case::new("8.1", "split_everywhere", "the same in fragments of a byte");
    cases.push(
        case.send(fragments(Kind::Text, &pieces))
            .echo(Kind::Text, bytes),
    );
    let case = Case::new(
        "8.1",
        "split_everywhere_chopped",
        "the same, a byte a write",
    );
    cases.push(
        case.send_in(fragments(Kind::Text, &pieces), 1)
            .echo(Kind::Text, bytes),
    );
    for piece in [1, 2, 3] {
        let case = Case::new(
            "8.1",
            format!("written_in_{piece}"),
            format!("the same in one frame, in writes of {piece}"),
        );
        cases.push(
            case.send_in(frame(FIN | TEXT, bytes), piece)
                .echo(Kind::Text, bytes),
        );
    }
    let case = Case::new(
        "8.1",
        "binary_split_character",
        "binary in two fragments that cut a character",
    );
    cases.push(
        case.send(fragments(Kind::Binary, &[b"\xe2\x82", b"\xac"]))
            .echo(Kind::Binary, "€".as_bytes()),
    );
}

/// "Immediately" is not asked for, but who sends the rest in vain is told sooner.
fn early(cases: &mut Vec<Case>) {
    let case = Case::new(
        "8.1",
        "fails_in_first_fragment",
        "a fragment of text that no rest can mend, and no rest",
    );
    cases.push(case.frame(TEXT, b"bad \xff").closed(1007));
    let case = Case::new(
        "8.1",
        "fails_inside_a_frame",
        "a header of 100 bytes of text, and 10 of which one is wrong",
    );
    let bytes = frame(FIN | TEXT, &[&b"123\xed\xa0\x80"[..], &[b'x'; 94]].concat());
    cases.push(case.send(bytes.get(..16).unwrap_or_default()).closed(1007));
    let case = Case::new(
        "8.1",
        "cut_character_ends_the_message",
        "a fragment that ends inside a character, then an empty last one",
    );
    cases.push(case.frame(TEXT, b"\xe2\x82").frame(FIN, b"").closed(1007));
    let case = Case::new(
        "8.1",
        "cut_character_goes_on_in_binary",
        "text cut inside a character, then binary with its rest",
    );
    cases.push(
        case.frame(FIN | TEXT, b"\xe2\x82")
            .frame(FIN | BINARY, b"\xac")
            .closed(1007),
    );
}
