//! Rooms that open all at once, each with a child of its own, beside a loop that only spawns.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::crowd::{Crowd, Heard};
use crate::report::{Figures, quantile};
use crate::server::Server;

const ROOMS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);
const SCRIPT: &str = "echo hi; exec cat";

/// Alternates between the server and the floor.
pub(crate) fn run(binary: &Path, runs: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for _ in 0..runs {
        served(binary, &mut figures)?;
        spawned(&mut figures)?;
    }
    Ok(figures)
}

fn served(binary: &Path, figures: &mut Figures) -> Result<()> {
    let server = Server::start(binary, &["--maxrooms", "1000", "--", "sh", "-c", SCRIPT])?;
    let mut crowd = Crowd::new(server.addr)?;
    let begun = Instant::now();
    let mut asked = Vec::with_capacity(ROOMS);
    for room in 0..ROOMS {
        asked.push(Instant::now());
        crowd.connect(&format!("room-{room}"))?;
    }
    let mut times = Vec::with_capacity(ROOMS);
    let mut wrong = None;
    while times.len() < ROOMS {
        crowd.turn(Duration::from_secs(1), |client, heard| match heard {
            Heard::Message(b"hi", _) => times.extend(asked.get(client).map(Instant::elapsed)),
            Heard::Open => {}
            other => wrong = Some(format!("client {client} heard {other:?}")),
        })?;
        if let Some(wrong) = wrong {
            bail!(wrong);
        }
        if begun.elapsed() > PATIENCE {
            bail!("{} of {ROOMS} rooms have spoken", times.len());
        }
    }
    let wall = begun.elapsed().as_secs_f64();
    figures.add("rooms opened at once", "a second", ROOMS as f64 / wall);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let time = quantile(&mut times, share).as_secs_f64() * 1e3;
        figures.add(
            format!("time to a room's first message, {name}"),
            "ms",
            time,
        );
    }
    let begun = Instant::now();
    drop(crowd);
    let left = server.wait_childless(PATIENCE);
    if !left.is_empty() {
        bail!("children outlive their rooms: {left:?}");
    }
    let wall = begun.elapsed().as_secs_f64();
    figures.add("rooms closed at once", "a second", ROOMS as f64 / wall);
    server.stop()
}

/// The floor: the same program so often, from a small process that does nothing else.
fn spawned(figures: &mut Figures) -> Result<()> {
    let begun = Instant::now();
    let mut children: Vec<Child> = Vec::with_capacity(ROOMS);
    for _ in 0..ROOMS {
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
    let wall = begun.elapsed().as_secs_f64();
    let name = "rooms, floor: a loop that spawns the same program";
    figures.add(name, "a second", ROOMS as f64 / wall);
    for mut child in children {
        drop(child.stdin.take());
        child.wait()?;
    }
    Ok(())
}
