//! What a puppet does with processes and signals: ignore them, trap them, die of them, leave
//! relatives behind. A puppet that shall stay until it is killed sleeps here and nowhere else.

#![allow(unsafe_code)] // signal dispositions, `sigwait` and `setsid` have no safe form in std

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::print;

pub(crate) enum Daemon {
    HoldsOurPipes,
    LetsGo,
}

pub(crate) fn sleep() {
    loop {
        std::thread::park();
    }
}

fn number_of(name: &str) -> io::Result<i32> {
    Ok(match name {
        "SEGV" => libc::SIGSEGV,
        "KILL" => libc::SIGKILL,
        "TERM" => libc::SIGTERM,
        "ABRT" => libc::SIGABRT,
        "HUP" => libc::SIGHUP,
        "INT" => libc::SIGINT,
        "USR2" => libc::SIGUSR2,
        other => return Err(io::Error::other(format!("no such signal: {other}"))),
    })
}

fn ignore(signals: &[i32]) {
    for &signal in signals {
        // SAFETY: SIG_IGN is a valid disposition and no handler of ours exists to be replaced.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Blocks the signals, so that they wait for `next_signal` instead of ending the puppet.
fn hold(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: the set is initialised by sigemptyset before anything reads it, and the puppet has
    // one thread, so the mask is the process's.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        set
    }
}

fn next_signal(held: &libc::sigset_t) -> i32 {
    let mut signal = 0;
    // SAFETY: both pointers are to live values of the right type.
    unsafe { libc::sigwait(held, &mut signal) };
    signal
}

pub(crate) fn ticks() -> io::Result<()> {
    let held = hold(&[libc::SIGUSR1]);
    print(format!("ready {}\n", std::process::id()).as_bytes())?;
    for tick in 1_u64.. {
        next_signal(&held);
        print(format!("tick {tick}\n").as_bytes())?;
    }
    Ok(())
}

pub(crate) fn stubborn() -> io::Result<()> {
    ignore(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP]);
    print(format!("stubborn {}\n", std::process::id()).as_bytes())?;
    sleep();
    Ok(())
}

pub(crate) fn traps(file: &str, signal: &str) -> io::Result<()> {
    let held = hold(&[number_of(signal)?]);
    print(b"trapping\n")?;
    next_signal(&held);
    std::fs::write(file, "trapped")
}

pub(crate) fn dies(name: &str) -> io::Result<()> {
    let signal = number_of(name)?;
    // SAFETY: sends a signal to this process alone, with its default disposition, and leaves no
    // core file behind.
    unsafe {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    sleep();
    Ok(())
}

/// A grandchild in our group that holds our stdout.
pub(crate) fn forks() -> io::Result<()> {
    let sleeper = Command::new(std::env::current_exe()?)
        .arg("sleeper")
        .spawn()?;
    print(format!("{}\n", sleeper.id()).as_bytes())
}

/// A process in a session of its own whose parent is gone, as daemons make themselves.
pub(crate) fn daemon(kind: Daemon) -> io::Result<()> {
    let puppet = std::env::current_exe()?;
    if std::env::var_os("PUPPET_IS_BETWEEN").is_none() {
        let verb = if matches!(kind, Daemon::LetsGo) {
            "quiet-daemon"
        } else {
            "daemon"
        };
        Command::new(puppet)
            .arg(verb)
            .env("PUPPET_IS_BETWEEN", "1")
            .status()?;
        return Ok(());
    }
    let mut sleeper = Command::new(puppet);
    sleeper.arg("sleeper");
    if matches!(kind, Daemon::LetsGo) {
        sleeper
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
    }
    // SAFETY: setsid is async-signal-safe and touches nothing of the parent.
    let sleeper = unsafe {
        sleeper.pre_exec(|| {
            if libc::setsid() < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(())
            }
        })
    }
    .spawn()?;
    print(format!("{}\n", sleeper.id()).as_bytes())
}

/// The numbers of our open descriptors, `0 1 2` when nothing leaked.
pub(crate) fn descriptors() -> io::Result<()> {
    // SAFETY: F_GETFD only asks, and an error is the answer for a closed descriptor.
    let open = (0..4096).filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0);
    let open: Vec<String> = open.map(|fd: i32| fd.to_string()).collect();
    print(format!("{}\n", open.join(" ")).as_bytes())
}

/// The soft limit of descriptors.
pub(crate) fn nofile() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    print(format!("{}\n", limit.rlim_cur).as_bytes())
}
