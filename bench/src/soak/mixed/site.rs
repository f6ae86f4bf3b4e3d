//! What all parts of the mixed soak share: the servers, who plays where, what went wrong, and how
//! long it goes on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::census::{self, Held};
use super::visitor::Visitor;
use crate::chance::Chance;
use crate::sequence::Faults;
use crate::server::{Server, this_program};
use crate::stream::{Tls, certificate};
use crate::wire;

/// Flags of all servers: stubborn programs end soon, and there are never series without end.
const FLAGS: &str =
    "--stats --metrics --metrics-rooms 50 --maxrooms 2000 --stop-eof 0.3 --stop-grace 0.5";
/// What is done wrong on purpose, by name.
const BREAKS: [(&str, Break); 3] = [
    ("message", Break::Message),
    ("room", Break::Room),
    ("memory", Break::Memory),
];
/// Clients that hold memory on purpose.
const HOARDERS: usize = 80;

/// What is done wrong on purpose, to show that it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// A client forgets one that it heard.
    Message,
    /// A client stays.
    Room,
    /// Messages of which all but the last byte came fill the second half.
    Memory,
}

impl Break {
    pub(super) fn named(name: &str) -> Result<Break> {
        let known = BREAKS.into_iter().find(|(known, _)| *known == name);
        known
            .map(|(_, what)| what)
            .with_context(|| format!("--break {name}: message, room or memory"))
    }
}

/// Which server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Lines, and compressed messages for who offers that.
    #[default]
    Lines,
    Json,
    Packets,
    /// Lines over TLS.
    Secure,
}

/// All of them.
pub(super) const PLACES: [Place; 4] = [Place::Lines, Place::Json, Place::Packets, Place::Secure];

