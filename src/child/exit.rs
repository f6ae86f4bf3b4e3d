//! How a program ended, in the words that clients, logs and metrics share.
//!
//! `exit 3` and `signal SEGV` are the two forms, and the limit where one was the reason; the
//! shell's numbers are for exit codes of ours. Names follow signal(7) without the `SIG`.

use std::fmt;

use super::cage::Limit;

/// How the leader of a room ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It returned this status, 0 to 255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It took more than it may, and was ended or gave up.
    Over(Limit),
    /// There was no process of ours: the connection to it was closed.
    Closed,
}

impl Exit {
    /// The status a shell would report: a signal is 128 and its number.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
            Exit::Over(Limit::CpuSeconds(_)) => 128 + libc::SIGXCPU,
            Exit::Over(_) => 128 + libc::SIGKILL,
            Exit::Closed => 0,
        }
    }

    /// Whether it ended as programs do that finished their work.
    pub fn success(self) -> bool {
        self.code() == 0
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "exit {code}"),
            Exit::Signal(signal) => match NAMES.iter().find(|(_, number)| *number == signal) {
                Some((name, _)) => write!(f, "signal {name}"),
                None => write!(f, "signal {signal}"),
            },
            Exit::Over(limit) => limit.fmt(f),
            Exit::Closed => f.write_str("connection closed"),
        }
    }
}

/// The number of a signal given as `TERM`, `SIGTERM`, `term` or `15`.
pub fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

const NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("SYS", libc::SIGSYS),
    #[cfg(target_os = "linux")]
    ("PWR", libc::SIGPWR),
    #[cfg(target_os = "linux")]
    ("STKFLT", libc::SIGSTKFLT),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_reads_as_the_close_reasons_do() {
        assert_eq!(Exit::Code(0).to_string(), "exit 0");
        assert_eq!(Exit::Code(3).to_string(), "exit 3");
        assert_eq!(Exit::Signal(libc::SIGSEGV).to_string(), "signal SEGV");
        assert_eq!(Exit::Signal(40).to_string(), "signal 40");
        assert_eq!(Exit::Signal(libc::SIGSEGV).code(), 139);
        let over = Exit::Over(Limit::Memory(1 << 20));
        assert_eq!(over.to_string(), "out of memory (--limit-memory 1MiB)");
        assert_eq!((over.code(), over.success()), (137, false));
    }

    #[test]
    fn signals_are_known_by_every_spelling_and_nothing_else() {
        for spelling in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(signal_number(spelling), Some(libc::SIGTERM), "{spelling}");
        }
        for wrong in ["", "SIG", "0", "65", "-9", "TERMINATE", "9x"] {
            assert_eq!(signal_number(wrong), None, "{wrong}");
        }
    }
}
