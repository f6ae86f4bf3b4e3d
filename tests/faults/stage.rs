//! What a server holds, before and after: memory, descriptors, processes and tasks, and how much
//! memory it came to in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Address, PATIENCE, Server, Setup, given};

/// Lets the ladder of stubborn children be short.
pub(crate) const SOON: &str = "--stats --stop-eof 0.2 --stop-grace 0.2";

/// How often what tells nobody of its changes is asked again.
const GLANCE: Duration = Duration::from_millis(5);

/// What allocators keep of what was freed, in a debug build.
pub(crate) const KEPT: u64 = 8 << 20;

/// What a server held before a fault, everything that is made once having been made.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) memory: u64,
    descriptors: usize,
    processes: usize,
    tasks: u64,
    asked_at: Address,
}

/// A server with this command line behind `SOON`, and what it holds.
pub(crate) async fn begin(line: &str) -> (Server, Start) {
    begin_with(given(format!("{SOON} {line}"))).await
}

/// The same for one that needs more than a command line.
pub(crate) async fn begin_with(setup: Setup) -> (Server, Start) {
    let server = setup.serve().await;
    let start = Start::of(&server).await;
    (server, start)
}

impl Start {
    /// One room is opened first, so that what is made with the first is there.
    pub(crate) async fn of(server: &Server) -> Start {
        drop(server.join("/first").await);
        Start::of_opened(server).await
    }

    /// The same, for a server that has had a room.
    pub(crate) async fn of_opened(server: &Server) -> Start {
        let admin = server.addresses(Some("admin")).into_iter().next();
        let asked_at = admin.unwrap_or_else(|| server.address());
        server.has_programs(0).await;
        // Twice the same: what the first room left on its way out is gone.
        let mut last = None;
        let begun = Instant::now();
        loop {
            let stats = stats(server, &asked_at).await;
            let now = (stats["tasks"].as_u64().unwrap(), server.descriptors());
            if stats["rooms_live"] == 0 && last == Some(now) {
                return Start {
                    memory: server.memory_bytes(),
                    descriptors: now.1,
                    processes: server.processes().len(),
                    tasks: now.0,
                    asked_at,
                };
            }
            last = Some(now);
            if begun.elapsed() > PATIENCE {
                server.fail(&format!("is never at rest: {stats}"));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Waits until no room lives, and nothing is held that was not held at first.
    pub(crate) async fn is_back(&self, server: &Server) {
        let begun = Instant::now();
        loop {
            let stats = stats(server, &self.asked_at).await;
            let now = (
                stats["rooms_live"].as_u64().unwrap(),
                server.programs().len(),
                server.processes().len(),
                server.descriptors(),
                stats["tasks"].as_u64().unwrap(),
                server.memory_bytes(),
            );
            let (rooms, programs, processes, descriptors, tasks, memory) = now;
            if (rooms, programs) == (0, 0)
                && processes <= self.processes
                && descriptors <= self.descriptors
                && tasks <= self.tasks
                && memory <= self.memory + KEPT
            {
                return;
            }
            if begun.elapsed() > PATIENCE {
                server.fail(&format!(
                    "at first {self:?}, now (rooms, programs, processes, descriptors, tasks, memory) {now:?}"
                ));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }
}

pub(crate) async fn stats(server: &Server, at: &Address) -> Value {
    server.request_at(at, "GET", "/stats", &[]).await.json()
}

/// Ends the test with success where the machine cannot show what it is about.
#[macro_export]
macro_rules! skip_unless {
    ($possible:expr, $why:expr) => {
        if !$possible {
            eprintln!("skipped: {}", $why);
            return;
        }
    };
}

/// Whether this command works here.
pub(crate) fn works(line: &str) -> bool {
    let words = crate::harness::split(line);
    let (program, rest) = words.split_first().unwrap();
    let output = std::process::Command::new(program).args(rest).output();
    output.is_ok_and(|output| output.status.success())
}

/// The most memory that a server had while this lived.
pub(crate) struct Peak {
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

impl Peak {
    pub(crate) fn of(server: &Server) -> Peak {
        let (most, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let pid = server.pid();
        let watcher = {
            let (most, over) = (Arc::clone(&most), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    most.fetch_max(memory_of(pid), Ordering::Relaxed);
                    std::thread::sleep(GLANCE);
                }
            })
        };
        Peak {
            most,
            over,
            watcher: Some(watcher),
        }
    }

    /// Fails if it had more than so many bytes beyond what it had at first.
    pub(crate) fn at_most(self, server: &Server, start: &Start, bytes: u64) {
        self.most
            .fetch_max(server.memory_bytes(), Ordering::Relaxed);
        let most = self.most.load(Ordering::Relaxed);
        if most > start.memory + bytes {
            server.fail(&format!(
                "{} MiB at first, {} at most, which is more than {} more",
                start.memory >> 20,
                most >> 20,
                bytes >> 20
            ));
        }
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            watcher.join().ok();
        }
    }
}

fn memory_of(pid: i32) -> u64 {
    crate::harness::status_bytes(pid, "RssAnon").unwrap_or_default()
}
