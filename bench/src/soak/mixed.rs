//! The mixed soak: rooms of every framing whose clients keep up and count every message, coming
//! and going all the time, and beside them a fault every few seconds.
//!
//! At the end nothing may be lost to those who kept up, every fault must have looked to its own
//! clients as it should, and the servers must hold what they held at first. All chances come from
//! one seed, which is printed; when threads meet is the machine's.

mod attacks;
mod census;
mod directed;
mod faults;
mod neighbours;
mod shows;
mod site;
mod verdict;
mod visitor;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use serde_json::json;

use self::census::Samples;
use self::faults::{FAULTS, Fault};
use self::site::{Break, Site};
use self::verdict::Found;
use crate::chance::Chance;
use crate::options::Options;
use crate::{proc, report};

/// Minutes, unless others are asked for.
const MINUTES: f64 = 30.0;
/// Of the quick form.
const QUICK: Duration = Duration::from_secs(8);
/// What stands above the table in a document.
const MARK: &str =
    "<!-- made by `just soak --only mixed --write docs/benchmarks.md`; do not edit below -->";

/// See the module's documentation.
pub(super) fn run(options: &Options) -> Result<String> {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seed = options
        .seed
        .unwrap_or(clock.as_nanos() as u64 % 1_000_000_000);
    let time = match options.quick {
        true => QUICK,
        false => Duration::from_secs_f64(60.0 * options.minutes.unwrap_or(MINUTES)),
    };
    let breaks = options.breaks.as_deref().map(Break::named).transpose()?;
    eprintln!(
        "mixed: --seed {seed}, {:.1} minutes",
        time.as_secs_f64() / 60.0
    );
    let site = Site::open(&options.server, time, options.quick, breaks)?;
    let samples = Samples::take(&site);
    play(&site, &mut Chance::new(seed));
    let samples = samples.over();
    let left = site.is_back();
    let found = Found::new(&site, &samples, left);
    let table = format!(
        "{}, {}, load average {:.1}; {:.1} minutes, seed {seed}, {} rooms that came and went, {} faults; the first {:.0} s are in neither half.\n\n{}",
        report::today()?,
        proc::machine(),
        proc::load(),
        time.as_secs_f64() / 60.0,
        found.rooms,
        found.faults,
        samples.warm_up.as_secs_f64(),
        found.table(),
    );
    println!("{table}");
    if let Some(file) = &options.json {
        let all = json!({ "seed": seed, "seconds": time.as_secs(), "found": found.json() });
        std::fs::write(file, format!("{all:#}\n"))?;
    }
    if let Some(document) = &options.write {
        report::write_behind(MARK, document, &table)?;
    }
    let broken = found.broken();
    if !broken.is_empty() {
        bail!("{} (--seed {seed})", broken.join("; "));
    }
    site.close()?;
    Ok(format!(
        "{}; {} faults, seed {seed}",
        found.messages, found.faults
    ))
}

/// Rooms and faults until the time is over, and until the last of them has ended.
fn play(site: &Site, chance: &mut Chance) {
    std::thread::scope(|threads| {
        for (index, show) in shows::SHOWS.iter().enumerate() {
            let mut chance = chance.fork();
            threads.spawn(move || {
                for time in 0.. {
                    if site.is_over() {
                        break;
                    }
                    let room = format!("{}-{index}-{time}", show.part);
                    match show.run(site, &room, &mut chance) {
                        Ok(faults) => site.add(&faults),
                        Err(error) => site.fails(&room, &error),
                    }
                }
            });
        }
        threads.spawn(|| site.breaks_what_it_should());
        let mut deck: Vec<&Fault> = Vec::new();
        let mut number = 0;
        while let Some(pause) = site.pause(chance) {
            std::thread::sleep(pause);
            if deck.is_empty() {
                // Each once before any twice, so that both halves of the time see the same.
                deck.extend(&FAULTS);
                chance.shuffle(&mut deck);
            }
            let Some(fault) = deck.pop() else { break };
            let mut chance = chance.fork();
            number += 1;
            threads.spawn(move || {
                let begun = Instant::now();
                let told = (fault.happens)(site, number, &mut chance);
                let took = begun.elapsed().as_secs_f64();
                site.faults.fetch_add(1, Ordering::Relaxed);
                match told {
                    Ok(told) => site.log(&format!("{number} {}: {told}, {took:.1} s", fault.name)),
                    Err(error) => site.fails(&format!("{number} {}", fault.name), &error),
                }
            });
        }
    });
}
