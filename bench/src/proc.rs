//! What the kernel tells of processes, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Clock ticks a second in `/proc/PID/stat`: 100 on every Linux that matters (`man 7 time`).
const TICKS: f64 = 100.0;

/// Processor time of a process: user and system, all its threads.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let fields = stat(pid)?;
    let ticks = |index: usize| -> Result<f64> {
        let field = fields.get(index).context("stat is too short")?;
        Ok(field.parse::<u64>()? as f64)
    };
    // Fields 14 and 15, of which the first two are not in the list.
    Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS))
}

/// The fields of `/proc/PID/stat` behind the name in parentheses: the first is the state.
fn stat(pid: u32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, behind) = text.rsplit_once(')').context("stat without a name")?;
    Ok(behind.split_whitespace().map(str::to_owned).collect())
}

/// Private memory in use, in bytes: RssAnon, what nothing but swap could free.
pub(crate) fn memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = kib.context("no RssAnon")?.parse()?;
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
    format!("{cores} cores, {model}, Linux {}", kernel.trim())
}

/// The load average of the last minute: above the number of cores, others were at work too.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|first| first.parse().ok()).unwrap_or(0.0)
}
