//! Figures: every run of everything that was measured, by scenario, load, server and what it is.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::scenario::Run;
use crate::sequence::Faults;

/// One cell of a scenario: which load, on whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) scenario: String,
    pub(crate) shape: String,
    pub(crate) who: String,
}

impl Key {
    pub(crate) fn new(scenario: &str, shape: &str, who: &str) -> Self {
        Key {
            scenario: scenario.to_owned(),
            shape: shape.to_owned(),
            who: who.to_owned(),
        }
    }

    /// From the members of a JSON object.
    pub(crate) fn read(value: &Value) -> Result<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        Ok(Key {
            scenario: text("scenario").context("no scenario")?.to_owned(),
            shape: text("shape").unwrap_or_default().to_owned(),
            who: text("who").unwrap_or("scalesocket").to_owned(),
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.scenario)?;
        if !self.shape.is_empty() {
            write!(f, "{}, ", self.shape)?;
        }
        write!(f, "{}", self.who)
    }
}

/// One thing that was measured several times.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) key: Key,
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) runs: Vec<f64>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) figures: Vec<Figure>,
    /// Why there is no figure, or no more runs.
    pub(crate) notes: Vec<(Key, String)>,
    /// What became of the messages, in all runs.
    pub(crate) counted: Vec<(Key, Faults)>,
}

impl Figures {
    /// One more run: what was found in it, and whether it was one that counts. A run that lost,
    /// doubled or misplaced messages measures nothing, but for a peer's that says otherwise.
    pub(crate) fn take(&mut self, key: &Key, run: Result<Run>, peer: bool) -> (String, bool) {
        let run = match run {
            Ok(run) => run,
            Err(error) => return (self.note(key, format!("{error:#}")), false),
        };
        self.count(key, &run.faults);
        let mut said = Vec::new();
        if !run.faults.is_none() {
            let of = match peer && run.of_what_came {
                true => "; the figures are of those that came",
                false => "",
            };
            said.push(self.note(key, format!("{}{of}", run.faults)));
            if of.is_empty() {
                return (said.concat(), false);
            }
        }
        for (what, unit, value) in run.figures {
            said.push(format!("{what} {} {unit}", shown(value)));
            self.add(key, what, unit, value);
        }
        (said.join(", "), true)
    }

    fn add(&mut self, key: &Key, what: &str, unit: &str, value: f64) {
        let known = |figure: &&mut Figure| figure.key == *key && figure.what == what;
        match self.figures.iter_mut().find(known) {
            Some(figure) => figure.runs.push(value),
            None => self.figures.push(Figure {
                key: key.clone(),
                what: what.to_owned(),
                unit: unit.to_owned(),
                runs: vec![value],
            }),
        }
    }

    fn count(&mut self, key: &Key, faults: &Faults) {
        match self.counted.iter_mut().find(|(known, _)| known == key) {
            Some((_, all)) => all.add(faults),
            None => self.counted.push((key.clone(), *faults)),
        }
    }

    /// Why there is no figure; the first reason is enough.
    fn note(&mut self, key: &Key, text: String) -> String {
        if !self.has_note(key) {
            self.notes.push((key.clone(), text.clone()));
        }
        text
    }

    pub(crate) fn has_note(&self, key: &Key) -> bool {
        self.notes.iter().any(|(known, _)| known == key)
    }

    pub(crate) fn find(&self, key: &Key, what: &str) -> Option<&Figure> {
        let mut figures = self.figures.iter();
        figures.find(|figure| figure.key == *key && figure.what == what)
    }

    pub(crate) fn append(&mut self, mut others: Figures) {
        self.figures.append(&mut others.figures);
        self.notes.append(&mut others.notes);
        self.counted.append(&mut others.counted);
    }

