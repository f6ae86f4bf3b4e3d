//! A gigabyte, as fast as the child prints it, to 49 who read and one who does not, or hardly.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Peak, mib};
use crate::crowd::{Crowd, Heard};
use crate::proc;
use crate::sequence::{Sequence, number};
use crate::server::{Server, this_program};

const CLIENTS: usize = 50;
/// The client that does not read at first.
const LAZY: usize = 49;
const LINES: u64 = 1_000_000;
const SIZE: usize = 1_000;
/// What promise 3 allows the room: backlog, inbox, and a message and a read of the child's.
const ROOM: u64 = (4 << 20) + (1 << 20) + (1 << 20);
/// What the allocator and the connections' bookkeeping may take besides.
const MARGIN: u64 = 6 << 20;
/// All of it must be over by then.
const DEADLINE: Duration = Duration::from_secs(170);
/// No reader hears anything for so long, and the room is wedged.
const SILENCE: Duration = Duration::from_secs(5);
const STALL: Duration = Duration::from_secs(3);

/// What the lazy client came to.
#[derive(Debug, Default)]
struct Lazy {
    sequence: Sequence,
    gaps: u64,
    skipped: u64,
    closed: Option<(u16, String)>,
}

impl Lazy {
    fn hear(&mut self, heard: &Heard<'_>) {
        match heard {
            Heard::Message(head, _) => match gap(head) {
                Some(messages) => {
                    self.gaps += 1;
                    self.skipped += messages;
                    self.sequence.excuse(messages);
                }
                None => number(head).into_iter().for_each(|n| self.sequence.note(n)),
            },
            Heard::Close(code, reason) => self.closed = Some((*code, reason.clone())),
            Heard::Packed(_) | Heard::Open | Heard::End => {}
        }
    }
}

