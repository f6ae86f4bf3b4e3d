//! A new process that changes its user, and therefore shares nothing with the warden on its way.
//!
//! From the moment it is somebody else, others of that user can signal it: one that is stopped
//! before its exec would stop a warden that waits for it. So it is a copy, nobody waits, and how it
//! went is read from a pipe that the exec closes.
#![allow(unsafe_code)] // fork(2), dup2(2) and close_range(2)

use std::{
    io::{self, Read},
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::{SigSet, SigmaskHow, sigprocmask},
    unistd::{ForkResult, fork},
};

use super::{Failed, errno};
use crate::child::wire::Step;

/// Where the new process has the pipe.
const REPORT: RawFd = 3;

/// Tells how a start went.
pub(in crate::child::warden) struct Birth(std::fs::File);

impl Birth {
    /// None while it is under way; then whether the program runs.
    pub(in crate::child::warden) fn outcome(&mut self) -> Option<Result<(), Failed>> {
        let mut told = [0; 8];
        match self.0.read(&mut told) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            // So short a write is one piece.
            Ok(8) => {
                let [a, b, c, d, e, f, g, h] = told;
                Some(Err(Failed {
                    errno: i32::from_ne_bytes([a, b, c, d]),
                    step: Step::from_number(u32::from_ne_bytes([e, f, g, h])),
                }))
            }
            Ok(_) | Err(_) => Some(Ok(())),
        }
    }

    /// Readable once there is an outcome.
    pub(in crate::child::warden) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Starts a copy of this process that does `become_program`, which returns only when it fails.
pub(super) fn start(
    slots: &[OwnedFd; 3],
    become_program: impl FnOnce() -> Failed,
) -> Result<(u32, Birth), i32> {
    let (ours, theirs) = io::pipe().map_err(|error| errno(&error))?;
    let (ours, theirs) = (OwnedFd::from(ours), OwnedFd::from(theirs));
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| errno as i32)?;
    // No handler of ours may run in the copy, where it would speak through our descriptors.
    let mut mask = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut mask))
        .map_err(|errno| errno as i32)?;
    // SAFETY: this process has one thread, so that no lock is held by another one at the fork.
    let forked = unsafe { fork() };
    if let Ok(ForkResult::Child) = forked {
        let failed = match take_descriptors(slots, &theirs) {
            Ok(()) => become_program(),
            Err(error) => Failed::exec(errno(&error)),
        };
        report(failed);
    }
    // Cannot fail: the mask is one that the system gave us.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None);
    match forked.map_err(|errno| errno as i32)? {
        ForkResult::Parent { child } => Ok((child.as_raw() as u32, Birth(ours.into()))),
        ForkResult::Child => report(Failed::exec(libc::EINVAL)),
    }
}

/// 0 to 2 from the slots, the pipe behind them, and no other.
fn take_descriptors(slots: &[OwnedFd; 3], theirs: &OwnedFd) -> io::Result<()> {
    // SAFETY: without memory; all of the table is this process's own. The pipe and the slots are
    // above 3 or among the slots, 3 to 5, which are taken before they are replaced.
    unsafe {
        for (slot, fd) in slots.iter().zip(0..) {
            if libc::dup2(slot.as_raw_fd(), fd) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        if libc::dup3(theirs.as_raw_fd(), REPORT, libc::O_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        // Before 5.9 all others close at the exec alone.
        libc::syscall(libc::SYS_close_range, REPORT + 1, u32::MAX, 0);
    }
    Ok(())
}

/// Says why there is no program, and ends without a trace of the warden's own end.
fn report(failed: Failed) -> ! {
    let [a, b, c, d] = failed.errno.to_ne_bytes();
    let [e, f, g, h] = (failed.step as u32).to_ne_bytes();
    let told = [a, b, c, d, e, f, g, h];
    // SAFETY: `told` outlives the call; _exit runs nothing of ours.
    unsafe {
        libc::write(REPORT, told.as_ptr().cast(), told.len());
        libc::_exit(127)
    }
}
