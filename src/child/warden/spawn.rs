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

#[cfg(not(target_os = "linux"))]
mod fork;
#[cfg(target_os = "linux")]
mod vfork;

#[cfg(not(target_os = "linux"))]
pub(super) use fork::Spawner;
#[cfg(target_os = "linux")]
pub(super) use vfork::Spawner;

/// The signals we ignore, or were started with ignored; a program gets them back as they are by
/// default, because what is ignored stays so across exec.
const RESET: [Signal; 12] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGPIPE,
    Signal::SIGTERM,
    Signal::SIGCHLD,
    Signal::SIGALRM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// What the new process does before it becomes the program, besides its descriptors.
///
/// It only makes system calls: it may share memory with the warden, or be a copy of it.
fn prepare(warden: u32, soft_nofile: u64) -> io::Result<()> {
    setsid()?;
    #[cfg(target_os = "linux")]
    {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        if std::os::unix::process::parent_id() != warden {
            return Err(io::Error::from_raw_os_error(libc::ESRCH)); // it died before we asked
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = warden;
    nofile::set_soft_nofile(soft_nofile)?;
    for default in RESET {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { signal(default, SigHandler::SigDfl) }?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}
