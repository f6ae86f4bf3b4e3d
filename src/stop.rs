//! Signals, and what they ask for: to reload, to drain, to end, to die at once.
//!
//! SIGTERM drains: no new rooms, and those that live may end by themselves until the drain
//! timeout. SIGINT is the same without the wait. A second signal kills. SIGHUP reloads, unless the
//! server was started from a terminal: then it means that the terminal has gone, and ends.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;

/// The same signal again within this time is the same request: timeout(1) signals the process and
/// then its whole group.
const SAME: Duration = Duration::from_millis(100);

/// How urgently the server is asked to end, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not at all.
    Run,
    /// When its rooms have ended, or the drain timeout is over.
    Drain,
    /// Now, but in good order.
    End,
    /// At once; the number of the signal.
    Kill(i32),
}

/// Where the server is asked to end, and where that is heard. Clones share it.
#[derive(Debug, Clone)]
pub struct Asked(watch::Sender<Stage>);

impl Default for Asked {
    fn default() -> Self {
        Asked(watch::Sender::new(Stage::Run))
    }
}

impl Asked {
    /// Asks for `stage`; what is more urgent stays.
    pub fn ask(&self, stage: Stage) {
        self.0.send_if_modified(|current| {
            let more = stage > *current;
            if more {
                *current = stage;
            }
            more
        });
    }

    /// Asks to drain, as SIGTERM does.
    pub fn drain(&self) {
        self.ask(Stage::Drain);
    }

    /// Waits until at least `stage` is asked for; says which it is.
    pub async fn at_least(&self, stage: Stage) -> Stage {
        let mut receiver = self.0.subscribe();
        let asked = receiver
            .wait_for(|asked| *asked >= stage)
            .await
            .map(|asked| *asked);
        // It cannot close while we hold a sender.
        asked.unwrap_or(Stage::Kill(libc::SIGTERM))
    }
}

/// The signals that the server listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    terminal: bool,
}

impl Signals {
    /// From now on the signals do not kill the process.
    pub fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            terminal: has_terminal(),
        })
    }
}

/// Turns signals into requests until the end of the server; to be run as a task. Whoever keeps what
/// can be read again watches `reloads`, which counts the requests to.
pub async fn listen(signals: Signals, asked: Asked, reloads: watch::Sender<u64>) {
    let Signals {
        mut terminate,
        mut interrupt,
        mut hang_up,
        terminal,
    } = signals;
    let mut last: Option<(i32, Instant)> = None;
    loop {
        let (number, stage) = tokio::select! {
            _ = terminate.recv() => (libc::SIGTERM, Stage::Drain),
            _ = interrupt.recv() => (libc::SIGINT, Stage::End),
            _ = hang_up.recv() => {
                if !terminal {
                    // Programs are looked up anew at every start.
                    info!("reloaded: new rooms run the program as it is on disk");
                    reloads.send_modify(|reloads| *reloads += 1);
                    continue;
                }
                (libc::SIGHUP, Stage::End)
            }
        };
        let now = Instant::now();
        match last {
            None => asked.ask(stage),
            Some((before, at)) if before == number && now - at < SAME => {}
            Some(_) => asked.ask(Stage::Kill(number)),
        }
        last = Some((number, now));
    }
}

/// Whether the process has a controlling terminal.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok_and(|tty| tty.is_terminal())
}
