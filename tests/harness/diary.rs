//! What a failing test needs to tell: the server's log, and what each person heard. Everybody of
//! one server shares one diary; only `fail` reads it for people.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

/// The last so many entries are shown; a flood must not bury the reason.
const SHOWN: usize = 40;

#[derive(Clone, Default)]
pub struct Diary(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    log: Vec<String>,
    people: Vec<(String, Vec<String>, usize)>,
}

impl Diary {
    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A new person's page.
    pub fn person(&self, name: String) -> Page {
        let mut pages = self.pages();
        pages.people.push((name, Vec::new(), 0));
        Page {
            diary: self.clone(),
            number: pages.people.len() - 1,
        }
    }

    pub fn logged(&self, line: String) {
        self.pages().log.push(line);
    }

    /// The first line of the log, from `start` on, for which `is_it` holds.
    pub fn find(&self, start: usize, is_it: &dyn Fn(&str) -> bool) -> Option<(usize, String)> {
        let pages = self.pages();
        let found = pages
            .log
            .iter()
            .enumerate()
            .skip(start)
            .find(|(_, line)| is_it(line));
        found.map(|(at, line)| (at, line.clone()))
    }

    /// The lines of the log that contain this.
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        let pages = self.pages();
        let lines = pages.log.iter().filter(|line| line.contains(part));
        lines.cloned().collect()
    }

    pub fn log(&self) -> Vec<String> {
        self.pages().log.clone()
    }

    /// Ends the test with everything that is known.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}", self.report());
    }

    pub fn report(&self) -> String {
        let pages = self.pages();
        let mut report = String::new();
        for (name, heard, count) in &pages.people {
            let _ = writeln!(report, "--- {name} heard {count} things, the last of them:");
            for line in heard {
                let _ = writeln!(report, "    {line}");
            }
        }
        let _ = writeln!(
            report,
            "--- the server logged {} lines, the last:",
            pages.log.len()
        );
        for line in pages.log.iter().skip(pages.log.len().saturating_sub(SHOWN)) {
            let _ = writeln!(report, "    {line}");
        }
        report
    }
}

/// What one person heard.
pub struct Page {
    pub diary: Diary,
    number: usize,
}

impl Page {
    pub fn heard(&self, what: &str) {
        let mut pages = self.diary.pages();
        let Some((_, heard, count)) = pages.people.get_mut(self.number) else {
            return;
        };
        *count += 1;
        if heard.len() == SHOWN {
            heard.remove(0);
        }
        let shown: String = what.chars().take(200).collect();
        heard.push(shown);
    }

    pub fn name(&self) -> String {
        let pages = self.diary.pages();
        pages
            .people
            .get(self.number)
            .map(|(name, ..)| name.clone())
            .unwrap_or_default()
    }

    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        self.diary.fail(&format!("{}: {what}", self.name()))
    }
}
