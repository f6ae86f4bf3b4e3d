//! RFC 6455 sections 5.1 and 5.3: no mask, and masks of all kinds at all alignments.

use crate::case::{
    BINARY, CLOSE, CONTINUATION, Case, Chapter, FIN, Kind, PING, PONG, TEXT, close, filler, frame,
};
use crate::harness::encode;

pub(crate) fn chapter() -> Chapter {
    let mut cases = Vec::new();
    for (first, what, payload) in [
        (FIN | TEXT, "text", b"naked".to_vec()),
        (FIN | TEXT, "empty_text", Vec::new()),
        (TEXT, "first_fragment", b"naked".to_vec()),
        (FIN | BINARY, "binary", filler(300)),
        (FIN | PING, "ping", b"naked".to_vec()),
        (FIN | PONG, "pong", Vec::new()),
        (FIN | CLOSE, "close", close(1000, "")),
    ] {
        let case = Case::new(
            "5.1",
            format!("unmasked_{what}"),
            format!("{}, not masked", what.replace('_', " ")),
        );
        cases.push(case.send(encode(first, None, &payload)).closed(1002));
    }
    let case = Case::new(
        "5.1",
        "unmasked_continuation",
        "a masked fragment, then an unmasked one",
    );
    cases.push(
        case.frame(TEXT, b"a")
            .send(encode(FIN | CONTINUATION, None, b"b"))
            .closed(1002),
    );
    let case = Case::new(
        "5.1",
        "unmasked_after_masked",
        "masked text, then unmasked text",
    );
    cases.push(
        case.says(Kind::Text, b"masked")
            .send(encode(FIN | TEXT, None, b"naked"))
            .closed(1002),
    );

    for mask in [
        [0, 0, 0, 0],
        [0xff, 0xff, 0xff, 0xff],
        [0xff, 0, 0, 0],
        [0, 0xff, 0, 0],
        [0, 0, 0xff, 0],
        [0, 0, 0, 0xff],
        [0x80, 0x40, 0x20, 0x10],
        [0x00, 0x01, 0x02, 0x03],
        *b"mask",
    ] {
        let name = format!("mask_{:08x}", u32::from_be_bytes(mask));
        let payload = filler(67);
        let case = Case::new("5.3", name, "text of 67 bytes under that mask");
        cases.push(
            case.send(encode(FIN | TEXT, Some(mask), &payload))
                .echo(Kind::Text, &payload),
        );
    }
    let mut case = Case::new(
        "5.3",
        "every_length_under_a_mask",
        "binary of 0 to 40 bytes, each under a mask of its own",
    );
    for length in 0..=40_u8 {
        let payload = filler(usize::from(length));
        let mask = [length, 0xA5, !length, 0x5A];
        case = case
            .send(encode(FIN | BINARY, Some(mask), &payload))
            .echo(Kind::Binary, &payload);
    }
    cases.push(case);
    for piece in [1, 2, 3, 5, 7, 11] {
        let payload = filler(131);
        let case = Case::new(
            "5.3",
            format!("mask_across_writes_of_{piece}"),
            format!("text of 131 bytes in writes of {piece}: each begins elsewhere in the mask"),
        );
        cases.push(
            case.send_in(frame(FIN | TEXT, &payload), piece)
                .echo(Kind::Text, &payload),
        );
    }
    let parts = [
        (TEXT, [1, 2, 3, 4]),
        (CONTINUATION, [0xff, 0, 0xff, 0]),
        (FIN, [9, 8, 7, 6]),
    ];
    let bytes = parts.map(|(first, mask)| encode(first, Some(mask), b"part "));
    let case = Case::new(
        "5.3",
        "mask_of_each_fragment",
        "three fragments, each under a mask of its own",
    );
    cases.push(
        case.send(bytes.concat())
            .echo(Kind::Text, b"part part part "),
    );
    let inner = frame(FIN | CLOSE, &close(1000, "no"));
    let case = Case::new(
        "10.3",
        "payload_that_is_a_frame",
        "binary whose payload is a masked close frame, and one whose masked bytes are",
    );
    let disguised: Vec<u8> = inner
        .iter()
        .zip([7, 7, 7, 7].iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect();
    cases.push(
        case.says(Kind::Binary, &inner)
            .send(encode(FIN | BINARY, Some([7; 4]), &disguised))
            .echo(Kind::Binary, &disguised),
    );
    Chapter {
        title: "Masking",
        rfc: 6455,
        packed: false,
        cases,
    }
}
