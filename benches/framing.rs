//! The framings, both ways: what a child prints becomes events, what clients say becomes what the
//! child reads.
//!
//! Lines are beside every framing that has more to do, so that what it adds can be read off. A
//! round is as many messages as one read of the child brings.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scalesocket::frame::{
    ClientFraming, ClientId, Decoder, Encoder, Event, JsonFields, Kind, ServerFraming,
};

/// What people and games say; most messages are in between.
const SIZES: [usize; 2] = [64, 512];
/// What one read of a child's output takes at most.
const READ: usize = 64 << 10;
/// A part of a read: lines and packets lie across the cuts.
const PART: usize = 1000;

fn fields() -> JsonFields {
    JsonFields {
        from: "id".to_owned(),
        to: "id".to_owned(),
    }
}

fn lines() -> ServerFraming {
    ServerFraming::Lines {
        delimiters: b"\n".to_vec(),
        strip_cr: true,
    }
}

/// An object of that length: a few numbers and a list, the rest what somebody typed. `last` are
/// its last members.
fn object(len: usize, last: &str) -> String {
    let head = r#"{"t":"move","x":12.5,"y":-7,"k":[1,2],"text":""#;
    let tail = format!("\"{last}}}");
    let typed = "What we said \u{2013} as I recall \u{2013} ";
    let mut text = String::from(head);
    let missing = |text: &String| len.saturating_sub(text.len() + tail.len());
    while missing(&text) >= typed.len() {
        text.push_str(typed);
    }
    text.extend(std::iter::repeat_n('x', missing(&text)));
    text + &tail
}

/// An object of numbers: the most tokens that fit.
fn numbers(len: usize) -> String {
    let mut text = String::from("{\"a\":[");
    while text.len() < len - 4 {
        text.push_str("1,");
    }
    text + "1]}"
}

fn packet(payload: &str) -> Vec<u8> {
    let len = payload.len() as u32;
    let header = [1u32, 1, len].map(u32::to_be_bytes).concat();
    [&header, payload.as_bytes()].concat()
}

/// Decodes a stream that comes in pieces; returns how many events it holds.
fn events(decoder: &mut Decoder, stream: &[u8], piece: usize) -> usize {
    let mut events = 0;
    for piece in stream.chunks(piece) {
        let fed = decoder.feed(piece, &mut |event| {
            events += usize::from(matches!(black_box(event), Event::Message { .. }));
        });
        assert_eq!(fed, Ok(()));
    }
    events
}

fn from_the_child(c: &mut Criterion) {
    let mut group = c.benchmark_group("framing/decode");
    for len in SIZES {
        let line = |text: String| (text + "\n").into_bytes();
        let json = ServerFraming::Json(fields());
        let cases = [
            ("lines", lines(), line(object(len, ""))),
            ("json, for everyone", json.clone(), line(object(len, ""))),
            (
                "json, for one",
                json.clone(),
                line(object(len, ",\"id\":12345")),
            ),
            ("json, numbers", json.clone(), line(numbers(len))),
            ("packets", ServerFraming::Packets, packet(&object(len, ""))),
        ];
        for (what, framing, message) in cases {
            let count = READ / message.len();
            let stream = message.repeat(count);
            group.throughput(Throughput::ElementsAndBytes {
                elements: count as u64,
                bytes: stream.len() as u64,
            });
            for (cut, piece) in [("", READ), (", cut", PART)] {
                let mut decoder = Decoder::new(&framing, 16 << 20);
                let id = BenchmarkId::new(format!("{what}{cut}"), format!("{len} B"));
                group.bench_function(id, |b| {
                    b.iter(|| assert_eq!(events(&mut decoder, &stream, piece), count));
                });
            }
        }
    }
}

fn to_the_child(c: &mut Criterion) {
    let mut group = c.benchmark_group("framing/encode");
    for len in SIZES {
        let count = READ / len;
        group.throughput(Throughput::ElementsAndBytes {
            elements: count as u64,
            bytes: (count * len) as u64,
        });
        let terminator = b'\n';
        let cases = [
            (
                "lines",
                ClientFraming::Lines { terminator },
                object(len, ""),
            ),
            ("json", ClientFraming::Json(fields()), object(len, "")),
            (
                "json, with a claim",
                ClientFraming::Json(fields()),
                object(len, ",\"id\":1"),
            ),
            ("json, numbers", ClientFraming::Json(fields()), numbers(len)),
            ("packets", ClientFraming::Gwsocket, object(len, "")),
        ];
        for (what, framing, message) in cases {
            let Some(from) = ClientId::new(12_345) else {
                return;
            };
            let encoder = Encoder::new(&framing);
            let mut out = Vec::new();
            group.bench_function(BenchmarkId::new(what, format!("{len} B")), |b| {
                b.iter(|| {
                    out.clear();
                    for _ in 0..count {
                        let message = black_box(message.as_bytes());
                        let done = encoder.message(from, Kind::Text, message, &mut out);
                        assert_eq!(done, Ok(()));
                    }
                    out.len()
                });
            });
        }
    }
}

criterion_group!(benches, from_the_child, to_the_child);
criterion_main!(benches);
