//! The window of a room's terminal: one size for everybody in the room.
//!
//! It is the largest that all who have told theirs can show: the smallest width and the smallest
//! height of them. Everybody hears it when they come and when it changes, before what is printed
//! for it. Who leaves no longer counts; when nobody is left that told one, it stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use tracing::debug;

use super::live::Room;
use super::outgoing::Outgoing;
use crate::child::{Size, Terminal};
use crate::frame::{Audience, ClientId, Event, Kind};

/// The smallest window that somebody can impose on all: a telephone's. Smaller ones are taken for it.
const LEAST: Size = Size {
    columns: 20,
    rows: 5,
};
/// The largest that makes any sense. Larger ones are taken for it.
const MOST: Size = Size {
    columns: 1_000,
    rows: 1_000,
};
/// A longer message tells no size.
const LONGEST: usize = 256;

/// What a message tells of the sender's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing: it is typed.
    Nothing,
    /// Its size, within what is possible.
    Size(Size),
    /// Something that is no size.
    Nonsense,
}

/// `{"_resize":[COLUMNS,ROWS]}`, and no other member.
pub(super) fn told(kind: Kind, message: &[u8]) -> Told {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Resize {
        #[serde(rename = "_resize")]
        size: serde_json::Value,
    }

    if kind != Kind::Text || message.len() > LONGEST || !message.starts_with(b"{") {
        return Told::Nothing;
    }
    let Ok(Resize { size }) = serde_json::from_slice(message) else {
        return Told::Nothing;
    };
    let Ok((columns, rows)) = serde_json::from_value::<(u64, u64)>(size) else {
        return Told::Nonsense;
    };
    let within = |given: u64, least: u16, most: u16| {
        let given = u16::try_from(given).unwrap_or(u16::MAX);
        given.clamp(least, most)
    };
    Told::Size(Size {
        columns: within(columns, LEAST.columns, MOST.columns),
        rows: within(rows, LEAST.rows, MOST.rows),
    })
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Window(Mutex<State>);

#[derive(Debug)]
struct State {
    size: Size,
    /// What clients can show, of those who have told it.
    shown: BTreeMap<ClientId, Size>,
    terminal: Option<Arc<Terminal>>,
}

impl Window {
    /// A window of that size until somebody tells theirs.
    pub(super) fn new(size: Size) -> Window {
        Window(Mutex::new(State {
            size,
            shown: BTreeMap::new(),
            terminal: None,
        }))
    }
}

impl State {
    /// What all can show; none where nobody has told anything.
    fn fits_all(&self) -> Option<Size> {
        let smaller = |a: Size, b: Size| Size {
            columns: a.columns.min(b.columns),
            rows: a.rows.min(b.rows),
        };
        self.shown.values().copied().reduce(smaller)
    }

    fn set_terminal(&self) {
        if let Some(terminal) = &self.terminal
            && let Err(error) = terminal.resize(self.size)
        {
            debug!(%error, "the terminal could not be resized");
        }
    }

    fn message(&self, to: Audience<'_>) -> Outgoing {
        let Size { columns, rows } = self.size;
        let text = format!(r#"{{"_resize":[{columns},{rows}]}}"#);
        let mut outgoing = Outgoing::default();
        outgoing.add(Event::Message {
            to,
            kind: Kind::Text,
            payload: text.as_bytes(),
            tagged: false,
        });
        // It is ours and not the program's.
        (outgoing.messages, outgoing.payload) = (0, 0);
        outgoing
    }
}

impl Room {
    /// The program has this terminal from now on, or none.
    pub(super) fn set_terminal(&self, terminal: Option<Arc<Terminal>>) {
        if let Some(window) = &self.window {
            let mut state = window.0.lock();
            state.terminal = terminal;
            state.set_terminal();
        }
    }

    /// A client can show so much.
    pub(super) fn shows(&self, id: ClientId, size: Size) {
        self.fit(|shown| {
            shown.insert(id, size);
        });
    }

    /// What a client can show no longer counts.
    pub(super) fn shows_no_longer(&self, id: ClientId) {
        self.fit(|shown| {
            shown.remove(&id);
        });
    }

    /// Who comes in hears how large the window is.
    pub(super) fn show_window_to(&self, id: ClientId) {
        if let Some(window) = &self.window {
            let state = window.0.lock();
            self.publish(&mut state.message(Audience::Only(&[id.get()])));
        }
    }

    fn fit(&self, change: impl FnOnce(&mut BTreeMap<ClientId, Size>)) {
        let Some(window) = &self.window else { return };
        let mut state = window.0.lock();
        change(&mut state.shown);
        let Some(size) = state.fits_all().filter(|size| *size != state.size) else {
            return;
        };
        state.size = size;
        // First: what is printed for the new size comes behind it.
        self.publish(&mut state.message(Audience::Everyone));
        state.set_terminal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_told_in_one_way_and_all_else_is_typed() {
        let size = |columns, rows| Told::Size(Size { columns, rows });
        for (message, expected) in [
            (r#"{"_resize":[80,24]}"#, size(80, 24)),
            (r#"{ "_resize" : [ 132, 43 ] }"#, size(132, 43)),
            (r#"{"_resize":[1,0]}"#, size(20, 5)),
            (r#"{"_resize":[99999999999,70000]}"#, size(1_000, 1_000)),
            (r#"{"_resize":[80]}"#, Told::Nonsense),
            (r#"{"_resize":[-1,24]}"#, Told::Nonsense),
            (r#"{"_resize":"large"}"#, Told::Nonsense),
            (r#"{"_resize":[80,24],"x":1}"#, Told::Nothing),
            (r#"{"_resize":[80,24]}x"#, Told::Nothing),
            (r#" {"_resize":[80,24]}"#, Told::Nothing),
            (r#"{"resize":[80,24]}"#, Told::Nothing),
            ("{}", Told::Nothing),
            ("{", Told::Nothing),
            ("", Told::Nothing),
        ] {
            assert_eq!(told(Kind::Text, message.as_bytes()), expected, "{message}");
            let binary = told(Kind::Binary, message.as_bytes());
            assert_eq!(binary, Told::Nothing, "{message}");
        }
    }
}
