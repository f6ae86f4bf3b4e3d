//! What is printed once, to many clients: as fast as it is taken, at a pace, in one burst, and
//! beside a client that never reads. Every line is numbered, and every client's stream is checked.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::crowd::{Crowd, Heard};
use crate::figures::{each, quantile};
use crate::proc;
use crate::scenario::{Bench, Cell, Run, Scenario};
use crate::sequence::{Faults, Sequence, due, number};
use crate::served::{Served, Who};
use crate::server::this_program;
use crate::soak::Peak;

/// As fast as the child prints.
pub(crate) const FLOOD: Scenario = Scenario {
    name: "flood",
    runs: 5,
    cells: flood,
};

/// Lines that come one by one: nothing to be written together, if the server keeps up.
pub(crate) const PACED: Scenario = Scenario {
    name: "paced",
    runs: 5,
    cells: paced,
};

/// 10,000 lines that a child prints at once.
pub(crate) const BURST: Scenario = Scenario {
    name: "burst",
    runs: 5,
    cells: burst,
};

/// The same flood to 49 who read, with and without a fiftieth who never does.
pub(crate) const SLOW: Scenario = Scenario {
    name: "slow",
    runs: 5,
    cells: slow,
};

/// Bytes of a line.
const SIZE: usize = 64;
/// Lines that µWebSockets is given before its sockets must have taken them. Any number from 64 to
/// 4096 costs it the same: it writes 32 messages at a time.
const PUBLISHED: &str = "1024";
/// Nothing for so long, and what has not come is lost.
const SILENCE: Duration = Duration::from_secs(5);

const WRITES: [(u64, Who); 3] = [
    (1, Who::Floor("floor: write(2) of 1 frame")),
    (32, Who::Floor("floor: write(2) of 32 frames")),
    (64, Who::Floor("floor: write(2) of 64 frames")),
];

/// How a load looks from the clients' side.
#[derive(Clone, Copy, Debug)]
struct Audience {
    clients: usize,
    lines: u64,
    /// Reads nothing until all is over, and is then to find that it was closed for that.
    lazy: Option<usize>,
    /// Whether it is noted how late each line came.
    timed: bool,
}

impl Audience {
    fn of(clients: usize, lines: u64) -> Self {
        Audience {
            clients,
            lines,
            lazy: None,
            timed: false,
        }
    }
}

/// What came of one load.
#[derive(Debug)]
struct Outcome {
    faults: Faults,
    wall: Duration,
    server: Duration,
    generator: Duration,
    /// Nanoseconds from the moment a line was due, for every client.
    late: Vec<u64>,
}

impl Outcome {
    fn rate(&self) -> f64 {
        self.faults.due as f64 / self.wall.as_secs_f64()
    }

    fn costs(&self) -> Run {
        let of = self.faults.due - self.faults.lost;
        Run::new(self.faults)
            .with("server CPU per delivery", "ns", each(self.server, of))
            .with("load generator's", "ns", each(self.generator, of))
    }
}

fn flood(bench: &Bench) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (clients, lines, few) in [(100, 100_000, 25), (1_000, 15_000, 50)] {
        let audience = Audience::of(bench.of(clients, few), bench.of(lines, 3_000));
        let shape = format!("to {}", audience.clients);
        let mut add = |who, audience: Audience, at_once: u64| {
            cells.push(Cell::new(shape.clone(), who, move |bench| {
                let outcome = match who {
                    Who::Ours | Who::Predecessor => print(bench, who, "flood", audience)?,
                    Who::UWebSockets => publish(bench, audience)?,
                    _ => write(bench, who, audience, at_once, 0)?,
                };
                Ok(outcome
                    .costs()
                    .with("deliveries", "a second", outcome.rate()))
            }));
        };
        add(Who::Ours, audience, 0);
        add(Who::UWebSockets, audience, 0);
        add(Who::Predecessor, audience, 0);
        for (at_once, who) in WRITES {
            // At one system call a delivery the same number of lines would take minutes.
            let lines = audience.lines / if at_once == 1 { 40 } else { 1 };
            add(who, Audience { lines, ..audience }, at_once);
        }
    }
    cells
}

fn paced(bench: &Bench) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (rate, clients) in [(5_000, 100), (200, 100), (20, 1_000)] {
        let clients = bench.of(clients, 20);
        let shape = format!("{rate} lines a second to {clients}");
        // Three seconds of them, or the tenth part of one.
        let lines = bench.of(rate * 3, rate / 10);
        let audience = Audience {
            timed: true,
            ..Audience::of(clients, lines)
        };
        let mut all = vec![Who::Ours, Who::Predecessor];
        // A system call for each of 500,000 deliveries a second is more than the machine has.
        all.extend((rate < 1_000).then_some(WRITES[0].1));
        for who in all {
            cells.push(Cell::new(shape.clone(), who, move |bench| {
                let mut outcome = match who {
                    Who::Floor(_) => write(bench, who, audience, 1, rate)?,
                    _ => print(bench, who, &format!("paced {rate}"), audience)?,
                };
                let micros = |nanos: u64| nanos as f64 / 1e3;
                let p50 = micros(quantile(&mut outcome.late, 0.5));
                let p99 = micros(quantile(&mut outcome.late, 0.99));
                let mut run = outcome
                    .costs()
                    .with("p50", "µs", p50)
                    .with("p99", "µs", p99);
                run.of_what_came = true;
                Ok(run)
            }));
        }
    }
    cells
}

