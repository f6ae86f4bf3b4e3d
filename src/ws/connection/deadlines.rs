//! What of a connection is due when: pings and their answers, unfinished messages, stalled writes,
//! kicks, and the end of a token.

use std::time::Duration;

use tokio::time::Instant;

use super::{CLOSE_TIME, Connection, State};
use crate::room::{Close, Place};
use crate::ws::{codec, moment::Moment};

/// How long a message may take from its first byte to its last.
const MESSAGE_TIME: Duration = Duration::from_secs(30);

/// What is due when; `None`: never.
struct Dues {
    /// A kicked client has read up to its close, or reads no more.
    kick: Option<Moment>,
    /// What it has proved to come in is over.
    end: Option<Moment>,
    /// It has taken a byte.
    stall: Option<Moment>,
    /// It has finished its message.
    message: Option<Moment>,
    /// A ping is sent, or was answered.
    ping: Option<Moment>,
}

impl Connection {
    /// When something is due next, as things are.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Over => None,
            State::HungUp { until } | State::Closing { until, .. } | State::Shut { until, .. } => {
                Some(until)
            }
            State::Open => {
                let due = self.dues();
                [due.kick, due.end, due.stall, due.message, due.ping]
                    .into_iter()
                    .flatten()
                    .min()
            }
        }
    }

    /// What is due when, while the connection is open.
    fn dues(&self) -> Dues {
        let kicked = self.place.as_ref().and_then(Place::kicked);
        let moment = |instant| Moment::from(Instant::from_std(instant));
        // A client whose reading we stopped cannot show that it lives.
        let stopped = self.place.as_ref().is_some_and(Place::is_held);
        Dues {
            kick: kicked.map(|(_, since)| moment(since) + CLOSE_TIME),
            end: self.place.as_ref().and_then(Place::until).map(moment),
            stall: self.stalled.map(|since| since + self.options.stall_timeout),
            message: self.message_begun.map(|since| since + MESSAGE_TIME),
            ping: match self.pinged {
                _ if stopped => None,
                Some(pinged) => self.options.ping_timeout.map(|timeout| pinged + timeout),
                None => self.options.ping.map(|ping| self.heard + ping),
            },
        }
    }

    /// Does what is due. `true`: there was something.
    pub(super) fn keep_time(&mut self, now: Moment) -> bool {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return false;
        }
        match self.state {
            State::Over => {}
            State::HungUp { .. } => self.over(1006),
            State::Closing { .. } | State::Shut { .. } => self.state = State::Over,
            State::Open => self.keep_open(now),
        }
        true
    }

    fn keep_open(&mut self, now: Moment) {
        let dues = self.dues();
        let due = |at: Option<Moment>| at.is_some_and(|at| now >= at);
        if due(dues.end) {
            self.close(Some(Close::UNAUTHORIZED), "token expired", false);
        } else if due(dues.kick) {
            // It has not read up to where it was kicked: it reads that now, or nothing.
            if let Some((close, _)) = self.place.as_ref().and_then(Place::kicked) {
                self.close(Some(close.code), &close.reason, false);
            }
        } else if due(dues.stall) {
            self.close(Some(Close::TOO_SLOW), "too slow", false);
        } else if due(dues.message) {
            self.close(Some(Close::POLICY), "message not finished in time", false);
        } else if due(dues.ping) && self.pinged.is_some() {
            self.close(Some(Close::POLICY), "no answer to a ping", false);
        } else if due(dues.ping) {
            codec::put_ping(self.control_frames());
            self.pinged = Some(now);
        }
    }
}
