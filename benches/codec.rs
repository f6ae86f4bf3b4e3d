//! The websocket codec: what a client sends is decoded, what it shall hear is encoded.
//!
//! Decoding unmasks where the bytes lie, so every round works on a fresh copy of the stream; making
//! the copy is not measured. A stream is as many messages as one read of a socket brings, or one.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scalesocket::frame::Kind;
use scalesocket::ws::codec::{Decoder, Event, Flow, put_message};

/// What people say, a command with its data, an upload.
const SIZES: [(&str, usize); 3] = [("64 B", 64), ("4 KiB", 4 << 10), ("1 MiB", 1 << 20)];
/// What one read of a socket takes at most.
const READ: usize = 64 << 10;
/// What a segment of TCP over Ethernet carries: cuts headers, messages and characters anywhere.
const SEGMENT: usize = 1448;
const MASK: [u8; 4] = [0x9c, 0x35, 0xe1, 0x57];

fn payload(kind: Kind, len: usize) -> Vec<u8> {
    match kind {
        // The long ones hold characters of several bytes, as long texts do.
        Kind::Text => {
            let sentence = if len > 100 {
                "Zoë moves to f3. "
            } else {
                "Ann moves to f3. "
            };
            let mut text = sentence.repeat(len / sentence.len()).into_bytes();
            text.resize(len, b'.');
            text
        }
        Kind::Binary => (0..len).map(|at| ((at * 167) >> 3) as u8).collect(),
    }
}

/// A client's frame: that of a server, masked.
fn masked(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_message(&mut frame, kind, &[]);
    match payload.len() {
        short @ ..126 => frame[1] = 0x80 | short as u8,
        middle @ 126..=0xFFFF => {
            frame[1] = 0x80 | 126;
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame[1] = 0x80 | 127;
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let keys = MASK.iter().cycle();
    frame.extend(payload.iter().zip(keys).map(|(byte, key)| byte ^ key));
    frame
}

/// Decodes a stream that comes in pieces, and counts its messages.
fn messages(stream: &mut [u8], piece: usize) -> usize {
    let mut decoder = Decoder::new(16 << 20);
    let mut messages = 0;
    for piece in stream.chunks_mut(piece) {
        let fed = decoder.feed(piece, |event| {
            messages += usize::from(matches!(black_box(event), Event::Message(..)));
            Flow::More
        });
        assert_eq!(fed, Ok(piece.len()));
    }
    messages
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/decode");
    for (kind, what) in [(Kind::Text, "text"), (Kind::Binary, "binary")] {
        for (size, len) in SIZES {
            let count = (READ / len).max(1);
            let stream = masked(kind, &payload(kind, len)).repeat(count);
            group.throughput(Throughput::ElementsAndBytes {
                elements: count as u64,
                bytes: (count * len) as u64,
            });
            for (cut, piece) in [("whole", usize::MAX), ("chopped", SEGMENT)] {
                let id = BenchmarkId::new(format!("{what}, {cut}"), size);
                group.bench_function(id, |b| {
                    b.iter_batched_ref(
                        || stream.clone(),
                        |stream| assert_eq!(messages(stream, piece), count),
                        BatchSize::SmallInput,
                    );
                });
            }
        }
    }
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/encode");
    for (size, len) in SIZES {
        let payload = payload(Kind::Text, len);
        let count = (READ / len).max(1);
        group.throughput(Throughput::ElementsAndBytes {
            elements: count as u64,
            bytes: (count * len) as u64,
        });
        // Room for all of it is kept from round to round, as the output pump keeps it.
        let mut out = Vec::new();
        group.bench_function(size, |b| {
            b.iter(|| {
                out.clear();
                for _ in 0..count {
                    put_message(&mut out, Kind::Text, black_box(&payload));
                }
                out.len()
            });
        });
    }
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
