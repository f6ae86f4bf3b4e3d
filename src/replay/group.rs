//! The replayed program and all that it started: they end with the replay, also by ^C.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{SigSet, Signal, killpg, raise};
use nix::unistd::Pid;
use parking_lot::Mutex;

/// What asks us to end.
const ENDING: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];

/// The group that runs now, if one does.
#[derive(Debug, Clone, Default)]
pub(super) struct Current(Arc<Mutex<Option<Pid>>>);

impl Current {
    /// From now on whoever ends us ends what runs first. Before any other thread is begun: they have
    /// these signals blocked from here. What is started has not, as the standard library sees to.
    pub(super) fn guarded() -> nix::Result<Current> {
        let current = Current::default();
        let signals: SigSet = ENDING.into_iter().collect();
        signals.thread_block()?;
        let guarded = current.clone();
        thread::spawn(move || {
            let Ok(signal) = signals.wait() else { return };
            // Held: nothing more is started.
            let running = guarded.0.lock();
            if let Some(group) = *running {
                let _gone_already = killpg(group, Signal::SIGKILL);
            }
            // Whoever waits for us reads what it was.
            if signals.thread_unblock().is_ok() {
                let _ = raise(signal);
            }
        });
        Ok(current)
    }

    /// Starts a program in a group of its own.
    pub(super) fn start(&self, command: &mut Command) -> std::io::Result<Group> {
        let mut running = self.0.lock();
        let child = command.process_group(0).spawn()?;
        let group = i32::try_from(child.id()).ok().map(Pid::from_raw);
        *running = group;
        Ok(Group {
            child,
            group,
            current: self.clone(),
        })
    }
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) child: Child,
    group: Option<Pid>,
    current: Current,
}

impl Drop for Group {
    fn drop(&mut self) {
        *self.current.0.lock() = None;
        // The number of a group is nobody else's while somebody is in it; and who has just left it
        // empty has not been followed by all other numbers yet.
        if let Some(group) = self.group {
            let _gone_already = killpg(group, Signal::SIGKILL);
        }
        let _reaped = self.child.wait();
    }
}
