//! A scenario is a list of cells, each a load on one server; all alternate run by run, so that what
//! else the machine does falls on everybody alike.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::figures::{Figures, Key};
use crate::peers::Peers;
use crate::sequence::Faults;
use crate::served::{Served, Who};

/// What was found in one run of one cell.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) faults: Faults,
    /// What it is, its unit, its value.
    pub(crate) figures: Vec<(&'static str, &'static str, f64)>,
    /// Whether a peer that lost messages still has figures, of those that came.
    pub(crate) of_what_came: bool,
}

impl Run {
    /// Nothing found yet but what became of the messages.
    pub(crate) fn new(faults: Faults) -> Self {
        Run {
            faults,
            figures: Vec::new(),
            of_what_came: false,
        }
    }

    /// One figure more.
    pub(crate) fn with(mut self, what: &'static str, unit: &'static str, value: f64) -> Self {
        self.figures.push((what, unit, value));
        self
    }
}

/// What a cell does in each run.
type Measure = Box<dyn Fn(&Bench) -> Result<Run>>;

/// One load on one server.
pub(crate) struct Cell {
    /// What the load is, where a scenario has several.
    pub(crate) shape: String,
    pub(crate) who: Who,
    pub(crate) measure: Measure,
}

impl Cell {
    pub(crate) fn new(
        shape: impl Into<String>,
        who: Who,
        measure: impl Fn(&Bench) -> Result<Run> + 'static,
    ) -> Self {
        Cell {
            shape: shape.into(),
            who,
            measure: Box::new(measure),
        }
    }
}

/// See the module's documentation.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Runs, unless others are asked for.
    pub(crate) runs: usize,
    pub(crate) cells: fn(&Bench) -> Vec<Cell>,
}

/// What all loads are made with.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) server: PathBuf,
    pub(crate) peers: Peers,
    /// For a second, to see that all still works: small crowds, and no peers.
    pub(crate) quick: bool,
}

impl Bench {
    /// The size of a load.
    pub(crate) fn of<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// `who` serves `program`; `flags` are its own.
    pub(crate) fn serve(&self, who: Who, flags: &[&str], program: &[&str]) -> Result<Served> {
        match who {
            Who::Ours => Served::ours(&self.server, flags, program),
            Who::Predecessor => Served::told_a_port(&self.peer(who)?, flags, program),
            Who::Websocketd => Served::websocketd(&self.peer(who)?, flags, program),
            Who::UWebSockets => {
                let mut command = std::process::Command::new(self.peer(who)?);
                Served::says_port({
                    command.args(program);
                    command
                })
            }
            Who::Floor(_) => Served::floor(program),
        }
    }

    fn peer(&self, who: Who) -> Result<PathBuf> {
        let absence = || self.peers.absence(who);
        self.peers.program(who).with_context(absence)
    }

    /// All runs of all cells. What fails is a note in the table instead of a figure; the number
    /// of runs that failed and may not is returned with the figures.
    pub(crate) fn run(&self, scenario: &Scenario, runs: usize) -> (Figures, usize) {
        let mut figures = Figures::default();
        let mut failed = 0;
        let mut cells = (scenario.cells)(self);
        cells.retain(|cell| !self.quick || !cell.who.is_peer());
        for run in 1..=runs {
            cells.retain(|cell| {
                let key = Key::new(scenario.name, &cell.shape, cell.who.name());
                let begun = Instant::now();
                let (said, again) = figures.take(&key, (cell.measure)(self), cell.who.is_peer());
                failed += usize::from(!again && !cell.who.is_peer());
                let took = begun.elapsed().as_secs_f64();
                eprintln!("{key}, run {run} of {runs}, {took:.1} s: {said}");
                // Once is enough to know that a peer cannot.
                again || !cell.who.is_peer()
            });
        }
        (figures, failed)
    }
}
