//! What a child uses: processor time and memory, read from `/proc` when somebody asks.
//!
//! The sums are over the leader and what still descends from it, so that a shell that wraps the
//! real program does not hide it. A daemon that left its parent is not seen. Linux only.

/// What a child and its descendants use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Processor seconds, user and system, of the living and of those they waited for.
    pub cpu_seconds: f64,
    /// Resident bytes; pages that processes share count once for each.
    pub memory_bytes: u64,
}

/// What the process `pid` and its descendants use; none when it is gone or `/proc` is not there.
#[cfg(target_os = "linux")]
pub fn usage(pid: u32) -> Option<Usage> {
    use std::fs;

    /// Descendants looked at for one answer: a scrape must not become expensive by a fork bomb.
    const MOST: usize = 256;

    let mut sum = one(pid)?;
    let mut waiting = vec![pid];
    let mut seen = 1;
    while let Some(parent) = waiting.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in list
                .split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
            {
                if seen == MOST {
                    return Some(sum);
                }
                if let Some(usage) = one(child) {
                    sum.cpu_seconds += usage.cpu_seconds;
                    sum.memory_bytes += usage.memory_bytes;
                    waiting.push(child);
                    seen += 1;
                }
            }
        }
    }
    Some(sum)
}

/// Other systems keep no such files.
#[cfg(not(target_os = "linux"))]
pub fn usage(_: u32) -> Option<Usage> {
    None
}

#[cfg(target_os = "linux")]
fn one(pid: u32) -> Option<Usage> {
    parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads the fields of proc_pid_stat(5) after the name, which may hold blanks and brackets.
#[cfg(target_os = "linux")]
fn parse(stat: &[u8]) -> Option<Usage> {
    use nix::unistd::{SysconfVar, sysconf};

    let name_end = memchr::memrchr(b')', stat)?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |of: usize| -> Option<u64> {
        // utime to cstime may be negative in the manual's type; never in fact.
        fields.get(of - 3)?.parse::<i64>().ok()?.try_into().ok()
    };
    let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
    let per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(Usage {
        cpu_seconds: ticks as f64 / per_second as f64,
        memory_bytes: number(24)?.saturating_mul(page.try_into().ok()?),
    })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn we_use_memory_and_nobody_uses_none() {
        let own = usage(std::process::id()).unwrap();
        assert!(own.memory_bytes > 1 << 16, "{own:?}");
        assert_eq!(usage(u32::MAX), None);
    }

    #[test]
    fn a_name_with_brackets_and_blanks_moves_no_field() {
        let stat = b"7 (a) R 1 (b) S 1 7 7 0 -1 0 1 2 3 4 100 200 300 400 20 0 1 0 5 6 10 0";
        let usage = parse(stat).unwrap();
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .unwrap()
            .unwrap();
        assert_eq!(usage.memory_bytes, 10 * page as u64);
        assert!(usage.cpu_seconds > 0.0);
        for broken in [
            &b""[..],
            b")",
            b"7 (a",
            b"7 (a) R 1",
            b"7 (a) R x x x x x x x x x x x x",
        ] {
            assert_eq!(parse(broken), None);
        }
    }
}
