//! The process tree beneath us: who is our child, how it ended, which room it came from.
//!
//! A *child* here is a process whose parent we are, by birth or, as a subreaper, by adoption. Its
//! number cannot be given to another process before we reap it, so that signals to our children,
//! and to the groups they are in, never hit a stranger. Where the list of children is not to be
//! had (no `/proc`) only the processes we started ourselves are known.
#![allow(unsafe_code)] // waitid(2) and kill(2): nix knows neither real-time signals nor waitid on macOS

#[cfg(target_os = "linux")]
mod as_owner;

use std::{
    io,
    mem::zeroed,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::unistd::{Pid, getpgid, getpgrp, getsid};

use super::Exit;

/// How the child `pid` ended, if it did; it stays unreaped and keeps its number.
pub(super) fn ended(pid: i32) -> Option<Exit> {
    wait(pid, libc::WNOWAIT)
}

/// What a child that [`ended`] had used, with those that it waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// The most resident bytes that one of them had at once.
    pub(super) memory_bytes: u64,
    /// Whole seconds of processor time of all of them.
    pub(super) cpu_seconds: u64,
}

/// What a child that [`ended`] had used; none where the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn used(pid: i32) -> Option<Used> {
    // SAFETY: both are plain data of which all zeroes is a value.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { (zeroed(), zeroed()) };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // The C library's waitid leaves out the fifth argument.
    // SAFETY: the call writes to these two, which outlive it.
    let failed = unsafe {
        let (info, usage) = (&raw mut info, &raw mut usage);
        libc::syscall(libc::SYS_waitid, libc::P_PID, pid, info, flags, usage) != 0
    };
    // SAFETY: waitid filled in the member, or left the zeroes.
    let found = !failed && unsafe { info.si_pid() } != 0;
    let kib = u64::try_from(usage.ru_maxrss).ok().filter(|_| found)?;
    let seconds = usage.ru_utime.tv_sec.saturating_add(usage.ru_stime.tv_sec);
    Some(Used {
        memory_bytes: kib.saturating_mul(1024),
        cpu_seconds: u64::try_from(seconds).ok()?,
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn used(_: i32) -> Option<Used> {
    None
}

/// The most resident bytes that this process itself had.
pub(super) fn own_memory() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};

    let kib = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss());
    u64::try_from(kib).map_or(0, |kib| kib.saturating_mul(1024))
}

/// As [`ended`], and gives the number of a child that ended back to the system.
pub(super) fn reap(pid: i32) -> Option<Exit> {
    wait(pid, 0)
}

fn wait(pid: i32, flags: i32) -> Option<Exit> {
    // SAFETY: siginfo_t is plain data; all zeroes is one that names no process.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    let flags = flags | libc::WEXITED | libc::WNOHANG;
    // SAFETY: `info` is a siginfo_t that outlives the call, the only memory waitid writes to.
    if unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) } != 0 {
        // Not our child: somebody reaped it before us, and how it ended is lost with it.
        let lost = io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD);
        return lost.then_some(Exit::Signal(libc::SIGKILL));
    }
    // SAFETY: waitid filled in the members for SIGCHLD, or left the zeroes.
    let (found, status) = unsafe { (info.si_pid(), info.si_status()) };
    (found != 0).then_some(match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        _ => Exit::Signal(status),
    })
}

/// Signals every process of a group. The caller knows that it is a group of ours: its leader is
/// our child, or one of its members is.
pub(super) fn signal_group(group: i32, signal: i32) {
    if group > 1 {
        // SAFETY: kill has no memory effects. -1 and 0 would mean others; they were ruled out.
        unsafe { libc::kill(-group, signal) };
    }
}

/// Signals one child, and all of its group: a group holds processes of one session only, and the
/// sessions of what a room started are the room's.
pub(super) fn signal_with_group(pid: i32, signal: i32) {
    match group(pid) {
        Some(group) if group != getpgrp().as_raw() => signal_group(group, signal),
        _ if pid > 1 => {
            // SAFETY: kill has no memory effects, and `pid` is a child that is not yet reaped.
            unsafe { libc::kill(pid, signal) };
        }
        _ => {}
    }
}

/// Whether a group has members.
pub(super) fn group_lives(group: i32) -> bool {
    // SAFETY: signal 0 is none; kill has no memory effects.
    group > 1 && unsafe { libc::kill(-group, 0) } == 0
}

/// The process group of a child.
pub(super) fn group(pid: i32) -> Option<i32> {
    Some(getpgid(Some(Pid::from_raw(pid))).ok()?.as_raw())
}

/// The session of a child, which is the number of the process that called setsid(2).
pub(super) fn session(pid: i32) -> Option<i32> {
    Some(getsid(Some(Pid::from_raw(pid))).ok()?.as_raw())
}

/// The children of this process, those that ended and are not reaped included.
///
/// Nobody but the caller may reap meanwhile, else the list can miss one. `Unsupported` is a system
/// that never tells; other errors pass, as when no descriptor is free to ask with.
#[cfg(target_os = "linux")]
pub(super) fn children() -> io::Result<Vec<i32>> {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// `/proc/…/children` is not in every kernel (`CONFIG_PROC_CHILDREN`).
    static LISTED: AtomicBool = AtomicBool::new(true);

    if LISTED.load(Ordering::Relaxed) {
        match listed() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                LISTED.store(false, Ordering::Relaxed);
            }
            listed => return listed,
        }
    }
    match searched() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(io::ErrorKind::Unsupported.into()) // there is no /proc
        }
        searched => searched,
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn children() -> io::Result<Vec<i32>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The children of any process, as far as the system tells: to count them, not to signal them.
pub(super) fn children_of(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let mut children = Vec::new();
    for thread in threads.into_iter().flatten().flatten() {
        let list = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let list = list.split_ascii_whitespace();
        children.extend(list.filter_map(|pid| pid.parse::<u32>().ok()));
    }
    children
}

