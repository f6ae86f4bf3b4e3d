//! What `--compress` costs and saves: messages of 1 KiB to a crowd of which nobody, half or all
//! can inflate, beside the same without the flag; and messages that clients have compressed.
//! Every byte of every message is compared, which needs inflating.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::crowd::{Crowd, Heard};
use crate::figures::each;
use crate::proc;
use crate::scenario::{Bench, Cell, Run, Scenario};
use crate::sequence::{Faults, Sequence};
use crate::served::{Served, Who};
use crate::server::this_program;
use crate::states::{SIZE, States, pack};
use crate::wire;

/// Fan-out as fast as accepted and at a pace, and `cat`.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "compressed",
    runs: 5,
    cells,
};

/// Bytes of a plain message with its header.
const PLAIN: usize = SIZE + 4;
/// Lines a second, where they come at a pace: few enough that each is written by itself.
const PACE: u64 = 500;
/// Messages of a client that are on their way through `cat`.
const WINDOW: u64 = 32;
const SILENCE: Duration = Duration::from_secs(5);

/// The flag, and the share of clients, in halves, that offer what it allows.
#[derive(Clone, Copy, Debug)]
struct Setting {
    name: &'static str,
    flags: &'static [&'static str],
    halves: usize,
}

const fn setting(name: &'static str, flags: &'static [&'static str], halves: usize) -> Setting {
    Setting {
        name,
        flags,
        halves,
    }
}

const SETTINGS: [Setting; 4] = [
    setting("without --compress", &[], 0),
    setting("--compress, nobody offers", &["--compress"], 0),
    setting("--compress, half offer", &["--compress"], 1),
    setting("--compress, all offer", &["--compress"], 2),
];

/// No message is long enough for the server to compress it: only clients do.
const ONE_WAY: &[&str] = &["--compress=1000000"];

const THROUGH_CAT: [Setting; 3] = [
    setting("plain, without --compress", &[], 0),
    setting("compressed by clients only", ONE_WAY, 2),
    setting("compressed both ways", &["--compress"], 2),
];

fn cells(bench: &Bench) -> Vec<Cell> {
    let clients = bench.of(100, 20);
    let mut cells = Vec::new();
    for (rate, lines, how) in [
        (0, bench.of(20_000, 1_000), "flood".to_owned()),
        (PACE, bench.of(2 * PACE, 50), format!("{PACE} a second")),
    ] {
        for setting in SETTINGS {
            let shape = format!("{how} to {clients}, {}", setting.name);
            cells.push(Cell::new(shape, Who::Ours, move |bench| {
                fan_out(bench, setting, clients, rate, lines)
            }));
        }
    }
    for setting in THROUGH_CAT {
        let shape = format!("through cat, {}", setting.name);
        cells.push(Cell::new(shape, Who::Ours, move |bench| {
            through_cat(bench, setting)
        }));
    }
    cells
}

/// What came of one load.
#[derive(Debug)]
struct Outcome {
    faults: Faults,
    wall: Duration,
    server: Duration,
    generator: Duration,
    /// Bytes that clients have read.
    bytes: u64,
}

impl Outcome {
    fn run(&self) -> Run {
        let due = self.faults.due;
        let bytes = self.bytes as f64 / due.max(1) as f64;
        Run::new(self.faults)
            .with("server CPU per message", "ns", each(self.server, due))
            .with("load generator's", "ns", each(self.generator, due))
            .with("messages", "a second", due as f64 / self.wall.as_secs_f64())
            .with("on the wire", "bytes a message", bytes)
            .with("of the plain bytes", "%", bytes * 100.0 / PLAIN as f64)
    }
}

fn fan_out(bench: &Bench, setting: Setting, clients: usize, rate: u64, lines: u64) -> Result<Run> {
    let mut states = States::new(lines);
    let program = this_program()?;
    let (program, rate, count) = (
        program.to_string_lossy(),
        rate.to_string(),
        lines.to_string(),
    );
    let words = [&program, "child", "states", &rate, &count];
    let served = bench.serve(Who::Ours, setting.flags, &words)?;
    let mut crowd = Crowd::new(served.addr)?;
    let offering = clients * setting.halves / 2;
    for (packs, clients) in [(true, offering), (false, clients - offering)] {
        crowd.attend(SIZE, packs);
        crowd.grow("bench", clients, SILENCE)?;
    }
    let outcome = drive(&served, &mut crowd, clients, &mut states, lines, &[])?;
    drop(crowd);
    served.stop()?;
    Ok(outcome.run())
}

/// Rooms with one client and one `cat` each, who always has some messages on their way.
fn through_cat(bench: &Bench, setting: Setting) -> Result<Run> {
    let (rooms, lines) = (10, bench.of(10_000, 200));
    let mut states = States::new(lines);
    let packs = setting.halves > 0;
    let mut frames = Vec::new();
    for line in (0..lines).filter_map(|number| states.line(number)) {
        let mut frame = Vec::new();
        match packs {
            true => wire::put_frame(&mut frame, wire::PACKED | wire::TEXT, &pack(line)?),
            false => wire::put_frame(&mut frame, wire::TEXT, line),
        }
        frames.push(frame);
    }
    let served = bench.serve(Who::Ours, setting.flags, &["cat"])?;
    let mut crowd = Crowd::new(served.addr)?;
    crowd.attend(SIZE, packs);
    for room in 0..rooms {
        crowd.grow(&format!("room-{room}"), 1, SILENCE)?;
    }
    let outcome = drive(&served, &mut crowd, rooms, &mut states, lines, &frames)?;
    drop(crowd);
    served.stop()?;
    Ok(outcome.run())
}

/// Until everybody has heard all `lines`. Clients say `frames`, as they hear the answers; if there
/// are none, one of them tells the program to begin.
fn drive(
    served: &Served,
    crowd: &mut Crowd,
    clients: usize,
    states: &mut States,
    lines: u64,
    frames: &[Vec<u8>],
) -> Result<Outcome> {
    let mut sequences: Vec<Sequence> = Vec::new();
    sequences.resize_with(clients, Sequence::default);
    let mut sent = vec![0; clients];
    let mut speakers: Vec<usize> = match frames {
        [] => Vec::new(),
        _ => (0..clients).collect(),
    };
    let (mut whole, mut wrong) = (0, None);
    let mut saying = Vec::new();
    let mut heard_at = Instant::now();
    let us = std::process::id();
    let already = crowd.received();
    let before = (Instant::now(), served.cpu()?, proc::cpu(us)?);
    if frames.is_empty() {
        crowd.say(0, b"go")?;
    }
    while whole < clients && wrong.is_none() && heard_at.elapsed() < SILENCE {
        for client in speakers.drain(..) {
            let (Some(sent), Some(sequence)) = (sent.get_mut(client), sequences.get(client)) else {
                continue;
            };
            let until = (sequence.received + WINDOW).min(frames.len() as u64) as usize;
            saying.clear();
            for frame in frames.get(*sent..until).unwrap_or_default() {
                saying.extend_from_slice(frame);
            }
            crowd.send(client, &saying)?;
            *sent = until;
        }
        crowd.turn(Duration::from_secs(1), |client, heard| {
            let Some(sequence) = sequences.get_mut(client) else {
                return;
            };
            let number = match heard {
                Heard::Message(text, SIZE) => states.plain(text),
                Heard::Packed(payload) => states.packed(payload, sequence.next()),
                Heard::Open => return,
                Heard::Message(_, len) => Err(anyhow!("a message of {len} bytes")),
                other => Err(anyhow!("{other:?}")),
            };
            match number {
                Ok(number) => sequence.note(number),
                Err(error) => wrong = Some(error.context(format!("client {client}"))),
            }
            whole += usize::from(sequence.received == lines);
            heard_at = Instant::now();
            if !frames.is_empty() && speakers.last() != Some(&client) {
                speakers.push(client);
            }
        })?;
    }
    let wall = before.0.elapsed();
    let server = served.cpu()?.saturating_sub(before.1);
    let generator = proc::cpu(us)?.saturating_sub(before.2);
    if let Some(wrong) = wrong {
        bail!(wrong);
    }
    Ok(Outcome {
        faults: Faults::of(&sequences, lines),
        wall,
        server,
        generator,
        bytes: crowd.received() - already,
    })
}
