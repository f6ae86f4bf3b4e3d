//! Starting one program: what happens between fork and exec, and what it must not inherit.
//!
//! A program gets its three descriptors and no other, a session of its own, default signals, the
//! descriptor limit it would have had without us, and KILL when the warden dies.
#![allow(unsafe_code)] // pre_exec: the system calls between fork and exec

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
    unistd::setsid,
};

use crate::child::{fdpass, nofile, wire::Launch};

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

/// Starts the program and gives its process id, which is also its session and its group.
///
/// The descriptors are closed here in every case. An error is an `errno`, of the exec too.
pub(super) fn spawn(launch: Launch, stdio: fdpass::Stdio, soft_nofile: u64) -> Result<u32, i32> {
    let [stdin, stdout, stderr] = stdio;
    let mut command = Command::new(launch.path);
    command
        .arg0(launch.name)
        .args(launch.args)
        .env_clear()
        .envs(launch.env)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr));
    let warden = std::process::id();
    // SAFETY: the closure makes system calls only; the warden has one thread, so that no lock can
    // be held by another one at the fork.
    unsafe { command.pre_exec(move || prepare(warden, soft_nofile)) };
    match command.spawn() {
        // The Child is dropped without being waited for: the warden's scan reaps.
        Ok(child) => Ok(child.id()),
        // Not from the system: a NUL byte in an argument.
        Err(error) => Err(error.raw_os_error().unwrap_or(libc::EINVAL)),
    }
}

/// Runs in the new process, before it becomes the program.
fn prepare(warden: u32, soft_nofile: u64) -> io::Result<()> {
    setsid()?;
    #[cfg(target_os = "linux")]
    {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        if std::os::unix::process::parent_id() != warden {
            return Err(io::Error::from_raw_os_error(libc::ESRCH)); // it died before we asked
        }
        // A second fence: all that is ours is close-on-exec already. Not closed but marked,
        // because std tells the warden of a failed exec through a descriptor of its own.
        // SAFETY: marks descriptors for exec, and touches no memory.
        unsafe {
            libc::syscall(
                libc::SYS_close_range,
                3,
                u32::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = warden;
    nofile::set_soft_nofile(soft_nofile)?;
    for ignored in RESET {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { signal(ignored, SigHandler::SigDfl) }?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}
