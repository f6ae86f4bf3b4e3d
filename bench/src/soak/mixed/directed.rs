//! Rooms with answers: each client hears what it said itself, and in between what everybody hears,
//! in JSON framing and in gwsocket's packets.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::shows::{ENTRANCE, SILENCE};
use super::site::{Place, Site};
use crate::chance::Chance;
use crate::crowd::{Crowd, Heard};
use crate::sequence::{DIGITS, Faults, Sequence, number};
use crate::wire;

/// Questions of a client a second, and how many may be without an answer.
const RATE: u64 = 80;
const WINDOW: u64 = 32;
const TURN: Duration = Duration::from_millis(10);
/// Every so many messages one is this long.
const RARELY: u64 = 50;
const LONG: usize = 200_000;

/// How messages are marked on the program's side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Json,
    Packets,
}

/// A message as somebody heard it.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// The answer to the question of that number.
    Answer(u64),
    /// What everybody hears.
    Everybody(u64),
}

/// Bytes of filling in message `number`.
fn filling(number: u64) -> usize {
    match number % RARELY {
        RARELY.. => 0,
        7 => LONG,
        other => other as usize * 9,
    }
}

impl Form {
    /// Appends question `number`, as a frame.
    fn put(self, out: &mut Vec<u8>, number: u64) {
        let digits = format!("{number:0DIGITS$}");
        match self {
            Form::Json => {
                let fill = "x".repeat(filling(number));
                let text = format!("{{\"n\":\"{digits}\",\"x\":\"{fill}\"}}");
                wire::put_frame(out, wire::TEXT, text.as_bytes());
            }
            Form::Packets => {
                let mut payload = digits.into_bytes();
                // Newlines and NUL among them, where the message is no text.
                let binary = number.is_multiple_of(2);
                let bytes = (0..filling(number)).map(|at| fill_byte(number, at, binary));
                payload.extend(bytes);
                let opcode = if binary { wire::BINARY } else { wire::TEXT };
                wire::put_frame(out, opcode, &payload);
            }
        }
    }

    /// What a message is, if somebody said it, to the byte.
    fn read(self, text: &[u8], len: usize) -> Option<Told> {
        if text.len() != len {
            return None;
        }
        match self {
            Form::Json => {
                if let Some(behind) = text.strip_prefix(b"{\"b\":\"") {
                    return number(behind).map(Told::Everybody);
                }
                let behind = text.strip_prefix(b"{\"n\":\"")?;
                let number = number(behind)?;
                let (fill, rest) = behind
                    .get(DIGITS..)?
                    .strip_prefix(b"\",\"x\":\"")?
                    .split_at_checked(filling(number))?;
                let id = rest.strip_prefix(b"\",\"id\":")?.strip_suffix(b"}")?;
                let right =
                    fill.iter().all(|byte| *byte == b'x') && id.iter().all(u8::is_ascii_digit);
                right.then_some(Told::Answer(number))
            }
            Form::Packets => {
                if let Some(digits) = text.strip_prefix(b"b") {
                    return number(digits).map(Told::Everybody);
                }
                let number = number(text)?;
                let binary = number.is_multiple_of(2);
                let fill = text.get(DIGITS..)?;
                let mut bytes = fill.iter().enumerate();
                let right = fill.len() == filling(number)
                    && bytes.all(|(at, byte)| *byte == fill_byte(number, at, binary));
                right.then_some(Told::Answer(number))
            }
        }
    }
}

fn fill_byte(number: u64, at: usize, binary: bool) -> u8 {
    let byte = number.wrapping_mul(31).wrapping_add(at as u64 * 7) as u8;
    if binary { byte } else { b'a' + byte % 26 }
}

/// One room.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) room: &'a str,
    pub(super) place: Place,
    pub(super) form: Form,
    pub(super) keepers: usize,
    pub(super) seconds: Duration,
}

/// Somebody in the room.
#[derive(Debug, Default)]
struct Speaker {
    asked: u64,
    answers: Sequence,
    everybody: Sequence,
}

