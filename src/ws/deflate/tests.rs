//! Messages compressed and inflated: round trips, the edges of RFC 7692 section 7.2, bombs.

use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;
use crate::frame::Kind;
use crate::ws::codec::{Decoder, Event, Flow};

const ROOMY: usize = 1 << 20;

/// As any other endpoint compresses: a window of its own, blocks ended as told, and no tail.
fn deflate(payload: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut stream = Compress::new(Compression::new(6), false);
    let mut out = Vec::with_capacity(payload.len() * 2 + 100);
    stream.compress_vec(payload, &mut out, flush).unwrap();
    assert!(out.len() < out.capacity());
    if flush == FlushCompress::Sync {
        out.truncate(out.len() - TAIL.len());
    }
    out
}

fn inflated(payload: &[u8], limit: usize) -> Result<Vec<u8>, Violation> {
    inflate(payload, limit, |message| Ok(message.to_vec()))
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    codec::put_message(&mut frame, Kind::Text, payload);
    frame
}

/// What a client says, masked with zeros, cut into fragments after every so many bytes.
fn said(first: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = payload.len().div_ceil(size).max(1);
    for index in 0..count {
        let end = payload.len().min((index + 1) * size);
        let piece = &payload[index * size..end];
        let fin = if index + 1 == count { 0x80 } else { 0 };
        bytes.push(fin | if index == 0 { first } else { 0 });
        match piece.len() {
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
        bytes.extend([0; 4]);
        bytes.extend_from_slice(piece);
    }
    bytes
}

/// What a decoder that inflates hears, fed in reads of these sizes.
fn heard(limit: usize, bytes: &[u8], reads: &[usize]) -> Result<Vec<(Kind, Vec<u8>)>, Violation> {
    let mut decoder = Decoder::new(limit);
    decoder.inflate();
    let mut messages = Vec::new();
    let mut rest = bytes.to_vec();
    let mut sizes = reads.iter().cycle();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| rest.len().min(*size));
        let mut read: Vec<u8> = rest.drain(..size).collect();
        let mut at = 0;
        while at < read.len() {
            at += decoder.feed(&mut read[at..], |event| {
                if let Event::Message(kind, payload) = event {
                    messages.push((kind, payload.to_vec()));
                }
                Flow::More
            })?;
        }
    }
    assert!(!decoder.is_inside_message());
    Ok(messages)
}

