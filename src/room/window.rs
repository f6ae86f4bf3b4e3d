//! The window of a room's terminal: one size for everybody in the room.
//!
//! It is the largest that all who have told theirs can show: the smallest width and the smallest
//! height of them. Everybody hears it when they come and when it changes, before what is printed
//! for it. Who leaves no longer counts; when nobody is left that told one, it stays. Who comes late
//! also hears the modes that the terminal is in, and tells a size to have a program that draws on a
//! whole screen draw it anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use tracing::debug;

use super::live::Room;
use super::modes::Modes;
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
    modes: Modes,
    /// The terminal is a line too low, so that the program draws anew, until it has begun to.
    low: bool,
}

impl Window {
    /// A window of that size until somebody tells theirs.
    pub(super) fn new(size: Size) -> Window {
        Window(Mutex::new(State {
            size,
            shown: BTreeMap::new(),
            terminal: None,
            modes: Modes::default(),
            low: false,
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
        let size = Size {
            rows: self.size.rows.saturating_sub(self.low.into()).max(1),
            ..self.size
        };
        if let Some(terminal) = &self.terminal
            && let Err(error) = terminal.resize(size)
        {
            debug!(%error, "the terminal could not be resized");
        }
    }

    /// How large it is, and for one who comes how it is besides.
    fn message(&self, to: Audience<'_>) -> Outgoing {
        let Size { columns, rows } = self.size;
        let text = format!(r#"{{"_resize":[{columns},{rows}]}}"#);
        let modes = match to {
            Audience::Everyone => Vec::new(),
            _ => self.modes.sequence(),
        };
        let said = [(Kind::Text, text.as_bytes()), (Kind::Binary, &modes[..])];
        let any = said.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        ours(to, any)
    }
}

/// What is said by us and not by the program, and therefore not counted as its messages.
fn ours<'a>(to: Audience<'_>, messages: impl IntoIterator<Item = (Kind, &'a [u8])>) -> Outgoing {
    let mut outgoing = Outgoing::default();
    for (kind, payload) in messages {
        outgoing.add(Event::Message {
            to,
            kind,
            payload,
            tagged: false,
        });
    }
    (outgoing.messages, outgoing.payload) = (0, 0);
    outgoing
}

impl Room {
    /// The program has this terminal from now on, or none.
    pub(super) fn set_terminal(&self, terminal: Option<Arc<Terminal>>) {
        if let Some(window) = &self.window {
            let mut state = window.0.lock();
            // The next program expects a new terminal, and finds one that shows what was before.
            let undo = std::mem::take(&mut state.modes).undoing();
            if !undo.is_empty() {
                self.publish(&mut ours(Audience::Everyone, [(Kind::Binary, &undo[..])]));
            }
            (state.terminal, state.low) = (terminal, false);
            state.set_terminal();
        }
    }

    /// The program has printed this, and nobody has heard it yet.
    pub(super) fn note_printed(&self, bytes: &[u8]) {
        if let Some(window) = &self.window {
            let mut state = window.0.lock();
            state.modes.note(bytes);
            if std::mem::take(&mut state.low) {
                state.set_terminal();
            }
        }
    }

    /// A client can show so much.
    pub(super) fn shows(&self, id: ClientId, size: Size) {
        let Some(window) = &self.window else { return };
        let mut state = window.0.lock();
        state.shown.insert(id, size);
        // A program whose screen is as large as before would not draw it for who has none.
        if !self.fit(&mut state) && state.modes.is_full_screen() && !state.low {
            state.low = true;
            state.set_terminal();
        }
    }

    /// What a client can show no longer counts.
    pub(super) fn shows_no_longer(&self, id: ClientId) {
        let Some(window) = &self.window else { return };
        let mut state = window.0.lock();
        if state.shown.remove(&id).is_some() {
            self.fit(&mut state);
        }
    }

    /// Who comes in hears how large the window is.
    pub(super) fn show_window_to(&self, id: ClientId) {
        if let Some(window) = &self.window {
            let state = window.0.lock();
            self.publish(&mut state.message(Audience::Only(&[id.get()])));
        }
    }

    /// Makes the window as large as all can show; whether that is another size.
    fn fit(&self, state: &mut State) -> bool {
        let Some(size) = state.fits_all().filter(|size| *size != state.size) else {
            return false;
        };
        state.low = false;
        state.size = size;
        // First: what is printed for the new size comes behind it.
        self.publish(&mut state.message(Audience::Everyone));
        state.set_terminal();
        true
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
