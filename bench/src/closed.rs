//! Rooms with one client each and `cat` in them, every client with so many messages on their way:
//! as many round trips as the machine has.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::crowd::{Crowd, Heard};
use crate::figures::each;
use crate::scenario::{Bench, Cell, Run, Scenario};
use crate::sequence::{DIGITS, Faults, Sequence, number, put_line};
use crate::served::Who;
use crate::wire;

/// 100 rooms, one message each on its way.
pub(crate) const ROOMS: Scenario = Scenario {
    name: "echo-rooms",
    runs: 5,
    cells: rooms,
};

/// The same objects through a room with JSON framing and one without.
pub(crate) const FRAMING: Scenario = Scenario {
    name: "framing",
    runs: 5,
    cells: framing,
};

const SILENCE: Duration = Duration::from_secs(10);

/// What is sent, and how much of it.
#[derive(Clone, Copy, Debug)]
struct Load {
    rooms: usize,
    /// Messages of a client that are on their way.
    window: usize,
    /// Messages of all clients.
    messages: u64,
    size: usize,
    payload: Payload,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Payload {
    Line,
    /// A JSON object, which both kinds of room can take.
    Object,
}

impl Payload {
    /// Where the number stands in a message.
    fn at(self) -> usize {
        match self {
            Payload::Line => 0,
            Payload::Object => OPEN.len(),
        }
    }
}

const OPEN: &str = "{\"n\":\"";
const CLOSE: &str = "\"}";

fn rooms(bench: &Bench) -> Vec<Cell> {
    let load = Load {
        rooms: bench.of(100, 20),
        window: 1,
        messages: bench.of(60_000, 2_000),
        size: 64,
        payload: Payload::Line,
    };
    [Who::Ours, Who::Predecessor, Who::Websocketd]
        .map(|who| Cell::new("", who, move |bench| measure(bench, who, &[], load)))
        .into()
}

fn framing(bench: &Bench) -> Vec<Cell> {
    let mut cells = Vec::new();
    for size in [64, 512] {
        for (window, how) in [(1, "one at a time"), (32, "32 at a time")] {
            let load = Load {
                rooms: 10,
                window,
                messages: match window {
                    1 => bench.of(50_000, 1_000),
                    _ => bench.of(400_000, 5_000),
                },
                size,
                payload: Payload::Object,
            };
            for (flags, name) in [(&["--frame=json"][..], "JSON"), (&[], "unframed")] {
                let shape = format!("{size} bytes, {how}, {name}");
                cells.push(Cell::new(shape, Who::Ours, move |bench| {
                    measure(bench, Who::Ours, flags, load)
                }));
            }
        }
    }
    cells
}

/// Appends `count` messages from `number` on, as frames.
fn put_messages(out: &mut Vec<u8>, number: u64, count: u64, load: Load) {
    let mut text = Vec::with_capacity(load.size + 1);
    for number in number..number + count {
        text.clear();
        match load.payload {
            Payload::Line => {
                put_line(&mut text, number, load.size);
                text.pop();
            }
            Payload::Object => {
                text.extend_from_slice(OPEN.as_bytes());
                put_line(&mut text, number, load.size - OPEN.len() - CLOSE.len());
                text.pop();
                text.extend_from_slice(CLOSE.as_bytes());
            }
        }
        wire::put_frame(out, wire::TEXT, &text);
    }
}

fn measure(bench: &Bench, who: Who, flags: &[&str], load: Load) -> Result<Run> {
    let served = bench.serve(who, flags, &["cat"])?;
    let mut crowd = Crowd::new(served.addr)?;
    for room in 0..load.rooms {
        crowd.grow(&format!("room-{room}"), 1, SILENCE)?;
    }
    let each_client = load.messages / load.rooms as u64;
    let mut sequences: Vec<Sequence> = Vec::new();
    sequences.resize_with(load.rooms, Sequence::default);
    let mut sent = vec![0; load.rooms];
    let mut may_send: Vec<u64> = vec![load.window as u64; load.rooms];
    let mut speakers: Vec<usize> = (0..load.rooms).collect();
    let mut frames = Vec::new();
    let digits = load.payload.at()..load.payload.at() + DIGITS;
    let mut whole = 0;
    let mut over = None;
    let mut heard_at = Instant::now();
    let before = (Instant::now(), served.cpu()?);
    while whole < load.rooms && over.is_none() && heard_at.elapsed() < SILENCE {
        for client in speakers.drain(..) {
            let (Some(sent), Some(may)) = (sent.get_mut(client), may_send.get_mut(client)) else {
                continue;
            };
            let count = (*may).min(each_client - *sent);
            frames.clear();
            put_messages(&mut frames, *sent, count, load);
            crowd.send(client, &frames)?;
            *sent += count;
            *may = 0;
        }
        crowd.turn(Duration::from_secs(1), |client, heard| match heard {
            Heard::Message(head, _) => {
                heard_at = Instant::now();
                let of = sequences.get_mut(client).zip(may_send.get_mut(client));
                if let Some((sequence, may)) = of
                    && let Some(number) = head.get(digits.clone()).and_then(number)
                {
                    sequence.note(number);
                    whole += usize::from(sequence.received == each_client);
                    if *may == 0 {
                        speakers.push(client);
                    }
                    *may += 1;
                }
            }
            Heard::Open => {}
            other => over = Some(format!("client {client}: {other:?}")),
        })?;
    }
    let wall = before.0.elapsed();
    let cpu = served.cpu()?.saturating_sub(before.1);
    if let Some(over) = over {
        bail!(over);
    }
    let faults = Faults::of(&sequences, each_client);
    drop(crowd);
    served.stop()?;
    Ok(Run::new(faults)
        .with(
            "messages",
            "a second",
            faults.due as f64 / wall.as_secs_f64(),
        )
        .with("server CPU per message", "µs", each(cpu, faults.due) / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_and_its_number() {
        for (payload, size) in [
            (Payload::Line, 64),
            (Payload::Object, 64),
            (Payload::Object, 512),
        ] {
            let load = Load {
                rooms: 1,
                window: 1,
                messages: 1,
                size,
                payload,
            };
            let mut frames = Vec::new();
            put_messages(&mut frames, 17, 1, load);
            let text = &frames[frames.len() - size..];
            assert_eq!(number(&text[payload.at()..]), Some(17));
            if payload == Payload::Object {
                serde_json::from_slice::<serde_json::Value>(text).unwrap();
            }
        }
    }
}
