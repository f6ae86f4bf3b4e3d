//! What the servers hold: descriptors, processes, tasks, rooms, clients and memory.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::site::Site;
use super::visitor::Visitor;
use crate::proc;
use crate::server::Server;
use crate::stream::{Stream, Tls};

/// How long what was left may take to go: the slowest is a connection without an end.
const END: Duration = Duration::from_secs(20);
/// The process that starts the others.
const WARDEN: &str = "ss-warden";
/// Which part of the time is in neither half.
const WARM_UP: u32 = 5;
const GLANCE: Duration = Duration::from_millis(50);
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What one server holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Of the server and of the process that starts the others.
    pub(super) descriptors: u64,
    /// Below the server, that one and zombies among them.
    pub(super) processes: u64,
    /// Of the server's runtime.
    pub(super) tasks: u64,
    pub(super) rooms: u64,
    pub(super) connections: u64,
}

impl Held {
    fn now(server: &Server, tls: Option<&Tls>) -> Result<Held> {
        let stats = stats(server, tls)?;
        let figure = |name: &str| {
            stats
                .get(name)
                .and_then(Value::as_u64)
                .context(name.to_owned())
        };
        let below = proc::descendants(server.pid());
        let mut descriptors = proc::descriptors(server.pid())?;
        for (pid, name) in &below {
            if name == WARDEN {
                descriptors += proc::descriptors(*pid)?;
            }
        }
        Ok(Held {
            descriptors: descriptors as u64,
            processes: below.len() as u64,
            tasks: figure("tasks")?,
            rooms: figure("rooms_live")?,
            connections: figure("connections")?,
        })
    }

    /// Nothing more than `first`.
    pub(super) fn is_within(&self, first: &Held) -> bool {
        self.descriptors <= first.descriptors
            && self.processes <= first.processes
            && self.tasks <= first.tasks
            && self.rooms <= first.rooms
            && self.connections <= first.connections
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "descriptors": self.descriptors, "processes": self.processes, "tasks": self.tasks,
            "rooms": self.rooms, "connections": self.connections,
        })
    }
}

/// `/stats`, each time over a connection of its own.
fn stats(server: &Server, tls: Option<&Tls>) -> Result<Value> {
    let mut stream = Stream::connect(server.addr, tls)?;
    stream.set_read_timeout(Duration::from_secs(10))?;
    stream.write_all(
        b"GET /stats?limit=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.get(at.context("an answer without an end")? + 4..);
    Ok(serde_json::from_slice(body.unwrap_or_default())?)
}

/// What a server holds that has had one room, which is gone: twice the same.
pub(super) fn rest(server: &Server, tls: Option<&Tls>) -> Result<Held> {
    drop(Visitor::join(server.addr, tls, "echo-first")?);
    let deadline = Instant::now() + END;
    let mut last = None;
    loop {
        std::thread::sleep(GLANCE);
        let now = Held::now(server, tls)?;
        if (now.rooms, now.connections, now.processes, last) == (0, 0, 1, Some(now)) {
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "never at rest: {now:?}");
        last = Some(now);
    }
}

/// What it holds when all have left and it was waited for.
pub(super) fn settled(server: &Server, tls: Option<&Tls>, first: &Held) -> Held {
    let deadline = Instant::now() + END;
    let mut last = Held::default();
    loop {
        match Held::now(server, tls) {
            Ok(now) if now.is_within(first) || Instant::now() > deadline => return now,
            Ok(now) => last = now,
            // One that does not answer holds no less than it did.
            Err(_) if Instant::now() > deadline => return last,
            Err(_) => {}
        }
        std::thread::sleep(GLANCE);
    }
}

/// Memory of all servers together, over the time.
#[derive(Debug, Default)]
pub(super) struct Samples {
    pub(super) warm_up: Duration,
    /// Begin to end of what is compared.
    pub(super) time: Duration,
    /// When, and how many bytes.
    pub(super) bytes: Vec<(Duration, u64)>,
}

/// Takes them until it is over.
#[derive(Debug)]
pub(super) struct Taking {
    taken: Arc<Mutex<Vec<(Duration, u64)>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    time: Duration,
}

impl Samples {
    pub(super) fn take(site: &Site) -> Taking {
        let mut pids = Vec::new();
        for (_, stand) in site.stands() {
            let below = proc::descendants(stand.server.pid()).into_iter();
            let wardens = below.filter(|(_, name)| name == WARDEN);
            pids.extend(wardens.map(|(pid, _)| pid).chain([stand.server.pid()]));
        }
        let (taken, over) = (
            Arc::<Mutex<Vec<_>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let thread = {
            let (taken, over, begun) = (Arc::clone(&taken), Arc::clone(&over), site.begun);
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let all = pids.iter().map(|pid| proc::proportional(*pid));
                    if let Ok(bytes) = all.sum::<Result<u64>>() {
                        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                        taken.push((begun.elapsed(), bytes));
                    }
                    std::thread::sleep(LOOK);
                }
            })
        };
        Taking {
            taken,
            over,
            thread: Some(thread),
            time: site.time,
        }
    }
}

impl Taking {
    pub(super) fn over(mut self) -> Samples {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        Samples {
            warm_up: self.time / WARM_UP,
            time: self.time,
            bytes: taken.clone(),
        }
    }
}

impl Samples {
    /// Median and largest of the first and of the second half behind the warm-up.
    pub(super) fn halves(&self) -> [(u64, u64); 2] {
        let middle = self.warm_up + self.time.saturating_sub(self.warm_up) / 2;
        [(self.warm_up, middle), (middle, self.time)].map(|(from, to)| {
            let inside = self.bytes.iter().filter(|(at, _)| (from..=to).contains(at));
            let mut inside: Vec<u64> = inside.map(|(_, bytes)| *bytes).collect();
            inside.sort_unstable();
            let median = inside.get(inside.len() / 2).copied().unwrap_or_default();
            (median, inside.last().copied().unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_in_neither_half() {
        let at = |second: u64, bytes| (Duration::from_secs(second), bytes);
        let samples = Samples {
            warm_up: Duration::from_secs(2),
            time: Duration::from_secs(10),
            bytes: vec![
                at(1, 99),
                at(3, 10),
                at(4, 20),
                at(5, 12),
                at(7, 30),
                at(8, 31),
                at(11, 99),
            ],
        };
        assert_eq!(samples.halves(), [(12, 20), (31, 31)]);
    }

    #[test]
    fn whatever_is_more_than_at_first_is_seen() {
        let first = Held {
            descriptors: 20,
            processes: 1,
            tasks: 9,
            rooms: 0,
            connections: 0,
        };
        assert!(first.is_within(&first));
        for worse in [
            Held {
                descriptors: 21,
                ..first
            },
            Held {
                processes: 2,
                ..first
            },
            Held { tasks: 10, ..first },
            Held { rooms: 1, ..first },
            Held {
                connections: 1,
                ..first
            },
        ] {
            assert!(!worse.is_within(&first), "{worse:?}");
        }
    }
}
