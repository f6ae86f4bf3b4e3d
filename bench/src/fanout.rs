//! What a child prints, to many clients: how many deliveries a second, and what one costs the
//! server. Every line is numbered, and every client's stream is checked.

mod bare;

pub(crate) use bare::serve as serve_bare;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::crowd::{Crowd, Heard};
use crate::proc;
use crate::report::Figures;
use crate::sequence::{Sequence, number};
use crate::server::{Server, this_program};

/// Bytes of a line.
const SIZE: usize = 64;
/// Nothing for so long, and the run has failed.
const SILENCE: Duration = Duration::from_secs(10);

/// What came of one load.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) wall: Duration,
    pub(crate) server: Duration,
    pub(crate) generator: Duration,
    pub(crate) deliveries: u64,
}

impl Outcome {
    fn note(&self, figures: &mut Figures, what: &str) {
        let rate = self.deliveries as f64 / self.wall.as_secs_f64();
        figures.add(format!("{what}: deliveries"), "a second", rate);
        self.note_cost(figures, what);
    }

    fn note_cost(&self, figures: &mut Figures, what: &str) {
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e9 / self.deliveries as f64;
        let name = format!("{what}: server CPU per delivery");
        figures.add(name, "ns", each(self.server));
        let name = format!("{what}: load generator CPU per delivery");
        figures.add(name, "ns", each(self.generator));
    }
}

/// As fast as it goes, to 10, 100 and 1,000 clients.
pub(crate) fn flood(server: &Path, runs: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for _ in 0..runs {
        for (clients, lines) in [(10, 2_000_000), (100, 300_000), (1_000, 40_000)] {
            let lines_text = lines.to_string();
            let child = ["flood", &lines_text, "64"];
            let outcome = load(server, &child, clients, lines, None)?;
            outcome.note(&mut figures, &format!("flood to {}", thousands(clients)));
        }
    }
    Ok(figures)
}

/// Lines that come one by one: nothing to be written together, if the server keeps up.
pub(crate) fn paced(server: &Path, runs: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for _ in 0..runs {
        for (rate, clients, lines) in [(200, 100, 600), (5_000, 100, 15_000), (20, 1_000, 60)] {
            let (rate_text, lines_text) = (rate.to_string(), lines.to_string());
            let child = ["paced", &rate_text, "64", &lines_text];
            let outcome = load(server, &child, clients, lines, None)?;
            let (clients_count, clients) = (clients, thousands(clients));
            let what = format!("{} lines a second to {clients}", thousands(rate));
            outcome.note_cost(&mut figures, &what);
            if rate < 1_000 {
                let outcome = bare::run(&rate_text, clients_count, lines)?;
                outcome.note_cost(&mut figures, &format!("{what}, floor: a loop of write(2)"));
            }
        }
    }
    Ok(figures)
}

/// The same flood to 49 who read, with and without a fiftieth who never does.
pub(crate) fn lazy(server: &Path, runs: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    let child = ["flood", "800000", "64"];
    for _ in 0..runs {
        load(server, &child, 49, 800_000, None)?.note(&mut figures, "flood to 49");
        let with = load(server, &child, 50, 800_000, Some(0))?;
        with.note(&mut figures, "flood to 49 beside one that never reads");
    }
    Ok(figures)
}

fn thousands(number: usize) -> String {
    match number {
        1_000.. => format!("{},{:03}", number / 1_000, number % 1_000),
        _ => number.to_string(),
    }
}

/// `clients` in a room whose child prints `lines` lines; `lazy` does not read until all is over,
/// and is then to find that it was closed for that.
fn load(
    binary: &Path,
    child: &[&str],
    clients: usize,
    lines: u64,
    lazy: Option<usize>,
) -> Result<Outcome> {
    let program = this_program()?;
    let mut words: Vec<&str> = vec![program.to_str().context("a path in UTF-8")?, "--", "child"];
    words.extend(child);
    let server = Server::start(binary, &words)?;
    let outcome = drive(server.addr, server.pid(), clients, lines, lazy)?;
    server.stop()?;
    Ok(outcome)
}

fn drive(
    addr: SocketAddr,
    pid: u32,
    clients: usize,
    lines: u64,
    lazy: Option<usize>,
) -> Result<Outcome> {
    let mut crowd = Crowd::join(addr, "bench", clients)?;
    if let Some(lazy) = lazy {
        crowd.set_lazy(lazy, true)?;
    }
    let mut sequences: Vec<Sequence> = Vec::new();
    sequences.resize_with(clients, Sequence::default);
    let readers = clients - usize::from(lazy.is_some());
    let (mut whole, mut closed) = (0, None);
    let mut heard_at = Instant::now();

    let us = std::process::id();
    let before = (Instant::now(), proc::cpu(pid)?, proc::cpu(us)?);
    crowd.say(usize::from(lazy == Some(0)), b"go")?;
    while whole < readers {
        crowd.turn(Duration::from_secs(1), |client, heard| {
            heard_at = Instant::now();
            match heard {
                Heard::Message(head, len) => {
                    let sequence = sequences.get_mut(client);
                    if let (Some(number), Some(sequence)) = (number(head), sequence)
                        && len == SIZE
                    {
                        sequence.note(number);
                        whole += usize::from(sequence.received == lines);
                    }
                }
                Heard::Open => {}
                Heard::Close(code, reason) => closed = Some(format!("{client}: {code} {reason}")),
                Heard::End => closed = Some(format!("{client}: end of stream")),
            }
        })?;
        if let Some(closed) = closed {
            bail!("a client that reads was closed: {closed}");
        }
        if heard_at.elapsed() > SILENCE {
            bail!(
                "silence: {whole} of {readers} have all\n{}",
                faults(&sequences, lines)
            );
        }
    }
    let outcome = Outcome {
        wall: before.0.elapsed(),
        server: proc::cpu(pid)?.saturating_sub(before.1),
        generator: proc::cpu(us)?.saturating_sub(before.2),
        deliveries: lines * readers as u64,
    };
    let readers = sequences
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != lazy);
    for (client, sequence) in readers {
        if sequence.next() != lines || sequence.duplicated + sequence.reordered > 0 {
            bail!(
                "client {client} of {clients}\n{}",
                faults(&sequences, lines)
            );
        }
    }
    if let Some(lazy) = lazy {
        too_slow(&mut crowd, lazy)?;
    }
    Ok(outcome)
}

/// The lazy client reads at last: it was told why it is out.
fn too_slow(crowd: &mut Crowd, lazy: usize) -> Result<()> {
    crowd.set_lazy(lazy, false)?;
    let deadline = Instant::now() + SILENCE;
    let mut code = None;
    while code.is_none() && Instant::now() < deadline {
        crowd.turn(Duration::from_secs(1), |client, heard| {
            if client == lazy {
                match heard {
                    Heard::Close(given, _) => code = Some(given),
                    Heard::End => code = code.or(Some(1006)),
                    _ => {}
                }
            }
        })?;
    }
    match code {
        Some(4008) => Ok(()),
        other => bail!("the client that never reads was closed with {other:?}, not 4008"),
    }
}

fn faults(sequences: &[Sequence], lines: u64) -> String {
    let lost: u64 = sequences.iter().map(|s| s.lost(lines)).sum();
    let duplicated: u64 = sequences.iter().map(|s| s.duplicated).sum();
    let reordered: u64 = sequences.iter().map(|s| s.reordered).sum();
    format!("lost {lost}, duplicated {duplicated}, reordered {reordered}")
}
