//! The page: a table per scenario, what became of the messages, and the bars.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bars::{Bar, Bound, Fares};
use crate::figures::{Figures, Key, median, shown};
use crate::peers::Peers;
use crate::proc;

/// Between these lines of the document stands what is written anew.
const BEGIN: &str = "<!-- made by `just bench`; do not edit below -->";
const END: &str = "<!-- end of what is made -->";

/// All of it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) text: String,
    /// Bars that are missed or not measured.
    pub(crate) missed: usize,
}

/// The whole page below its mark.
pub(crate) fn page(circumstances: &Circumstances, figures: &Figures, all: &[Bar]) -> Page {
    let (bars, missed) = bars(all, figures);
    let (tables, counts) = (tables(figures), counts(figures));
    let text = format!(
        "{circumstances}\n\n### Bars\n\n{bars}\n{tables}\n### What became of the messages\n\n{counts}"
    );
    Page { text, missed }
}

/// What was measured, in Markdown: medians and ranges, a table for each scenario.
fn tables(figures: &Figures) -> String {
    let mut scenarios: Vec<&str> = Vec::new();
    let measured = figures.figures.iter().map(|figure| &figure.key);
    let noted = figures.notes.iter().map(|(key, _)| key);
    for key in measured.chain(noted) {
        if !scenarios.contains(&key.scenario.as_str()) {
            scenarios.push(&key.scenario);
        }
    }
    let tables = scenarios.iter().map(|name| table(figures, name));
    tables.collect::<Vec<_>>().join("\n")
}

fn table(figures: &Figures, scenario: &str) -> String {
    let mut columns: Vec<(&str, &str)> = Vec::new();
    let mut rows: Vec<&Key> = Vec::new();
    let inside = figures
        .figures
        .iter()
        .filter(|of| of.key.scenario == scenario);
    for figure in inside {
        let column = (figure.what.as_str(), figure.unit.as_str());
        if !columns.contains(&column) {
            columns.push(column);
        }
        if !rows.contains(&&figure.key) {
            rows.push(&figure.key);
        }
    }
    let noted = figures
        .notes
        .iter()
        .filter(|(key, _)| key.scenario == scenario);
    for (key, _) in noted.clone() {
        if !rows.contains(&key) {
            rows.push(key);
        }
    }
    // Loads together, in the order they came in.
    let mut shapes: Vec<&str> = Vec::new();
    for key in &rows {
        if !shapes.contains(&key.shape.as_str()) {
            shapes.push(&key.shape);
        }
    }
    rows.sort_by_key(|key| shapes.iter().position(|shape| *shape == key.shape));

    let mut text = format!("### {scenario}\n\n| |");
    for (what, unit) in &columns {
        let _ = match *unit {
            "" => write!(text, " {what} |"),
            unit => write!(text, " {what}, {unit} |"),
        };
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(columns.len()));
    text.push('\n');
    for key in rows {
        let name = match key.shape.as_str() {
            "" => key.who.clone(),
            shape => format!("{shape}: {}", key.who),
        };
        let _ = write!(text, "| {name} |");
        for (what, _) in &columns {
            let cell = figures.find(key, what).map(|figure| spread(&figure.runs));
            let _ = write!(text, " {} |", cell.unwrap_or_default());
        }
        text.push('\n');
    }
    for (key, note) in noted {
        let of = match key.shape.as_str() {
            "" => key.who.clone(),
            shape => format!("{shape}, {}", key.who),
        };
        let _ = writeln!(text, "\n{of}: {note}.");
    }
    text
}

/// The median, and the range if there is one.
fn spread(runs: &[f64]) -> String {
    let low = runs.iter().copied().fold(f64::INFINITY, f64::min);
    let high = runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (middle, low, high) = (shown(median(runs)), shown(low), shown(high));
    match low == high {
        true => middle,
        false => format!("{middle} ({low} – {high})"),
    }
}

/// What became of the messages.
fn counts(figures: &Figures) -> String {
    let mut text =
        String::from("| | messages | lost | duplicated | reordered |\n|---|---:|---:|---:|---:|\n");
    for (key, faults) in figures.counted.iter().filter(|(_, faults)| faults.due > 0) {
        let due = plain(faults.due as f64);
        let (lost, doubled) = (faults.lost, faults.duplicated);
        let _ = writeln!(
            text,
            "| {key} | {due} | {lost} | {doubled} | {} |",
            faults.reordered
        );
    }
    text
}