/// A server, how it is reached, and what it held before anything happened.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) server: Server,
    pub(super) tls: Option<Tls>,
    first: Held,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Site {
    stands: Vec<Stand>,
    scratch: PathBuf,
    pub(super) begun: Instant,
    pub(super) time: Duration,
    pub(super) quick: bool,
    breaks: Option<Break>,
    broke: AtomicBool,
    /// Rooms that play, which neighbours may bother.
    playing: Mutex<Vec<(Place, String)>>,
    tally: Mutex<Faults>,
    failures: Mutex<Vec<String>>,
    /// Rooms that have played, and faults that have happened.
    pub(super) rooms: AtomicU64,
    pub(super) faults: AtomicU64,
    /// Faults that take much memory take it one after the other.
    pub(super) heavy: Mutex<()>,
    stays: Mutex<Vec<Visitor>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Site {
    /// Starts the servers and sees what they hold.
    pub(super) fn open(
        binary: &Path,
        time: Duration,
        quick: bool,
        breaks: Option<Break>,
    ) -> Result<Site> {
        let scratch = std::env::temp_dir().join(format!("scalesocket-soak-{}", std::process::id()));
        std::fs::create_dir(&scratch)?;
        let mut site = Site {
            stands: Vec::new(),
            scratch,
            begun: Instant::now(),
            time,
            quick,
            breaks,
            broke: AtomicBool::new(false),
            playing: Mutex::default(),
            tally: Mutex::default(),
            failures: Mutex::default(),
            rooms: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            heavy: Mutex::default(),
            stays: Mutex::default(),
        };
        // Dropped from here on, it takes its scratch directory along.
        let (chain, key) = (site.scratch.join("chain.pem"), site.scratch.join("key.pem"));
        let tls = certificate(&chain, &key)?;
        let own = this_program()?;
        let own = own.to_str().context("a path in UTF-8")?;
        let (chain, key) = (chain.to_string_lossy(), key.to_string_lossy());
        for place in PLACES {
            let mut words: Vec<&str> = FLAGS.split(' ').collect();
            match place {
                Place::Lines => words.push("--compress"),
                Place::Json => words.push("--frame=json"),
                Place::Packets => words.push("--frame=gwsocket"),
                Place::Secure => words.extend(["--tls-cert", &chain, "--tls-key", &key]),
            }
            words.extend([own, "--", "child", "part"]);
            let server = Server::start(binary, &words)?;
            let tls = (place == Place::Secure).then(|| tls.clone());
            let first = census::rest(&server, tls.as_ref())?;
            site.stands.push(Stand { server, tls, first });
        }
        site.begun = Instant::now();
        Ok(site)
    }

    pub(super) fn stands(&self) -> impl Iterator<Item = (Place, &Stand)> {
        PLACES.into_iter().zip(&self.stands)
    }

    pub(super) fn stand(&self, place: Place) -> Result<&Stand> {
        let found = self.stands().find(|(at, _)| *at == place);
        Ok(found.context("no such server")?.1)
    }

    /// A client that waits for what it hears, in the room of that name.
    pub(super) fn visits(&self, place: Place, room: &str) -> Result<Visitor> {
        let stand = self.stand(place)?;
        Visitor::join(stand.server.addr, stand.tls.as_ref(), room)
    }

    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.time
    }

    /// How long until the next fault; none when no more come.
    pub(super) fn pause(&self, chance: &mut Chance) -> Option<Duration> {
        let most = if self.quick { 300 } else { 4_000 };
        let pause = Duration::from_millis(most / 4 + chance.below(most));
        (self.begun.elapsed() + pause < self.time).then_some(pause)
    }

    /// So long, or a tenth in the quick form.
    pub(super) fn of(&self, millis: u64) -> Duration {
        Duration::from_millis(if self.quick { millis / 10 } else { millis })
    }

    /// So many, or a tenth in the quick form.
    pub(super) fn count(&self, full: usize) -> usize {
        if self.quick { full / 10 } else { full }
    }

    /// The room plays until it is not.
    pub(super) fn plays(&self, place: Place, room: &str, playing: bool) {
        let mut rooms = locked(&self.playing);
        match playing {
            true => rooms.push((place, room.to_owned())),
            false => rooms.retain(|(at, name)| (*at, name.as_str()) != (place, room)),
        }
    }

    /// A room that plays, of one of these places.
    pub(super) fn room(&self, chance: &mut Chance, places: &[Place]) -> Option<(Place, String)> {
        let rooms = locked(&self.playing);
        let found: Vec<_> = rooms.iter().filter(|(at, _)| places.contains(at)).collect();
        let index = chance.below(found.len() as u64) as usize;
        found.get(index).map(|room| (*room).clone())
    }

    /// Whether the caller is to forget a message.
    pub(super) fn forgets(&self) -> bool {
        self.breaks == Some(Break::Message) && !self.broke.swap(true, Ordering::Relaxed)
    }

    /// Does what takes no part in a show.
    pub(super) fn breaks_what_it_should(&self) {
        if self.breaks.is_some() {
            // Well inside the second half.
            std::thread::sleep(self.time * 7 / 10);
        }
        let hoard = || -> Result<()> {
            let rooms = match self.breaks {
                Some(Break::Room) => 1,
                Some(Break::Memory) => HOARDERS,
                _ => return Ok(()),
            };
            for _ in 0..rooms {
                let mut visitor = self.visits(Place::Lines, "echo-hoard")?;
                if self.breaks == Some(Break::Memory) {
                    let mut part = Vec::new();
                    wire::put_header(&mut part, wire::BINARY, 1 << 20);
                    part.resize(1 << 20, b'x');
                    visitor.sends(&part)?;
                }
                locked(&self.stays).push(visitor);
            }
            Ok(())
        };
        if let Err(error) = hoard() {
            self.fails("--break", &error);
        }
        if self.breaks == Some(Break::Memory) {
            std::thread::sleep(self.time.saturating_sub(self.begun.elapsed()));
            locked(&self.stays).clear();
        }
    }

    pub(super) fn add(&self, faults: &Faults) {
        self.rooms.fetch_add(1, Ordering::Relaxed);
        locked(&self.tally).add(faults);
    }

    pub(super) fn tally(&self) -> Faults {
        *locked(&self.tally)
    }

    pub(super) fn log(&self, line: &str) {
        eprintln!("[{:7.1} s] {line}", self.begun.elapsed().as_secs_f64());
    }

    pub(super) fn fails(&self, who: &str, error: &anyhow::Error) {
        let line = format!("{who}: {error:#}");
        self.log(&format!("FAIL {line}"));
        locked(&self.failures).push(line);
    }

    pub(super) fn failures(&self) -> Vec<String> {
        locked(&self.failures).clone()
    }

    /// What the servers held at first, and what they hold when all have left.
    pub(super) fn is_back(&self) -> Vec<(Held, Held)> {
        let back = |(_, stand): (Place, &Stand)| {
            let Stand { server, tls, first } = stand;
            (*first, census::settled(server, tls.as_ref(), first))
        };
        self.stands().map(back).collect()
    }

    /// Ends the servers, which must end well.
    pub(super) fn close(mut self) -> Result<()> {
        locked(&self.stays).clear();
        for stand in self.stands.drain(..) {
            let panics = stand.server.panics();
            if !panics.is_empty() {
                bail!("{panics:?}");
            }
            stand.server.stop()?;
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A directory in that of temporary files: no harm if it stays.
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}
