//! What was measured, several times each, as lines that can go into a table; and what the kernel knows of processes.

use std::time::Duration;

use tokio::time::sleep;

/// Clock ticks a second in `/proc/PID/stat` (time(7)).
const TICKS: f64 = 100.0;
/// Between two looks at a process's memory.
const LOOK: Duration = Duration::from_millis(250);
/// Bytes that do not count as a change of memory.
const STILL: f64 = 16384.0;

/// Figures, filled run by run, in the order they came first.
#[derive(Default)]
pub(super) struct Figures(Vec<(String, &'static str, Vec<f64>)>);

impl Figures {
    pub(super) fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _, _)| *known == name) {
            Some((_, _, runs)) => runs.push(value),
            None => self.0.push((name, unit, vec![value])),
        }
    }

    /// The run in the middle.
    pub(super) fn median(&self, name: &str) -> f64 {
        let figure = self.0.iter().find(|(known, _, _)| known == name);
        let mut runs = figure.map(|(_, _, runs)| runs.clone()).unwrap_or_default();
        runs.sort_by(f64::total_cmp);
        *runs.get(runs.len() / 2).expect("it was measured")
    }

    pub(super) fn print(&self) {
        println!("| figure | median | range | |\n|---|---:|---:|---|");
        for (name, unit, runs) in &self.0 {
            let low = runs.iter().copied().fold(f64::INFINITY, f64::min);
            let high = runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let median = self.median(name);
            println!("| {name} | {median:.2} | {low:.2} – {high:.2} | {unit} |");
        }
    }
}

/// The value below which a share of all lies.
pub(super) fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let index = (times.len() as f64 * share) as usize;
    *times
        .get(index.min(times.len().saturating_sub(1)))
        .expect("something was measured")
}

/// Processor time of a process, user and system, in seconds.
pub(super) fn cpu(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, behind) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = behind.split_whitespace().skip(11).take(2);
    ticks
        .map(|n| n.parse::<f64>().expect("a number"))
        .sum::<f64>()
        / TICKS
}

/// Private memory of a process in bytes (RssAnon), once it has come to rest: without what the kernel keeps for its sockets.
pub(super) async fn memory(pid: i32) -> f64 {
    let now = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.expect("a number") * 1024.0
    };
    let mut last = now();
    loop {
        sleep(LOOK).await;
        let next = now();
        if (next - last).abs() < STILL {
            return next;
        }
        last = next;
    }
}
