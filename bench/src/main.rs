//! Benchmarks and soak tests of scalesocket: `scalesocket-bench run`, `check` and `soak`.
//!
//! It starts the release binary on a port of its own, loads it over 127.0.0.1 and checks what
//! comes back: a run with a lost, duplicated or reordered message is a failure, never a figure.
//! See `docs/benchmarks.md`.

mod bars;
mod chance;
mod children;
mod closed;
mod compressed;
mod console;
mod crowd;
mod directed;
mod echo;
mod fanout;
mod figures;
mod floors;
mod idle;
mod large;
mod options;
mod parts;
mod peers;
mod proc;
mod report;
mod rooms;
mod scenario;
mod sequence;
mod served;
mod server;
mod soak;
mod start;
mod states;
mod stream;
mod wire;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use figures::Figures;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use options::{Options, USAGE};
use peers::Peers;
use report::Circumstances;
use scenario::{Bench, Scenario};

/// All of them, in the order of the table. One more is one more entry here and its bars in
/// `bench/bars.json`.
const SCENARIOS: [Scenario; 14] = [
    echo::SCENARIO,
    closed::ROOMS,
    fanout::FLOOD,
    fanout::PACED,
    fanout::BURST,
    directed::SCENARIO,
    fanout::SLOW,
    large::SCENARIO,
    closed::FRAMING,
    compressed::SCENARIO,
    rooms::SCENARIO,
    idle::SCENARIO,
    start::SCENARIO,
    console::SCENARIO,
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.split_first() {
        // Not raised there: children live with the limit they are given.
        Some((verb, rest)) if verb == "child" => children::run(rest),
        Some((verb, rest)) if verb == "run" => with_limits(rest, run),
        Some((verb, rest)) if verb == "check" => Options::parse(rest).and_then(|of| check(&of)),
        Some((verb, rest)) if verb == "soak" => with_limits(rest, soak::run),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scalesocket-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// 10,000 connections need more descriptors than the soft limit has.
fn with_limits(args: &[String], then: impl FnOnce(&Options) -> Result<()>) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    then(&Options::parse(args)?)
}

fn run(options: &Options) -> Result<()> {
    let version = Command::new(&options.server).arg("--version").output();
    let version = version.with_context(|| format!("{}", options.server.display()))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let bench = Bench {
        server: options.server.clone(),
        peers: Peers::find(),
        quick: options.quick,
    };
    let circumstances = Circumstances::now(version, &bench.peers)?;
    let mut figures = Figures::default();
    let mut failed = 0;
    for scenario in SCENARIOS.iter().filter(|of| options.wants(of.name)) {
        let runs = options.runs.unwrap_or(match options.quick {
            true => 1,
            false => scenario.runs,
        });
        let (found, wrong) = bench.run(scenario, runs);
        failed += wrong;
        figures.append(found);
    }
    let page = report::page(&circumstances, &figures, &bars::all()?);
    if !options.quick {
        println!("{}", page.text);
    }
    if let Some(file) = &options.json {
        let all = circumstances.json(&figures);
        std::fs::write(file, format!("{all:#}\n"))?;
    }
    match &options.write {
        Some(document) if options.is_whole() => report::write(document, &page.text)?,
        Some(document) => eprintln!("only a part was run: {} stays as it is", document.display()),
        None => {}
    }
    if failed > 0 {
        bail!("{failed} runs of ours failed");
    }
    if options.check && page.missed > 0 {
        bail!("{} bars are missed", page.missed);
    }
    Ok(())
}

/// The bars against figures of an earlier run.
fn check(options: &Options) -> Result<()> {
    let file = options.json.as_ref().context("check what? --json FILE")?;
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let figures = Figures::read(&serde_json::from_str(&text)?)?;
    let (table, missed) = report::bars(&bars::all()?, &figures);
    print!("{table}");
    if missed > 0 {
        bail!("{missed} bars are missed");
    }
    Ok(())
}
