//! Who really lives: every child of every process, whatever its server knows of it. A child ends
//! when its life is over, some time after it is killed, or by the deadline that its warden keeps
//! even while the server is stopped. The ledger sees each birth, and notes a second child of a room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scalesocket::room::RoomName;
use tokio::time::{Instant, sleep_until};

use crate::double::Wake;

/// How long after it is killed a child may still live, in milliseconds.
const DYING: u64 = 500;

/// One life of one server.
pub(crate) type ProcessId = u64;

/// How long children live by themselves, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lives {
    /// All of them so long.
    For(u64),
    /// Most for some seconds, some for most of a minute.
    Various,
}

impl Lives {
    fn draw(self, rng: &mut StdRng) -> Duration {
        Duration::from_millis(match self {
            Lives::For(life) => life,
            Lives::Various if rng.random_bool(0.2) => rng.random_range(5_000..60_000),
            Lives::Various => rng.random_range(200..5_000),
        })
    }
}

/// See the module's documentation. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    changed: Wake,
    start: Instant,
}

#[derive(Debug)]
struct Book {
    children: BTreeMap<u64, Child>,
    born: u64,
    /// By when the children of a process are dead.
    deadlines: BTreeMap<ProcessId, Instant>,
    rng: StdRng,
    course: Vec<String>,
    faults: Vec<String>,
}

#[derive(Debug)]
struct Child {
    room: RoomName,
    process: ProcessId,
    ends: Instant,
}

impl Book {
    fn end_of(&self, child: &Child) -> Instant {
        match self.deadlines.get(&child.process) {
            Some(deadline) => child.ends.min(*deadline),
            None => child.ends,
        }
    }

    /// What has passed cannot be changed by what comes.
    fn bury(&mut self, now: Instant) {
        let children = std::mem::take(&mut self.children);
        self.children = children
            .into_iter()
            .filter(|(_, child)| self.end_of(child) > now)
            .collect();
    }
}

impl Ledger {
    /// Nobody lives yet.
    pub(crate) fn new(seed: u64) -> Self {
        let book = Book {
            children: BTreeMap::new(),
            born: 0,
            deadlines: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed ^ 0x1ed6e4),
            course: Vec::new(),
            faults: Vec::new(),
        };
        Ledger(Arc::new(Shared {
            book: Mutex::new(book),
            changed: Wake::new(),
            start: Instant::now(),
        }))
    }

    /// A child is started, to live for a time within `life`.
    pub(crate) fn spawn(&self, room: &RoomName, process: ProcessId, life: Lives) -> u64 {
        let now = Instant::now();
        let mut book = self.0.book.lock();
        book.bury(now);
        let life = life.draw(&mut book.rng);
        let others: Vec<ProcessId> = book
            .children
            .values()
            .filter(|child| child.room == *room)
            .map(|child| child.process)
            .collect();
        book.born += 1;
        let id = book.born;
        let child = Child {
            room: room.clone(),
            process,
            ends: now + life,
        };
        let late = book.end_of(&child) <= now;
        book.children.insert(id, child);
        drop(book);
        self.note(&format!("{room} lives in process {process}"));
        if !others.is_empty() {
            let (p, o) = (process, others);
            self.wrong(&format!("{room} opened in process {p} lives in {o:?}"));
        }
        if late {
            self.wrong(&format!(
                "{room} opened in process {process} past its deadline"
            ));
        }
        self.0.changed.wake();
        id
    }

    /// Waits until a child is dead.
    pub(crate) async fn ended(&self, id: u64) {
        let mut changed = self.0.changed.listen();
        loop {
            changed.catch_up();
            let end = {
                let book = self.0.book.lock();
                book.children.get(&id).map(|child| book.end_of(child))
            };
            let Some(end) = end.filter(|end| *end > Instant::now()) else {
                return;
            };
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = sleep_until(end) => return,
            }
        }
    }

    /// The children of a process are killed.
    pub(crate) fn kill(&self, process: ProcessId) {
        let now = Instant::now();
        let book = &mut *self.0.book.lock();
        book.bury(now);
        let of_it = |child: &&mut Child| child.process == process;
        for child in book.children.values_mut().filter(of_it) {
            let left = Duration::from_millis(book.rng.random_range(0..=DYING));
            child.ends = child.ends.min(now + left);
        }
        self.0.changed.wake();
    }

    /// The machine of a process is no more: nothing there lives on.
    pub(crate) fn vanish(&self, process: ProcessId) {
        let mut book = self.0.book.lock();
        book.children.retain(|_, child| child.process != process);
        drop(book);
        self.0.changed.wake();
    }

    /// Children of that process live no longer than that. None: for ever.
    pub(crate) fn may_live_until(&self, process: ProcessId, deadline: Option<Instant>) {
        let mut book = self.0.book.lock();
        book.bury(Instant::now());
        match deadline {
            Some(deadline) => book.deadlines.insert(process, deadline),
            None => book.deadlines.remove(&process),
        };
        drop(book);
        self.0.changed.wake();
    }

    /// The processes in which a room lives.
    pub(crate) fn homes(&self, room: &RoomName) -> Vec<ProcessId> {
        let mut book = self.0.book.lock();
        book.bury(Instant::now());
        let of_it = |child: &&Child| child.room == *room;
        book.children
            .values()
            .filter(of_it)
            .map(|it| it.process)
            .collect()
    }

    /// How many children live in a process.
    pub(crate) fn living(&self, process: ProcessId) -> usize {
        let mut book = self.0.book.lock();
        book.bury(Instant::now());
        let of_it = |child: &&Child| child.process == process;
        book.children.values().filter(of_it).count()
    }

    /// How many children there ever were.
    pub(crate) fn born(&self) -> u64 {
        self.0.book.lock().born
    }

    /// Something happened.
    pub(crate) fn note(&self, what: &str) {
        let at = self.0.start.elapsed().as_secs_f64();
        self.0.book.lock().course.push(format!("{at:8.3} {what}"));
    }

    /// Something happened that must not.
    pub(crate) fn wrong(&self, what: &str) {
        self.note(&format!("WRONG: {what}"));
        self.0.book.lock().faults.push(what.to_owned());
    }

    /// All that happened, and what of it must not.
    pub(crate) fn read(&self) -> (Vec<String>, Vec<String>) {
        let book = self.0.book.lock();
        (book.course.clone(), book.faults.clone())
    }
}
