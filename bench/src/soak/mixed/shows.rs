//! Rooms whose clients keep up: a program tells numbered messages at a pace, guests come and go,
//! and whoever listens must hear every one, once, in order, to the byte.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::directed::{self, Form};
use super::site::{Place, Site};
use crate::chance::Chance;
use crate::crowd::{Crowd, Heard};
use crate::sequence::{DIGITS, Faults, Sequence, number};
use crate::states::{SIZE, States};

/// Nobody hears anything for so long, and what is missing is lost.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// Handshakes of those who are there from the begin.
pub(super) const ENTRANCE: Duration = Duration::from_secs(30);
const TURN: Duration = Duration::from_millis(20);
/// Bytes of a number and of a time at the begin of a line; the rest are dots.
const STAMP: usize = DIGITS + 20;

/// A kind of room, over and over again.
#[derive(Debug)]
pub(super) struct Show {
    /// What the program plays, and the begin of the rooms' names.
    pub(super) part: &'static str,
    place: Place,
    act: Act,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// So many lines a second of so many bytes.
    Lines { rate: u64, size: usize },
    /// Lines of a game; every second client inflates.
    States { rate: u64 },
    /// Questions and answers, and what everybody hears.
    Directed(Form),
}

const fn lines(place: Place, part: &'static str, rate: u64, size: usize) -> Show {
    let act = Act::Lines { rate, size };
    Show { part, place, act }
}

const fn directed(place: Place, part: &'static str, form: Form) -> Show {
    let act = Act::Directed(form);
    Show { part, place, act }
}

/// All that play at the same time.
pub(super) const SHOWS: [Show; 11] = [
    lines(Place::Lines, "lines", 200, 64),
    lines(Place::Lines, "lines", 50, 1_000),
    lines(Place::Lines, "lines", 500, 200),
    lines(Place::Lines, "large", 5, 300_000),
    lines(Place::Secure, "lines", 200, 200),
    lines(Place::Secure, "large", 3, 200_000),
    Show {
        part: "states",
        place: Place::Lines,
        act: Act::States { rate: 100 },
    },
    directed(Place::Json, "answers", Form::Json),
    directed(Place::Json, "answers", Form::Json),
    directed(Place::Packets, "packets", Form::Packets),
    directed(Place::Packets, "packets", Form::Packets),
];

impl Show {
    /// One room, from its first client to its last.
    pub(super) fn run(&self, site: &Site, room: &str, chance: &mut Chance) -> Result<Faults> {
        let stand = site.stand(self.place)?;
        let mut crowd = Crowd::new(stand.server.addr)?;
        crowd.speak(stand.tls.clone());
        let seconds = site
            .of(4_000 + chance.below(12_000))
            .max(Duration::from_secs(1));
        let keepers = 3 + chance.below(4) as usize;
        let (rate, size) = match self.act {
            Act::Lines { rate, size } => (rate, size),
            Act::States { rate } => (rate, SIZE),
            Act::Directed(form) => {
                let stage = directed::Stage {
                    room,
                    place: self.place,
                    form,
                    keepers,
                    seconds,
                };
                return stage.run(site, crowd, chance);
            }
        };
        let total = (rate as f64 * seconds.as_secs_f64()) as u64;
        let mut script = match self.act {
            Act::States { .. } => Script::States(Box::new(States::new(total))),
            _ => Script::Lines(size),
        };
        for keeper in 0..keepers {
            crowd.attend(size, matches!(script, Script::States(_)) && keeper % 2 == 1);
            crowd.grow(room, 1, ENTRANCE)?;
        }
        crowd.attend(size, false);
        crowd.say(0, format!("go {rate} {total} {size}\n").as_bytes())?;
        site.plays(self.place, room, true);
        let heard = listen(site, &mut crowd, room, keepers, total, &mut script, chance);
        site.plays(self.place, room, false);
        heard
    }
}

/// What a message should be.
enum Script {
    /// Dots behind the stamp, so many bytes in all.
    Lines(usize),
    States(Box<States>),
}

impl Script {
    /// Which message it is, if it is one, to the byte.
    fn number(&mut self, heard: &Heard<'_>, expected: u64) -> Result<u64> {
        match (self, heard) {
            (Script::Lines(size), Heard::Message(text, len)) => {
                let whole = len == size && text.len() == *size;
                let rest = text.get(STAMP..).unwrap_or_default();
                let found = number(text).filter(|_| whole && rest.iter().all(|byte| *byte == b'.'));
                found.with_context(|| format!("{len} bytes that nobody said"))
            }
            (Script::States(states), Heard::Message(text, _)) => states.plain(text),
            (Script::States(states), Heard::Packed(bytes)) => states.packed(bytes, expected),
            (_, other) => Err(anyhow!("heard {other:?}")),
        }
    }
}

/// Somebody in the room.
#[derive(Debug, Default)]
struct Listener {
    sequence: Sequence,
    /// Came later, and begins with what it hears first.
    guest: bool,
    /// When a guest goes.
    until: Option<Instant>,
    gone: bool,
}

/// Until those who were there from the begin have heard it all.
fn listen(
    site: &Site,
    crowd: &mut Crowd,
    room: &str,
    keepers: usize,
    total: u64,
    script: &mut Script,
    chance: &mut Chance,
) -> Result<Faults> {
    let mut listeners: Vec<Listener> = Vec::new();
    listeners.resize_with(keepers, Listener::default);
    let (mut whole, mut wrong) = (0, None);
    let mut heard_at = Instant::now();
    let mut next_guest = Instant::now() + site.of(500 + chance.below(1_500));
    while whole < keepers && wrong.is_none() && heard_at.elapsed() < SILENCE {
        crowd.turn(TURN, |client, heard| {
            let Some(listener) = listeners.get_mut(client) else {
                return;
            };
            if matches!(heard, Heard::Open) || listener.gone {
                return;
            }
            let sequence = &mut listener.sequence;
            match script.number(&heard, sequence.next()) {
                Ok(number) => {
                    if listener.guest && sequence.received == 0 {
                        sequence.excuse(number);
                    }
                    if number != total / 2 || !site.forgets() {
                        sequence.note(number);
                    }
                    // The last comes last, unless something is wrong, which silence shows.
                    whole += usize::from(!listener.guest && sequence.next() == total);
                }
                Err(error) => wrong = Some(error.context(format!("client {client}"))),
            }
            heard_at = Instant::now();
        })?;
        let now = Instant::now();
        for (client, listener) in listeners.iter_mut().enumerate() {
            if !listener.gone && listener.until.is_some_and(|until| until < now) {
                listener.gone = true;
                crowd.hang_up(client)?;
            }
        }
        if next_guest < now {
            crowd.connect(room)?;
            listeners.push(Listener {
                guest: true,
                until: Some(now + site.of(1_000 + chance.below(5_000))),
                ..Listener::default()
            });
            next_guest = now + site.of(500 + chance.below(1_500));
        }
    }
    if let Some(wrong) = wrong {
        bail!(wrong);
    }
    let (guests, keepers): (Vec<_>, Vec<_>) = listeners.iter().partition(|of| of.guest);
    let mut faults = Faults::of(keepers.into_iter().map(|of| &of.sequence), total);
    for Listener { sequence, .. } in guests {
        let mut of_guest = Faults::of([sequence], sequence.next());
        of_guest.due = sequence.received;
        faults.add(&of_guest);
    }
    Ok(faults)
}
