//! What a child uses, with everything it started: processor time, memory, processes.
//!
//! Read when somebody asks, and then good for two seconds. A room that has a cgroup is asked there;
//! else the sums are over the leader, what descends from it, and what left it and was adopted by
//! the warden. Linux only.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    cgroup, tree,
    warden::{Link, MARKER},
};

/// How long figures are good enough for whoever reads pages of them.
const FRESH: Duration = Duration::from_secs(2);
/// Processes looked at for one answer: a scrape must not become expensive by a fork bomb. Who looks
/// for a limit has no such bound, or memory could hide behind a crowd.
const MOST: usize = 256;

/// What a child and all it started use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processor seconds, user and system, of the living and of those they waited for.
    pub cpu_seconds: f64,
    /// Bytes: what the cgroup is charged for; else resident ones, where pages that processes share
    /// count once for each.
    pub memory_bytes: Option<u64>,
    /// How many processes live; past some hundreds at least so many.
    pub processes: Option<u64>,
}

impl Usage {
    fn add(&mut self, other: Usage) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a.unwrap_or(0).saturating_add(b?));
        self.cpu_seconds += other.cpu_seconds;
        self.memory_bytes = sum(self.memory_bytes, other.memory_bytes);
        self.processes = sum(self.processes, other.processes);
    }
}

/// Tells what one child uses.
#[derive(Debug)]
pub struct Gauge {
    leader: u32,
    /// What the environment of all its processes has, by which those that left it are known.
    marker: Vec<u8>,
    /// Its cgroup, if it has one.
    part: Option<PathBuf>,
    link: Arc<Link>,
    last: Mutex<Option<(Instant, Usage)>>,
}

impl Gauge {
    pub(super) fn new(
        link: Arc<Link>,
        leader: u32,
        marker: Vec<u8>,
        part: Option<PathBuf>,
    ) -> Gauge {
        Gauge {
            leader,
            marker,
            part,
            link,
            last: Mutex::default(),
        }
    }

    /// What it uses, as of two seconds ago at the longest; none when it is gone, or the system
    /// does not tell.
    pub fn usage(&self) -> Option<Usage> {
        self.usage_as_of().map(|(_, usage)| usage)
    }

    /// The same, and when the system was asked.
    pub fn usage_as_of(&self) -> Option<(Instant, Usage)> {
        let last = *self.last.lock();
        if let Some((at, usage)) = last
            && at.elapsed() < FRESH
        {
            return Some((at, usage));
        }
        self.look(|sum| sum.processes >= Some(MOST as u64))?;
        *self.last.lock()
    }

    /// What it uses now; or less, once a sum is enough.
    pub(super) fn look(&self, enough: impl Fn(&Usage) -> bool) -> Option<Usage> {
        let mut usage = self.read(enough)?;
        let mut last = self.last.lock();
        // What ended and was waited for by nobody takes its time with it; a counter never falls.
        let before = last.map_or(0.0, |(_, usage)| usage.cpu_seconds);
        usage.cpu_seconds = usage.cpu_seconds.max(before);
        *last = Some((Instant::now(), usage));
        Some(usage)
    }

    fn read(&self, enough: impl Fn(&Usage) -> bool) -> Option<Usage> {
        let part = self.part.as_deref();
        let Some((part, mut told)) = part.and_then(|part| Some((part, cgroup::usage(part)?)))
        else {
            return self.walk(enough);
        };
        if told.memory_bytes.is_none() {
            let mut seen = Usage::default();
            for usage in cgroup::members(part).into_iter().filter_map(one) {
                seen.add(usage);
                if enough(&seen) {
                    break;
                }
            }
            told.memory_bytes = seen.memory_bytes;
        }
        Some(told)
    }

    /// The leader, all below it, and what of it was left to the warden.
    fn walk(&self, enough: impl Fn(&Usage) -> bool) -> Option<Usage> {
        let strays = self.link.strays();
        let own = strays.iter().filter(|stray| {
            stray.session == Some(self.leader as i32) || stray.marker.as_ref() == Some(&self.marker)
        });
        let roots = own.map(|stray| stray.pid as u32);
        sum(std::iter::once(self.leader).chain(roots), enough)
    }
}

