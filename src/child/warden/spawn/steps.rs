//! A cage as the system calls that build it, prepared so that nothing is left to compute: they are
//! made between a new process and its exec, perhaps on memory that is the warden's.
#![allow(unsafe_code)] // setrlimit(2), setpriority(2), prctl(2) and ioctl(2)

use std::{ffi::CString, io, os::unix::ffi::OsStrExt, path::Path};

use nix::unistd::{Gid, Uid, chdir, setgid, setuid};

use crate::child::{
    cage::Identity,
    wire::{Launch, Step},
};

/// A process is allowed to come to a quarter above the memory of its room before the system
/// refuses it more: so it is seen to have had too much.
const SEEN_ABOVE: u64 = 4;
/// Seconds between SIGXCPU, which a program may use to save, and KILL.
const LAST_SECONDS: u64 = 5;

/// What may be a resource's number for setrlimit(2): an enum with one C library, an int with others.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type Resource = libc::c_int;

/// Why a program could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::child::warden) struct Failed {
    pub(in crate::child::warden) errno: i32,
    pub(in crate::child::warden) step: Step,
}

impl Failed {
    pub(super) fn exec(errno: i32) -> Failed {
        let step = Step::Exec;
        Failed { errno, step }
    }

    pub(super) fn at(step: Step) -> impl Fn(io::Error) -> Failed {
        move |error| Failed {
            errno: super::errno(&error),
            step,
        }
    }
}

/// See the module's documentation.
pub(super) struct Steps {
    /// The file of the room's cgroup that takes new members.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // other systems have none
    members: Option<CString>,
    /// Whether that cgroup keeps a limit, so that to run outside of it is to run without.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    must_join: bool,
    nice: Option<i32>,
    /// Resource, soft and hard limit.
    limits: Vec<(Resource, u64, u64)>,
    identity: Option<Identity>,
    directory: Option<CString>,
    terminal: bool,
}

impl Steps {
    /// `part` is the room's cgroup; `kept` says what that keeps of the limits.
    pub(super) fn new(
        launch: &mut Launch,
        part: Option<&Path>,
        kept: Kept,
    ) -> Result<Steps, Failed> {
        let cage = std::mem::take(&mut launch.cage);
        let string = |bytes: Vec<u8>, step| {
            let errno = libc::EINVAL;
            CString::new(bytes).map_err(|_| Failed { errno, step })
        };
        let members = part.map(|part| part.join("cgroup.procs").as_os_str().as_bytes().to_vec());
        let directory = cage
            .directory
            .map(|path| path.as_os_str().as_bytes().to_vec());
        let mut limits = Vec::new();
        let mut limit = |resource, soft: Option<u64>, more: u64| {
            if let Some(soft) = soft {
                limits.push((resource, soft, soft.saturating_add(more)));
            }
        };
        let memory = cage.limits.memory.filter(|_| !kept.memory);
        let data = memory.map(|most| most.saturating_add(most / SEEN_ABOVE));
        // Not RLIMIT_AS: programs that reserve address space and use little of it would not start.
        limit(libc::RLIMIT_DATA, data, 0);
        limit(libc::RLIMIT_CPU, cage.limits.cpu_seconds, LAST_SECONDS);
        limit(libc::RLIMIT_NOFILE, cage.limits.files, 0);
        limit(
            libc::RLIMIT_NPROC,
            cage.user_processes.filter(|_| !kept.processes),
            0,
        );
        Ok(Steps {
            members: members.map(|path| string(path, Step::Exec)).transpose()?,
            terminal: launch.terminal,
            must_join: kept.memory || kept.processes,
            nice: cage.nice,
            limits,
            identity: cage.identity,
            directory: directory
                .map(|path| string(path, Step::Directory))
                .transpose()?,
        })
    }

    /// Whether the process becomes somebody else.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(super) fn change_identity(&self) -> bool {
        self.identity.as_ref().is_some_and(|who| !who.held)
    }

    /// Of a new session: what it reads from is its controlling terminal from now on.
    pub(super) fn control_terminal(&self) -> Result<(), Failed> {
        // SAFETY: takes numbers alone.
        if self.terminal && unsafe { libc::ioctl(0, libc::TIOCSCTTY as _, 0) } != 0 {
            return Err(Failed::at(Step::Terminal)(io::Error::last_os_error()));
        }
        Ok(())
    }

    /// What needs the rights that the warden has, and then the loss of them.
    pub(super) fn confine(&self) -> Result<(), Failed> {
        #[cfg(target_os = "linux")]
        if let Some(members) = &self.members {
            // A room without its cgroup lives all the same, where it is not what a limit needs.
            join(members)
                .or_else(|error| if self.must_join { Err(error) } else { Ok(()) })
                .map_err(Failed::at(Step::Limits))?;
        }
        let done = |result: libc::c_int| match result {
            0 => Ok(()),
            _ => Err(Failed::at(Step::Limits)(io::Error::last_os_error())),
        };
        if let Some(nice) = self.nice {
            // SAFETY: concerns this process, and touches no memory.
            done(unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, nice) })?;
        }
        for (resource, soft, hard) in &self.limits {
            let mut limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: writes to `limit`, which outlives the call.
            done(unsafe { libc::getrlimit(*resource, &mut limit) })?;
            // Never above what the warden itself may have.
            limit.rlim_max = limit.rlim_max.min(*hard as libc::rlim_t);
            limit.rlim_cur = limit.rlim_max.min(*soft as libc::rlim_t);
            // SAFETY: reads from `limit`, which outlives the call.
            done(unsafe { libc::setrlimit(*resource, &limit) })?;
        }
        match &self.identity {
            Some(identity) => become_them(identity).map_err(Failed::at(Step::Identity)),
            None => Ok(()),
        }
    }

    /// As whoever it is by now: what they may not enter, they may not start in.
    pub(super) fn enter(&self) -> Result<(), Failed> {
        match &self.directory {
            Some(directory) => {
                chdir(directory.as_c_str()).map_err(|e| Failed::at(Step::Directory)(e.into()))
            }
            None => Ok(()),
        }
    }
}

/// What a room's cgroup keeps.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::child::warden) struct Kept {
    pub(in crate::child::warden) memory: bool,
    pub(in crate::child::warden) processes: bool,
}

/// Groups first, while that is allowed; and no way back.
fn become_them(identity: &Identity) -> io::Result<()> {
    if !identity.held {
        // SAFETY: reads `groups`, which outlives the call.
        let set = unsafe { libc::setgroups(identity.groups.len() as _, identity.groups.as_ptr()) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        setgid(Gid::from_raw(identity.gid))?;
        if let Some(uid) = identity.uid {
            setuid(Uid::from_raw(uid))?;
        }
    }
    #[cfg(target_os = "linux")]
    if !Uid::effective().is_root() {
        // SECURITY: a server that is not root but may change users was perhaps given that right as
        // an ambient one, which would go on to the program. And a program that executes a
        // set-user-ID file would be somebody else again, and no longer die with the warden.
        // SAFETY: both concern this process, and touch no memory.
        unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_CLEAR_ALL,
                0,
                0,
                0,
            );
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// This process moves to another cgroup.
#[cfg(target_os = "linux")]
fn join(members: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: a path and two bytes that outlive the calls; the descriptor is closed again.
    unsafe {
        let fd = libc::open(members.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let written = libc::write(fd, c"0".as_ptr().cast(), 1);
        let result = match written {
            1 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        libc::close(fd);
        result
    }
}
