//! The backlog: what is held, what is dropped, what readers hear of it.

use super::*;
use crate::frame::Kind;
use crate::ws::codec;
use proptest::prelude::*;

fn read_all(backlog: &Backlog, from: Cursor) -> Result<(Vec<u8>, Cursor), Behind> {
    let mut heard = Vec::new();
    let mut at = from;
    backlog.read(from, backlog.end(), false, |bytes, after| {
        heard.extend_from_slice(&bytes);
        at = after;
        true
    })?;
    Ok((heard, at))
}

#[test]
fn what_is_within_the_limit_of_the_fastest_stays() {
    let mut backlog = Backlog::new(10);
    for batch in [b"aaaaa", b"bbbbb", b"ccccc", b"ddddd"] {
        backlog.append(Bytes::from_static(batch), 1, None);
    }
    backlog.trim(15, 0);
    assert_eq!(
        backlog.start(),
        0,
        "the end of the first is exactly ten behind"
    );
    backlog.trim(16, 0);
    assert_eq!(backlog.start(), 5);
    assert_eq!(read_all(&backlog, Cursor::default()), Err(Behind));
}

#[test]
fn the_newest_batch_is_never_too_old() {
    let mut backlog = Backlog::new(10);
    backlog.append(Bytes::from(vec![7; 1000]), 1, None);
    backlog.trim(5000, 0);
    assert_eq!(backlog.held(), 1000);
}

#[test]
fn what_everybody_has_passed_is_dropped() {
    let mut backlog = Backlog::new(1 << 20);
    backlog.append(Bytes::from_static(b"all heard"), 1, None);
    backlog.trim(9, 9);
    assert_eq!((backlog.held(), backlog.start()), (0, 9));
}

proptest! {
    #[test]
    fn every_reader_hears_every_byte_in_order_or_is_told(
        steps in prop::collection::vec((1usize..80, 0usize..4, 0usize..3), 1..1200),
        limit in 1usize..4000,
    ) {
        let mut backlog = Backlog::new(limit);
        let mut said = Vec::new();
        let mut readers = [Cursor::default(); 3];
        let mut lost = [false; 3];
        for (index, (size, who, reads)) in steps.into_iter().enumerate() {
            let batch = vec![index as u8; size];
            said.extend_from_slice(&batch);
            backlog.append(Bytes::from(batch), 1, None);
            if let Some(reader) = readers.get_mut(who).filter(|_| !lost[who]) {
                let from = *reader;
                let mut heard = Vec::new();
                let mut left = reads;
                match backlog.read(from, backlog.end(), false, |bytes, after| {
                    heard.extend_from_slice(&bytes);
                    *reader = after;
                    left = left.saturating_sub(1);
                    left > 0
                }) {
                    Ok(()) => prop_assert_eq!(&heard[..], &said[from.at as usize..reader.at as usize]),
                    Err(Behind) => lost[who] = true,
                }
            }
            let fastest = readers.iter().map(|reader| reader.at).max().unwrap_or(0);
            let slowest = readers.iter().map(|reader| reader.at).min().unwrap_or(0);
            backlog.trim(fastest, slowest);
            for (who, reader) in readers.iter().enumerate() {
                if !lost[who] && reader.at < backlog.start() {
                    prop_assert!(fastest - reader.at > limit as u64, "dropped within the limit");
                }
            }
        }
        let (rest, at) = read_all(&backlog, Cursor { at: backlog.start(), messages: 0 }).expect("held");
        prop_assert_eq!(at, backlog.end());
        prop_assert_eq!(&rest[..], &said[said.len() - rest.len()..]);
    }
}

/// A frame of a message that becomes shorter.
fn frame(number: usize, length: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let text = format!("{number} {}", "x".repeat(length));
    codec::put_message(&mut frame, Kind::Text, text.as_bytes());
    frame
}

fn append(backlog: &mut Backlog, frames: Vec<u8>, messages: u64, least: usize) {
    let twin = Twin::of(&frames, least).map(Box::new);
    backlog.append(frames.into(), messages, twin);
}

