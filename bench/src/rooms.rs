//! Rooms that open all at once, each with a child of its own, beside a loop that only spawns.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::crowd::{Crowd, Heard};
use crate::figures::{each, quantile};
use crate::scenario::{Bench, Cell, Run, Scenario};
use crate::sequence::{Faults, Sequence};
use crate::served::Who;

/// 1,000 at once; ours also with fewer, to see that a room costs the same among many.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "rooms",
    runs: 5,
    cells,
};

const PATIENCE: Duration = Duration::from_secs(60);
const SCRIPT: &str = "echo hi; exec cat";
const FLOOR: Who = Who::Floor("floor: posix_spawn");

fn cells(bench: &Bench) -> Vec<Cell> {
    let full = bench.of(1_000, 40);
    let mut cells = Vec::new();
    for rooms in [full, full / 2, full / 4] {
        let all: &[Who] = &[Who::Ours, Who::Websocketd, FLOOR];
        for who in all.iter().take(if rooms == full { 3 } else { 1 }).copied() {
            cells.push(Cell::new(rooms.to_string(), who, move |bench| match who {
                FLOOR => spawned(rooms),
                _ => served(bench, who, rooms),
            }));
        }
    }
    cells
}

fn served(bench: &Bench, who: Who, rooms: usize) -> Result<Run> {
    let flags: &[&str] = match who {
        Who::Ours => &["--maxrooms", "1024"],
        _ => &[],
    };
    let served = bench.serve(who, flags, &["sh", "-c", SCRIPT])?;
    // The first room's cost is not that of the next.
    let mut first = Crowd::join(served.addr, "first", 1)?;
    hear(&mut first, 1, |_| {})?;
    let (memory, cpu) = (served.memory()?, served.cpu()?);
    let mut crowd = Crowd::new(served.addr)?;
    let begun = Instant::now();
    let mut asked = Vec::with_capacity(rooms);
    for room in 0..rooms {
        asked.push(Instant::now());
        crowd.connect(&format!("room-{room}"))?;
    }
    let mut times: Vec<Duration> = Vec::with_capacity(rooms);
    let faults = hear(&mut crowd, rooms, |client| {
        times.extend(asked.get(client).map(Instant::elapsed));
    })?;
    let wall = begun.elapsed().as_secs_f64();
    let cpu = served.cpu()?.saturating_sub(cpu);
    let memory = served.memory()?.saturating_sub(memory);
    let begun = Instant::now();
    drop((crowd, first));
    let left = served.wait_childless(PATIENCE);
    if !left.is_empty() {
        bail!("children outlive their rooms: {left:?}");
    }
    let closing = begun.elapsed().as_secs_f64();
    served.stop()?;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(Run::new(faults)
        .with("rooms opened", "a second", rooms as f64 / wall)
        .with(
            "first message, p50",
            "ms",
            millis(quantile(&mut times, 0.5)),
        )
        .with(
            "first message, p99",
            "ms",
            millis(quantile(&mut times, 0.99)),
        )
        .with("server CPU per room", "µs", each(cpu, rooms as u64) / 1e3)
        .with(
            "memory per room",
            "KiB",
            memory as f64 / 1024.0 / rooms as f64,
        )
        .with("rooms closed", "a second", rooms as f64 / closing))
}

/// Everybody hears one `hi`.
fn hear(crowd: &mut Crowd, rooms: usize, mut each: impl FnMut(usize)) -> Result<Faults> {
    let mut sequences: Vec<Sequence> = Vec::new();
    sequences.resize_with(rooms, Sequence::default);
    let (mut spoken, mut wrong) = (0, None);
    let deadline = Instant::now() + PATIENCE;
    while spoken < rooms && Instant::now() < deadline {
        crowd.turn(Duration::from_secs(1), |client, heard| match heard {
            Heard::Message(b"hi", _) => {
                if let Some(sequence) = sequences.get_mut(client) {
                    spoken += usize::from(sequence.received == 0);
                    sequence.note(sequence.received);
                    each(client);
                }
            }
            Heard::Open => {}
            other => wrong = Some(format!("client {client} heard {other:?}")),
        })?;
        if let Some(wrong) = wrong {
            bail!(wrong);
        }
    }
    Ok(Faults::of(&sequences, 1))
}

/// The floor: the same program so often, from a process that does nothing else.
fn spawned(rooms: usize) -> Result<Run> {
    let us = std::process::id();
    let before = (Instant::now(), crate::proc::cpu(us)?);
    let mut children: Vec<Child> = Vec::with_capacity(rooms);
    for _ in 0..rooms {
        // Nothing runs between fork and exec here, so this is posix_spawn(3).
        let child = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        children.push(child);
    }
    for child in &mut children {
        let stdout = child.stdout.take().context("stdout of a child")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line != "hi\n" {
            bail!("a child says {line:?}");
        }
    }
    let wall = before.0.elapsed().as_secs_f64();
    let cpu = crate::proc::cpu(us)?.saturating_sub(before.1);
    for mut child in children {
        drop(child.stdin.take());
        child.wait()?;
    }
    let rooms = rooms as u64;
    Ok(Run::default()
        .with("rooms opened", "a second", rooms as f64 / wall)
        .with("server CPU per room", "µs", each(cpu, rooms) / 1e3))
}
