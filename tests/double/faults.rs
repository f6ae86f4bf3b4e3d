//! What goes wrong between one client and the server. Each client has a handle: scripted faults for
//! its next requests, odds for all of them, delays, a link that can be cut or frozen, and a role.
//! Faults decided by chance are drawn from the double's one generator, in the order of arrival.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::resource::{Resource, Verb};
use super::server::Server;

/// What may happen to one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It never arrives.
    LostRequest(Loss),
    /// It is applied, and nobody hears the answer.
    LostReply(Loss),
    /// It is applied only after so long; the answer comes after that, to whoever still waits.
    LateCommit(Duration),
    /// It is not applied; the answer has this code (429, 500, 503, 504).
    Refused(u16),
    /// It is applied, and the answer has this code all the same.
    Unsure(u16),
}

/// How a loss looks to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Nothing comes, until the client gives up or its connection is found dead after 15 minutes.
    Hang,
    /// The connection breaks at once.
    Break,
}

/// Faults by chance: each number is a probability for each request.
#[derive(Clone, Debug, Default)]
pub struct Odds {
    /// Of [`Fault::LostRequest`].
    pub lost_request: f64,
    /// Of [`Fault::LostReply`].
    pub lost_reply: f64,
    /// Of [`Fault::LateCommit`], by something within `late_by`.
    pub late_commit: f64,
    /// Of [`Fault::Refused`].
    pub refused: f64,
    /// Of [`Fault::Unsure`].
    pub unsure: f64,
    /// How late a late commit is, in milliseconds.
    pub late_by: (u64, u64),
}

/// The line between a client and the server, or between everybody and the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Line {
    /// Everything passes.
    #[default]
    Open,
    /// Everything waits, and passes later.
    Frozen,
    /// Requests and answers are lost. With [`Loss::Hang`] watches go silent and go on when it
    /// heals; with [`Loss::Break`] they break.
    Cut(Loss),
    /// Requests are answered with this code; watches break.
    Answers(u16),
}

/// What the server knows of one client.
#[derive(Default)]
pub struct Conditions {
    /// Its line.
    pub line: Line,
    /// How long each way takes; none: no time at all.
    pub latency: Option<RangeInclusive<Duration>>,
    /// How long after the commit its watches hear of a change.
    pub watch_lag: Option<RangeInclusive<Duration>>,
    /// Goes up when all its watches shall break.
    pub watch_breaks: u64,
    /// What it may do; none: everything.
    pub role: Option<BTreeSet<(Verb, Resource)>>,
    odds: Odds,
    script: VecDeque<(Verb, Fault)>,
}

impl Conditions {
    /// What happens to the next request of this client.
    pub fn draw(&mut self, verb: Verb, rng: &mut StdRng) -> Option<Fault> {
        if let Some(at) = self.script.iter().position(|(of, _)| *of == verb) {
            return self.script.remove(at).map(|(_, fault)| fault);
        }
        let odds = &self.odds;
        let mut dice: f64 = rng.random();
        let mut falls_on = |probability: f64| {
            let hit = (0.0..probability).contains(&dice);
            dice -= probability;
            hit
        };
        if falls_on(odds.lost_request) {
            return Some(Fault::LostRequest(loss(rng)));
        }
        if falls_on(odds.lost_reply) {
            return Some(Fault::LostReply(loss(rng)));
        }
        if falls_on(odds.late_commit) {
            let (from, to) = odds.late_by;
            let late = Duration::from_millis(rng.random_range(from..=to.max(from)));
            return Some(Fault::LateCommit(late));
        }
        if falls_on(odds.refused) {
            return Some(Fault::Refused(code(rng)));
        }
        if falls_on(odds.unsure) {
            return Some(Fault::Unsure(code(rng)));
        }
        None
    }
}

fn loss(rng: &mut StdRng) -> Loss {
    match rng.random() {
        true => Loss::Hang,
        false => Loss::Break,
    }
}

fn code(rng: &mut StdRng) -> u16 {
    [429, 500, 503, 504][rng.random_range(0..4)]
}

/// A time within a range; none is no time.
pub fn within(range: Option<&RangeInclusive<Duration>>, rng: &mut StdRng) -> Duration {
    range.map_or(Duration::ZERO, |range| rng.random_range(range.clone()))
}

/// The handle that sets what befalls one client from now on.
#[derive(Clone)]
pub struct Faults {
    server: Arc<Server>,
    client: String,
}

impl Faults {
    /// The handle of a client.
    pub(super) fn new(server: Arc<Server>, client: &str) -> Faults {
        Faults {
            server,
            client: client.to_owned(),
        }
    }

    /// The next request of this verb meets this fault; later calls queue up.
    pub fn next(&self, verb: Verb, fault: Fault) {
        self.set(|it| it.script.push_back((verb, fault)));
    }

    /// Faults by chance from now on.
    pub fn odds(&self, odds: Odds) {
        self.set(|it| it.odds = odds);
    }

    /// Every request and every answer takes so long.
    pub fn latency(&self, each_way: RangeInclusive<Duration>) {
        self.set(|it| it.latency = Some(each_way));
    }

    /// Watches hear of changes so much later.
    pub fn watch_lag(&self, lag: RangeInclusive<Duration>) {
        self.set(|it| it.watch_lag = Some(lag));
    }

    /// All its traffic stalls until [`Faults::heal`] and goes on then.
    pub fn freeze(&self) {
        self.set(|it| it.line = Line::Frozen);
    }

    /// Partitioned from the server until [`Faults::heal`].
    pub fn cut(&self, loss: Loss) {
        self.set(|it| it.line = Line::Cut(loss));
    }

    /// The line is open again.
    pub fn heal(&self) {
        self.set(|it| it.line = Line::Open);
    }

    /// All its watches break now; new ones are served.
    pub fn break_watches(&self) {
        self.set(|it| it.watch_breaks += 1);
    }

    /// It may do this and nothing else, as a Role says; all else is 403.
    pub fn role(&self, may: &[(Verb, Resource)]) {
        self.set(|it| it.role = Some(may.iter().copied().collect()));
    }

    /// No fault from now on: no script, no odds, no delays, an open line. The role stays.
    pub fn calm(&self) {
        self.set(|it| {
            *it = Conditions {
                watch_breaks: it.watch_breaks,
                role: it.role.take(),
                ..Conditions::default()
            };
        });
    }

    fn set(&self, change: impl FnOnce(&mut Conditions)) {
        self.server
            .change(|state| change(state.conditions(&self.client)));
    }
}
