//! Our own cgroup (version 2), divided: one part for the server, one for each room.
//!
//! That is done only where nobody but us lives in it, as in a service with `Delegate=yes` or a
//! container whose cgroups can be written: then moving ourselves moves nobody else. Anywhere else
//! rooms have no cgroups, and their limits are kept by other means. The warden makes and removes
//! the parts of rooms ([`super::warden`]); what they use is read here.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))] // other systems have none

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Usage;

/// The part that the server itself moves to: a cgroup whose parts have controllers may not have
/// processes of its own.
const OWN: &str = "server";
/// What the names of rooms' parts begin with.
const ROOM: &str = "room-";

/// The files of a part that hold its limits.
pub(super) const MEMORY_MAX: &str = "memory.max";
pub(super) const PIDS_MAX: &str = "pids.max";

/// Our own cgroup, divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// Where the parts are.
    pub directory: PathBuf,
    /// Whether the parts have a memory controller.
    pub memory: bool,
    /// Whether the parts have a controller of processes.
    pub pids: bool,
}

impl Division {
    /// Divides our own cgroup; to be called before the process has children. An error says why it
    /// cannot be, and then nothing was changed.
    #[cfg(target_os = "linux")]
    pub fn of_own() -> Result<Division, String> {
        let directory = own()?;
        let at = |error: io::Error| format!("{}: {error}", directory.display());
        let alone = |directory: &Path| -> io::Result<bool> {
            let members = fs::read_to_string(directory.join("cgroup.procs"))?;
            let own = std::process::id().to_string();
            Ok(members.lines().all(|pid| pid == own))
        };
        if !alone(&directory).map_err(at)? {
            return Err(format!(
                "{} has other processes too, and is not ours to divide",
                directory.display()
            ));
        }
        let part = directory.join(OWN);
        let known = part.exists();
        if !known {
            fs::create_dir(&part).map_err(at)?;
        }
        if let Err(error) = fs::write(part.join("cgroup.procs"), "0") {
            if !known {
                let _ = fs::remove_dir(&part);
            }
            return Err(at(error));
        }
        remove_empty(&directory);
        let enabled = |controller: &str| {
            let control = directory.join("cgroup.subtree_control");
            fs::write(control, format!("+{controller}")).is_ok()
        };
        Ok(Division {
            memory: enabled("memory"),
            pids: enabled("pids"),
            directory,
        })
    }

    /// Makes it one again, at the end: whoever is in it next may be another server. What cannot be
    /// undone stays as it is.
    pub fn undo(&self) {
        let write = |file: &str, text: &str| fs::write(self.directory.join(file), text);
        let _ = write("cgroup.subtree_control", "-memory");
        let _ = write("cgroup.subtree_control", "-pids");
        if write("cgroup.procs", "0").is_ok() {
            remove(&self.directory.join(OWN));
        }
    }

    /// Other systems have no cgroups.
    #[cfg(not(target_os = "linux"))]
    pub fn of_own() -> Result<Division, String> {
        Err("this system has no cgroups".to_owned())
    }

    /// The part of a room of that warden.
    pub(super) fn part(&self, warden: i32, room: u64) -> PathBuf {
        self.directory.join(format!("{ROOM}{warden}-{room}"))
    }

    /// Kills what lives in parts that a dead warden left, and removes them.
    pub(super) fn sweep(&self, warden: i32) {
        for part in parts(&self.directory, &format!("{ROOM}{warden}-")) {
            let _ = fs::write(part.join("cgroup.kill"), "1");
            remove(&part);
        }
    }

    /// As words of a command line.
    pub(super) fn words(&self) -> [std::ffi::OsString; 2] {
        let controllers = match (self.memory, self.pids) {
            (true, true) => "memory,pids",
            (true, false) => "memory",
            (false, true) => "pids",
            (false, false) => "",
        };
        [self.directory.clone().into(), controllers.into()]
    }

    /// From what [`Division::words`] gave.
    pub(super) fn from_words(directory: PathBuf, controllers: &str) -> Division {
        let has = |name| controllers.split(',').any(|controller| controller == name);
        Division {
            directory,
            memory: has("memory"),
            pids: has("pids"),
        }
    }
}

