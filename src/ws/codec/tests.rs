//! The codec against RFC 6455, and against any bytes in any pieces.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1 << 20;

/// A client's frame: first byte as given, masked with `mask`.
fn frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..126 => bytes.push(0x80 | short as u8),
        middle @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

/// What a stream says, as owned values.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// Feeds `stream` in pieces of the given sizes, the last one over and over.
fn decode(limit: usize, stream: &[u8], sizes: &[usize]) -> (Vec<Said>, Result<(), Violation>) {
    let mut decoder = Decoder::new(limit);
    let mut said = Vec::new();
    let mut rest = stream.to_vec();
    let mut sizes = sizes
        .iter()
        .copied()
        .chain(std::iter::repeat(sizes.last().copied().unwrap_or(1)));
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
        let mut piece: Vec<u8> = rest.drain(..size).collect();
        let fed = decoder.feed(&mut piece, |event| {
            said.push(match event {
                Event::Message(Kind::Text, text) => {
                    Said::Text(String::from_utf8(text.to_vec()).expect("text is UTF-8"))
                }
                Event::Message(Kind::Binary, bytes) => Said::Binary(bytes.to_vec()),
                Event::Ping(payload) => Said::Ping(payload.to_vec()),
                Event::Pong => Said::Pong,
                Event::Close(code) => Said::Close(code),
            });
            Flow::More
        });
        if let Err(violation) = fed {
            return (said, Err(violation));
        }
        if matches!(said.last(), Some(Said::Close(_))) {
            break;
        }
    }
    (said, Ok(()))
}

fn whole(stream: &[u8]) -> (Vec<Said>, Result<(), Violation>) {
    decode(LIMIT, stream, &[stream.len()])
}

fn code(stream: &[u8]) -> Option<u16> {
    whole(stream).1.err().map(Violation::code)
}

#[test]
fn every_length_form_passes_at_its_boundaries() {
    for length in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, LIMIT] {
        let payload = vec![b'x'; length];
        let (said, end) = whole(&frame(0x82, [1, 2, 3, 4], &payload));
        assert_eq!(
            (said, end),
            (vec![Said::Binary(payload)], Ok(())),
            "{length}"
        );
    }
    assert_eq!(code(&frame(0x82, [0; 4], &vec![0; LIMIT + 1])), Some(1009));
}

#[test]
fn lengths_in_a_longer_form_than_needed_are_refused() {
    assert_eq!(code(&[0x82, 0xFE, 0, 125, 0, 0, 0, 0]), Some(1002));
    assert_eq!(
        code(&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0]),
        Some(1002)
    );
    assert_eq!(
        code(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Some(1002)
    );
}

#[test]
fn control_frames_stand_between_fragments() {
    let stream = [
        frame(0x01, [9; 4], b"one "),
        frame(0x89, [7; 4], b"ping"),
        frame(0x00, [5; 4], b"two "),
        frame(0x8A, [0; 4], b""),
        frame(0x80, [3; 4], b"three"),
    ]
    .concat();
    let said = [
        Said::Ping(b"ping".into()),
        Said::Pong,
        Said::Text("one two three".into()),
    ];
    assert_eq!(whole(&stream), (said.to_vec(), Ok(())));
}

#[test]
fn what_the_protocol_forbids_is_1002() {
    for (what, stream) in [
        ("reserved bit 1", frame(0xC1, [0; 4], b"x")),
        ("reserved bit 3", frame(0x91, [0; 4], b"x")),
        ("opcode 3", frame(0x83, [0; 4], b"x")),
        ("opcode 11", frame(0x8B, [0; 4], b"")),
        ("not masked", vec![0x81, 1, b'x']),
        ("fragmented ping", frame(0x09, [0; 4], b"")),
        ("long ping", frame(0x89, [0; 4], &[0; 126])),
        ("continuation of nothing", frame(0x80, [0; 4], b"x")),
        (
            "text in text",
            [frame(0x01, [0; 4], b"x"), frame(0x81, [0; 4], b"y")].concat(),
        ),
        ("close of one byte", frame(0x88, [0; 4], &[3])),
        ("close 999", frame(0x88, [0; 4], &999u16.to_be_bytes())),
        ("close 1005", frame(0x88, [0; 4], &1005u16.to_be_bytes())),
        ("close 2999", frame(0x88, [0; 4], &2999u16.to_be_bytes())),
        ("close 5000", frame(0x88, [0; 4], &5000u16.to_be_bytes())),
    ] {
        assert_eq!(code(&stream), Some(1002), "{what}");
    }
}

#[test]
fn a_wrong_start_is_refused_before_the_rest_arrives() {
    assert_eq!(code(&[0x83, 0x80]), Some(1002));
    assert_eq!(code(&[0x81, 0x01]), Some(1002));
}

#[test]
fn text_that_is_not_utf8_is_1007_as_soon_as_it_shows() {
    assert_eq!(code(&frame(0x81, [0; 4], b"\xff")), Some(1007));
    assert_eq!(
        code(&frame(0x01, [0; 4], b"abc\xff")),
        Some(1007),
        "before the last fragment"
    );
    assert_eq!(
        code(&frame(
            0x81,
            [0; 4],
            "é".as_bytes().get(..1).expect("two bytes")
        )),
        Some(1007)
    );
    assert_eq!(code(&frame(0x88, [0; 4], b"\x03\xe8\xff")), Some(1007));
    let split = [frame(0x01, [0; 4], b"\xc3"), frame(0x80, [0; 4], b"\xa9")].concat();
    assert_eq!(whole(&split), (vec![Said::Text("é".into())], Ok(())));
}

