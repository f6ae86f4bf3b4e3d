//! A new process as the standard library makes one: a copy of the warden.
#![allow(unsafe_code)] // pre_exec

use std::{
    io,
    os::{fd::RawFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use super::{Failed, Kept, Spawned, Steps, errno, prepare};
use crate::child::{fdpass, wire::Launch};

/// A start whose outcome comes later: there is none here.
pub(in crate::child::warden) enum Birth {}

impl Birth {
    pub(in crate::child::warden) fn outcome(&mut self) -> Option<Result<(), Failed>> {
        match *self {}
    }

    pub(in crate::child::warden) fn fd(&self) -> RawFd {
        match *self {}
    }
}

/// Starts programs, as the standard library does.
pub(in crate::child::warden) struct Spawner {
    soft_nofile: u64,
}

impl Spawner {
    /// Programs get `soft_nofile` as their limit of descriptors.
    pub(in crate::child::warden) fn new(soft_nofile: u64) -> io::Result<Spawner> {
        Ok(Spawner { soft_nofile })
    }

    /// Starts the program and gives its process id, which is also its session and its group.
    ///
    /// The descriptors are closed here in every case. An error is an `errno`, of the exec too.
    pub(in crate::child::warden) fn spawn(
        &mut self,
        mut launch: Launch,
        stdio: fdpass::Stdio,
        part: Option<&Path>,
        kept: Kept,
    ) -> Result<Spawned, Failed> {
        let steps = Steps::new(&mut launch, part, kept)?;
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
        let (warden, soft_nofile) = (std::process::id(), self.soft_nofile);
        // The standard library passes the errno on; which step it was is lost.
        let prepared = move || {
            prepare(warden, soft_nofile, &steps)
                .map_err(|failed| io::Error::from_raw_os_error(failed.errno))
        };
        // SAFETY: the closure makes system calls only; the warden has one thread, so that no lock
        // can be held by another one at the fork.
        unsafe { command.pre_exec(prepared) };
        match command.spawn() {
            // The Child is dropped without being waited for: the warden's scan reaps.
            Ok(child) => Ok(Spawned {
                pid: child.id(),
                birth: None,
            }),
            Err(error) => Err(Failed::exec(errno(&error))),
        }
    }
}
