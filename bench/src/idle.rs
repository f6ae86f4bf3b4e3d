//! What a connection costs that says nothing, and what is kept once it has gone.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::crowd::{Crowd, Heard};
use crate::proc;
use crate::scenario::{Bench, Cell, Run, Scenario};
use crate::sequence::{Faults, Sequence};
use crate::served::{Served, Who};

/// 10,000 in one room, twice: what the second crowd leaves behind more than the first is a leak.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "idle",
    runs: 3,
    cells,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// How long the server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);
/// The same once a crowd has left: what is freed goes back to the system a second later.
const TRIMMED: Duration = Duration::from_millis(2500);

fn cells(bench: &Bench) -> Vec<Cell> {
    let clients = bench.of(10_000, 300);
    let shape = format!("{clients} in one room");
    vec![Cell::new(shape, Who::Ours, move |bench| {
        measure(bench, clients)
    })]
}

fn measure(bench: &Bench, clients: usize) -> Result<Run> {
    let served = bench.serve(Who::Ours, &[], &["cat"])?;
    let mut first = Crowd::join(served.addr, "idle", 1)?;
    let memory_after = |settle: Duration| -> Result<f64> {
        std::thread::sleep(bench.of(settle, settle / 5));
        Ok(served.memory()? as f64)
    };
    let memory = || memory_after(SETTLE);
    let (empty, descriptors) = (memory()?, proc::descriptors(served.pid())?);
    let each = 1024.0 * clients as f64;
    let mut run = Run::default();
    let names = [
        ("memory per connection", "kept of it"),
        ("second crowd", "kept of the second"),
    ];
    for (round, (held, kept)) in names.into_iter().enumerate() {
        let begun = Instant::now();
        let mut crowd = Crowd::join(served.addr, "idle", clients)?;
        let rate = clients as f64 / begun.elapsed().as_secs_f64();
        run = run.with(held, "KiB", (memory()? - empty) / each);
        if round > 0 {
            // They are not asleep: one line comes to all.
            run.faults = greet(&mut first, &mut crowd, clients)?;
        } else {
            run = run.with("handshakes", "a second", rate);
        }
        drop(crowd);
        wait_for_descriptors(&served, descriptors)?;
        run = run.with(kept, "KiB", (memory_after(TRIMMED)? - empty) / each);
    }
    drop(first);
    served.stop()?;
    Ok(run)
}

/// The first says something that all others hear.
fn greet(first: &mut Crowd, crowd: &mut Crowd, clients: usize) -> Result<Faults> {
    let mut sequences: Vec<Sequence> = Vec::new();
    sequences.resize_with(clients, Sequence::default);
    first.say(0, b"hi")?;
    let deadline = Instant::now() + PATIENCE;
    let mut heard_by = 0;
    while heard_by < clients && Instant::now() < deadline {
        crowd.turn(Duration::from_secs(1), |client, heard| {
            if let (Heard::Message(b"hi", _), Some(sequence)) = (heard, sequences.get_mut(client)) {
                heard_by += usize::from(sequence.received == 0);
                sequence.note(sequence.received);
            }
        })?;
    }
    Ok(Faults::of(&sequences, 1))
}

fn wait_for_descriptors(served: &Served, descriptors: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while proc::descriptors(served.pid())? > descriptors {
        if Instant::now() > deadline {
            bail!("the server keeps descriptors of clients that have gone");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
