//! The flags for whoever writes the program: `Flags` -> [`Develop`], pure.

use std::path::PathBuf;

use clap::Args;

use super::values;

const RECORD_MAX: u64 = 64 << 20;
const RECORD_TOTAL: u64 = 1 << 30;
/// A recording holds at least its first lines, and all of them at least some recordings.
const LEAST: (usize, usize) = (4 << 10, 64 << 10);

#[derive(Debug, Clone, Args)]
#[group(skip)] // groups are told apart by the names of their types, and others are called so too
#[command(next_help_heading = "Developing")]
pub(super) struct Flags {
    /// Notice when the program or this file or directory changes (repeatable)
    ///
    /// New rooms run the new program, once nothing has been written for a moment; a program that is
    /// missing or half written meanwhile is waited for. Rooms that failed again and again may try at
    /// once. Of directories all is watched but hidden files, `__pycache__` and `node_modules`.
    #[arg(long, value_name = "PATH")]
    pub watch: Vec<PathBuf>,

    /// With --watch: also end the rooms that run the old program
    ///
    /// Their clients read 1012, and meet the new program when they come back.
    #[arg(long)]
    pub watch_restart: bool,

    /// Write down what goes in and out of each room, with times, in this directory
    ///
    /// A file for each life of a room, for `scalesocket replay`. It holds what people said: only the
    /// server's own user can read it. A slow or full disk costs the recording, never the room.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,

    /// Most of one recording, which then ends [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub record_max: Option<usize>,

    /// Most of all recordings in the directory: the oldest are removed [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub record_total: Option<usize>,
}

/// What whoever writes the program has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Develop {
    /// What the program is made of; empty: nobody asks when it changes.
    pub watch: Vec<PathBuf>,
    /// Whether a change ends the rooms that run the old one.
    pub watch_restart: bool,
    /// Where rooms are written down, and how much; none: nowhere.
    pub record: Option<Record>,
}

/// How rooms are written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// In this directory.
    pub dir: PathBuf,
    /// Most bytes of one recording, at least 1.
    pub most: u64,
    /// Most bytes of all of them, at least 1.
    pub most_together: u64,
}

/// What was asked for, or one sentence that says what to do; `connect`: there is no program.
pub(super) fn validate(flags: &Flags, connect: bool) -> Result<Develop, String> {
    if connect && !flags.watch.is_empty() {
        return Err(
            "--watch cannot go with --connect: it has no process of ours, so leave out one of the two"
                .into(),
        );
    }
    if flags.watch_restart && flags.watch.is_empty() {
        return Err("--watch-restart says what happens on a change: add --watch with the path of what changes".into());
    }
    if flags.watch.iter().any(|path| path.as_os_str().is_empty()) {
        return Err("--watch has no path: write the one of a file or directory".into());
    }
    if flags
        .record
        .as_ref()
        .is_some_and(|dir| dir.as_os_str().is_empty())
    {
        return Err("--record has no path: write the one of a directory".into());
    }
    if flags.record_max.is_some_and(|most| most < LEAST.0) {
        return Err(
            "--record-max is less than the first lines of a recording: write 4KiB or more".into(),
        );
    }
    if flags.record_total.is_some_and(|most| most < LEAST.1) {
        return Err("--record-total holds less than a few recordings: write 64KiB or more".into());
    }
    Ok(Develop {
        watch: flags.watch.clone(),
        watch_restart: flags.watch_restart,
        record: flags.record.clone().map(|dir| Record {
            dir,
            most: flags.record_max.map_or(RECORD_MAX, |most| most as u64),
            most_together: flags.record_total.map_or(RECORD_TOTAL, |most| most as u64),
        }),
    })
}

/// Flags that are given but can do nothing.
pub(super) fn warning(flags: &Flags) -> Option<String> {
    let limited = flags.record_max.is_some() || flags.record_total.is_some();
    (limited && flags.record.is_none()).then(|| {
        "--record-max and --record-total do nothing without --record: add it, or leave them out"
            .into()
    })
}
