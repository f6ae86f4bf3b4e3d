//! The backlog of a room: what everybody hears is appended once, read by each, and forgotten.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scalesocket::room::bench::Backlog;

/// The backlog's size by default.
const LIMIT: usize = 4 << 20;
/// A frame of 64 bytes, its header included.
const FRAME: usize = 66;
/// Batches a round appends.
const BATCHES: usize = 16;

/// Every reader takes each batch as soon as it is there: one line a batch is a room at its
/// ease, 900 are a read of a child that prints as fast as it can.
fn everybody_keeps_up(c: &mut Criterion) {
    let mut group = c.benchmark_group("backlog/append, read, trim");
    for lines in [1, 900] {
        let batch = Bytes::from(vec![b'x'; FRAME * lines]);
        for readers in [1, 100, 1_000] {
            let deliveries = (BATCHES * lines * readers) as u64;
            group.throughput(Throughput::ElementsAndBytes {
                elements: deliveries,
                bytes: deliveries * FRAME as u64,
            });
            let mut backlog = Backlog::new(LIMIT, readers);
            let readers_told = format!("{readers} readers");
            group.bench_function(
                BenchmarkId::new(format!("lines a batch: {lines}"), readers_told),
                |b| {
                    b.iter(|| {
                        for _ in 0..BATCHES {
                            backlog.append(batch.clone(), lines as u64);
                            let taken = backlog.read(|bytes| drop(black_box(bytes)));
                            assert_eq!(taken, Some(batch.len() * readers));
                            backlog.trim();
                        }
                        assert_eq!(backlog.held(), 0);
                    });
                },
            );
        }
    }
}

/// Somebody keeps up with single lines and others have stopped: small batches pile up and are
/// merged, and what is older than the limit goes.
fn others_have_stopped(c: &mut Criterion) {
    let mut group = c.benchmark_group("backlog/append, trim behind the fastest");
    let line = Bytes::from(vec![b'x'; FRAME]);
    let lines = 4096;
    group.throughput(Throughput::ElementsAndBytes {
        elements: lines,
        bytes: lines * FRAME as u64,
    });
    let mut backlog = Backlog::new(LIMIT, 0);
    group.bench_function("single lines", |b| {
        b.iter(|| {
            for _ in 0..lines {
                backlog.append(line.clone(), 1);
                backlog.trim();
            }
            assert!(backlog.held() > 0);
        });
    });
}

criterion_group!(benches, everybody_keeps_up, others_have_stopped);
criterion_main!(benches);