/// The bars, each with its bound and how it fares; and how many do not hold.
pub(crate) fn bars(bars: &[Bar], figures: &Figures) -> (String, usize) {
    let mut text = String::from("| bar | bound | measured | |\n|---|---:|---:|---|\n");
    let mut missed = 0;
    for bar in bars.iter().filter(|bar| bar.concerns(figures)) {
        let Bar { name, unit, .. } = bar;
        let bound = match bar.bound {
            Bound::AtLeast(bound) => format!("≥ {}", plain(bound)),
            Bound::AtMost(bound) => format!("≤ {}", plain(bound)),
        };
        let (measured, verdict) = match bar.fares(figures) {
            Fares::Holds(value) => (shown(value), "holds"),
            Fares::Misses(value) => (shown(value), "**misses**"),
            Fares::Unmeasured => (String::from("–"), "**not measured**"),
        };
        missed += usize::from(verdict != "holds");
        let _ = writeln!(
            text,
            "| {name} | {bound} {unit} | {measured} {unit} | {verdict} |"
        );
    }
    let faulty = figures
        .counted
        .iter()
        .filter(|(key, faults)| key.who == "scalesocket" && !faults.is_none());
    for (key, faults) in faulty {
        missed += 1;
        let _ = writeln!(
            text,
            "| {key}: lost, duplicated, reordered | 0 | {faults} | **misses** |"
        );
    }
    (text, missed)
}

/// A bound as it was written.
fn plain(value: f64) -> String {
    match value.fract() == 0.0 && value >= 1_000.0 {
        true => shown(value),
        false => value.to_string(),
    }
}

/// Where, when and against whom the figures were made.
#[derive(Debug)]
pub(crate) struct Circumstances {
    date: String,
    version: String,
    machine: String,
    /// The load average before the first run: near the number of cores, others were at work too.
    load: f64,
    peers: Vec<String>,
}

impl Circumstances {
    /// As they are now.
    pub(crate) fn now(version: String, peers: &Peers) -> Result<Self> {
        Ok(Circumstances {
            date: today()?,
            version,
            machine: proc::machine(),
            load: proc::load(),
            peers: peers.list(),
        })
    }

    /// With what was found under them.
    pub(crate) fn json(&self, figures: &Figures) -> Value {
        let mut all = figures.json();
        if let Some(all) = all.as_object_mut() {
            all.insert("date".to_owned(), json!(self.date));
            all.insert("version".to_owned(), json!(self.version));
            all.insert("machine".to_owned(), json!(self.machine));
            all.insert("load".to_owned(), json!(self.load));
            all.insert("peers".to_owned(), json!(self.peers));
        }
        all
    }
}

impl fmt::Display for Circumstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Circumstances {
            date,
            version,
            machine,
            load,
            peers,
        } = self;
        write!(
            f,
            "{date}, {version}, {machine}. Medians, with the range of all runs. Load average \
             before the first run: {load:.1}. Beside it: {}.",
            peers.join("; ")
        )
    }
}

/// The date in UTC, by the civil calendar.
pub(crate) fn today() -> Result<String> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut days = since.as_secs() / 86_400;
    let mut year = 1970;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    Ok(format!("{year}-{month:02}-{:02}", days + 1))
}

/// Replaces what the document has between its marks.
pub(crate) fn write(document: &Path, text: &str) -> Result<()> {
    write_behind(BEGIN, document, text)
}

/// What stands behind the mark `begin` is replaced, up to the next end mark.
pub(crate) fn write_behind(begin: &str, document: &Path, text: &str) -> Result<()> {
    let old = fs::read_to_string(document)?;
    let (before, rest) = old.split_once(begin).context("the document has no mark")?;
    let (_, after) = rest
        .split_once(END)
        .context("the document has no end mark")?;
    let new = format!("{before}{begin}\n\n{text}\n{END}{after}");
    Ok(fs::write(document, new)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Run;
    use crate::sequence::Faults;

    #[test]
    fn a_scenario_is_a_table_of_those_who_ran_and_notes_of_those_who_could_not() {
        let mut figures = Figures::default();
        for value in [3.0, 1.0, 2.0] {
            let run = Run::new(Faults::default()).with("p50", "ms", value);
            figures.take(&Key::new("burst", "to 10", "scalesocket"), Ok(run), false);
        }
        let hangs = Err(anyhow::anyhow!("it hangs"));
        figures.take(
            &Key::new("burst", "to 10", "scalesocket 0.2.4"),
            hangs,
            true,
        );
        assert_eq!(
            tables(&figures),
            "### burst\n\n| | p50, ms |\n|---|---:|\n\
             | to 10: scalesocket | 2.00 (1.00 – 3.00) |\n\
             | to 10: scalesocket 0.2.4 |  |\n\
             \nto 10, scalesocket 0.2.4: it hangs.\n"
        );
    }

    #[test]
    fn one_lost_message_of_ours_is_a_bar_that_is_missed() {
        let mut figures = Figures::default();
        let key = Key::new("burst", "", "scalesocket");
        let lost = |lost| Faults {
            due: 9,
            lost,
            ..Faults::default()
        };
        figures.take(&key, Ok(Run::new(lost(0))), false);
        assert_eq!(bars(&[], &figures).1, 0);
        figures.take(&key, Ok(Run::new(lost(1))), false);
        assert_eq!(bars(&[], &figures).1, 1);
    }
}