/// The texts of frames, inflated.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(length) = codec::frame_len(bytes) {
        let mut masked = vec![bytes[0]];
        let header = if length < 128 { 2 } else { 4 };
        masked.push(bytes[1] | 0x80);
        masked.extend_from_slice(&bytes[2..header]);
        masked.extend([0; 4]);
        masked.extend_from_slice(&bytes[header..length]);
        let mut decoder = codec::Decoder::new(1 << 20);
        decoder.inflate();
        let fed = decoder.feed(&mut masked, |event| {
            if let codec::Event::Message(_, payload) = event {
                texts.push(String::from_utf8(payload.to_vec()).unwrap());
            }
            codec::Flow::More
        });
        fed.unwrap();
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty(), "a frame was cut");
    texts
}

#[test]
fn a_twin_is_held_too_and_goes_with_its_batch() {
    let mut backlog = Backlog::new(10_000);
    append(&mut backlog, frame(1, 1000), 1, 100);
    let plain = backlog.end().at as usize;
    assert!(backlog.held() > plain, "{}", backlog.held());
    backlog.trim(0, plain as u64);
    assert_eq!(backlog.held(), 0);
}

#[test]
fn twins_never_take_more_than_their_part_where_the_limit_is_reached() {
    let limit = 50_000;
    let mut backlog = Backlog::new(limit);
    let noise: String = (0..400u32)
        .map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 28) as u8))
        .collect();
    let mut newest = Cursor::default();
    for number in 0..1000 {
        newest = backlog.end();
        let mut frames = Vec::new();
        codec::put_message(
            &mut frames,
            Kind::Text,
            format!("{number} {noise}").as_bytes(),
        );
        append(&mut backlog, frames, 1, 100);
        let plain = backlog.end().at - backlog.start();
        backlog.trim(backlog.end().at, 0);
        let most = (plain as usize + limit / TWINS_PART).max(limit);
        assert!(
            backlog.held() <= most + 1000,
            "{} of {plain}",
            backlog.held()
        );
    }
    let mut length = 0;
    let read = backlog.read(newest, backlog.end(), true, |bytes, _| {
        length = bytes.len();
        true
    });
    assert_eq!(read, Ok(()));
    assert!((1..400).contains(&length), "the newest has its twin");
}

proptest! {
    // Each case is long, so that batches are merged.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whoever_reads_twins_hears_the_same_messages(
        steps in prop::collection::vec((prop::collection::vec(0usize..300, 1..4), 0usize..3, 0usize..4), 1..700),
        limit in 1000usize..100_000,
        least in 20usize..400,
    ) {
        let mut backlog = Backlog::new(limit);
        let mut ends = Vec::new();
        let mut said = Vec::new();
        // One reads twins, one plain; both now and then, and up to any frame.
        let mut readers = [(true, Cursor::default(), 0), (false, Cursor::default(), 0)];
        for (lengths, back, reads) in steps {
            let start = backlog.end();
            let mut frames = Vec::new();
            for length in &lengths {
                frames.extend(frame(said.len(), *length));
                said.push(format!("{} {}", said.len(), "x".repeat(*length)));
                ends.push(Cursor { at: start.at + frames.len() as u64, messages: said.len() as u64 });
            }
            append(&mut backlog, frames, lengths.len() as u64, least);
            let Some(until) = ends.get(ends.len() - 1 - back.min(ends.len() - 1)).copied() else { continue };
            for (packed, at, heard) in &mut readers {
                let from = *at;
                if reads == 0 || from.at >= until.at {
                    continue;
                }
                let mut left = reads;
                let mut bytes = Vec::new();
                let read = backlog.read(from, until, *packed, |piece, after| {
                    bytes.extend_from_slice(&piece);
                    *at = after;
                    left -= 1;
                    left > 0
                });
                if read == Err(Behind) {
                    *at = until;
                    *heard = until.messages as usize;
                    continue;
                }
                let texts = texts(&bytes);
                prop_assert_eq!(&texts[..], &said[*heard..*heard + texts.len()]);
                *heard += texts.len();
                prop_assert_eq!(*heard as u64, at.messages);
            }
            let fastest = readers.iter().map(|(_, at, _)| at.at).max().unwrap_or(0);
            let slowest = readers.iter().map(|(_, at, _)| at.at).min().unwrap_or(0);
            backlog.trim(fastest, slowest);
            let held: usize = backlog.batches.iter().map(|batch| batch.bytes.len() + batch.twin_held()).sum();
            prop_assert_eq!(backlog.held(), held);
        }
    }
}
