//! Given a framing and what the child prints, then this is heard; given what people do, then this
//! is what the child reads.

use proptest::prelude::*;

use super::lines::Lines;
use super::*;

/// No limit that a test would meet.
pub(in crate::frame) const ROOMY: usize = 1 << 20;

pub(in crate::frame) fn client(id: u32) -> ClientId {
    ClientId::new(id).unwrap()
}

fn lines() -> ServerFraming {
    ServerFraming::Lines {
        delimiters: b"\n".to_vec(),
        strip_cr: true,
    }
}

fn cut_at(delimiters: &[u8]) -> ServerFraming {
    ServerFraming::Lines {
        delimiters: delimiters.to_vec(),
        strip_cr: false,
    }
}

pub(in crate::frame) fn json(from: &str, to: &str) -> JsonFields {
    JsonFields {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

/// An event as a line of text, so that expectations read as sentences.
pub(in crate::frame) fn tell(event: Event<'_>) -> String {
    match event {
        Event::Message {
            to,
            kind,
            payload,
            tagged,
        } => {
            let to = match to {
                Audience::Everyone => "everyone".to_owned(),
                Audience::Only(ids) => format!("only {ids:?}"),
                Audience::Except(ids) => format!("all but {ids:?}"),
            };
            let kind = if kind == Kind::Text { "text" } else { "binary" };
            let tag = if tagged { " tagged" } else { "" };
            format!("{to} {kind}{tag}: {}", payload.escape_ascii())
        }
        Event::Metadata(line) => format!("metadata: {}", line.escape_ascii()),
        Event::Close {
            clients,
            code,
            reason,
        } => format!("close {clients:?} {code}: {reason}"),
        Event::Counted(drop) => format!("counted {}", drop.as_str()),
    }
}

/// What is heard of these reads and the end after them, up to a break of the stream.
pub(in crate::frame) fn heard_within(
    max: usize,
    framing: &ServerFraming,
    reads: &[&[u8]],
) -> Vec<String> {
    let mut decoder = Decoder::new(framing, max);
    let mut heard = Vec::new();
    for read in reads {
        if let Err(broken) = decoder.feed(read, &mut |event| heard.push(tell(event))) {
            assert_eq!(
                decoder.feed(b"x\n", &mut |event| heard.push(tell(event))),
                Err(broken)
            );
            assert_eq!(decoder.buffered(), 0, "a broken stream holds nothing");
            heard.push(format!("broken: {broken}"));
            break;
        }
    }
    decoder.finish(&mut |event| heard.push(tell(event)));
    assert_eq!(decoder.buffered(), 0, "the end leaves nothing behind");
    heard
}

pub(in crate::frame) fn heard(framing: &ServerFraming, reads: &[&[u8]]) -> Vec<String> {
    heard_within(ROOMY, framing, reads)
}

/// What the child reads of one message; or why it reads nothing.
pub(in crate::frame) fn read(
    framing: &ClientFraming,
    kind: Kind,
    payload: &[u8],
) -> Result<String, Drop> {
    let mut out = b"before|".to_vec();
    let done = Encoder::new(framing).message(client(7), kind, payload, &mut out);
    let appended = out
        .strip_prefix(b"before|")
        .unwrap()
        .escape_ascii()
        .to_string();
    if done.is_err() {
        assert_eq!(appended, "", "a dropped message leaves no trace");
    }
    done.map(|()| appended)
}

pub(in crate::frame) fn packet(id: u32, code: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    let header = [id.to_be_bytes(), code.to_be_bytes(), len.to_be_bytes()];
    [&header.concat(), payload].concat()
}

#[test]
fn a_line_is_a_message_and_an_empty_line_is_one_too() {
    let heard = heard(&lines(), &[b"one\n\ntwo\r\n\r\nthree\r\r\n"]);
    let told = ["one", "", "two", "", "three\\r"].map(|line| format!("everyone text: {line}"));
    assert_eq!(heard, told);
}

#[test]
fn the_last_unterminated_bytes_are_delivered_at_the_end() {
    assert_eq!(
        heard(&lines(), &[b"a\nb", b"c\r"]),
        ["everyone text: a", "everyone text: bc\\r"]
    );
    assert_eq!(
        heard(&lines(), &[b"a\n"]),
        ["everyone text: a"],
        "and no empty one after it"
    );
}

#[test]
fn a_piece_that_is_not_utf8_is_binary_and_its_neighbours_stay_text() {
    let told = [
        "everyone text: a",
        "everyone binary: \\xff",
        "everyone text: \\xc3\\xa9",
    ];
    assert_eq!(heard(&lines(), &[b"a\n\xff\n\xc3\xa9\n"]), told);
    assert_eq!(heard(&lines(), &[b"a\n\xff\n\xc3", b"\xa9"]), told);
}

#[test]
fn null_and_delimiters_cut_where_they_say_and_keep_carriage_returns() {
    let null = heard(&cut_at(b"\0"), &[b"a\nb\r\0c"]);
    assert_eq!(null, ["everyone text: a\\nb\\r", "everyone text: c"]);
    for delimiters in ["", ",", ",;", ",;:", ",;:!", ",;:!?"] {
        let text: String = delimiters.chars().map(|end| format!("x{end}")).collect();
        let heard = heard(&cut_at(delimiters.as_bytes()), &[text.as_bytes()]);
        assert_eq!(
            heard,
            vec!["everyone text: x"; delimiters.len()],
            "{delimiters}"
        );
    }
    assert_eq!(
        heard(&cut_at(b""), &[b"a\nb"]),
        ["everyone text: a", "everyone text: b"]
    );
}

#[test]
fn a_delimiter_inside_a_character_does_not_make_text_of_its_halves() {
    let told = ["everyone binary: \\xc3", "everyone text: "];
    assert_eq!(heard(&cut_at(b"\xa9"), &[b"\xc3\xa9\xa9"]), told);
}

#[test]
fn a_line_over_the_limit_breaks_the_stream_after_the_ones_before_it() {
    let told = ["everyone text: abcd", "broken: message over 4 bytes"];
    assert_eq!(heard_within(4, &lines(), &[b"abcd\nabcde\nx\n"]), told);
    assert_eq!(heard_within(4, &lines(), &[b"abcd\nabc", b"de"]), told);
    assert_eq!(
        heard_within(4, &lines(), &[b"abcd", b"\r", b"\n"]),
        ["everyone text: abcd"]
    );
    let told = ["broken: message over 4 bytes"];
    assert_eq!(
        heard_within(4, &lines(), &[b"abcd\rx\n"]),
        told,
        "that CR was a byte of the line"
    );
    assert_eq!(heard_within(4, &cut_at(b"\0"), &[b"abcd\r\0"]), told);
}

#[test]
fn an_unfinished_line_never_takes_much_more_memory_than_the_limit() {
    let mut decoder = Lines::new(b"\n", true, 1000);
    for _ in 0..100 {
        decoder
            .feed(&[b'x'; 10], &mut |_, _| panic!("no line has ended"))
            .unwrap();
        assert!(decoder.capacity() <= 1000, "{}", decoder.capacity());
    }
    assert_eq!(decoder.buffered(), 1000);
    assert_eq!(
        decoder.feed(b"x", &mut |_, _| {}),
        Err(Broken::TooLong(1000))
    );
}

#[test]
fn raw_reads_are_binary_messages_as_they_come() {
    let told = ["everyone binary: a\\nb", "everyone binary: c"];
    assert_eq!(heard(&ServerFraming::Raw, &[b"a\nb", b"", b"c"]), told);
    let told = ["everyone binary: abcd", "everyone binary: e"];
    assert_eq!(heard_within(4, &ServerFraming::Raw, &[b"abcde"]), told);
}

#[test]
fn unframed_messages_reach_the_child_with_their_terminator() {
    let framing = ClientFraming::Lines { terminator: b'\n' };
    assert_eq!(read(&framing, Kind::Text, b"hi").unwrap(), "hi\\n");
    assert_eq!(
        read(&framing, Kind::Binary, b"a\n\xff").unwrap(),
        "a\\n\\xff\\n"
    );
    let framing = ClientFraming::Lines { terminator: 0 };
    assert_eq!(read(&framing, Kind::Text, b"hi").unwrap(), "hi\\x00");
    assert_eq!(
        read(&ClientFraming::Raw, Kind::Binary, b"hi\0").unwrap(),
        "hi\\x00"
    );
}

#[test]
fn other_framings_hear_of_coming_and_going_only_by_message() {
    let told = |framing| {
        let encoder = Encoder::new(&framing);
        let mut out = Vec::new();
        encoder.joined(client(2), "::1", None, &mut out);
        encoder.left(client(2), None, &mut out);
        assert_eq!(out, b"", "no message, no trace");
        encoder.joined(client(2), "::1", Some(b"in"), &mut out);
        encoder.left(client(2), Some(b"out"), &mut out);
        out
    };
    assert_eq!(told(ClientFraming::Lines { terminator: 0 }), b"in\0out\0");
    assert_eq!(told(ClientFraming::Raw), b"inout");
    assert_eq!(told(ClientFraming::Json(json("id", "id"))), b"in\nout\n");
    let packets = [packet(2, 1, b"in"), packet(2, 1, b"out")].concat();
    assert_eq!(told(ClientFraming::Binary), packets);
}

#[test]
fn no_client_has_the_number_0() {
    assert_eq!(ClientId::new(0), None);
    assert_eq!(client(u32::MAX).get(), u32::MAX);
    assert_eq!(client(12).to_string(), "12");
}

/// Streams that look like what children print, and streams that look like nothing.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let bit = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\0".to_vec()),
        Just("é".as_bytes().to_vec()),
        Just(br#"{"id":[2,1],"_except":1}"#.to_vec()),
        Just(br#"{"_close":1,"_reason":"\u00e9"}"#.to_vec()),
        (0u32..3, 0u32..4, prop::collection::vec(any::<u8>(), 0..30))
            .prop_map(|(id, code, payload)| packet(id, code, &payload)),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(bit, 0..12).prop_map(|bits| bits.concat())
}

fn framings() -> impl Strategy<Value = ServerFraming> {
    prop_oneof![
        Just(lines()),
        Just(cut_at(b"\0")),
        Just(cut_at(b"\n\0")),
        Just(cut_at(b"\n\0\xa9")),
        Just(cut_at(b"\n\0i}")),
        Just(ServerFraming::Json(json("id", "id"))),
        Just(ServerFraming::Packets),
    ]
}

/// The stream in reads that end at these places.
fn cut<'a>(stream: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = places
        .iter()
        .map(|place| place.index(stream.len() + 1))
        .collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|ends| &stream[ends[0]..ends[1]])
        .collect()
}

proptest! {
    #[test]
    fn any_bytes_in_any_reads_are_heard_as_in_one_read(
        framing in framings(),
        stream in streams(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        max in prop_oneof![Just(ROOMY), 0usize..60],
    ) {
        let reads = cut(&stream, &places);
        let bytewise: Vec<_> = stream.chunks(1).collect();
        let at_once = heard_within(max, &framing, &[&stream]);
        prop_assert_eq!(&heard_within(max, &framing, &reads), &at_once);
        prop_assert_eq!(&heard_within(max, &framing, &bytewise), &at_once);
    }

    #[test]
    fn lines_are_what_splitting_says(stream in streams()) {
        let mut pieces: Vec<_> = stream.split(|&byte| byte == 0).collect();
        if pieces.last().is_some_and(|last| last.is_empty()) {
            pieces.pop();
        }
        let told: Vec<_> = pieces
            .iter()
            .map(|piece| {
                let kind = if std::str::from_utf8(piece).is_ok() { "text" } else { "binary" };
                format!("everyone {kind}: {}", piece.escape_ascii())
            })
            .collect();
        prop_assert_eq!(heard(&cut_at(b"\0"), &[&stream]), told);
    }

    #[test]
    fn any_message_in_any_framing_is_written_or_dropped(
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| packet(1, 1, &bytes)),
        ],
        kind in prop_oneof![Just(Kind::Text), Just(Kind::Binary)],
    ) {
        for framing in [
            ClientFraming::Lines { terminator: b'\n' },
            ClientFraming::Raw,
            ClientFraming::Json(json("id", "id")),
            ClientFraming::Gwsocket,
            ClientFraming::Binary,
        ] {
            // `read` holds that a dropped one leaves no trace; all others leave one.
            if let Ok(written) = read(&framing, kind, &payload) {
                prop_assert!(!written.is_empty() || payload.is_empty());
            }
        }
    }
}
