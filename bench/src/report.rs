//! Figures: medians and ranges of runs, as a table for people and as JSON.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::proc;

/// Between these lines of the document stands what is written anew.
const BEGIN: &str = "<!-- made by `just bench`; do not edit below -->";
const END: &str = "<!-- end of what is made -->";

/// One thing that was measured several times.
#[derive(Debug)]
pub(crate) struct Figure {
    name: String,
    unit: &'static str,
    runs: Vec<f64>,
}

/// The figures of a scenario, filled run by run.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    /// One more run of the figure `name`.
    pub(crate) fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        let name = name.into();
        match self.0.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.runs.push(value),
            None => self.0.push(Figure {
                name,
                unit,
                runs: vec![value],
            }),
        }
    }

    pub(crate) fn append(&mut self, mut others: Figures) {
        self.0.append(&mut others.0);
    }
}

/// The value in the middle; the lower of the two when their number is even.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or(f64::NAN)
}

/// The value below which a share of the sorted values lies.
pub(crate) fn quantile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let index = (values.len() as f64 * share) as usize;
    let index = index.min(values.len().saturating_sub(1));
    values.get(index).copied().unwrap_or_default()
}

/// Three digits that count, thousands apart.
fn shown(value: f64) -> String {
    if value.abs() < 100.0 {
        let digits = if value.abs() < 10.0 { 2 } else { 1 };
        return format!("{value:.digits$}");
    }
    let whole = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The table, in Markdown.
pub(crate) fn table(figures: &Figures) -> String {
    let mut text = String::from("| figure | median | range | |\n|---|---:|---:|---|\n");
    for Figure { name, unit, runs } in &figures.0 {
        let low = runs.iter().copied().fold(f64::INFINITY, f64::min);
        let high = runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (middle, low, high) = (shown(median(runs)), shown(low), shown(high));
        text.push_str(&format!(
            "| {name} | {middle} | {low} – {high} | {unit} |\n"
        ));
    }
    text
}

/// The same, with every run.
pub(crate) fn json(figures: &Figures, version: &str) -> Value {
    let list: Vec<Value> = figures
        .0
        .iter()
        .map(|figure| {
            let Figure { name, unit, runs } = figure;
            json!({"name": name, "unit": unit, "median": median(runs), "runs": runs})
        })
        .collect();
    json!({"version": version, "machine": proc::machine(), "figures": list})
}

/// Where and when the figures were made: a line for the document.
pub(crate) fn circumstances(version: &str, runs: usize, load: f64) -> Result<String> {
    let machine = proc::machine();
    let today = today()?;
    Ok(format!(
        "{today}, {version}, {machine}; medians of {runs} runs, with their range. Load average \
         before the first run: {load:.1}."
    ))
}

/// The date in UTC, by the civil calendar.
fn today() -> Result<String> {
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
    let old = fs::read_to_string(document)?;
    let (before, rest) = old.split_once(BEGIN).context("the document has no mark")?;
    let (_, after) = rest
        .split_once(END)
        .context("the document has no end mark")?;
    let new = format!("{before}{BEGIN}\n\n{text}\n{END}{after}");
    Ok(fs::write(document, new)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_run_in_the_middle() {
        assert_eq!(median(&[5.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&[4.0]), 4.0);
    }

    #[test]
    fn numbers_are_shown_with_three_digits_or_in_thousands() {
        assert_eq!(shown(3.217), "3.22");
        assert_eq!(shown(31.26), "31.3");
        assert_eq!(shown(1_234_567.8), "1,234,568");
        assert_eq!(shown(-123.4), "-123");
    }
}