#[test]
fn fragments_share_one_limit() {
    let stream = [frame(0x02, [0; 4], &[0; 6]), frame(0x80, [0; 4], &[0; 5])].concat();
    assert_eq!(
        decode(10, &stream, &[stream.len()]).1,
        Err(Violation::TooBig(10))
    );
    let stream = [frame(0x02, [0; 4], &[0; 6]), frame(0x80, [0; 4], &[0; 4])].concat();
    assert_eq!(decode(10, &stream, &[1]).1, Ok(()));
}

#[test]
fn nothing_follows_a_close() {
    let stream = [
        frame(0x88, [0; 4], &1001u16.to_be_bytes()),
        frame(0x81, [0; 4], b"late"),
    ]
    .concat();
    assert_eq!(whole(&stream), (vec![Said::Close(Some(1001))], Ok(())));
    assert_eq!(
        whole(&frame(0x88, [0; 4], b"")),
        (vec![Said::Close(None)], Ok(()))
    );
}

#[test]
fn a_stop_leaves_the_rest_to_be_fed_again() {
    let mut stream = [frame(0x81, [1; 4], b"one"), frame(0x81, [2; 4], b"two")].concat();
    let mut decoder = Decoder::new(LIMIT);
    let taken = decoder.feed(&mut stream, |_| Flow::Stop).expect("valid");
    assert_eq!(taken, stream.len() / 2);
    let mut heard = 0;
    let rest = stream.get_mut(taken..).expect("the rest");
    let again = decoder.feed(rest, |event| {
        assert_eq!(event, Event::Message(Kind::Text, b"two"));
        heard += 1;
        Flow::More
    });
    assert_eq!((again, heard), (Ok(taken), 1));
}

#[test]
fn an_idle_decoder_holds_no_memory() {
    let mut decoder = Decoder::new(LIMIT);
    let mut stream = [
        frame(0x02, [0; 4], &[1; 5000]),
        frame(0x80, [0; 4], &[2; 5000]),
    ]
    .concat();
    for byte in &mut stream {
        let fed = decoder.feed(std::slice::from_mut(byte), |_| Flow::More);
        assert_eq!(fed, Ok(1));
    }
    assert!(!decoder.is_inside_message());
    assert!(decoder.pieces.is_none(), "nothing is kept between messages");
}

#[test]
fn reasons_are_cut_on_a_character() {
    let mut out = Vec::new();
    put_close(&mut out, Some(1011), &"é".repeat(100));
    assert_eq!(out.len(), 2 + 2 + 122);
    assert!(std::str::from_utf8(&out[4..]).is_ok());
    assert_eq!(cut("short"), "short");
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let one = (
        any::<u8>(),
        any::<[u8; 4]>(),
        prop::collection::vec(any::<u8>(), 0..300),
    );
    let sane = prop::sample::select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88]);
    let mostly = prop_oneof![
        8 => (sane, any::<[u8; 4]>(), prop::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 0..200)),
        1 => one,
    ];
    prop::collection::vec(mostly, 0..8).prop_map(|frames| {
        frames
            .iter()
            .flat_map(|(first, mask, payload)| frame(*first, *mask, payload))
            .collect()
    })
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_say_the_same(
        stream in prop_oneof![frames(), prop::collection::vec(any::<u8>(), 0..600)],
        sizes in prop::collection::vec(1usize..40, 1..20),
    ) {
        let (whole, end) = decode(10_000, &stream, &[stream.len().max(1)]);
        let (pieces, end_of_pieces) = decode(10_000, &stream, &sizes);
        prop_assert_eq!(whole, pieces);
        prop_assert_eq!(end, end_of_pieces);
    }

    #[test]
    fn frame_len_walks_what_we_encode(
        lengths in prop::collection::vec(prop_oneof![0usize..300, 65_500usize..65_600], 1..4),
    ) {
        let payloads: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'x'; *length]).collect();
        let mut out = Vec::new();
        for payload in &payloads {
            let before = out.len();
            put_message(&mut out, Kind::Binary, payload);
            prop_assert_eq!(out.len() - before, encoded_len(payload.len()));
        }
        let mut at = 0;
        for payload in &payloads {
            let length = frame_len(&out[at..]).expect("a whole frame");
            prop_assert!(out[at..at + length].ends_with(payload));
            at += length;
        }
        prop_assert_eq!((at, frame_len(&out[at..])), (out.len(), None));
    }
}

#[test]
fn a_read_full_of_small_frames_does_not_keep_others_waiting() {
    let most = usize::from(AT_ONCE);
    for frame in [[0x8A, 0x80, 0, 0, 0, 0], [0x81, 0x80, 0, 0, 0, 0]] {
        let mut read = frame.repeat(2 * most + 1);
        let mut decoder = Decoder::new(10);
        let mut events = 0;
        for spent in [true, true, false] {
            let rest = &mut read[events * frame.len()..];
            let before = events;
            let taken = decoder.feed(rest, |_| {
                events += 1;
                Flow::More
            });
            assert_eq!(taken, Ok((events - before) * frame.len()));
            assert_eq!(decoder.is_spent(), spent);
        }
        assert_eq!(events, 2 * most + 1);
        // Nobody is kept waiting by what is passed over.
        decoder.pass_over();
        let taken = decoder.feed(&mut read, |_| Flow::More);
        assert_eq!(taken, Ok(read.len()));
    }
}

#[test]
fn a_decoder_is_no_larger_than_idle_connections_can_bear() {
    // Tasks lie in steps of 128 bytes: one word more here is 128 for each connection.
    assert!(size_of::<Decoder>() <= 56, "{}", size_of::<Decoder>());
}
