//! Faults that befall the door: what is no handshake, what is no frame, and too much of either.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::site::{PLACES, Place, Site};
use super::visitor::Visitor;
use crate::chance::Chance;
use crate::stream::will_reset;
use crate::wire;

/// A handshake has 10 s; the rest is a busy machine's.
const HALF_OPEN: Duration = Duration::from_secs(20);
/// Whoever behaves is answered within that time, whatever befalls the others.
const ANSWER: Duration = Duration::from_secs(10);
/// Pieces that heads are made of, right ones and wrong ones.
const PIECES: [&[u8]; 20] = [
    b"GET /echo-nasty HTTP/1.1\r\n",
    b"GET /%ff%00 HTTP/1.1\r\n",
    b"POST / HTTP/1.0\r\n",
    b"Host: localhost\r\n",
    b"Host: \xff\xfe\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Version: 99999999999999999999\r\n",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    b"Sec-WebSocket-Key: \r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b" folded\r\n",
    b"\0\0\0\0",
    b"\r\n",
    b"\n",
    b": \r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
];

fn noise(chance: &mut Chance, most: u64) -> Vec<u8> {
    let len = chance.below(most);
    (0..len).map(|_| chance.below(256) as u8).collect()
}

/// Pieces in any order, with noise between; some whole, some without an end.
fn head(chance: &mut Chance) -> Vec<u8> {
    let mut head = Vec::new();
    if chance.below(2) == 0 {
        head.extend_from_slice(b"GET /echo-nasty HTTP/1.1\r\n");
    }
    for _ in 0..chance.below(12) {
        head.extend_from_slice(chance.of(&PIECES));
        if chance.below(8) == 0 {
            head.extend(noise(chance, 40));
        }
    }
    if chance.below(3) > 0 {
        head.extend_from_slice(b"\r\n\r\n");
    }
    head
}

/// Somebody new is let in, and hears.
fn is_served(site: &Site, room: &str) -> Result<()> {
    let begun = Instant::now();
    let mut visitor = site.visits(Place::Lines, room)?;
    visitor.hears_this("hi")?;
    let took = begun.elapsed();
    ensure!(took < ANSWER, "somebody new was served after {took:?}");
    Ok(())
}

/// What is not heard within the time is the end or nothing.
fn answer(stream: &mut TcpStream, within: Duration) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(within))?;
    let mut bytes = vec![0; 1 << 10];
    // A reset is an answer too.
    let read = stream.read(&mut bytes).unwrap_or(0);
    bytes.truncate(read);
    Ok(bytes)
}

/// Beginnings of handshakes: half go, half wait until they are sent away.
pub(super) fn half_open(site: &Site, number: u64, chance: &mut Chance) -> Result<String> {
    let whole = wire::handshake(&format!("echo-{number}"), false);
    let count = site.count(100);
    let mut waiting = Vec::new();
    for index in 0..count {
        let place = chance.of(&PLACES);
        let mut stream = TcpStream::connect(site.stand(place)?.server.addr)?;
        let some = chance.below(whole.len() as u64 - 4) as usize;
        let begin = whole.as_bytes().get(..some).unwrap_or_default();
        // One that speaks no TLS may be sent away at once.
        let _ = stream.write_all(begin);
        if index % 2 == 0 {
            waiting.push(stream);
        }
    }
    if site.quick {
        return Ok(format!("{count}, gone at once"));
    }
    let begun = Instant::now();
    let waited = waiting.len();
    for mut stream in waiting {
        let mut end = Instant::now();
        loop {
            let left = HALF_OPEN
                .saturating_sub(begun.elapsed())
                .max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut [0; 512]) {
                Ok(0) => break,
                Ok(_) => end = Instant::now(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    bail!(
                        "held for {:?}, last heard of {:?} ago",
                        begun.elapsed(),
                        end.elapsed()
                    )
                }
                Err(_) => break,
            }
        }
    }
    is_served(site, &format!("brief-{number}"))?;
    let took = begun.elapsed().as_secs_f64();
    Ok(format!(
        "{count}, of which {waited} were sent away within {took:.1} s"
    ))
}

