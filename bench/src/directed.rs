//! Questions with an answer each, that only the asker hears: in a full room an answer may not
//! cost more than in a small one.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::crowd::{Crowd, Heard};
use crate::proc;
use crate::report::Figures;
use crate::server::Server;

const ANSWERS: u64 = 60_000;
const SILENCE: Duration = Duration::from_secs(10);
/// Where the digits of a question stand in it, and in its answer.
const DIGITS: std::ops::Range<usize> = 6..18;

/// The same load in rooms of 10 and of 1,000, and everybody at once.
pub(crate) fn run(binary: &Path, runs: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for _ in 0..runs {
        for (clients, asking) in [(10, 10), (1_000, 10), (1_000, 1_000)] {
            let (wall, cpu) = ask(binary, clients, asking)?;
            let what = format!("directed answers, {asking} of {clients} asking");
            let rate = ANSWERS as f64 / wall.as_secs_f64();
            figures.add(&what, "a second", rate);
            let each = cpu.as_secs_f64() * 1e6 / ANSWERS as f64;
            figures.add(format!("{what}: server CPU per answer"), "µs", each);
        }
    }
    Ok(figures)
}

/// `asking` questions are on their way at any time. Each answer lets the client `asking` places
/// further ask, so that nobody has two questions open.
fn ask(binary: &Path, clients: usize, asking: usize) -> Result<(Duration, Duration)> {
    let server = Server::start(binary, &["--frame=json", "cat"])?;
    let mut crowd = Crowd::join(server.addr, "directed", clients)?;
    let mut asked: Vec<Option<u64>> = vec![None; clients];
    let mut next = 0u64;
    let mut to_ask: Vec<usize> = (0..asking).collect();
    let (mut answers, mut wrong) = (0, None);
    let mut heard_at = Instant::now();
    let before = (Instant::now(), proc::cpu(server.pid())?);
    while answers < ANSWERS {
        for client in to_ask.drain(..) {
            crowd.say(client, format!("{{\"n\":\"{next:012}\"}}").as_bytes())?;
            if let Some(asked) = asked.get_mut(client) {
                *asked = Some(next);
            }
            next += 1;
        }
        crowd.turn(Duration::from_secs(1), |client, heard| {
            heard_at = Instant::now();
            let digits = match heard {
                Heard::Message(head, _) => head.get(DIGITS),
                _ => None,
            };
            let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            let expected = asked.get_mut(client).and_then(Option::take);
            if number.is_none() || number != expected {
                wrong = Some(format!(
                    "client {client} heard {number:?}, not {expected:?}"
                ));
            }
            answers += 1;
            to_ask.push((client + asking) % clients);
        })?;
        if let Some(wrong) = wrong {
            bail!(wrong);
        }
        if heard_at.elapsed() > SILENCE {
            bail!("silence after {answers} of {ANSWERS} answers");
        }
    }
    let wall = before.0.elapsed();
    let cpu = proc::cpu(server.pid())?.saturating_sub(before.1);
    drop(crowd);
    server.stop()?;
    Ok((wall, cpu))
}
