//! Questions with an answer each, that only the asker hears: in a full room an answer may not
//! cost more than in a small one.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::crowd::{Crowd, Heard};
use crate::figures::each;
use crate::scenario::{Bench, Cell, Run, Scenario};
use crate::sequence::{DIGITS, Faults, number};
use crate::served::Who;

/// The same load in rooms of 10 and of 1,000, and everybody at once.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "directed",
    runs: 5,
    cells,
};

const SILENCE: Duration = Duration::from_secs(10);
/// Where the digits of a question stand in it, and in its answer.
const AT: std::ops::Range<usize> = 6..6 + DIGITS;

fn cells(bench: &Bench) -> Vec<Cell> {
    let full = bench.of(1_000, 50);
    [(10, 10), (full, 10), (full, full)]
        .map(|(clients, asking)| {
            let shape = format!("{asking} of {clients} ask");
            Cell::new(shape, Who::Ours, move |bench| {
                measure(bench, clients, asking)
            })
        })
        .into()
}

/// `asking` questions are on their way at any time. Each answer lets the client `asking` places
/// further ask, so that nobody has two questions open.
fn measure(bench: &Bench, clients: usize, asking: usize) -> Result<Run> {
    let answers = bench.of(60_000, 2_000);
    let served = bench.serve(Who::Ours, &["--frame=json"], &["cat"])?;
    let mut crowd = Crowd::join(served.addr, "directed", clients)?;
    // The question that each has open; everybody hears his own answers and no other.
    let mut asked: Vec<Option<u64>> = vec![None; clients];
    let mut next = 0u64;
    let mut to_ask: Vec<usize> = (0..asking).collect();
    let mut faults = Faults::default();
    let mut wrong = None;
    let mut heard_at = Instant::now();
    let before = (Instant::now(), served.cpu()?);
    while faults.due < answers && wrong.is_none() && heard_at.elapsed() < SILENCE {
        for client in to_ask.drain(..) {
            crowd.say(client, format!("{{\"n\":\"{next:012}\"}}").as_bytes())?;
            if let Some(asked) = asked.get_mut(client) {
                *asked = Some(next);
            }
            next += 1;
        }
        crowd.turn(Duration::from_secs(1), |client, heard| {
            heard_at = Instant::now();
            let Heard::Message(head, _) = heard else {
                wrong = Some(format!("client {client}: {heard:?}"));
                return;
            };
            let answer = head.get(AT).and_then(number);
            let open = asked.get_mut(client);
            match open {
                Some(open) if answer.is_some() && *open == answer => {
                    *open = None;
                    faults.due += 1;
                    to_ask.push((client + asking) % clients);
                }
                // What it had asked before, or what somebody else asked.
                _ => faults.duplicated += 1,
            }
        })?;
    }
    let wall = before.0.elapsed();
    let cpu = served.cpu()?.saturating_sub(before.1);
    if let Some(wrong) = wrong {
        bail!(wrong);
    }
    faults.lost = answers.saturating_sub(faults.due);
    let rate = faults.due as f64 / wall.as_secs_f64();
    drop(crowd);
    served.stop()?;
    let cpu = each(cpu, faults.due) / 1e3;
    faults.due += faults.lost;
    Ok(Run::new(faults)
        .with("answers", "a second", rate)
        .with("server CPU per answer", "µs", cpu))
}
