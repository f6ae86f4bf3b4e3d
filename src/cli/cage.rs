//! The flags of a program's cage, and what they come to: `Flags` -> [`Cage`], pure. Names of users
//! and groups are not looked up here, nor is the directory.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values;

/// A process that may have less cannot even begin.
const MEMORY_MIN: usize = 1 << 20;
/// What a program needs before its `main`: three descriptors, and one to read its libraries by.
const FILES_MIN: usize = 4;
/// So many failures in a row, and a room is refused for a while.
const CRASHES: usize = 5;

/// Whether rooms get cgroups of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Cgroups {
    Auto,
    Off,
}

#[derive(Debug, Clone, Args)]
#[group(skip)] // groups are told apart by the names of their types, and others are called so too
#[command(next_help_heading = "Limits of the program")]
pub(super) struct Flags {
    /// Run the program as this user [default: the server's]
    ///
    /// By name or number, perhaps with :GROUP. It gets the user's groups, HOME, USER and LOGNAME, and can
    /// gain no rights by executing other files. The server must be root, or may change users and end
    /// what they run (CAP_SETUID, CAP_SETGID and CAP_KILL). A static binary looks into /etc/passwd and
    /// /etc/group alone.
    #[arg(long, value_name = "USER[:GROUP]", value_parser = values::named_owner)]
    pub user: Option<String>,

    /// And with this group [default: the user's]
    #[arg(long, value_name = "GROUP", value_parser = values::named_owner)]
    pub group: Option<String>,

    /// Start the program in this directory [default: the server's]
    ///
    /// The program itself is looked up from where the server was started.
    #[arg(long, value_name = "DIR")]
    pub chdir: Option<PathBuf>,

    /// Its nice value, from -20 to 19 [default: the server's]
    #[arg(long, value_name = "N", value_parser = values::nice, allow_negative_numbers = true)]
    pub nice: Option<i32>,

    /// Memory of a room's processes [default: no limit]
    ///
    /// A room that takes more is killed, and its clients read why. Kept by the kernel where rooms have
    /// cgroups; else by a look each second, and no process may allocate more than a quarter above it.
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub limit_memory: Option<usize>,

    /// Processor seconds of each of its processes [default: no limit]
    ///
    /// Then SIGXCPU, and KILL five seconds later.
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub limit_cpu_seconds: Option<usize>,

    /// Descriptors of each of its processes [default: the server's]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub limit_files: Option<usize>,

    /// Processes of a room [default: no limit]
    ///
    /// Where rooms have cgroups, no more can be started, and threads count too. Else a room that has
    /// more is killed by a look each second.
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub limit_processes: Option<usize>,

    /// Whether rooms get cgroups: auto or off
    ///
    /// auto: where the server's own cgroup can be written and nobody else lives in it.
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub cgroups: Cgroups,

    /// Most programs started in a time, like 20/s or 30/m [default: no limit]
    ///
    /// As many as in one second may start at once. Others wait up to 5 s for their turn; who would
    /// wait longer is refused.
    #[arg(long, value_name = "N/s", value_parser = values::rate)]
    pub spawn_rate: Option<Duration>,

    /// Refuse a room whose program failed so often in a row; 0 = never [default: 5]
    ///
    /// Each time within 10 s of its start. The pause is 1 s, and twice as long after each further failure,
    /// up to 60 s.
    #[arg(long, value_name = "N", value_parser = values::times)]
    pub crash_limit: Option<usize>,
}

/// As whom, where and with how much programs run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cage {
    /// `NAME|UID[:GROUP]`.
    pub user: Option<String>,
    /// A group's name or number.
    pub group: Option<String>,
    /// Where programs start.
    pub chdir: Option<PathBuf>,
    /// -20 to 19.
    pub nice: Option<i32>,
    /// Bytes a room may have, at least 1 MiB.
    pub limit_memory: Option<u64>,
    /// Processor seconds of a process, at least 1.
    pub limit_cpu_seconds: Option<u64>,
    /// Descriptors of a process, at least 4.
    pub limit_files: Option<u64>,
    /// Processes of a room, at least 1.
    pub limit_processes: Option<u64>,
    /// Whether rooms get cgroups where they can.
    pub cgroups: bool,
    /// The time that each start takes of what all may have; none = no limit. Never 0.
    pub spawn_rate: Option<Duration>,
    /// Failures in a row after which a room is refused for a while; none = never.
    pub crash_limit: Option<usize>,
}

/// Whether any flag asks for something that only a process of ours can have.
fn given(flags: &Flags) -> Option<&'static str> {
    let given = [
        (flags.user.is_some(), "--user"),
        (flags.group.is_some(), "--group"),
        (flags.chdir.is_some(), "--chdir"),
        (flags.nice.is_some(), "--nice"),
        (flags.limit_memory.is_some(), "--limit-memory"),
        (flags.limit_cpu_seconds.is_some(), "--limit-cpu-seconds"),
        (flags.limit_files.is_some(), "--limit-files"),
        (flags.limit_processes.is_some(), "--limit-processes"),
    ];
    given
        .into_iter()
        .find(|(given, _)| *given)
        .map(|(_, flag)| flag)
}

/// The cage, or one sentence that says what to do.
pub(super) fn validate(flags: &Flags, connect: bool) -> Result<Cage, String> {
    if let Some(flag) = given(flags).filter(|_| connect) {
        return Err(format!(
            "--connect cannot go with {flag}: it has no process of ours, so leave out one of the two"
        ));
    }
    if flags.limit_memory.is_some_and(|most| most < MEMORY_MIN) {
        return Err("--limit-memory is less than any program needs: set it to 1MiB or more".into());
    }
    if flags.limit_files.is_some_and(|most| most < FILES_MIN) {
        return Err("--limit-files is less than any program needs: set it to 4 or more".into());
    }
    if matches!(&flags.chdir, Some(directory) if directory.as_os_str().is_empty()) {
        return Err("--chdir names no directory: write its path, or . for this one".into());
    }
    let number = |given: Option<usize>| given.map(|number| number as u64);
    Ok(Cage {
        user: flags.user.clone(),
        group: flags.group.clone(),
        chdir: flags.chdir.clone(),
        nice: flags.nice,
        limit_memory: number(flags.limit_memory),
        limit_cpu_seconds: number(flags.limit_cpu_seconds),
        limit_files: number(flags.limit_files),
        limit_processes: number(flags.limit_processes),
        cgroups: flags.cgroups == Cgroups::Auto,
        spawn_rate: flags.spawn_rate,
        crash_limit: Some(flags.crash_limit.unwrap_or(CRASHES)).filter(|limit| *limit > 0),
    })
}
