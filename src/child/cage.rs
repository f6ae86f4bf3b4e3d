//! The cage of a program: as whom, where and how gently it runs, and how much it may take.
//!
//! Everything that has a name is looked up here, by the server and before anything is started, so
//! that a mistake is one sentence at start. What is left are numbers, which the warden applies
//! between a new process and its exec. Which limit is kept by what is in `docs/cli.md`.

mod accounts;
mod identity;

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use super::cgroup::Division;
pub use identity::Identity;

/// What the command line asks for; names are not looked up yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `NAME` or `UID`, perhaps with `:GROUP`.
    pub user: Option<String>,
    /// A group's name or number; it wins over that of `user`.
    pub group: Option<String>,
    /// Where the program starts.
    pub directory: Option<PathBuf>,
    /// Its nice value.
    pub nice: Option<i32>,
    /// How much it may take.
    pub limits: Limits,
}

/// How much a program may take; none is as much as the system lets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory of a room.
    pub memory: Option<u64>,
    /// Processor seconds of each process.
    pub cpu_seconds: Option<u64>,
    /// Descriptors of each process.
    pub files: Option<u64>,
    /// Processes of a room.
    pub processes: Option<u64>,
}

/// A limit that ended a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Bytes.
    Memory(u64),
    /// Seconds.
    CpuSeconds(u64),
    /// How many.
    Processes(u64),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Limit::Memory(bytes) => {
                write!(f, "out of memory (--limit-memory {})", Size(bytes))
            }
            Limit::CpuSeconds(seconds) => {
                write!(f, "out of processor time (--limit-cpu-seconds {seconds})")
            }
            Limit::Processes(most) => write!(f, "too many processes (--limit-processes {most})"),
        }
    }
}

/// Bytes as the command line takes them: in the largest unit that leaves nothing over.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = |(shift, _): &(u32, _)| self.0 > 0 && self.0.trailing_zeros() >= *shift;
        match units.into_iter().find(whole) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// What is done to each program before it begins; nothing is left to look up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cage {
    /// As whom it runs; none as the server does.
    pub identity: Option<Identity>,
    /// Where it starts; none where the server did.
    pub directory: Option<PathBuf>,
    /// Its nice value; none the server's.
    pub nice: Option<i32>,
    /// How much it may take.
    pub limits: Limits,
    /// How many processes the user of `identity` may have in all rooms together: what the system
    /// can count without a cgroup.
    pub user_processes: Option<u64>,
}

impl Cage {
    /// Looks up what has a name, and checks what can be checked now. `rooms` is how many there may
    /// be. An error is one sentence that says what to do.
    pub fn resolve(wanted: &Wanted, rooms: usize) -> Result<Cage, String> {
        let identity = identity::resolve(wanted.user.as_deref(), wanted.group.as_deref())?;
        if let Some(directory) = &wanted.directory {
            check_directory(directory)?;
        }
        if let Some(nice) = wanted.nice {
            check_nice(nice)?;
        }
        check_files(wanted.limits.files)?;
        let rooms = u64::try_from(rooms).unwrap_or(u64::MAX);
        let other = identity.as_ref().is_some_and(Identity::is_other_user);
        Ok(Cage {
            user_processes: wanted
                .limits
                .processes
                .filter(|_| other)
                .map(|most| most.saturating_mul(rooms)),
            identity,
            directory: wanted.directory.clone(),
            nice: wanted.nice,
            limits: wanted.limits,
        })
    }

    /// The variables that tell a program as whom it runs.
    pub fn env(&self) -> &[(OsString, OsString)] {
        self.identity.as_ref().map_or(&[], |who| &who.env)
    }

    /// Whether there is anything in it.
    pub fn is_open(&self) -> bool {
        *self == Cage::default()
    }

    /// What each limit is kept by, for the log.
    pub fn enforcement(&self, division: Option<&Division>) -> Vec<String> {
        let limits = &self.limits;
        let (memory, pids) = division.map_or((false, false), |of| (of.memory, of.pids));
        let mut told = Vec::new();
        if limits.memory.is_some() {
            told.push(match memory {
                true => "--limit-memory for each room by its cgroup (memory.max)",
                false => {
                    "--limit-memory for each room by a look each second, and for each process by \
                     RLIMIT_DATA a quarter above it"
                }
            });
        }
        if limits.cpu_seconds.is_some() {
            told.push("--limit-cpu-seconds for each process by RLIMIT_CPU");
        }
        if limits.files.is_some() {
            told.push("--limit-files for each process by RLIMIT_NOFILE");
        }
        if limits.processes.is_some() {
            told.push(match (pids, self.user_processes.is_some()) {
                (true, _) => "--limit-processes for each room by its cgroup (pids.max)",
                (false, true) => {
                    "--limit-processes for each room by a look each second, and for all rooms of \
                     the user together by RLIMIT_NPROC"
                }
                (false, false) => "--limit-processes for each room by a look each second",
            });
        }
        told.into_iter().map(str::to_owned).collect()
    }
}

