//! Benchmarks and soak tests of scalesocket: `scalesocket-bench run` and `scalesocket-bench soak`.
//!
//! It starts the release binary on a port of its own, loads it over 127.0.0.1 and checks what
//! comes back: a run with a lost, duplicated or reordered message is a failure, never a figure.
//! See `docs/benchmarks.md`.

mod children;
mod crowd;
mod directed;
mod echo;
mod fanout;
mod idle;
mod proc;
mod report;
mod rooms;
mod sequence;
mod server;
mod soak;
mod wire;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use report::Figures;

const USAGE: &str = "usage: scalesocket-bench run|soak [--server PATH] [--runs N] [--only NAME]... \
                     [--json FILE] [--write DOCUMENT]";

/// A scenario: its figures, from the server's binary and a number of runs.
type Scenario = fn(&Path, usize) -> Result<Figures>;

const SCENARIOS: [(&str, Scenario); 7] = [
    ("echo", echo::run),
    ("flood", fanout::flood),
    ("paced", fanout::paced),
    ("lazy", fanout::lazy),
    ("directed", directed::run),
    ("rooms", rooms::run),
    ("idle", idle::run),
];

/// What was asked for.
#[derive(Debug)]
struct Options {
    server: PathBuf,
    runs: usize,
    only: Vec<String>,
    json: Option<PathBuf>,
    write: Option<PathBuf>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let beside = server::this_program()?.with_file_name("scalesocket");
        let mut options = Options {
            server: beside,
            runs: 5,
            only: Vec::new(),
            json: None,
            write: None,
        };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let value = args.next().context(USAGE)?;
            match flag.as_str() {
                "--server" => options.server = value.into(),
                "--runs" => options.runs = value.parse().context(USAGE)?,
                "--only" => options.only.push(value.clone()),
                "--json" => options.json = Some(value.into()),
                "--write" => options.write = Some(value.into()),
                _ => bail!(USAGE),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.split_first() {
        // Not raised there: children live with the limit they are given.
        Some((verb, rest)) if verb == "child" => children::run(rest),
        Some((verb, rest)) if verb == "run" => with_limits(rest, run),
        Some((verb, rest)) if verb == "soak" => with_limits(rest, |options| {
            soak::run(&options.server, |name| options.wants(name))
        }),
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
    let load = proc::load();
    let version = Command::new(&options.server).arg("--version").output();
    let version = version.with_context(|| format!("{}", options.server.display()))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let mut figures = Figures::default();
    for (name, scenario) in SCENARIOS {
        if options.wants(name) {
            eprintln!("{name} ...");
            let found = scenario(&options.server, options.runs).context(name)?;
            eprint!("{}", report::table(&found));
            figures.append(found);
        }
    }
    let table = report::table(&figures);
    let json = report::json(&figures, &version);
    println!("{table}\n{json}");
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{json}\n"))?;
    }
    if let Some(document) = &options.write {
        let circumstances = report::circumstances(&version, options.runs, load)?;
        report::write(document, &format!("{circumstances}\n\n{table}"))?;
    }
    Ok(())
}
