//! What the kernel tells of processes, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Processor time of a process so far: user and system, all its threads, to the nanosecond.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid as i32))?;
    Ok(clock_gettime(clock)?.into())
}

/// Nanoseconds of the monotonic clock, which is the same in every process.
pub(crate) fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    now.map_or(0, |now| now.as_nanos() as u64)
}

/// Sleeps until the monotonic clock shows `due`, if it does not yet.
pub(crate) fn sleep_until(due: u64) {
    let left = due.saturating_sub(monotonic());
    if left > 0 {
        std::thread::sleep(Duration::from_nanos(left));
    }
}

/// The fields of `/proc/PID/stat` behind the name in parentheses: the first is the state.
fn stat(pid: u32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, behind) = text.rsplit_once(')').context("stat without a name")?;
    Ok(behind.split_whitespace().map(str::to_owned).collect())
}

/// Private memory in use, in bytes: RssAnon, what nothing but swap could free.
pub(crate) fn memory(pid: u32) -> Result<u64> {
    kib_line(&format!("/proc/{pid}/status"), "RssAnon:")
}

/// All memory in use, in bytes: Pss, where pages that several processes have count in parts.
pub(crate) fn proportional(pid: u32) -> Result<u64> {
    kib_line(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// A line of such a file that is in kB, in bytes.
fn kib_line(file: &str, field: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = kib.with_context(|| format!("no {field}"))?.parse()?;
    Ok(kib * 1024)
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Everything below `pid`, zombies too: process ids with their names.
pub(crate) fn descendants(pid: u32) -> Vec<(u32, String)> {
    let mut parents: HashMap<u32, u32> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let Ok(known) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // One that has gone meanwhile is below nobody.
        let parent = stat(known)
            .ok()
            .and_then(|fields| fields.get(1)?.parse().ok());
        parents.extend(parent.map(|parent| (known, parent)));
    }
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let children = parents.iter().filter(|(_, of)| **of == parent);
        found.extend(children.map(|(child, _)| *child));
        at += 1;
    }
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    found
        .into_iter()
        .skip(1)
        .map(|pid| (pid, name(pid).trim().to_owned()))
        .collect()
}

/// Cores, model and kernel of this machine.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // What follows the version says who built it.
    let version = kernel.trim().split('-').next().unwrap_or_default();
    format!("{cores} cores, {model}, Linux {version}")
}

/// The load average of the last minute: above the number of cores, others were at work too.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|first| first.parse().ok()).unwrap_or(0.0)
}
