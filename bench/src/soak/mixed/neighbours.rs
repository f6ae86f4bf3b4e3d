//! Faults of other clients in rooms that play: those who keep up there must not notice.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::site::{PLACES, Place, Site};
use crate::chance::Chance;
use crate::sequence::Sequence;
use crate::server::{ends_with_us, this_program};
use crate::wire;

const NOBODY: &str = "no room plays";
/// Those without TLS, which a process of its own reaches.
const PLAIN: [Place; 3] = [Place::Lines, Place::Json, Place::Packets];

/// Does not read for some seconds, and then must hear on from where it was, or that it was closed.
pub(super) fn laggard(site: &Site, _: u64, chance: &mut Chance) -> Result<String> {
    let room = site.room(chance, &[Place::Lines, Place::Secure]);
    lags(site, room, chance)
}

/// The same where a backlog is full after some seconds.
pub(super) fn laggard_of_large(site: &Site, _: u64, chance: &mut Chance) -> Result<String> {
    let rooms = (0..20).map(|_| site.room(chance, &[Place::Lines, Place::Secure]));
    let large = rooms.flatten().find(|(_, name)| name.starts_with("large"));
    lags(site, large, chance)
}

fn lags(site: &Site, room: Option<(Place, String)>, chance: &mut Chance) -> Result<String> {
    let Some((place, room)) = room else {
        return Ok(NOBODY.to_owned());
    };
    // Where the number stands in a line of a game.
    let at = if room.starts_with("states") {
        "{\"n\":\"".len()
    } else {
        0
    };
    let mut visitor = site.visits(place, &room)?;
    let lag = site.of(1_000 + chance.below(9_000));
    std::thread::sleep(lag);
    let mut sequence = Sequence::default();
    let mut closed = false;
    // As many as it lagged behind at the least, if the room goes on so long.
    let mut most = 200;
    visitor
        .stream
        .set_read_timeout(Duration::from_millis(800))?;
    while most > 0 {
        match visitor.hears_number(at) {
            Ok(Some(number)) => {
                if sequence.received == 0 {
                    sequence.excuse(number);
                }
                sequence.note(number);
            }
            Ok(None) => {
                closed = true;
                break;
            }
            // The room has said all that it says.
            Err(error) if error.to_string().starts_with("heard nothing") => break,
            Err(error) => return Err(error),
        }
        most -= 1;
    }
    ensure!(
        sequence.lost(sequence.next()) + sequence.duplicated + sequence.reordered == 0,
        "{room}: {sequence:?}"
    );
    let end = if closed { ", then 4008" } else { "" };
    let count = sequence.received;
    Ok(format!(
        "{:.1} s in {room}, {count} messages in order{end}",
        lag.as_secs_f64()
    ))
}

/// Connections that are reset, before, while and after they hear something.
pub(super) fn resets(site: &Site, _: u64, chance: &mut Chance) -> Result<String> {
    let Some((place, room)) = site.room(chance, &PLACES) else {
        return Ok(NOBODY.to_owned());
    };
    let count = site.count(50);
    for _ in 0..count {
        let mut visitor = site.visits(place, &room)?;
        if chance.below(2) == 0 {
            visitor.stream.set_read_timeout(Duration::from_millis(50))?;
            // Whatever it was; nothing may have come.
            let _ = visitor.stream.read(&mut [0; 64]);
        }
        visitor.resets()?;
    }
    Ok(format!("{count} in {room}"))
}

/// As many clients as the room has others, in a process that is killed while they hear.
pub(super) fn half_killed(site: &Site, _: u64, chance: &mut Chance) -> Result<String> {
    let Some((place, room)) = site.room(chance, &PLAIN) else {
        return Ok(NOBODY.to_owned());
    };
    let addr = site.stand(place)?.server.addr.to_string();
    let mut command = Command::new(this_program()?);
    command
        .args(["child", "audience", &addr, &room, "6"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    ends_with_us(&mut command);
    let mut audience = command.spawn()?;
    let stdout = audience.stdout.take().context("stdout of the audience")?;
    let mut line = String::new();
    let there = BufReader::new(stdout).read_line(&mut line);
    std::thread::sleep(site.of(200 + chance.below(2_000)));
    audience.kill()?;
    audience.wait()?;
    there?;
    ensure!(line == "in\n", "they did not get into {room}");
    Ok(format!("6 in {room}"))
}

/// The begin of a message, and no more of it.
pub(super) fn half_said(site: &Site, number: u64, chance: &mut Chance) -> Result<String> {
    // What is said in a room that plays would be answered there: not in one of them.
    let clients = site.count(40);
    for client in 0..clients {
        let mut visitor = site.visits(Place::Lines, &format!("brief-{number}-{client}"))?;
        visitor.hears_this("hi")?;
        let mut part = Vec::new();
        let len = 1 + chance.below(64 << 10) as usize;
        wire::put_header(&mut part, wire::TEXT, len);
        part.resize(part.len() + chance.below(len as u64) as usize, b'x');
        visitor.sends(&part)?;
        if client % 2 == 0 {
            visitor.resets()?;
        }
    }
    Ok(format!("{clients} clients"))
}