/// How many messages a gap message is for.
fn gap(head: &[u8]) -> Option<u64> {
    let rest = head.strip_prefix(b"{\"gap\":{\"messages\":")?;
    let digits = rest.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What is to become of the one that does not read.
#[derive(Debug, Clone, Copy)]
enum Laziness {
    /// It begins to read after so long.
    Until(Duration),
    /// It never reads.
    Forever,
    /// It reads one piece in so long.
    Trickle(Duration),
}

struct Run {
    server: Server,
    lazy: Lazy,
    wall: Duration,
    longest_silence: Duration,
    memory: (u64, u64),
}

impl Run {
    fn told(&self, of: &str) -> String {
        let (before, most) = self.memory;
        format!(
            "{} lines of {SIZE} bytes to 49 in {:.1} s, longest silence {:.2} s, memory {:.1} MiB \
             at first, {:.1} at most; {of}",
            LINES,
            self.wall.as_secs_f64(),
            self.longest_silence.as_secs_f64(),
            mib(before),
            mib(most),
        )
    }
}

pub(super) fn disconnect(binary: &Path) -> Result<String> {
    let run = flood(
        binary,
        "disconnect",
        Laziness::Until(Duration::from_secs(3)),
    )?;
    let closed = run.lazy.closed.as_ref().map(|(code, _)| *code);
    ensure!(
        closed == Some(4008),
        "the lazy one was closed with {closed:?}"
    );
    in_order(&run.lazy)?;
    let told = run.told("the fiftieth was closed with 4008");
    run.server.stop()?;
    Ok(told)
}

pub(super) fn drop_policy(binary: &Path) -> Result<String> {
    let run = flood(binary, "drop", Laziness::Until(Duration::from_secs(3)))?;
    let Lazy {
        sequence,
        gaps,
        skipped,
        closed,
    } = &run.lazy;
    ensure!(closed.is_none(), "the lazy one was closed: {closed:?}");
    ensure!(*gaps > 0, "the lazy one was told of no gap");
    let (received, lost) = (sequence.received, sequence.lost(LINES));
    ensure!(
        received + skipped == LINES && lost == 0,
        "{received} heard, {skipped} skipped, {lost} lost"
    );
    in_order(&run.lazy)?;
    let told = run.told(&format!(
        "the fiftieth was told of {gaps} gaps, {skipped} messages"
    ));
    run.server.stop()?;
    Ok(told)
}

pub(super) fn block(binary: &Path) -> Result<String> {
    let run = flood(binary, "block", Laziness::Forever)?;
    ensure!(
        run.longest_silence >= STALL / 2,
        "the lazy one did not pace the room: {:?} without a message at most",
        run.longest_silence
    );
    let told = run.told("the fiftieth paced the room until --stall-timeout");
    run.server.stop()?;
    Ok(told)
}

/// One who reads all the time, and too slowly, costs the others next to nothing.
pub(super) fn slow_reader(binary: &Path) -> Result<String> {
    let laziness = Laziness::Trickle(Duration::from_millis(20));
    let run = flood(binary, "disconnect", laziness)?;
    let closed = run.lazy.closed.as_ref().map(|(code, _)| *code);
    ensure!(
        closed.is_none_or(|code| code == 4008),
        "the slow one was closed with {closed:?}"
    );
    in_order(&run.lazy)?;
    let told = run.told("the fiftieth read 128 KiB in 20 ms at most, and was closed with 4008");
    run.server.stop()?;
    Ok(told)
}

fn in_order(lazy: &Lazy) -> Result<()> {
    let Sequence {
        duplicated,
        reordered,
        ..
    } = &lazy.sequence;
    let lost = lazy.sequence.lost(lazy.sequence.next());
    ensure!(
        (lost, *duplicated, *reordered) == (0, 0, 0),
        "the lazy one: lost {lost}, duplicated {duplicated}, reordered {reordered}"
    );
    Ok(())
}

fn flood(binary: &Path, slow: &str, laziness: Laziness) -> Result<Run> {
    let program = this_program()?;
    let program = program.to_str().context("a path in UTF-8")?;
    let (lines, size, stall) = (
        LINES.to_string(),
        SIZE.to_string(),
        STALL.as_secs().to_string(),
    );
    let words = [
        "--slow",
        slow,
        "--stall-timeout",
        &stall,
        program,
        "--",
        "child",
        "flood",
        &lines,
        &size,
    ];
    // The other policies see a lazy one that begins to read before it counts as stalled.
    let words = if slow == "block" {
        words.to_vec()
    } else {
        [&words[..2], &words[4..]].concat()
    };
    let server = Server::start(binary, &words)?;
    let mut crowd = Crowd::join(server.addr, "flood", CLIENTS)?;
    crowd.set_lazy(LAZY, true)?;
    let before = proc::memory(server.pid())?;
    let peak = Peak::watch(server.pid());
    let mut sequences: Vec<Sequence> = Vec::new();
    sequences.resize_with(LAZY, Sequence::default);
    let mut lazy = Lazy::default();
    let (mut whole, mut wrong) = (0, None);
    let begun = Instant::now();
    let (mut heard_at, mut longest_silence) = (begun, Duration::ZERO);
    let mut read_at = begun;
    crowd.say(0, b"go")?;
    let over = |lazy: &Lazy| match laziness {
        Laziness::Until(_) => lazy.closed.is_some() || lazy.sequence.next() == LINES,
        Laziness::Forever | Laziness::Trickle(_) => true,
    };
    while whole < LAZY || !over(&lazy) {
        crowd.turn(Duration::from_millis(10), |client, heard| {
            let Some(sequence) = sequences.get_mut(client) else {
                return lazy.hear(&heard);
            };
            heard_at = Instant::now();
            match heard {
                Heard::Message(head, _) => {
                    number(head).into_iter().for_each(|n| sequence.note(n));
                    whole += usize::from(sequence.received == LINES);
                }
                Heard::Open => {}
                other => wrong = Some(format!("client {client} heard {other:?}")),
            }
        })?;
        if let Some(wrong) = wrong {
            bail!("{wrong}; memory {:.1} MiB at most", mib(peak.most()));
        }
        if whole < LAZY {
            longest_silence = longest_silence.max(heard_at.elapsed());
        }
        ensure!(
            longest_silence < SILENCE + STALL,
            "silence: {whole} of {LAZY} have all"
        );
        ensure!(
            begun.elapsed() < DEADLINE,
            "not over in {DEADLINE:?}: {whole} of {LAZY}"
        );
        match laziness {
            Laziness::Until(time) if begun.elapsed() > time => crowd.set_lazy(LAZY, false)?,
            Laziness::Trickle(pause) => {
                // One turn of reading, then none for a while.
                let rest = read_at.elapsed() < pause;
                crowd.set_lazy(LAZY, rest)?;
                if !rest {
                    read_at = Instant::now();
                }
            }
            _ => {}
        }
    }
    let wall = begun.elapsed();
    for (client, sequence) in sequences.iter().enumerate() {
        let faults = (
            sequence.lost(LINES),
            sequence.duplicated,
            sequence.reordered,
        );
        ensure!(
            faults == (0, 0, 0),
            "client {client}: lost, duplicated, reordered {faults:?}"
        );
    }
    let most = peak.most();
    ensure!(
        most <= before + ROOM + MARGIN,
        "memory {:.1} MiB at first, {:.1} at most",
        mib(before),
        mib(most)
    );
    Ok(Run {
        server,
        lazy,
        wall,
        longest_silence,
        memory: (before, most),
    })
}