fn burst(bench: &Bench) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (clients, few) in [(100, 20), (1_000, 40)] {
        let audience = Audience::of(bench.of(clients, few), bench.of(10_000, 1_000));
        let shape = format!("{} lines to {}", audience.lines, audience.clients);
        for who in [Who::Ours, Who::Predecessor] {
            cells.push(Cell::new(shape.clone(), who, move |bench| {
                let outcome = print(bench, who, "flood", audience)?;
                let wall = outcome.wall.as_secs_f64() * 1e3;
                Ok(Run::new(outcome.faults).with("until everybody has all", "ms", wall))
            }));
        }
    }
    cells
}

fn slow(bench: &Bench) -> Vec<Cell> {
    // Enough that a client that reads nothing falls behind by more than sockets and backlog hold.
    let lines = bench.of(800_000, 200_000);
    let readers = bench.of(49, 5);
    let alone = Audience::of(readers, lines);
    let beside = Audience {
        lazy: Some(0),
        ..Audience::of(readers + 1, lines)
    };
    let mut cells = Vec::new();
    for (how, audience) in [("alone", alone), ("beside one", beside)] {
        let shape = format!("{readers} {how}");
        cells.push(Cell::new(shape, Who::Ours, move |bench| {
            let served = serve_child(bench, Who::Ours, "flood", audience.lines)?;
            let peak = Peak::watch(served.pid());
            let outcome = drive(&served, audience)?;
            let most = peak.most() as f64 / f64::from(1 << 20);
            served.stop()?;
            Ok(outcome
                .costs()
                .with("deliveries", "a second", outcome.rate())
                .with("server memory at most", "MiB", most))
        }));
    }
    cells
}

/// A child of this program, `load`, prints what the audience hears.
fn print(bench: &Bench, who: Who, load: &str, audience: Audience) -> Result<Outcome> {
    let served = serve_child(bench, who, load, audience.lines)?;
    let outcome = drive(&served, audience)?;
    served.stop()?;
    Ok(outcome)
}

fn serve_child(bench: &Bench, who: Who, load: &str, lines: u64) -> Result<Served> {
    let (program, lines, size) = (this_program()?, lines.to_string(), SIZE.to_string());
    let mut words = vec![program.to_str().context("a path in UTF-8")?, "child"];
    words.extend(load.split(' '));
    words.extend([lines.as_str(), size.as_str()]);
    bench.serve(who, &[], &words)
}

fn publish(bench: &Bench, audience: Audience) -> Result<Outcome> {
    let (lines, size) = (audience.lines.to_string(), SIZE.to_string());
    let words = [lines.as_str(), size.as_str(), PUBLISHED];
    drive(&bench.serve(Who::UWebSockets, &[], &words)?, audience)
}

fn write(bench: &Bench, who: Who, audience: Audience, at_once: u64, rate: u64) -> Result<Outcome> {
    let numbers = [
        audience.lines,
        SIZE as u64,
        audience.clients as u64,
        at_once,
        rate,
    ];
    let numbers = numbers.map(|number| number.to_string());
    let mut words = vec!["writes"];
    words.extend(numbers.iter().map(String::as_str));
    drive(&bench.serve(who, &[], &words)?, audience)
}

fn drive(served: &Served, audience: Audience) -> Result<Outcome> {
    let Audience {
        clients,
        lines,
        lazy,
        timed,
    } = audience;
    let mut crowd = Crowd::join(served.addr, "bench", clients)?;
    if let Some(lazy) = lazy {
        crowd.set_lazy(lazy, true)?;
    }
    let mut sequences: Vec<Sequence> = Vec::new();
    sequences.resize_with(clients, Sequence::default);
    let readers = clients - usize::from(lazy.is_some());
    let mut late = Vec::with_capacity(if timed { readers * lines as usize } else { 0 });
    let (mut whole, mut closed) = (0, None);
    let mut heard_at = Instant::now();

    let us = std::process::id();
    let before = (Instant::now(), served.cpu()?, proc::cpu(us)?);
    crowd.say(usize::from(lazy == Some(0)), b"go")?;
    while whole < readers && closed.is_none() && heard_at.elapsed() < SILENCE {
        let mut heard_any = false;
        crowd.turn(Duration::from_secs(1), |client, heard| {
            heard_any = true;
            match heard {
                Heard::Message(head, SIZE) => {
                    if let (Some(number), Some(sequence)) =
                        (number(head), sequences.get_mut(client))
                    {
                        sequence.note(number);
                        whole += usize::from(sequence.received == lines);
                        if timed {
                            let due = due(head).unwrap_or(0);
                            late.push(proc::monotonic().saturating_sub(due));
                        }
                    }
                }
                Heard::Message(..) | Heard::Packed(_) | Heard::Open => {}
                Heard::Close(code, reason) => closed = Some(format!("{client}: {code} {reason}")),
                Heard::End => closed = Some(format!("{client}: end of stream")),
            }
        })?;
        if heard_any {
            heard_at = Instant::now();
        }
    }
    let wall = before.0.elapsed();
    let server = served.cpu()?.saturating_sub(before.1);
    let generator = proc::cpu(us)?.saturating_sub(before.2);
    if let Some(closed) = closed {
        bail!("a client that reads was closed: {closed}");
    }
    let all = sequences.iter().enumerate();
    let reading = all.filter(|(index, _)| Some(*index) != lazy);
    let faults = Faults::of(reading.map(|(_, sequence)| sequence), lines);
    if let Some(lazy) = lazy {
        too_slow(&mut crowd, lazy)?;
    }
    Ok(Outcome {
        faults,
        wall,
        server,
        generator,
        late,
    })
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
