//! What the mixed soak found: every promise with its figure, and whether it held.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::census::{Held, Samples};
use super::site::Site;
use crate::sequence::Faults;
use crate::soak::mib;

/// How much more the second half may have: a twentieth.
const GROWTH: u64 = 20;
/// In the quick form nothing has settled.
const UNSETTLED: u64 = 32 << 20;

/// A figure of what is held.
type Figure = fn(&Held) -> u64;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) messages: Faults,
    pub(super) rooms: u64,
    pub(super) faults: u64,
    /// Rooms and faults of which somebody saw what nobody should.
    failures: Vec<String>,
    /// At first and at the end, of each server.
    left: Vec<(Held, Held)>,
    /// Median and most memory of the first and the second half.
    memory: [(u64, u64); 2],
    quick: bool,
    panics: Vec<String>,
}

impl Found {
    pub(super) fn new(site: &Site, samples: &Samples, left: Vec<(Held, Held)>) -> Self {
        Found {
            messages: site.tally(),
            rooms: site.rooms.load(Ordering::Relaxed),
            faults: site.faults.load(Ordering::Relaxed),
            failures: site.failures(),
            left,
            memory: samples.halves(),
            quick: site.quick,
            panics: site
                .stands()
                .flat_map(|(_, stand)| stand.server.panics())
                .collect(),
        }
    }

    /// What must hold, what was found, and whether it holds.
    fn rows(&self) -> Vec<(&'static str, String, bool)> {
        let Faults { due, .. } = self.messages;
        let messages = (
            "messages to clients that kept up",
            self.messages.to_string(),
            due > 0 && self.messages.is_none(),
        );
        let wrong = self.failures.len();
        let seen = (
            "rooms and faults whose clients saw anything else",
            format!("{wrong}"),
            wrong == 0,
        );
        let all: [(&str, Figure); 5] = [
            ("processes", |held| held.processes),
            ("descriptors", |held| held.descriptors),
            ("tasks", |held| held.tasks),
            ("rooms", |held| held.rooms),
            ("clients", |held| held.connections),
        ];
        let held = all.map(|(what, of)| {
            let pairs = self.left.iter().map(|(first, last)| (of(first), of(last)));
            let pairs: Vec<(u64, u64)> = pairs.collect();
            let sum = |side: fn(&(u64, u64)) -> u64| pairs.iter().map(side).sum::<u64>();
            let told = format!("{} at first, {} at the end", sum(|of| of.0), sum(|of| of.1));
            let holds = !pairs.is_empty() && pairs.iter().all(|(first, last)| last <= first);
            (what, told, holds)
        });
        let [(first, first_most), (second, second_most)] = self.memory;
        let memory = [
            ("memory, median", first, second),
            ("memory, largest", first_most, second_most),
        ];
        let memory = memory.map(|(what, first, second)| {
            let more = (second as f64 / first.max(1) as f64 - 1.0) * 100.0;
            let told = format!(
                "{:.1} MiB in the first half, {:.1} in the second ({more:+.1} %)",
                mib(first),
                mib(second)
            );
            let slack = if self.quick { UNSETTLED } else { 0 };
            (
                what,
                told,
                first > 0 && second <= first + first / GROWTH + slack,
            )
        });
        let panics = (
            "panics",
            format!("{}", self.panics.len()),
            self.panics.is_empty(),
        );
        [messages, seen]
            .into_iter()
            .chain(held)
            .chain(memory)
            .chain([panics])
            .collect()
    }

    /// In Markdown.
    pub(super) fn table(&self) -> String {
        let mut table = "| what must hold | found | |\n|---|---|---|\n".to_owned();
        for (what, told, holds) in self.rows() {
            let holds = if holds { "holds" } else { "**does not hold**" };
            table.push_str(&format!("| {what} | {told} | {holds} |\n"));
        }
        for failure in &self.failures {
            table.push_str(&format!("\n- {failure}"));
        }
        table
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.rows().into_iter();
        let rows: Vec<Value> = rows
            .map(|(what, told, holds)| json!({ "what": what, "found": told, "holds": holds }))
            .collect();
        let left = self.left.iter();
        let left: Vec<Value> = left
            .map(|(first, last)| json!({ "first": first.json(), "last": last.json() }))
            .collect();
        json!({
            "rows": rows, "played": self.rooms, "faults": self.faults, "failures": self.failures, "servers": left,
            "memory": { "first": self.memory[0], "second": self.memory[1] },
            "messages": self.messages.due,
        })
    }

    /// What does not hold.
    pub(super) fn broken(&self) -> Vec<String> {
        let rows = self.rows().into_iter().filter(|(_, _, holds)| !holds);
        rows.map(|(what, told, _)| format!("{what}: {told}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Spoil = fn(&mut Found);

    /// All holds.
    fn good() -> Found {
        let held = Held {
            descriptors: 20,
            processes: 1,
            tasks: 9,
            rooms: 0,
            connections: 0,
        };
        Found {
            messages: Faults {
                due: 10,
                ..Faults::default()
            },
            faults: 3,
            left: vec![(held, held); 4],
            memory: [(1_000, 2_000), (1_050, 2_100)],
            ..Found::default()
        }
    }

    #[test]
    fn whatever_does_not_hold_is_told() {
        assert!(good().broken().is_empty(), "{:?}", good().broken());
        let spoils: [(&str, Spoil); 12] = [
            ("messages", |found| found.messages.lost = 1),
            ("messages", |found| found.messages.duplicated = 1),
            ("messages", |found| found.messages.reordered = 1),
            ("messages", |found| found.messages.due = 0),
            ("rooms and faults", |found| {
                found.failures.push("lines-3: sent away".into())
            }),
            ("processes", |found| found.left[1].1.processes += 1),
            ("descriptors", |found| found.left[2].1.descriptors += 1),
            ("tasks", |found| found.left[3].1.tasks += 1),
            ("rooms", |found| found.left[0].1.rooms += 1),
            ("clients", |found| found.left[0].1.connections += 1),
            ("memory, median", |found| found.memory[1].0 += 1),
            ("memory, largest", |found| found.memory[1].1 += 1),
        ];
        for (what, spoil) in spoils {
            let mut found = good();
            spoil(&mut found);
            let broken = found.broken();
            assert!(
                broken.len() == 1 && broken[0].starts_with(what),
                "{what}: {broken:?}"
            );
            assert!(found.table().contains("**does not hold**"));
        }
        let mut found = good();
        found.panics.push("thread panicked".into());
        assert_eq!(found.broken(), ["panics: 1"]);
    }

    #[test]
    fn one_server_cannot_make_up_for_another() {
        let mut found = good();
        found.left[0].1.tasks += 1;
        found.left[1].1.tasks -= 1;
        assert_eq!(found.broken().len(), 1);
    }
}
