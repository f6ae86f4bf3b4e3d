//! The programs that the server is made to serve: `scalesocket-bench child NAME ARGS`.
//!
//! Each waits for a line on stdin before it prints in earnest, so that everybody is in the room,
//! and stays until EOF, so that the end of the room is the clients' doing.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::sequence::{put_due_line, put_line};
use crate::{floors, parts, proc, states};

/// Bytes that a flood writes at once.
const CHUNK: usize = 64 << 10;

/// Runs the child that `args` name.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["flood", lines, size] => flood(lines.parse()?, size.parse()?),
        ["paced", rate, lines, size] => paced(rate.parse()?, lines.parse()?, size.parse()?),
        ["states", rate, lines] => states(rate.parse()?, lines.parse()?),
        ["deaf", millis] => deaf(Duration::from_millis(millis.parse()?)),
        ["writes", lines, size, clients, at_once, rate] => floors::writes(
            lines.parse()?,
            size.parse()?,
            clients.parse()?,
            at_once.parse()?,
            rate.parse()?,
        ),
        ["relay"] => floors::relay(),
        ["solo", lock, violations] => solo(lock, violations),
        ["part"] => parts::run(),
        ["audience", addr, room, clients] => parts::audience(addr.parse()?, room, clients.parse()?),
        _ => bail!("no such child: {words:?}"),
    }
}

fn wait_for_go() -> io::Result<()> {
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

pub(crate) fn wait_for_end() -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// So many lines, as fast as the pipe takes them.
fn flood(lines: u64, size: usize) -> Result<()> {
    wait_for_go()?;
    let mut out = io::stdout().lock();
    let mut chunk = Vec::with_capacity(CHUNK + size);
    for number in 0..lines {
        put_line(&mut chunk, number, size);
        if chunk.len() >= CHUNK {
            out.write_all(&chunk)?;
            chunk.clear();
        }
    }
    out.write_all(&chunk)?;
    out.flush()?;
    wait_for_end()
}

/// So many lines a second, each with a write of its own; each says when it was due.
fn paced(rate: u64, lines: u64, size: usize) -> Result<()> {
    wait_for_go()?;
    print_paced(rate, lines, size)
}

/// The same, at once.
pub(crate) fn print_paced(rate: u64, lines: u64, size: usize) -> Result<()> {
    // A thread may oversleep by 50 µs otherwise, which at thousands of lines a second is a lot.
    nix::sys::prctl::set_timerslack(1)?;
    let mut out = io::stdout().lock();
    let begun = proc::monotonic();
    let mut line = Vec::new();
    for number in 0..lines {
        let due = begun + (number * 1_000_000_000).checked_div(rate).unwrap_or(0);
        proc::sleep_until(due);
        line.clear();
        put_due_line(&mut line, number, due, size);
        out.write_all(&line)?;
        out.flush()?;
    }
    wait_for_end()
}

/// So many lines of 1 KiB like those of a game, made beforehand: at a pace, or as fast as the pipe
/// takes them if `rate` is 0.
fn states(rate: u64, lines: u64) -> Result<()> {
    let text = states_text(lines);
    wait_for_go()?;
    print_states(rate, &text)
}

/// So many of them.
pub(crate) fn states_text(lines: u64) -> Vec<u8> {
    let mut text = Vec::with_capacity((states::SIZE + 1) * lines as usize);
    for number in 0..lines {
        states::put(&mut text, number);
        text.push(b'\n');
    }
    text
}

/// Prints them.
pub(crate) fn print_states(rate: u64, text: &[u8]) -> Result<()> {
    nix::sys::prctl::set_timerslack(1)?;
    let mut out = io::stdout().lock();
    let begun = proc::monotonic();
    let at_once = match rate {
        0 => CHUNK / states::SIZE,
        _ => 1,
    };
    for (number, piece) in text.chunks(at_once * (states::SIZE + 1)).enumerate() {
        let after = (number as u64 * 1_000_000_000).checked_div(rate);
        proc::sleep_until(begun + after.unwrap_or(0));
        out.write_all(piece)?;
        out.flush()?;
    }
    wait_for_end()
}

/// Prints numbered lines for ever and never reads: it ends when it is told to.
pub(crate) fn deaf(every: Duration) -> Result<()> {
    let mut out = io::stdout().lock();
    let mut line = Vec::new();
    for number in 0.. {
        line.clear();
        put_line(&mut line, number, 32);
        out.write_all(&line)?;
        out.flush()?;
        std::thread::sleep(every);
    }
    Ok(())
}

/// Echoes, and leaves a mark if another of its kind lives: the kernel's lock tells, which goes
/// with the process however it ends.
fn solo(lock: &str, violations: &str) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(lock)?;
    let _alone = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => held,
        Err((_, error)) => {
            let mut mark = OpenOptions::new()
                .create(true)
                .append(true)
                .open(violations)?;
            writeln!(mark, "{}: {error}", std::process::id())?;
            return Err(error).context("another child of this room lives");
        }
    };
    let mut buffer = [0; 4096];
    loop {
        let read = io::stdin().lock().read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(buffer.get(..read).unwrap_or_default())?;
        out.flush()?;
    }
}
