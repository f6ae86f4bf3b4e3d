//! The life of a child: when its leader ends, when all of it is gone, and the means to end it.
//!
//! The ladder itself is climbed by the warden; a life asks for it and waits. Dropping a life
//! kills what is left, so that no path through a room leaves a program running.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{
    Exit,
    cage::Limit,
    guard::Guard,
    warden::{Link, Progress},
    wire::{Request, Step},
};

/// When a child ends, and the means to end it.
#[derive(Debug)]
pub struct Life(Kind);

#[derive(Debug)]
enum Kind {
    Process(Process),
    /// A connection to a program that is not ours; true once we left it.
    Connection(watch::Sender<bool>),
}

#[derive(Debug)]
struct Process {
    id: u64,
    link: Arc<Link>,
    progress: watch::Receiver<Progress>,
    signal: i32,
    grace: Duration,
    /// Watches what the system does not keep, once the program runs.
    guard: Option<Guard>,
    /// The limit that the guard killed it for.
    over: Option<Limit>,
    /// How much was asked for: nothing, the ladder, its last rung. Each is sent once.
    asked: AtomicU8,
}

const STOP: u8 = 1;
const KILL: u8 = 2;

impl Life {
    pub(super) fn process(
        link: Arc<Link>,
        (id, progress): (u64, watch::Receiver<Progress>),
        signal: i32,
        grace: Duration,
    ) -> Self {
        let asked = AtomicU8::new(0);
        Life(Kind::Process(Process {
            id,
            link,
            progress,
            signal,
            grace,
            guard: None,
            over: None,
            asked,
        }))
    }

    /// From now on the guard watches for whoever waits for the end.
    pub(super) fn watch(&mut self, guard: Option<Guard>) {
        if let Kind::Process(process) = &mut self.0 {
            process.guard = guard;
        }
    }

    pub(super) fn connection() -> Self {
        Life(Kind::Connection(watch::Sender::new(false)))
    }

    /// Waits until the program runs, and gives its process id, or until it is known not to, and
    /// gives the `errno` and what it came from.
    pub(super) async fn started(&mut self) -> Result<Option<u32>, (i32, Step)> {
        let Kind::Process(process) = &mut self.0 else {
            return Ok(None);
        };
        let progress = process
            .reach(|progress| progress.started.is_some() || progress.gone)
            .await;
        progress
            .started
            .unwrap_or(Err((libc::ESRCH, Step::Exec)))
            .map(Some)
    }

    /// Waits until the leader ended. It is not reaped, and others of the room may live: call
    /// [`Life::stop`] when its output is read, then [`Life::gone`].
    ///
    /// Cancel-safe, and may be called again. With [`super::Transport::Connect`] this is never,
    /// until [`Life::stop`].
    pub async fn exited(&mut self) -> Exit {
        match &mut self.0 {
            Kind::Process(process) => process.exited().await,
            Kind::Connection(left) => closed(left).await,
        }
    }

    /// Asks for the ladder: the stop signal to all that lives of the room, and after the grace
    /// KILL. When only the leader lived, and has ended, nothing is waited for.
    pub fn stop(&self) {
        match &self.0 {
            Kind::Process(process) if process.asked.fetch_max(STOP, Ordering::Relaxed) < STOP => {
                let &Process {
                    id, signal, grace, ..
                } = process;
                process.link.ask(id, &Request::Stop { id, signal, grace });
            }
            Kind::Process(_) => {}
            Kind::Connection(left) => drop(left.send_replace(true)),
        }
    }

    /// Asks for the last rung at once.
    pub fn kill(&self) {
        match &self.0 {
            Kind::Process(process) => process.kill(),
            Kind::Connection(left) => drop(left.send_replace(true)),
        }
    }

    /// Waits until nothing of the room lives, all of it is reaped, and its port is back in the
    /// pool. Never comes before [`Life::stop`] or [`Life::kill`]. Cancel-safe.
    pub async fn gone(&mut self) -> Exit {
        match &mut self.0 {
            Kind::Process(process) => {
                let progress = process.reach(|progress| progress.gone).await;
                process.explain(progress)
            }
            Kind::Connection(left) => closed(left).await,
        }
    }
}

impl Process {
    async fn exited(&mut self) -> Exit {
        loop {
            let Some(guard) = self.guard.as_mut() else {
                let progress = self.reach(|progress| progress.exit.is_some()).await;
                return self.explain(progress);
            };
            let passed = tokio::select! {
                biased;
                ended = self.progress.wait_for(|progress| progress.exit.is_some()) => {
                    drop(ended);
                    None
                }
                limit = guard.passed() => Some(limit),
            };
            self.guard = None;
            if passed.is_some() {
                self.over = passed;
                self.kill();
            }
        }
    }

    fn kill(&self) {
        if self.asked.fetch_max(KILL, Ordering::Relaxed) < KILL {
            self.link.ask(self.id, &Request::Kill { id: self.id });
        }
    }

    /// How it ended; what the guard killed it for, if it did not end by itself before that.
    fn explain(&self, progress: Progress) -> Exit {
        match (progress.exit(), self.over) {
            (Exit::Signal(libc::SIGKILL), Some(limit)) => Exit::Over(limit),
            (exit, _) => exit,
        }
    }

    async fn reach(&mut self, far: impl FnMut(&Progress) -> bool) -> Progress {
        // The other end leaves only after it said that all is gone, which is far enough.
        let reached = self.progress.wait_for(far).await.map(|progress| *progress);
        reached.unwrap_or_else(|_| *self.progress.borrow())
    }
}

impl Progress {
    fn exit(self) -> Exit {
        self.exit.unwrap_or(Exit::Signal(libc::SIGKILL))
    }
}

async fn closed(left: &watch::Sender<bool>) -> Exit {
    let mut left = left.subscribe();
    let _never_dropped = left.wait_for(|left| *left).await;
    Exit::Closed
}

impl Drop for Life {
    fn drop(&mut self) {
        self.kill();
    }
}