/// Children are kept per thread of the parent.
#[cfg(target_os = "linux")]
fn listed() -> io::Result<Vec<i32>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task")? {
        let list = match std::fs::read_to_string(thread?.path().join("children")) {
            // A thread that ended since left its children to another one, perhaps to one that
            // was read before: the caller sees them the next time.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT))
                    && std::fs::exists("/proc/thread-self/children")? =>
            {
                continue;
            }
            list => list?,
        };
        children.extend(
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    Ok(children)
}

/// The slow way: every process there is, asked for its parent.
#[cfg(target_os = "linux")]
fn searched() -> io::Result<Vec<i32>> {
    let own = std::process::id().to_string();
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // `pid (name) state ppid`, and the name may hold anything, brackets too.
        let parent = memchr::memrchr(b')', &stat)
            .and_then(|end| stat.get(end + 1..))
            .and_then(|rest| {
                rest.split(|byte| *byte == b' ')
                    .filter(|f| !f.is_empty())
                    .nth(1)
            });
        if parent == Some(own.as_bytes()) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// The value of a variable in the environment a process was started with.
pub(super) fn variable(pid: i32, name: &str) -> Environment {
    let prefix = [name.as_bytes(), b"="].concat();
    match read_of_theirs(format!("/proc/{pid}/environ").as_ref()) {
        Ok(environ) if environ.is_empty() => Environment::Unreadable,
        Ok(environ) => environ
            .split(|byte| *byte == 0)
            .find_map(|entry| entry.strip_prefix(&prefix[..]))
            .map_or(Environment::Without, |value| {
                Environment::Value(value.to_vec())
            }),
        Err(_) => Environment::Unreadable,
    }
}

/// A file of a process that may have become somebody else. Root may read it only where it may look
/// into everybody (CAP_SYS_PTRACE), which that of a container may not; its owner may.
#[cfg(target_os = "linux")]
fn read_of_theirs(path: &Path) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::MetadataExt;

    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        read => return read,
    }
    let owner = std::fs::metadata(path)?;
    let _owner = as_owner::AsOwner::new(owner.uid(), owner.gid());
    std::fs::read(path)
}

#[cfg(not(target_os = "linux"))]
fn read_of_theirs(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// What [`variable`] found.
pub(super) enum Environment {
    /// The variable's value.
    Value(Vec<u8>),
    /// An environment without the variable.
    Without,
    /// Nothing now: the process is between two programs, ended, or not ours to look into.
    Unreadable,
}

/// Kills and reaps children until none is left, or `patience` is over; `spared` are left alone.
///
/// What a child leaves behind when it dies becomes our child in turn, if we are a subreaper.
pub(super) fn end_all(spared: impl Fn(i32) -> bool, patience: Duration) {
    let begun = Instant::now();
    loop {
        let mut left = match children() {
            Ok(children) => children,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            Err(_) => {
                thread::sleep(Duration::from_millis(10));
                if begun.elapsed() > patience {
                    return;
                }
                continue;
            }
        };
        left.retain(|pid| !spared(*pid));
        if left.is_empty() {
            return;
        }
        for pid in &left {
            signal_with_group(*pid, libc::SIGKILL);
        }
        // Reaped only after all were signalled: the dead keep their groups' numbers until then.
        let reaped = left.iter().filter(|pid| reap(**pid).is_some()).count();
        let age = begun.elapsed();
        if age > patience {
            return;
        }
        if reaped < left.len() {
            // Slower when something sits in the kernel and cannot die yet.
            thread::sleep(if age < Duration::from_secs(5) {
                Duration::from_millis(1)
            } else {
                Duration::from_millis(100)
            });
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A program that waits for its input to end.
    fn cat() -> (Child, i32) {
        let command = &mut Command::new("cat");
        let child = command
            .env("MARK", "x")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        (child, pid)
    }

    #[test]
    fn both_lists_hold_a_child_until_it_is_reaped() {
        let (mut child, pid) = cat();
        assert!(listed().unwrap().contains(&pid));
        assert!(searched().unwrap().contains(&pid));
        assert_eq!((ended(pid), reap(pid)), (None, None));

        child.kill().unwrap();
        while ended(pid).is_none() {
            thread::yield_now();
        }
        assert!(listed().unwrap().contains(&pid) && searched().unwrap().contains(&pid));
        assert_eq!(reap(pid), Some(Exit::Signal(libc::SIGKILL)));
        assert!(!listed().unwrap().contains(&pid) && !searched().unwrap().contains(&pid));
    }

    #[test]
    fn a_childs_environment_is_read_whole() {
        let (mut child, pid) = cat();
        // Once spawn returned there is only the new program's, as soon as it can be read at all.
        let value = loop {
            match variable(pid, "MARK") {
                Environment::Unreadable => thread::yield_now(),
                Environment::Value(value) => break Some(value),
                Environment::Without => break None,
            }
        };
        assert_eq!(value.as_deref(), Some(&b"x"[..]));
        assert!(matches!(variable(pid, "MAR"), Environment::Without));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(variable(pid, "MARK"), Environment::Unreadable));
    }

    #[test]
    fn no_group_of_ours_is_ever_everybody() {
        // 0 and 1 would be our own group and every process there is.
        for group in [-1, 0, 1] {
            assert!(!group_lives(group));
            signal_group(group, libc::SIGKILL);
        }
    }
}