    /// Everything, with every run.
    pub(crate) fn json(&self) -> Value {
        let at = |key: &Key| json!({"scenario": key.scenario, "shape": key.shape, "who": key.who});
        let with = |key: &Key, more: Value| {
            let mut object = at(key);
            if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
                object.extend(more);
            }
            object
        };
        let figures = self.figures.iter().map(|figure| {
            let Figure {
                key,
                what,
                unit,
                runs,
            } = figure;
            let more = json!({"what": what, "unit": unit, "median": median(runs), "runs": runs});
            with(key, more)
        });
        let counted = self.counted.iter().map(|(key, faults)| {
            let Faults {
                due,
                lost,
                duplicated,
                reordered,
            } = faults;
            let more = json!({
                "due": due, "lost": lost, "duplicated": duplicated, "reordered": reordered
            });
            with(key, more)
        });
        let notes = self.notes.iter();
        json!({
            "figures": figures.collect::<Vec<_>>(),
            "counted": counted.collect::<Vec<_>>(),
            "notes": notes.map(|(key, text)| with(key, json!({"note": text}))).collect::<Vec<_>>(),
        })
    }

    /// What [`Figures::json`] has written.
    pub(crate) fn read(value: &Value) -> Result<Self> {
        let list = |name: &str| -> Result<&Vec<Value>> {
            let list = value.get(name).and_then(Value::as_array);
            list.with_context(|| format!("no list of {name}"))
        };
        let text = |value: &Value, name: &str| -> Result<String> {
            let text = value.get(name).and_then(Value::as_str);
            Ok(text.with_context(|| format!("no {name}"))?.to_owned())
        };
        let mut all = Figures::default();
        for figure in list("figures")? {
            let runs = figure.get("runs").and_then(Value::as_array);
            let runs = runs.context("no runs")?;
            all.figures.push(Figure {
                key: Key::read(figure)?,
                what: text(figure, "what")?,
                unit: text(figure, "unit")?,
                runs: runs.iter().filter_map(Value::as_f64).collect(),
            });
        }
        for counted in list("counted")? {
            let number = |name: &str| counted.get(name).and_then(Value::as_u64).context("a count");
            let faults = Faults {
                due: number("due")?,
                lost: number("lost")?,
                duplicated: number("duplicated")?,
                reordered: number("reordered")?,
            };
            all.counted.push((Key::read(counted)?, faults));
        }
        for note in list("notes")? {
            all.notes.push((Key::read(note)?, text(note, "note")?));
        }
        Ok(all)
    }
}

/// The value in the middle; the lower of the two when their number is even.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or(f64::NAN)
}

/// The value below which a share of the values lies, which are sorted by it.
pub(crate) fn quantile<T: Ord + Copy + Default>(values: &mut [T], share: f64) -> T {
    values.sort_unstable();
    let index = (values.len() as f64 * share) as usize;
    let index = index.min(values.len().saturating_sub(1));
    values.get(index).copied().unwrap_or_default()
}

/// Processor time of each of so many, in nanoseconds.
pub(crate) fn each(time: Duration, of: u64) -> f64 {
    time.as_secs_f64() * 1e9 / of.max(1) as f64
}

/// Three digits that count, thousands apart.
pub(crate) fn shown(value: f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_run_in_the_middle() {
        assert_eq!(median(&[5.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&[4.0]), 4.0);
    }

    #[test]
    fn a_quantile_leaves_its_share_below() {
        let mut values: Vec<u64> = (0..100).rev().collect();
        assert_eq!(quantile(&mut values, 0.5), 50);
        assert_eq!(quantile(&mut values, 0.99), 99);
        assert_eq!(quantile(&mut values, 1.0), 99);
        assert_eq!(quantile::<u64>(&mut [], 0.5), 0);
    }

    #[test]
    fn numbers_are_shown_with_three_digits_or_in_thousands() {
        assert_eq!(shown(3.217), "3.22");
        assert_eq!(shown(31.26), "31.3");
        assert_eq!(shown(1_234_567.8), "1,234,568");
        assert_eq!(shown(-123.4), "-123");
    }

    #[test]
    fn what_lost_messages_has_no_figures_unless_it_is_a_peer_of_which_that_is_said() {
        let run = |of_what_came| {
            let faults = Faults {
                due: 7,
                lost: 1,
                ..Faults::default()
            };
            let mut run = Run::new(faults).with("p50", "µs", 33.5);
            run.of_what_came = of_what_came;
            Ok(run)
        };
        let key = Key::new("paced", "", "somebody");
        for (of_what_came, peer) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut figures = Figures::default();
            let (_, counts) = figures.take(&key, run(of_what_came), peer);
            assert_eq!(counts, of_what_came && peer);
            assert_eq!(figures.find(&key, "p50").is_some(), of_what_came && peer);
            assert!(figures.has_note(&key));
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut figures = Figures::default();
        let key = Key::new("echo", "", "scalesocket");
        let faults = Faults {
            due: 7,
            ..Faults::default()
        };
        for value in [33.5, 31.5] {
            figures.take(&key, Ok(Run::new(faults).with("p50", "µs", value)), false);
        }
        let cannot = Err(anyhow::anyhow!("cannot"));
        figures.take(&Key::new("flood", "to 100", "other"), cannot, true);
        let read = Figures::read(&figures.json()).unwrap();
        assert_eq!(read.json(), figures.json());
        assert_eq!(read.find(&key, "p50").unwrap().runs, [33.5, 31.5]);
        assert_eq!(read.counted, [(key, Faults { due: 14, ..faults })]);
        assert_eq!(read.notes.len(), 1);
    }
}
