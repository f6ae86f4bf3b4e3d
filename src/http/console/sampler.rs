//! Rates of all rooms, from two looks at them a second apart at least, which all who ask share.
//! Nobody looks while nobody asks, and what a program uses is looked up for those rooms alone for
//! which somebody wants to know.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::room::{Glance, Rooms};

/// How old figures may be.
const FRESH: Duration = Duration::from_millis(900);
/// Figures from longer ago than this are no base of a rate: nobody asked meanwhile.
const STALE: Duration = Duration::from_secs(15);

/// One room.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    #[serde(skip)]
    opened: Instant,
    #[serde(flatten)]
    pub(super) now: Glance,
    messages_in_per_second: f64,
    messages_out_per_second: f64,
    bytes_in_per_second: f64,
    bytes_out_per_second: f64,
    pub(super) cpu_seconds: Option<f64>,
    /// Processors that the program uses, between the last two looks at it.
    pub(super) cpu_cores: Option<f64>,
    pub(super) memory_bytes: Option<u64>,
    last_stderr: Option<String>,
}

impl Row {
    fn new(key: &Key, now: &Glance, before: Option<&Glance>, seconds: f64) -> Row {
        let rate = |of: fn(&Glance) -> u64| match before {
            Some(before) if seconds > 0.0 => of(now).saturating_sub(of(before)) as f64 / seconds,
            _ => 0.0,
        };
        Row {
            name: key.0.clone(),
            opened: key.1,
            messages_in_per_second: rate(|glance| glance.messages_in),
            messages_out_per_second: rate(|glance| glance.messages_out),
            bytes_in_per_second: rate(|glance| glance.bytes_in),
            bytes_out_per_second: rate(|glance| glance.bytes_out),
            now: now.clone(),
            cpu_seconds: None,
            cpu_cores: None,
            memory_bytes: None,
            last_stderr: None,
        }
    }

    pub(super) fn messages(&self) -> f64 {
        self.messages_in_per_second + self.messages_out_per_second
    }

    pub(super) fn bytes(&self) -> f64 {
        self.bytes_in_per_second + self.bytes_out_per_second
    }
}

/// A room by its name, and when it was opened: another of its name begins at 0.
type Key = (String, Instant);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Sampler(Mutex<Sample>);

#[derive(Debug, Default)]
struct Sample {
    at: Option<Instant>,
    /// How often all rooms were looked at.
    looks: u64,
    before: HashMap<Key, Seen>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Seen {
    glance: Glance,
    work: Option<Work>,
}

/// What a program had used when the system was asked.
#[derive(Debug, Clone, Copy)]
struct Work {
    at: Instant,
    seconds: f64,
    /// Processors that it used between that time and the one before.
    cores: Option<f64>,
}

impl Work {
    /// What follows from another look.
    fn then(before: Option<Work>, at: Instant, seconds: f64) -> Work {
        let Some(before) = before else {
            return Work {
                at,
                seconds,
                cores: None,
            };
        };
        let since = at.saturating_duration_since(before.at).as_secs_f64();
        if since <= 0.0 {
            return before;
        }
        Work {
            at,
            seconds,
            // Another program's counter, after a restart, begins at 0.
            cores: Some((seconds - before.seconds).max(0.0) / since),
        }
    }
}

impl Sampler {
    /// All rooms, as of a second ago at the longest, and the number of the look. May take milliseconds.
    pub(super) fn rows(&self, rooms: &Rooms) -> (Vec<Row>, u64) {
        let mut sample = self.0.lock();
        let now = Instant::now();
        let since = sample.at.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < FRESH) {
            return (sample.rows.clone(), sample.looks);
        }
        if since.is_none_or(|since| since > STALE) {
            sample.before.clear();
        }
        let seconds = since.unwrap_or_default().as_secs_f64();
        let mut before = std::mem::take(&mut sample.before);
        let mut rows = Vec::new();
        for room in rooms.list() {
            let key = (room.name().to_string(), room.opened());
            let glance = room.glance();
            let last = before.remove(&key);
            let last_glance = last.as_ref().map(|seen| &seen.glance);
            rows.push(Row::new(&key, &glance, last_glance, seconds));
            let work = last.and_then(|seen| seen.work);
            sample.before.insert(key, Seen { glance, work });
        }
        sample.at = Some(now);
        sample.looks += 1;
        sample.rows.clone_from(&rows);
        (rows, sample.looks)
    }

    /// What the room's program uses and said last. Asks the system, which takes its time.
    pub(super) fn look_up_usage(&self, row: &mut Row, rooms: &Rooms) {
        let Some(room) = rooms.get(&row.name) else {
            return;
        };
        row.last_stderr = room.last_stderr();
        let Some((at, usage)) = room.usage_as_of() else {
            return;
        };
        row.cpu_seconds = Some(usage.cpu_seconds);
        row.memory_bytes = usage.memory_bytes;
        let mut sample = self.0.lock();
        if let Some(seen) = sample.before.get_mut(&(row.name.clone(), row.opened)) {
            let work = Work::then(seen.work, at, usage.cpu_seconds);
            row.cpu_cores = work.cores;
            seen.work = Some(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_uses_is_known_from_the_second_look_on() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = Work::then(None, at(0), 10.0);
        assert_eq!(first.cores, None);
        // The system was not asked anew.
        assert_eq!(Work::then(Some(first), at(0), 10.0).cores, None);
        let second = Work::then(Some(first), at(2), 13.0);
        assert_eq!(second.cores, Some(1.5));
        assert_eq!(Work::then(Some(second), at(2), 13.0).cores, Some(1.5));
        // Started again: its counter is another one.
        assert_eq!(Work::then(Some(second), at(4), 1.0).cores, Some(0.0));
    }
}
