//! The bars, from `bench/bars.json`: ratios and limits that the figures of one run must keep.
//!
//! A ratio is the median of the ratios of runs that alternated, so that a machine that becomes
//! slower half-way does not tell for or against anybody.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::figures::{Figures, Key, median};

const BARS: &str = include_str!("../bars.json");

/// Which side of the bound is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }
}

/// A figure, or the figure over another.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) of: (Key, String),
    pub(crate) over: Option<(Key, String)>,
    pub(crate) bound: Bound,
    pub(crate) unit: String,
}

/// How a bar fares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fares {
    Holds(f64),
    Misses(f64),
    /// One of its figures is not there.
    Unmeasured,
}

/// All bars of the committed file.
pub(crate) fn all() -> Result<Vec<Bar>> {
    parse(BARS)
}

fn parse(text: &str) -> Result<Vec<Bar>> {
    let value: Value = serde_json::from_str(text)?;
    let list = value.as_array().context("not a list of bars")?;
    list.iter()
        .map(|bar| Bar::read(bar).with_context(|| bar.to_string()))
        .collect()
}

fn reference(value: &Value) -> Result<(Key, String)> {
    let what = value
        .get("what")
        .and_then(Value::as_str)
        .context("no what")?;
    Ok((Key::read(value)?, what.to_owned()))
}

impl Bar {
    fn read(value: &Value) -> Result<Self> {
        let number = |name: &str| value.get(name).and_then(Value::as_f64);
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let bound = match (number("least"), number("most")) {
            (Some(least), None) => Bound::AtLeast(least),
            (None, Some(most)) => Bound::AtMost(most),
            _ => bail!("a bar has either `least` or `most`"),
        };
        let over = value.get("over").map(reference).transpose()?;
        let unit = text("unit").unwrap_or(if over.is_some() { "×" } else { "" });
        Ok(Bar {
            name: text("bar").context("no name")?.to_owned(),
            of: reference(value.get("of").context("no figure")?)?,
            over,
            bound,
            unit: unit.to_owned(),
        })
    }

    /// Whether one of its figures is of a scenario that was run.
    pub(crate) fn concerns(&self, figures: &Figures) -> bool {
        let scenario = &self.of.0.scenario;
        let measured = figures.figures.iter().map(|figure| &figure.key);
        let noted = figures.notes.iter().map(|(key, _)| key);
        measured.chain(noted).any(|key| key.scenario == *scenario)
    }

    pub(crate) fn fares(&self, figures: &Figures) -> Fares {
        let runs = |(key, what): &(Key, String)| {
            // One that failed in some of its runs did not pass with the others.
            let failed = key.who == "scalesocket" && figures.has_note(key);
            figures
                .find(key, what)
                .filter(|_| !failed)
                .map(|figure| figure.runs.as_slice())
        };
        let value = match (runs(&self.of), self.over.as_ref().map(runs)) {
            (Some(of), None) => median(of),
            (Some(of), Some(Some(over))) => ratio(of, over),
            _ => return Fares::Unmeasured,
        };
        match self.bound.holds(value) {
            true => Fares::Holds(value),
            false => Fares::Misses(value),
        }
    }
}

/// The median of the ratios of runs that alternated.
fn ratio(of: &[f64], over: &[f64]) -> f64 {
    if of.len() != over.len() {
        return median(of) / median(over);
    }
    let ratios: Vec<f64> = of.iter().zip(over).map(|(a, b)| a / b).collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Run;
    use crate::sequence::Faults;

    fn figures(of: &[f64], over: &[f64]) -> Figures {
        let mut figures = Figures::default();
        for (who, runs) in [("scalesocket", of), ("websocketd", over)] {
            for value in runs {
                let run = Run::new(Faults::default()).with("rate", "", *value);
                figures.take(&Key::new("echo", "", who), Ok(run), false);
            }
        }
        figures
    }

    fn bar(bound: &str) -> Bar {
        let text = format!(
            r#"[{{"bar": "b", "of": {{"scenario": "echo", "what": "rate"}},
                "over": {{"scenario": "echo", "who": "websocketd", "what": "rate"}}, {bound}}}]"#
        );
        parse(&text).unwrap().remove(0)
    }

    #[test]
    fn a_ratio_is_that_of_the_runs_side_by_side() {
        // The machine became three times slower: each run is still twice as fast as its neighbour.
        let slower = figures(&[90.0, 30.0, 30.0], &[45.0, 15.0, 15.0]);
        assert_eq!(bar(r#""least": 2.0"#).fares(&slower), Fares::Holds(2.0));
        assert_eq!(bar(r#""least": 2.1"#).fares(&slower), Fares::Misses(2.0));
        assert_eq!(bar(r#""most": 1.9"#).fares(&slower), Fares::Misses(2.0));
    }

    #[test]
    fn what_was_not_measured_or_failed_does_not_hold() {
        let alone = figures(&[90.0], &[]);
        assert_eq!(bar(r#""least": 0.0"#).fares(&alone), Fares::Unmeasured);
        let mut failed = figures(&[90.0], &[45.0]);
        let key = Key::new("echo", "", "scalesocket");
        failed.take(&key, Err(anyhow::anyhow!("it hangs")), false);
        assert_eq!(bar(r#""least": 0.0"#).fares(&failed), Fares::Unmeasured);
    }

    #[test]
    fn a_bar_needs_one_bound() {
        let without = r#"[{"bar": "b", "of": {"scenario": "echo", "what": "rate"}}]"#;
        assert!(parse(without).is_err());
        assert!(!all().unwrap().is_empty());
    }
}