fn check_directory(directory: &Path) -> Result<(), String> {
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(format!(
            "--chdir {} is no directory: name one that the program may start in",
            directory.display()
        )),
        Err(error) => Err(format!(
            "--chdir {} cannot be used ({error}): name a directory that the program may start in",
            directory.display()
        )),
    }
}

/// Who is less nice than we are needs the right to.
fn check_nice(nice: i32) -> Result<(), String> {
    #[allow(unsafe_code)] // getpriority(2), which nix does not know
    // SAFETY: asks about this process, and touches no memory. It cannot fail.
    let ours = unsafe { libc::getpriority(libc::PRIO_PROCESS as _, 0) };
    match nice >= ours || identity::may(identity::CAP_SYS_NICE) {
        true => Ok(()),
        false => Err(format!(
            "--nice {nice} needs the right to raise priorities: start the server as root, or \
             choose {ours} to 19"
        )),
    }
}

fn check_files(files: Option<u64>) -> Result<(), String> {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .map_err(|error| format!("--limit-files cannot be checked: {}", error.desc()))?;
    match files {
        Some(files) if files > hard => Err(format!(
            "--limit-files {files} is more than the system allows: choose at most {hard}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_reads_as_it_was_typed() {
        for (limit, words) in [
            (
                Limit::Memory(64 << 20),
                "out of memory (--limit-memory 64MiB)",
            ),
            (
                Limit::Memory(3 << 30),
                "out of memory (--limit-memory 3GiB)",
            ),
            (Limit::Memory(1_500), "out of memory (--limit-memory 1500)"),
            (
                Limit::CpuSeconds(9),
                "out of processor time (--limit-cpu-seconds 9)",
            ),
            (
                Limit::Processes(16),
                "too many processes (--limit-processes 16)",
            ),
        ] {
            assert_eq!(limit.to_string(), words);
            assert!(words.len() <= 123, "a close frame holds no more");
        }
    }

    #[test]
    fn what_cannot_be_is_one_sentence() {
        let wanted = |change: fn(&mut Wanted)| {
            let mut wanted = Wanted::default();
            change(&mut wanted);
            Cage::resolve(&wanted, 8).unwrap_err()
        };
        for (sentence, part) in [
            (
                wanted(|w| w.user = Some("no-such-user-anywhere".into())),
                "--user",
            ),
            (wanted(|w| w.user = Some("4294967295".into())), "--user"),
            (
                wanted(|w| w.group = Some("no-such-group-anywhere".into())),
                "--group",
            ),
            (
                wanted(|w| w.directory = Some("/no/such/place".into())),
                "--chdir",
            ),
            (
                wanted(|w| w.directory = Some("/dev/null".into())),
                "--chdir",
            ),
            (wanted(|w| w.limits.files = Some(u64::MAX)), "--limit-files"),
        ] {
            assert!(sentence.starts_with(part), "{sentence}");
        }
        assert_eq!(Cage::resolve(&Wanted::default(), 8), Ok(Cage::default()));
    }

    #[test]
    fn it_is_said_what_keeps_each_limit() {
        let cage = Cage {
            limits: Limits {
                memory: Some(1 << 26),
                cpu_seconds: Some(1),
                files: Some(9),
                processes: Some(9),
            },
            ..Cage::default()
        };
        let by_rlimits = cage.enforcement(None);
        assert_eq!(by_rlimits.len(), 4);
        assert!(by_rlimits[0].contains("RLIMIT_DATA"), "{by_rlimits:?}");
        let division = Division {
            directory: "/nowhere".into(),
            memory: true,
            pids: false,
        };
        let mixed = cage.enforcement(Some(&division));
        assert!(mixed[0].contains("memory.max"), "{mixed:?}");
        assert!(mixed[3].contains("a look each second"), "{mixed:?}");
    }
}