/// Each is answered or hung up on, never with a fault of the server's.
pub(super) fn nasty_heads(site: &Site, number: u64, chance: &mut Chance) -> Result<String> {
    let count = site.count(200);
    let mut refused = 0;
    for _ in 0..count {
        let head = head(chance);
        let mut stream = TcpStream::connect(site.stand(chance.of(&PLACES))?.server.addr)?;
        let _ = stream.write_all(&head);
        let answer = answer(&mut stream, Duration::from_millis(20))?;
        let fault = answer.starts_with(b"HTTP/1.1 50") && !answer.starts_with(b"HTTP/1.1 503");
        ensure!(
            !fault,
            "{} for {}",
            answer.escape_ascii(),
            head.escape_ascii()
        );
        refused += usize::from(answer.starts_with(b"HTTP/1.1 4"));
        if chance.below(2) == 0 {
            will_reset(&stream)?;
        }
    }
    is_served(site, &format!("brief-{number}"))?;
    Ok(format!("{count}, of which {refused} were refused"))
}

/// Behind a right handshake, to rooms that nobody counts in.
pub(super) fn nasty_frames(site: &Site, number: u64, chance: &mut Chance) -> Result<String> {
    let count = site.count(100);
    for index in 0..count {
        let (place, room) = match chance.below(3) {
            0 => (Place::Json, "answers-nasty"),
            1 => (Place::Packets, "packets-nasty"),
            _ => (Place::Lines, "echo-nasty"),
        };
        let mut visitor = site.visits(place, &format!("{room}-{number}"))?;
        let mut bytes = Vec::new();
        for _ in 0..1 + chance.below(8) {
            match chance.below(4) {
                0 => bytes.extend(noise(chance, 60)),
                1 => {
                    // Every opcode, with a right length.
                    let payload = noise(chance, 300);
                    wire::put_frame(&mut bytes, chance.below(16) as u8, &payload);
                }
                2 => {
                    let opcode = wire::TEXT | wire::PACKED;
                    wire::put_frame(&mut bytes, opcode, &noise(chance, 300));
                }
                _ => wire::put_header(&mut bytes, wire::BINARY, chance.below(1 << 40) as usize),
            }
        }
        // It may be sent away in between.
        let _ = visitor.sends(&bytes);
        if index % 2 == 0 {
            visitor.resets()?;
        }
    }
    is_served(site, &format!("brief-{number}"))?;
    Ok(format!("{count} clients"))
}

/// Rooms that are opened and gone.
pub(super) fn names(site: &Site, number: u64, chance: &mut Chance) -> Result<String> {
    let (count, at_once) = (site.count(400), 20);
    for batch in 0..count / at_once {
        let visitors: Result<Vec<Visitor>> = (0..at_once)
            .map(|index| {
                let tail = "x".repeat(chance.below(80) as usize);
                site.visits(
                    Place::Lines,
                    &format!("brief-{number}-{batch}-{index}-{tail}"),
                )
            })
            .collect();
        for mut visitor in visitors? {
            visitor.hears_this("hi")?;
        }
    }
    Ok(format!("{count} names"))
}

/// Connections by the thousand, each reset, most before they have said anything.
pub(super) fn storm(site: &Site, number: u64, chance: &mut Chance) -> Result<String> {
    let request = wire::handshake(&format!("echo-storm-{number}"), false);
    let count = site.count(3_000);
    let begun = Instant::now();
    for _ in 0..count {
        let place = chance.of(&PLACES);
        let addr = site.stand(place)?.server.addr;
        let mut stream = TcpStream::connect(addr).context("a connection of the storm")?;
        let sent = match chance.below(4) {
            0 => request.as_bytes(),
            1 => request.as_bytes().get(..40).unwrap_or_default(),
            _ => b"",
        };
        let _ = stream.write_all(sent);
        will_reset(&stream)?;
    }
    let took = begun.elapsed().as_secs_f64();
    is_served(site, &format!("brief-{number}"))?;
    Ok(format!("{count} in {took:.2} s"))
}

/// All servers read again what can be read again, and nobody is sent away.
pub(super) fn hangup(site: &Site, number: u64, _: &mut Chance) -> Result<String> {
    let visitors: Result<Vec<_>> = PLACES
        .map(|place| site.visits(place, &format!("brief-{number}")))
        .into_iter()
        .collect();
    for (_, stand) in site.stands() {
        stand.server.signal(Signal::SIGHUP)?;
    }
    is_served(site, &format!("brief-{number}-new"))?;
    for place in PLACES {
        site.visits(place, &format!("brief-{number}-new"))?;
    }
    for mut visitor in visitors? {
        // A pong says that it is still served.
        let mut ping = Vec::new();
        wire::put_frame(&mut ping, wire::PING, b"");
        visitor.sends(&ping)?;
        let mut bytes = [0; 64];
        let read = visitor.stream.read(&mut bytes).context("sent away")?;
        ensure!(read > 0, "sent away");
    }
    Ok("four servers".to_owned())
}