impl Stage<'_> {
    /// Until each has asked for so long and heard all answers.
    pub(super) fn run(&self, site: &Site, mut crowd: Crowd, chance: &mut Chance) -> Result<Faults> {
        crowd.attend(LONG + 100, false);
        crowd.grow(self.room, self.keepers, ENTRANCE)?;
        site.plays(self.place, self.room, true);
        let heard = self.talk(&mut crowd, chance);
        site.plays(self.place, self.room, false);
        heard
    }

    fn talk(&self, crowd: &mut Crowd, chance: &mut Chance) -> Result<Faults> {
        let mut speakers: Vec<Speaker> = Vec::new();
        speakers.resize_with(self.keepers, Speaker::default);
        let questions = ((self.seconds.as_secs_f64() * RATE as f64) as u64).max(2);
        let begun = Instant::now();
        let mut heard_at = begun;
        let (mut whole, mut wrong) = (0, None);
        let mut frames = Vec::new();
        // Not all at once.
        let skew = chance.below(1_000);
        while whole < self.keepers && wrong.is_none() && heard_at.elapsed() < SILENCE {
            let due = (begun.elapsed().as_millis() as u64 + skew) * RATE / 1_000;
            for (client, speaker) in speakers.iter_mut().enumerate() {
                let until = due.min(questions).min(speaker.answers.received + WINDOW);
                frames.clear();
                while speaker.asked < until {
                    self.form.put(&mut frames, speaker.asked);
                    speaker.asked += 1;
                }
                crowd.send(client, &frames)?;
            }
            crowd.turn(TURN, |client, heard| {
                let Some(speaker) = speakers.get_mut(client) else {
                    return;
                };
                let told = match heard {
                    Heard::Message(text, len) => self.form.read(text, len).with_context(|| {
                        let head = text.get(..text.len().min(80)).unwrap_or_default();
                        format!("{len} bytes that nobody said: {}", head.escape_ascii())
                    }),
                    other => Err(anyhow::anyhow!("heard {other:?}")),
                };
                match told {
                    Ok(Told::Answer(number)) => {
                        speaker.answers.note(number);
                        whole += usize::from(speaker.answers.next() == questions);
                    }
                    Ok(Told::Everybody(number)) => speaker.everybody.note(number),
                    Err(error) => wrong = Some(error.context(format!("client {client}"))),
                }
                heard_at = Instant::now();
            })?;
        }
        if let Some(wrong) = wrong {
            bail!(wrong);
        }
        let mut faults = Faults::of(speakers.iter().map(|of| &of.answers), questions);
        for Speaker { everybody, .. } in &speakers {
            // They all were there when it began; how many there were to be depends on neighbours.
            let mut of_all = Faults::of([everybody], everybody.next());
            of_all.due = everybody.received;
            faults.add(&of_all);
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The payload of the frame in `bytes`, as the program would answer it.
    fn payload(frame: &[u8]) -> &[u8] {
        let begin = match frame[1] & 0x7f {
            127 => 14,
            126 => 8,
            _ => 6,
        };
        &frame[begin..]
    }

    #[test]
    fn an_answer_is_known_and_whatever_is_changed_in_it_is_seen() {
        for number in [0, 1, 7, 57, 20, 21, 1_000_000] {
            let mut frame = Vec::new();
            Form::Packets.put(&mut frame, number);
            let mut said = payload(&frame).to_vec();
            assert_eq!(
                Form::Packets.read(&said, said.len()),
                Some(Told::Answer(number))
            );
            said.push(b'x');
            assert_eq!(Form::Packets.read(&said, said.len()), None);
            frame.clear();
            Form::Json.put(&mut frame, number);
            let text = payload(&frame);
            let said = [&text[..text.len() - 1], b",\"id\":17}"].concat();
            assert_eq!(
                Form::Json.read(&said, said.len()),
                Some(Told::Answer(number))
            );
            let cut = &said[..said.len() - 1];
            assert_eq!(Form::Json.read(cut, cut.len()), None);
        }
        let all = b"{\"b\":\"000000000012\"}";
        assert_eq!(Form::Json.read(all, all.len()), Some(Told::Everybody(12)));
        assert_eq!(
            Form::Packets.read(b"b000000000012", 13),
            Some(Told::Everybody(12))
        );
    }
}
