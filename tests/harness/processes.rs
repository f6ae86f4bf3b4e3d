//! Which processes belong to one server. Each server gets a word of its own into its `PATH`, which
//! it hands to its children; whoever has that word in its environment, or descends from one who
//! has, is counted, also after the server is gone and whatever session it lives in. Linux only:
//! elsewhere nothing is found and nothing is claimed.

use std::collections::HashMap;

#[derive(Clone, Debug)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    /// As in /proc/PID/stat: `Z` is a zombie.
    pub state: char,
    pub name: String,
}

/// Every process on the machine, by `/proc/PID/stat`.
fn everybody() -> Vec<Process> {
    let Ok(directory) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = directory
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold spaces and brackets: the last bracket ends it.
        let (name, rest) = stat.rsplit_once(')')?;
        let mut rest = rest.split_whitespace();
        Some(Process {
            pid,
            name: name.split_once('(')?.1.to_owned(),
            state: rest.next()?.chars().next()?,
            parent: rest.next()?.parse().ok()?,
        })
    })
    .collect()
}

fn has_mark(pid: i32, mark: &[u8]) -> bool {
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.windows(mark.len()).any(|part| part == mark))
}

/// All processes with the mark, and their descendants, without this test's own process.
pub fn processes_marked(mark: &str) -> Vec<Process> {
    let everybody = everybody();
    let parents: HashMap<i32, i32> = everybody.iter().map(|p| (p.pid, p.parent)).collect();
    let marked: HashMap<i32, bool> = everybody
        .iter()
        .map(|p| (p.pid, has_mark(p.pid, mark.as_bytes())))
        .collect();
    let own = std::process::id() as i32;
    everybody
        .into_iter()
        .filter(|process| {
            let mut pid = process.pid;
            // Bounded, because the table was not read in one instant and might hold a ring.
            for _ in 0..64 {
                if pid == own || pid <= 1 {
                    return false;
                }
                if marked.get(&pid).copied().unwrap_or(false) {
                    return true;
                }
                pid = parents.get(&pid).copied().unwrap_or(0);
            }
            false
        })
        .collect()
}

/// The value in bytes of a line such as `RssAnon:   123 kB` of /proc/PID/status.
pub fn status_bytes(pid: i32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib << 10)
}

/// How many descriptors a process has open.
pub fn descriptors(pid: i32) -> Option<usize> {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()
        .map(Iterator::count)
}
