//! The command line of `scalesocket replay`; what it does is in [`crate::replay`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};

use super::{Command, complaint, values};

/// What to replay, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The recording.
    pub file: PathBuf,
    /// The program, by name or path.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// How fast.
    pub pace: Pace,
    /// How long the program may be silent when more is expected.
    pub timeout: Duration,
    /// Whether messages of JSON are compared by what they mean.
    pub json: bool,
}

/// How fast a program is given its input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// With the recorded pauses, so many times as fast.
    Times(f64),
    /// At once, but after the messages that came before.
    AsAnswered,
}

/// Give a program again what a recorded room gave it, and show where it answers otherwise
///
/// Exit status 0: it said the same. 1: it did not, and the first difference is shown. 2: nothing could be
/// compared.
#[derive(Debug, Parser)]
#[command(
    name = "replay",
    bin_name = "scalesocket replay",
    disable_version_flag = true,
    override_usage = "scalesocket replay [OPTIONS] <FILE> -- <CMD> [ARGS]...",
    max_term_width = 100
)]
struct ReplayCli {
    /// A recording: a file that --record has written
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// The program and its arguments
    #[arg(value_name = "CMD", last = true)]
    words: Vec<OsString>,

    /// So many times as fast as it was
    #[arg(long, value_name = "N", default_value = "1", value_parser = speed)]
    speed: f64,

    /// As fast as it answers: what it was given after a message comes after that message
    #[arg(long, conflicts_with = "speed")]
    fast: bool,

    /// How long it may be silent when more is expected
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::span)]
    timeout: Duration,

    /// Messages of JSON are the same when they mean the same, whatever their spaces and the order of members
    #[arg(long)]
    json: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.001..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("write a number from 0.001 to 1000, like 10".into()),
    }
}

/// The definitions of `replay`.
pub(super) fn replay() -> clap::Command {
    ReplayCli::command()
}

pub(super) fn to_replay(found: &ArgMatches) -> Result<Command, String> {
    let cli =
        ReplayCli::from_arg_matches(found).map_err(|error| complaint::sentence(&error, &[]))?;
    let file = cli.file.filter(|file| !file.as_os_str().is_empty()).ok_or(
        "name the recording, as in `scalesocket replay rooms/lobby.1.room.jsonl -- ./game.py` (a \
         program called replay is served as `scalesocket -- replay`)",
    )?;
    let mut words = cli.words.into_iter();
    let program = words.next().filter(|word| !word.is_empty()).ok_or(
        "name the program behind --, as in `scalesocket replay FILE -- ./game.py --level 5`",
    )?;
    Ok(Command::Replay(Replay {
        file,
        program,
        args: words.collect(),
        pace: match cli.fast {
            true => Pace::AsAnswered,
            false => Pace::Times(cli.speed),
        },
        timeout: cli.timeout,
        json: cli.json,
    }))
}
