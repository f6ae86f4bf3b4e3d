//! How much memory there is for us, and how much of it we have.
//!
//! What there is: that of the machine, or what our cgroup or any above it may have, whichever is the
//! least. What we have: pages of our own that are in memory; pages of files can be had again. Only
//! Linux tells either in files; elsewhere nothing is known.

use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroups are: of version 2, of version 2 beside version 1, and the memory of version 1.
const MOUNTS: [(&str, &str, &str); 3] = [
    ("", "/sys/fs/cgroup", "memory.max"),
    ("", "/sys/fs/cgroup/unified", "memory.max"),
    ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
];

/// Bytes that there are for this process and what it starts.
pub(super) fn available() -> Option<u64> {
    let machine = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let read = |file: &Path| fs::read_to_string(file).ok();
    let limits = files(&groups).into_iter().filter_map(|file| read(&file));
    Some(least(machine, limits))
}

/// Bytes that this process has.
pub(super) fn used() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&status, "RssAnon")
}

/// The files that may limit us, of our cgroups and all above them. Inside a container what
/// `/proc/self/cgroup` says may be seen from outside: then only the last of them exist.
fn files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        // proc_pid_cgroup(5): number, controllers, path.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        for (controller, mount, file) in MOUNTS {
            if !controllers.split(',').any(|one| one == controller) {
                continue;
            }
            let relative = Path::new(path.trim_start_matches('/'));
            let above = relative.ancestors();
            files.extend(above.map(|group| Path::new(mount).join(group).join(file)));
        }
    }
    files
}

/// The least of these; what is no number is no limit.
fn least(machine: u64, limits: impl Iterator<Item = String>) -> u64 {
    let limits = limits.filter_map(|text| text.trim().parse().ok());
    limits.fold(machine, u64::min)
}

/// The figure of this name in a file of lines like `MemTotal: 1024 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let figure = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let figure = figure.trim().strip_suffix("kB")?.trim_end();
    figure.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_walked_up_to_their_root() {
        let paths = |groups: &str| -> Vec<String> {
            let files = files(groups).into_iter();
            files.map(|file| file.display().to_string()).collect()
        };
        let two = paths("0::/a/b\n");
        assert_eq!(
            two[..3],
            [
                "/sys/fs/cgroup/a/b/memory.max",
                "/sys/fs/cgroup/a/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        let one = paths("5:cpu,cpuacct:/x\n4:memory:/x/y:z\n1:name=systemd:/x\n");
        assert_eq!(
            one,
            [
                "/sys/fs/cgroup/memory/x/y:z/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
        assert_eq!(paths("nonsense\n1:\n::\n").len(), 2);
    }

    #[test]
    fn the_least_counts_and_what_is_no_number_does_not() {
        let least = |limits: &[&str]| super::least(1000, limits.iter().map(|one| one.to_string()));
        assert_eq!(least(&[]), 1000);
        assert_eq!(least(&["max\n", "9223372036854771712\n"]), 1000);
        assert_eq!(least(&["max\n", "300\n", "500\n"]), 300);
    }

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let text = "MemTotalX: 1 kB\nMemTotal:       16 kB\nRssAnon:\t 3 kB\nOther: 5\n";
        assert_eq!(kilobytes(text, "MemTotal"), Some(16384));
        assert_eq!(kilobytes(text, "RssAnon"), Some(3072));
        assert_eq!(kilobytes(text, "Other"), None);
        assert_eq!(kilobytes(text, "Nothing"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn we_have_less_than_there_is() {
        let (used, available) = (used().expect("/proc"), available().expect("/proc"));
        assert!(0 < used && used < available, "{used} {available}");
    }
}
