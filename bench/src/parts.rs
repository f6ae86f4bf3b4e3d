//! The programs of the mixed soak: one command line for all its rooms, which play the part that
//! the first word of their name says.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::children::{deaf, print_paced, print_states, states_text, wait_for_end};
use crate::crowd::Crowd;
use crate::sequence::DIGITS;

/// Bytes that end a room when they come without a newline, four times over.
const BLOB: usize = 64 << 20;
/// Each so many messages, everybody hears one.
const BROADCAST: u64 = 4;

/// Plays the part of the room that the server names.
pub(crate) fn run() -> Result<()> {
    let room = std::env::var("ROOM").context("ROOM is not set")?;
    match room.split('-').next().unwrap_or_default() {
        "lines" | "large" => {
            let [rate, lines, size] = order()?;
            print_paced(rate, lines, size as usize)
        }
        "states" => {
            let [rate, lines, _] = order()?;
            print_states(rate, &states_text(lines))
        }
        "answers" => answers(),
        "packets" => packets(),
        "echo" => echo(),
        "blob" => blob(),
        "mute" => mute(),
        "deafened" => deafened(),
        "deaf" => deaf(Duration::from_millis(20)),
        "forks" => forks(),
        "brief" => say(b"hi\n").and_then(|()| wait_for_end()),
        other => bail!("no such part: {other}"),
    }
}

fn say(text: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    Ok(out.flush()?)
}

/// `go RATE LINES SIZE`, the first line that a client says.
fn order() -> Result<[u64; 3]> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let mut words = line.split_whitespace().skip(1).map(str::parse);
    let mut next = || {
        words
            .next()
            .context("go RATE LINES SIZE")?
            .context("a number")
    };
    Ok([next()?, next()?, next()?])
}

/// Every object goes back to who said it; of each fourth, everybody hears a number.
fn answers() -> Result<()> {
    let mut out = io::stdout().lock();
    for (count, line) in io::stdin().lock().lines().enumerate() {
        writeln!(out, "{}", line?)?;
        if let Some(number) = broadcast(count as u64) {
            writeln!(out, "{{\"b\":\"{number:0DIGITS$}\"}}")?;
        }
        out.flush()?;
    }
    Ok(())
}

/// The number of the broadcast behind message `count`, if there is one.
fn broadcast(count: u64) -> Option<u64> {
    count.is_multiple_of(BROADCAST).then_some(count / BROADCAST)
}

/// The same of gwsocket's packets.
fn packets() -> Result<()> {
    let mut stdin = BufReader::with_capacity(64 << 10, io::stdin().lock());
    let mut out = io::stdout().lock();
    let (mut header, mut payload, mut count) = ([0; 12], Vec::new(), 0);
    while stdin.read_exact(&mut header).is_ok() {
        let [_, _, _, _, _, _, _, kind, a, b, c, d] = header;
        payload.resize(u32::from_be_bytes([a, b, c, d]) as usize, 0);
        stdin.read_exact(&mut payload)?;
        // 0x10 and 0x08 say who came and went.
        if !matches!(kind, 1 | 2) {
            continue;
        }
        out.write_all(&header)?;
        out.write_all(&payload)?;
        if let Some(number) = broadcast(count) {
            let text = format!("b{number:0DIGITS$}");
            out.write_all(&[0, 0, 0, 0, 0, 0, 0, 1])?;
            out.write_all(&(text.len() as u32).to_be_bytes())?;
            out.write_all(text.as_bytes())?;
        }
        out.flush()?;
        count += 1;
    }
    Ok(())
}

fn say_pid() -> Result<()> {
    say(format!("{}\n", std::process::id()).as_bytes())
}

/// Says its process id, and then what it hears.
fn echo() -> Result<()> {
    say_pid()?;
    let mut buffer = [0; 4096];
    loop {
        match io::stdin().lock().read(&mut buffer)? {
            0 => return Ok(()),
            read => say(buffer.get(..read).unwrap_or_default())?,
        }
    }
}

/// Without a newline.
fn blob() -> Result<()> {
    io::stdin().lock().read_line(&mut String::new())?;
    let chunk = [b'x'; 64 << 10];
    for _ in 0..BLOB / chunk.len() {
        say(&chunk)?;
    }
    wait_for_end()
}

/// Closes stdout, and ends with 7 when it is told something.
fn mute() -> Result<()> {
    say(b"last\n")?;
    nix::unistd::close(1)?;
    io::stdin().lock().read_line(&mut String::new())?;
    nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGUSR1)?;
    Ok(())
}

/// Closes stdin, and lives until it is told to end.
fn deafened() -> Result<()> {
    nix::unistd::close(0)?;
    say(b"deaf\n")?;
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// Leaves two processes with its pipes, one of them in a session of its own.
#[allow(clippy::zombie_processes)] // whom the server has to end
fn forks() -> Result<()> {
    Command::new("sleep").arg("1000").spawn()?;
    let (stdin, stdout) = (io::stdin(), io::stdout());
    Command::new("setsid")
        .args(["sleep", "1000"])
        .stdin(Stdio::from(stdin.as_fd().try_clone_to_owned()?))
        .stdout(Stdio::from(stdout.as_fd().try_clone_to_owned()?))
        .process_group(0)
        .spawn()?;
    echo()
}

/// Clients that are to be killed: they join and read until then.
pub(crate) fn audience(addr: SocketAddr, room: &str, clients: usize) -> Result<()> {
    let mut crowd = Crowd::join(addr, room, clients)?;
    say(b"in\n")?;
    loop {
        crowd.turn(Duration::from_secs(1), |_, _| {})?;
    }
}
