//! `scalesocket replay FILE -- CMD`: gives a program what a recorded room gave it, and shows the
//! first message that is another.
//!
//! It needs no server: the program's stdin and stdout are pipes, as in a room. How bytes were cut
//! into reads and writes does not matter, on either side; messages and their order do.

mod compare;
mod group;
mod program;
mod recording;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};

use compare::Difference;
use group::Current;
use recording::Recording;
pub use recording::{Outline, outline};

use crate::cli::Replay;
use crate::record::line::Transport;

/// What was compared.
#[derive(Debug, Default, Clone, Copy)]
struct Totals {
    messages: usize,
    bytes: usize,
}

/// The exit code: 0 if all was the same, 1 if not. An error is that nothing could be compared.
pub fn run(options: &Replay) -> anyhow::Result<ExitCode> {
    let recording = Recording::read(&options.file)?;
    match recording.transport {
        Transport::Stdio => {}
        Transport::Tcp | Transport::Connect => eprintln!(
            "scalesocket: recorded over TCP; the program is given the same bytes on stdin, and heard on stdout"
        ),
        Transport::Terminal => bail!(
            "it was recorded with --pty: what a terminal shows depends on the moment of each key, so it cannot be \
             replayed; the file has what was typed (`in`) and shown (`out`)"
        ),
    }
    let current = Current::guarded().context("signals cannot be waited for")?;
    let mut totals = Totals::default();
    let lives = recording.lives.len();
    for (number, life) in (1..).zip(&recording.lives) {
        let found = program::replay(options, &current, &recording.framing, life, &mut totals)?;
        let Some(difference) = found else { continue };
        let child = match lives {
            1 => String::new(),
            _ => format!(", in the life of program {number} of {lives}"),
        };
        // A reader that has gone has seen enough.
        let _ = tell(&difference, &child);
        return Ok(ExitCode::from(1));
    }
    let Totals { messages, bytes } = totals;
    let cut = match recording.is_whole {
        true => "",
        false => " (the recording ends before the room did)",
    };
    let _ = writeln!(
        io::stdout(),
        "same: {messages} messages came as recorded, after {bytes} bytes of input{cut}"
    );
    Ok(ExitCode::SUCCESS)
}

fn tell(difference: &Difference, child: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match difference {
        Difference::Message {
            number,
            at,
            recorded,
            came,
        } => {
            let at = at.map_or(String::new(), |at| format!(", recorded at {at:.3} s"));
            writeln!(out, "message {number} is another{at}{child}")?;
            writeln!(out, "  recorded: {}", recorded.shown(came))?;
            writeln!(out, "  came:     {}", came.shown(recorded))
        }
        Difference::Exit { recorded, came } => {
            writeln!(out, "the program ended otherwise{child}")?;
            writeln!(out, "  recorded: {recorded}")?;
            writeln!(out, "  came:     {came}")
        }
    }
}

#[cfg(test)]
mod tests;