/// Removes a part and whatever its processes made in it; false while something lives there.
pub(super) fn remove(part: &Path) -> bool {
    for inner in parts(part, "") {
        remove(&inner);
    }
    match fs::remove_dir(part) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// What all processes of a part use.
pub(super) fn usage(part: &Path) -> Option<Usage> {
    let read = |file: &str| fs::read_to_string(part.join(file)).ok();
    let micros = figure(&read("cpu.stat")?, "usage_usec")?;
    let memory = read("memory.current").and_then(|bytes| bytes.trim().parse().ok());
    Some(Usage {
        cpu_seconds: micros as f64 / 1e6,
        memory_bytes: memory,
        // Not what its controller says, which counts threads.
        processes: Some(members(part).len() as u64),
    })
}

/// Whether a part exists and has a limit in that file.
pub(super) fn keeps(part: &Path, file: &str) -> bool {
    fs::read_to_string(part.join(file)).is_ok_and(|most| most.trim().parse::<u64>().is_ok())
}

/// The processes of a part.
pub(super) fn members(part: &Path) -> Vec<u32> {
    let members = fs::read_to_string(part.join("cgroup.procs")).unwrap_or_default();
    members.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether the kernel killed something in the part because its memory was used up.
pub(super) fn ran_out_of_memory(part: &Path) -> bool {
    let events = fs::read_to_string(part.join("memory.events")).unwrap_or_default();
    figure(&events, "oom_kill").is_some_and(|kills| kills > 0)
}

/// The number behind a word at the beginning of a line.
fn figure(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (word, number) = line.split_once(' ')?;
        (word == name).then(|| number.trim().parse().ok()).flatten()
    })
}

/// Directories whose names begin so.
fn parts(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}

/// What servers before us left here, killed together with their wardens.
fn remove_empty(directory: &Path) {
    for part in parts(directory, ROOM) {
        remove(&part);
    }
}

/// The directory of the cgroup that this process is in.
#[cfg(target_os = "linux")]
fn own() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let member = read("/proc/self/cgroup")?;
    let member = member
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or("this process is in no cgroup of version 2")?;
    let (root, mounted) = mount(&read("/proc/self/mountinfo")?)
        .ok_or("no cgroup file system of version 2 is mounted")?;
    let below = Path::new(member)
        .strip_prefix(&root)
        .map_err(|_| format!("{member} is outside of what is mounted"))?;
    Ok(mounted.join(below))
}

/// What is mounted of the hierarchy, and where: proc_pid_mountinfo(5).
#[cfg(target_os = "linux")]
fn mount(mountinfo: &str) -> Option<(PathBuf, PathBuf)> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, mounted) = (fields.next()?, fields.next()?);
        after
            .starts_with("cgroup2 ")
            .then(|| (root.into(), mounted.into()))
    })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_among_others() {
        let table = "24 1 0:22 / /proc rw - proc proc rw\n\
                     33 25 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                     34 25 0:30 /inner /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let found = mount(table).unwrap();
        assert_eq!(found, ("/inner".into(), "/sys/fs/cgroup/unified".into()));
        for broken in ["", " - cgroup2 ", "1 2 - cgroup2 x", "a b c d"] {
            assert_eq!(mount(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_a_part_uses_is_read_from_its_files() {
        let part = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(part.path().join(file), text).unwrap();
        assert_eq!(usage(part.path()), None);
        write("cpu.stat", "usage_usec 2500000\nuser_usec 1\n");
        let usage_of = usage(part.path()).unwrap();
        assert_eq!(usage_of.cpu_seconds, 2.5);
        assert_eq!(usage_of.memory_bytes, None, "without its controller");
        write("memory.current", "4096\n");
        write("cgroup.procs", "3\n4\n17\n");
        let usage_of = usage(part.path()).unwrap();
        assert_eq!(
            (usage_of.memory_bytes, usage_of.processes),
            (Some(4096), Some(3))
        );

        assert!(!keeps(part.path(), PIDS_MAX), "there is no such file");
        write(PIDS_MAX, "max\n");
        assert!(!keeps(part.path(), PIDS_MAX));
        write(PIDS_MAX, "9\n");
        assert!(keeps(part.path(), PIDS_MAX));

        assert!(!ran_out_of_memory(part.path()));
        write("memory.events", "low 0\noom 1\noom_kill 0\n");
        assert!(!ran_out_of_memory(part.path()));
        write("memory.events", "low 0\noom 1\noom_kill 2\n");
        assert!(ran_out_of_memory(part.path()));
        for broken in ["", "oom_kill", "oom_kill x", "oom_kill  "] {
            write("memory.events", broken);
            assert!(!ran_out_of_memory(part.path()), "{broken}");
        }
    }

    #[test]
    fn a_division_survives_the_command_line_of_the_warden() {
        for (memory, pids) in [(true, true), (true, false), (false, true), (false, false)] {
            let division = Division {
                directory: "/sys/fs/cgroup/a b".into(),
                memory,
                pids,
            };
            let [directory, controllers] = division.words();
            let again = Division::from_words(directory.into(), controllers.to_str().unwrap());
            assert_eq!(again, division);
        }
    }
}