/// What these processes and their descendants use, or so many of them that it is enough; none when
/// there is none of them.
fn sum(roots: impl Iterator<Item = u32>, enough: impl Fn(&Usage) -> bool) -> Option<Usage> {
    let mut sum = None::<Usage>;
    let mut waiting: Vec<u32> = roots.collect();
    let mut seen = HashSet::new();
    while let Some(pid) = waiting.pop() {
        if !seen.insert(pid) {
            continue;
        }
        let Some(usage) = one(pid) else { continue };
        let sum = sum.get_or_insert_default();
        sum.add(usage);
        if enough(sum) {
            break;
        }
        waiting.extend(tree::children_of(pid));
    }
    sum
}

fn one(pid: u32) -> Option<Usage> {
    parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// A process that its parent left, and that the warden adopted.
#[derive(Debug)]
pub(super) struct Stray {
    pid: i32,
    session: Option<i32>,
    marker: Option<Vec<u8>>,
}

/// The strays of a warden, looked for at most once in a while and for all rooms at once.
#[derive(Debug, Default)]
pub(super) struct Strays(Mutex<Option<(Instant, Arc<Vec<Stray>>)>>);

impl Strays {
    /// How long the list is good enough: less than the second between two looks at a limit.
    const FRESH: Duration = Duration::from_millis(900);

    /// Those of `warden`; `leaders` are no strays.
    pub(super) fn of(
        &self,
        warden: i32,
        leaders: impl FnOnce() -> HashSet<i32>,
    ) -> Arc<Vec<Stray>> {
        let mut last = self.0.lock();
        if let Some((at, strays)) = &*last
            && at.elapsed() < Self::FRESH
        {
            return Arc::clone(strays);
        }
        let children = tree::children_of(warden as u32);
        let leaders = leaders();
        let strays = children.into_iter().map(|pid| pid as i32);
        let strays = strays
            .filter(|pid| !leaders.contains(pid))
            .map(|pid| Stray {
                pid,
                session: tree::session(pid),
                marker: match tree::variable(pid, MARKER) {
                    tree::Environment::Value(marker) => Some(marker),
                    _ => None,
                },
            });
        let strays = Arc::new(strays.collect());
        *last = Some((Instant::now(), Arc::clone(&strays)));
        strays
    }
}

/// Reads the fields of proc_pid_stat(5) after the name, which may hold blanks and brackets.
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
        memory_bytes: Some(number(24)?.saturating_mul(page.try_into().ok()?)),
        processes: Some(1),
    })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn we_use_memory_and_nobody_uses_none() {
        let own = sum([std::process::id()].into_iter(), |_| false).unwrap();
        assert!(own.memory_bytes > Some(1 << 16), "{own:?}");
        assert!(own.processes >= Some(1), "{own:?}");
        assert_eq!(sum([u32::MAX].into_iter(), |_| false), None);
    }

    #[test]
    fn nothing_counts_twice_and_no_more_is_looked_at_than_is_enough() {
        let own = std::process::id();
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // The child is below us, too; other tests may have children of their own.
        let pids = [child.id(), own, child.id(), own].into_iter();
        let all = sum(pids.clone(), |_| false).unwrap().processes.unwrap();
        assert!(all >= 2, "{all}");
        assert_eq!(
            sum([child.id(); 2].into_iter(), |_| false)
                .unwrap()
                .processes,
            Some(1)
        );
        let one = sum(pids, |sum| sum.processes >= Some(1)).unwrap();
        assert_eq!(one.processes, Some(1));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_name_with_brackets_and_blanks_moves_no_field() {
        let stat = b"7 (a) R 1 (b) S 1 7 7 0 -1 0 1 2 3 4 100 200 300 400 20 0 1 0 5 6 10 0";
        let usage = parse(stat).unwrap();
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .unwrap()
            .unwrap();
        assert_eq!(usage.memory_bytes, Some(10 * page as u64));
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
