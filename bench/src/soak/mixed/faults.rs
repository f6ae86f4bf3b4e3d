//! The deck of faults, and those that befall a program: each in rooms of its own, with clients who
//! must see what the documents say they see.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::site::{Place, Site};
use super::visitor::Visitor;
use super::{attacks, neighbours};
use crate::chance::Chance;
use crate::sequence::Sequence;
use crate::wire;

/// Something that goes wrong.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) name: &'static str,
    /// Says what happened, when those whom it befell saw what they should.
    pub(super) happens: fn(&Site, u64, &mut Chance) -> Result<String>,
}

const fn fault(
    name: &'static str,
    happens: fn(&Site, u64, &mut Chance) -> Result<String>,
) -> Fault {
    Fault { name, happens }
}

/// All kinds.
pub(super) const FAULTS: [Fault; 19] = [
    fault("child killed", killed),
    fault("child stopped", stopped),
    fault("children killed in one room after the other", massacre),
    fault("blob without a newline", blob),
    fault("stdout closed", mute),
    fault("stdin closed", deafened),
    fault("child that never reads", deaf),
    fault("forks that hold the pipes", forks),
    fault("laggard beside others", neighbours::laggard),
    fault("laggard in a large room", neighbours::laggard_of_large),
    fault("resets beside others", neighbours::resets),
    fault("half of the clients killed", neighbours::half_killed),
    fault("gone in the middle of a message", neighbours::half_said),
    fault("gone in the middle of the handshake", attacks::half_open),
    fault("nasty heads", attacks::nasty_heads),
    fault("nasty frames", attacks::nasty_frames),
    fault("short-lived names", attacks::names),
    fault("connects and resets", attacks::storm),
    fault("SIGHUP", attacks::hangup),
];

/// A room with so many clients, and its child.
fn room_of(site: &Site, room: &str, clients: usize) -> Result<(Vec<Visitor>, Pid)> {
    // The first is told the child's process id.
    let mut first = site.visits(Place::Lines, room)?;
    let pid: i32 = first.hears_text()?.parse().context("a process id")?;
    let mut visitors = vec![first];
    for _ in 1..clients {
        visitors.push(site.visits(Place::Lines, room)?);
    }
    Ok((visitors, Pid::from_raw(pid)))
}

fn killed(site: &Site, number: u64, chance: &mut Chance) -> Result<String> {
    let clients = 1 + chance.below(5) as usize;
    let (visitors, pid) = room_of(site, &format!("echo-{number}"), clients)?;
    kill(pid, Signal::SIGKILL)?;
    for mut visitor in visitors {
        visitor.hears_close(1011, "signal KILL")?;
    }
    Ok(format!("{clients} clients read 1011 signal KILL"))
}

fn massacre(site: &Site, number: u64, _: &mut Chance) -> Result<String> {
    let rooms: Result<Vec<_>> = (0..site.count(30).max(3))
        .map(|room| room_of(site, &format!("echo-{number}-{room}"), 1))
        .collect();
    let rooms = rooms?;
    for (_, pid) in &rooms {
        kill(*pid, Signal::SIGKILL)?;
    }
    let count = rooms.len();
    for (visitors, _) in rooms {
        for mut visitor in visitors {
            visitor.hears_close(1011, "signal KILL")?;
        }
    }
    Ok(format!("{count} rooms ended"))
}

fn stopped(site: &Site, number: u64, chance: &mut Chance) -> Result<String> {
    let (mut visitors, pid) = room_of(site, &format!("echo-{number}"), 2)?;
    kill(pid, Signal::SIGSTOP)?;
    let words = 20 + chance.below(100);
    let [first, ..] = visitors.as_mut_slice() else {
        return Ok(String::new());
    };
    for word in 0..words {
        first.says(&format!("word {word}"))?;
    }
    std::thread::sleep(site.of(500 + chance.below(3_000)));
    kill(pid, Signal::SIGCONT)?;
    for visitor in &mut visitors {
        for word in 0..words {
            visitor.hears_this(&format!("word {word}"))?;
        }
    }
    Ok(format!("{words} messages came when it went on"))
}

fn blob(site: &Site, number: u64, _: &mut Chance) -> Result<String> {
    let _alone = site.heavy.lock();
    let mut visitor = site.visits(Place::Lines, &format!("blob-{number}"))?;
    visitor.says("go")?;
    visitor.hears_close(1011, "message over 16777216 bytes")?;
    Ok("1011 at 16 MiB".to_owned())
}

fn mute(site: &Site, number: u64, _: &mut Chance) -> Result<String> {
    let mut visitor = site.visits(Place::Lines, &format!("mute-{number}"))?;
    visitor.hears_this("last")?;
    visitor.says("end")?;
    visitor.hears_close(1011, "signal USR1")?;
    Ok("it heard on, and its end was the room's".to_owned())
}

fn deafened(site: &Site, number: u64, chance: &mut Chance) -> Result<String> {
    let mut visitor = site.visits(Place::Lines, &format!("deafened-{number}"))?;
    visitor.hears_this("deaf")?;
    let words = 100 + chance.below(1_000);
    for _ in 0..words {
        visitor.says("does anybody hear me")?;
    }
    // A ping is answered behind them all.
    let mut ping = Vec::new();
    wire::put_frame(&mut ping, wire::PING, b"");
    visitor.sends(&ping)?;
    Ok(format!("{words} messages to nobody"))
}

fn deaf(site: &Site, number: u64, _: &mut Chance) -> Result<String> {
    let room = format!("deaf-{number}");
    let mut pusher = site.visits(Place::Lines, &room)?;
    let mut hearer = site.visits(Place::Lines, &room)?;
    pusher.stream.set_nonblocking(true)?;
    let mut frame = Vec::new();
    wire::put_frame(&mut frame, wire::TEXT, &[b'x'; 16 << 10]);
    let (mut left, mut pushed) = (Vec::new(), 0);
    let mut sequence: Option<Sequence> = None;
    // Some seconds of what it says each 20 ms.
    for _ in 0..site.count(100) {
        loop {
            if left.is_empty() {
                left.clone_from(&frame);
            }
            match pusher.stream.write(&left) {
                Ok(taken) => {
                    left.drain(..taken);
                    pushed += taken;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("the one who pushes"),
            }
        }
        let number = hearer.hears_number(0)?.context("sent away")?;
        let sequence = sequence.get_or_insert_with(|| {
            let mut sequence = Sequence::default();
            sequence.excuse(number);
            sequence
        });
        sequence.note(number);
    }
    let sequence = sequence.unwrap_or_default();
    ensure!(
        sequence.lost(sequence.next()) + sequence.duplicated + sequence.reordered == 0,
        "{sequence:?}"
    );
    Ok(format!(
        "{:.1} MiB went out, it was heard all the time",
        pushed as f64 / 1_048_576.0
    ))
}

fn forks(site: &Site, number: u64, _: &mut Chance) -> Result<String> {
    let mut visitor = site.visits(Place::Lines, &format!("forks-{number}"))?;
    let pid: i32 = visitor.hears_text()?.parse().context("a process id")?;
    visitor.says("there")?;
    visitor.hears_this("there")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    visitor.hears_close(1011, "signal KILL")?;
    Ok("1011 signal KILL".to_owned())
}