/// So many bytes without a pattern.
fn noise(count: usize) -> Vec<u8> {
    let mut seed = 1u64;
    let next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[test]
fn what_rfc_7692_shows_is_understood() {
    for hello in [
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        // Not compressed; with a final block; in two blocks.
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ] {
        assert_eq!(inflated(hello, 5), Ok(b"Hello".to_vec()), "{hello:x?}");
    }
}

#[test]
fn an_empty_message_may_look_like_this() {
    for nothing in [&b""[..], b"\x00", b"\x02\x00", b"\x03\x00", b"\x03\x00\x00"] {
        assert_eq!(inflated(nothing, 0), Ok(Vec::new()), "{nothing:x?}");
    }
}

#[test]
fn blocks_may_follow_a_final_one() {
    let parts = [&b"one, "[..], b"", b"two, ", b"three"];
    let ended = parts
        .map(|part| deflate(part, FlushCompress::Finish))
        .concat();
    assert_eq!(inflated(&ended, 100), Ok(b"one, two, three".to_vec()));
    let open = [ended, deflate(b", and more", FlushCompress::Sync)].concat();
    assert_eq!(
        inflated(&open, 100),
        Ok(b"one, two, three, and more".to_vec())
    );
}

#[test]
fn what_is_cut_off_or_no_deflate_data_is_no_message() {
    let whole = deflate(
        &b"some text that becomes shorter, shorter, shorter".repeat(3),
        FlushCompress::Sync,
    );
    for length in 1..whole.len() {
        assert_eq!(
            inflated(&whole[..length], ROOMY),
            Err(Violation::NotDeflate),
            "{length}"
        );
    }
    for wrong in [
        &b"\xff"[..],
        b"\x06\x00",
        b"\x01",
        b"\x01\x05\x00\x00\x00hello",
        b"\x03\x00\xff",
    ] {
        assert_eq!(
            inflated(wrong, ROOMY),
            Err(Violation::NotDeflate),
            "{wrong:x?}"
        );
    }
}

#[test]
fn the_limit_is_for_the_inflated_message_to_the_byte() {
    for limit in [1, 4095, 4096, 4097, 100_000] {
        for flush in [FlushCompress::Sync, FlushCompress::Finish] {
            let fits = deflate(&vec![b'x'; limit], flush);
            assert_eq!(
                inflated(&fits, limit).map(|message| message.len()),
                Ok(limit)
            );
            let longer = deflate(&vec![b'x'; limit + 1], flush);
            assert_eq!(inflated(&longer, limit), Err(Violation::TooBig(limit)));
        }
    }
}

#[test]
fn a_bomb_is_inflated_to_the_limit_and_no_further() {
    let mebibyte = [&deflate(&vec![0; 1 << 20], FlushCompress::Sync)[..], &TAIL].concat();
    let bomb = mebibyte.repeat(64);
    assert!(bomb.len() < 100_000);
    let mut out = Vec::new();
    let burst = inflate_into(&mut out, &mut Decompress::new(false), &bomb, ROOMY);
    assert_eq!(burst, Err(Violation::TooBig(ROOMY)));
    assert!(out.capacity() <= ROOMY + 1, "{}", out.capacity());
    assert_eq!(inflated(&bomb, ROOMY), Err(Violation::TooBig(ROOMY)));
    INFLATER.with_borrow(|inflater| assert!(inflater.out.capacity() <= KEPT));
}

#[test]
fn a_read_full_of_bombs_does_not_keep_others_waiting() {
    let headers = [0x03, 0x00].repeat(50_000);
    let bomb = deflate(&vec![b'x'; 1 << 20], FlushCompress::Sync);
    for payload in [&bomb, &headers] {
        let message = said(0xC2, payload, usize::MAX / 2);
        let mut read = message.repeat(3);
        let mut decoder = Decoder::new(1 << 20);
        decoder.inflate();
        for at in [0, 1, 2] {
            let rest = &mut read[at * message.len()..];
            let taken = decoder.feed(rest, |_| Flow::More);
            assert_eq!(taken, Ok(message.len()));
            assert!(decoder.is_spent());
        }
    }
    let little = said(
        0xC2,
        &deflate(b"little", FlushCompress::Sync),
        usize::MAX / 2,
    );
    let mut decoder = Decoder::new(1 << 20);
    decoder.inflate();
    assert_eq!(
        decoder.feed(&mut little.repeat(9), |_| Flow::More),
        Ok(little.len() * 9)
    );
    assert!(!decoder.is_spent());
}

#[test]
fn once_nobody_listens_nothing_is_inflated() {
    let mut decoder = Decoder::new(1 << 20);
    decoder.inflate();
    let mut bytes = said(0x41, b"no deflate data", 4);
    bytes.extend(said(0x88, &[], usize::MAX / 2));
    decoder.pass_over();
    let mut events = 0;
    let taken = decoder.feed(&mut bytes.clone(), |event| {
        assert_eq!(event, Event::Close(None));
        events += 1;
        Flow::More
    });
    assert_eq!((taken, events), (Ok(bytes.len()), 1));
}

#[test]
fn random_bytes_of_the_allowed_length_come_through_however_compressed() {
    let noise = noise(50_000);
    for level in 0..=9 {
        let mut stream = Compress::new_with_window_bits(Compression::new(level), false, 9);
        let mut out = Vec::with_capacity(100_000);
        stream
            .compress_vec(&noise, &mut out, FlushCompress::Sync)
            .unwrap();
        let message = said(0x42, out.strip_suffix(&TAIL).unwrap(), 70_000);
        assert_eq!(
            heard(noise.len(), &message, &[]),
            Ok(vec![(Kind::Binary, noise.clone())])
        );
    }
}

#[test]
fn a_compressed_message_above_what_its_limit_can_become_is_refused_at_its_header() {
    let message = said(0x42, &vec![0; longest(1000) + 1], usize::MAX / 2);
    assert_eq!(
        heard(1000, &message[..14], &[]),
        Err(Violation::TooBig(1000))
    );
}

#[test]
fn what_would_not_become_shorter_stays_as_it_is() {
    for payload in [&b""[..], b"x", b"abcdefgh", &[0x9d, 0x12, 0xe4, 0x77]] {
        let mut out = b"before".to_vec();
        assert!(!pack(&mut out, &frame(payload), 0));
        assert_eq!(out, b"before");
    }
}

#[test]
fn what_is_shorter_than_told_stays_as_it_is() {
    let mut out = Vec::new();
    assert!(!pack(&mut out, &frame(&[b'x'; 99]), 100));
    assert!(out.is_empty());
    assert!(pack(&mut out, &frame(&[b'x'; 100]), 100));
    assert!(out.len() < 20 && out[0] == 0xC1);
    assert!(!pack(&mut out, b"\x81", 0), "no frame");
}

#[test]
fn what_we_compress_refers_to_nothing_outside_our_window() {
    // Letters at random, twice: a window that holds the first makes the second almost nothing.
    let packed_len = |distance: usize| {
        let letters: Vec<u8> = noise(distance).iter().map(|b| b'a' + (b >> 4)).collect();
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        assert!(pack(&mut once, &frame(&letters), 0));
        assert!(pack(
            &mut twice,
            &frame(&[&letters[..], &letters].concat()),
            0
        ));
        (once.len(), twice.len())
    };
    let (once, twice) = packed_len((1 << WINDOW) - 300);
    assert!(twice < once + once / 10, "{once} {twice}");
    let (once, twice) = packed_len((1 << WINDOW) + 1);
    assert!(twice > once + once * 9 / 10, "{once} {twice}");
}

#[test]
fn compressed_text_is_utf8_once_inflated() {
    let bad = said(0x41, &deflate(b"caf\xc3", FlushCompress::Sync), 3);
    assert_eq!(heard(ROOMY, &bad, &[]), Err(Violation::NotUtf8));
    let good = said(0x41, &deflate("café".as_bytes(), FlushCompress::Sync), 3);
    assert_eq!(
        heard(ROOMY, &good, &[]),
        Ok(vec![(Kind::Text, "café".into())])
    );
    let binary = said(0x42, &deflate(b"\xc3", FlushCompress::Sync), 3);
    assert_eq!(
        heard(ROOMY, &binary, &[]),
        Ok(vec![(Kind::Binary, b"\xc3".to_vec())])
    );
}

#[test]
fn the_bit_is_for_the_first_frame_of_a_message_alone() {
    let reserved = Err(Violation::Protocol("reserved bits set"));
    for first in [0xC0, 0xC8, 0xC9, 0xCA, 0xA1, 0x91, 0xE1] {
        assert_eq!(
            heard(ROOMY, &[first, 0x80, 0, 0, 0, 0], &[]),
            reserved,
            "{first:x}"
        );
    }
    let continued = [
        said(0x41, b"\x00", 9)[..1]
            .iter()
            .map(|byte| byte & 0x7F)
            .collect(),
        vec![0x80, 0, 0, 0, 0],
        vec![0xC0, 0x80, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(heard(ROOMY, &continued, &[]), reserved);
    let mut strict = Decoder::new(ROOMY);
    let refused = strict.feed(&mut said(0x41, b"\x00", 9), |_| Flow::More);
    assert_eq!(refused, Err(Violation::Protocol("reserved bits set")));
}

#[test]
fn plain_and_compressed_messages_and_pings_between_fragments_take_turns() {
    let packed = deflate(b"compressed", FlushCompress::Sync);
    let mut fragments = said(0x41, &packed, 4);
    fragments.splice(10..10, [0x89, 0x80, 0, 0, 0, 0]);
    let bytes = [said(0x01, b"plain", 2), fragments, said(0x02, b"plain", 9)].concat();
    let expected = vec![
        (Kind::Text, b"plain".to_vec()),
        (Kind::Text, b"compressed".to_vec()),
        (Kind::Binary, b"plain".to_vec()),
    ];
    for size in 1..bytes.len() {
        assert_eq!(heard(ROOMY, &bytes, &[size]), Ok(expected.clone()));
    }
}

/// Bytes that compress, well or badly.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::collection::vec(prop_oneof!["[a-e]{1,9}", "[ -~]{1,9}"], 0..900);
    prop_oneof![
        words.prop_map(|words| words.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..2000),
        (any::<u8>(), 0usize..100_000).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

proptest! {
    #[test]
    fn what_is_compressed_is_inflated_to_the_same(payload in any_payload()) {
        let plain = frame(&payload);
        let mut out = Vec::new();
        if pack(&mut out, &plain, 0) {
            prop_assert!(out.len() < plain.len());
            prop_assert_eq!(codec::frame_len(&out), Some(out.len()));
            let (first, packed) = codec::first_and_payload(&out).unwrap();
            prop_assert_eq!(first, 0xC1);
            prop_assert_eq!(inflated(packed, payload.len()), Ok(payload));
        } else {
            prop_assert!(out.is_empty());
        }
    }

    #[test]
    fn however_it_is_chopped_it_is_heard(
        messages in prop::collection::vec((any_payload(), any::<bool>()), 1..4),
        fragment in 1usize..3000,
        reads in prop::collection::vec(1usize..5000, 1..5),
    ) {
        let mut bytes = Vec::new();
        for (payload, packed) in &messages {
            match packed {
                true => bytes.extend(said(0x42, &deflate(payload, FlushCompress::Sync), fragment)),
                false => bytes.extend(said(0x02, payload, fragment)),
            }
        }
        let expected: Vec<_> = messages.into_iter().map(|(payload, _)| (Kind::Binary, payload)).collect();
        prop_assert_eq!(heard(ROOMY, &bytes, &reads), Ok(expected));
    }

    #[test]
    fn any_bytes_are_inflated_within_the_limit_or_refused(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        limit in 0usize..5000,
    ) {
        if let Ok(message) = inflated(&payload, limit) {
            prop_assert!(message.len() <= limit);
        }
    }

    #[test]
    fn a_damaged_message_is_refused_or_within_the_limit(payload in any_payload(), at: prop::sample::Index, bit in 0u8..8) {
        let mut packed = deflate(&payload, FlushCompress::Sync);
        let at = at.index(packed.len());
        packed[at] ^= 1 << bit;
        let limit = payload.len();
        if let Ok(message) = inflated(&packed, limit) {
            prop_assert!(message.len() <= limit);
        }
    }
}
