//! Starting one program: what happens between the new process and its exec, and what it must not
//! inherit.
//!
//! A program gets its three descriptors and no other, a session of its own, default signals, the
//! descriptor limit it would have had without us, and KILL when the warden dies. How the new
//! process is made is the system's affair.
#![allow(unsafe_code)] // the system calls between a new process and its exec

use std::io;

use nix::{
    sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
    unistd::setsid,
};

use crate::child::nofile;

#[cfg(target_os = "linux")]
mod apart;
#[cfg(not(target_os = "linux"))]
mod fork;
mod steps;
#[cfg(target_os = "linux")]
mod vfork;

#[cfg(target_os = "linux")]
pub(super) use apart::Birth;
#[cfg(not(target_os = "linux"))]
pub(super) use fork::{Birth, Spawner};
use steps::Steps;
pub(super) use steps::{Failed, Kept};
#[cfg(target_os = "linux")]
pub(super) use vfork::Spawner;

/// A new process, and perhaps what will tell how its start goes; without that, it runs.
pub(super) struct Spawned {
    pub(super) pid: u32,
    pub(super) birth: Option<Birth>,
}

/// The signals that the warden ignores or handles; a program gets them back as they are by default,
/// because what is ignored stays so across exec. The warden has all others at their defaults.
const RESET: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGPIPE,
    Signal::SIGTERM,
    Signal::SIGCHLD,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// What the new process does before it becomes the program, besides its descriptors.
///
/// It only makes system calls: it may share memory with the warden, or be a copy of it.
fn prepare(warden: u32, soft_nofile: u64, steps: &Steps) -> Result<(), Failed> {
    setsid().map_err(|errno| Failed::exec(errno as i32))?;
    steps.control_terminal()?; // while it is ours to give
    let plain = |error: io::Error| Failed::exec(errno(&error));
    nofile::set_soft_nofile(soft_nofile).map_err(plain)?; // a limit of the program's own comes next
    steps.confine()?;
    // Behind the change of user, which would undo it.
    #[cfg(target_os = "linux")]
    {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
            .map_err(|errno| Failed::exec(errno as i32))?;
        if std::os::unix::process::parent_id() != warden {
            return Err(Failed::exec(libc::ESRCH)); // it died before we asked
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = warden;
    steps.enter()?;
    for default in RESET {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { signal(default, SigHandler::SigDfl) }.map_err(|e| plain(e.into()))?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(|errno| Failed::exec(errno as i32))
}
