//! Long loads, each with what must hold; the first that does not is the exit status.

mod churn;
mod deaf;
mod flood;
mod mixed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::options::Options;
use crate::proc;

/// How often the memory of the server is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A soak: what it says when all held.
type Soak = fn(&Options) -> Result<String>;

const SOAKS: [(&str, Soak); 8] = [
    ("flood-disconnect", |of| flood::disconnect(&of.server)),
    ("flood-drop", |of| flood::drop_policy(&of.server)),
    ("flood-block", |of| flood::block(&of.server)),
    ("slow-reader", |of| flood::slow_reader(&of.server)),
    ("deaf", |of| deaf::run(&of.server)),
    ("rooms", |of| churn::rooms(&of.server)),
    ("churn", |of| churn::one_room(&of.server)),
    (MIXED, mixed::run),
];
/// The one that takes as long as it is told to, and has a quick form.
const MIXED: &str = "mixed";

/// Runs those that are wanted, all of them whatever became of the others.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wants = |name: &str| options.wants(name) && (name == MIXED || !options.quick);
    let mut failed = Vec::new();
    for (name, soak) in SOAKS.iter().filter(|(name, _)| wants(name)) {
        match soak(options) {
            Ok(held) => println!("ok    {name}: {held}"),
            Err(error) => {
                println!("FAIL  {name}: {error:#}");
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("did not hold: {}", failed.join(", "))
}

/// The largest memory of a process while this lives.
#[derive(Debug)]
pub(crate) struct Peak {
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

impl Peak {
    pub(crate) fn watch(pid: u32) -> Self {
        let (most, over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let watcher = {
            let (most, over) = (Arc::clone(&most), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // None is left once it has ended.
                    most.fetch_max(proc::memory(pid).unwrap_or(0), Ordering::Relaxed);
                    std::thread::sleep(LOOK);
                }
            })
        };
        Peak {
            most,
            over,
            watcher: Some(watcher),
        }
    }

    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

/// Bytes as MiB.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
