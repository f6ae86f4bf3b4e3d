//! A new process as the standard library makes one: a copy of the warden.
#![allow(unsafe_code)] // pre_exec

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use super::{errno, prepare};
use crate::child::{fdpass, wire::Launch};

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
        launch: Launch,
        stdio: fdpass::Stdio,
    ) -> Result<u32, i32> {
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
        // SAFETY: the closure makes system calls only; the warden has one thread, so that no lock
        // can be held by another one at the fork.
        unsafe { command.pre_exec(move || prepare(warden, soft_nofile)) };
        match command.spawn() {
            // The Child is dropped without being waited for: the warden's scan reaps.
            Ok(child) => Ok(child.id()),
            Err(error) => Err(errno(&error)),
        }
    }
}
