//! Where lines come from: somebody at a terminal, with a history, or a pipe. Either is read by a
//! thread of its own, because neither can be waited for otherwise.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::thread;

use anyhow::Context;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::config::{Config, Configurer};
use rustyline::history::FileHistory;
use rustyline::{Editor, ExternalPrinter};
use tokio::sync::mpsc::Sender;

use super::Input;
use super::show::Screen;

/// Lines of a history.
const HISTORY: usize = 1000;

/// Reads what people type before `prompt`. What is shown from now on goes above the line that they
/// are typing.
pub(super) fn from_people(say: Sender<Input>, prompt: String) -> anyhow::Result<Screen> {
    let borrowed = Borrowed(tcgetattr(io::stdin()).context("cannot use the terminal")?);
    let config = Config::builder()
        .auto_add_history(true)
        .history_ignore_space(true)
        .max_history_size(HISTORY)?
        .build();
    let mut editor: Editor<(), FileHistory> =
        Editor::with_config(config).context("cannot use the terminal")?;
    editor.set_max_history_size(HISTORY)?;
    let history = history();
    if let Some(path) = &history {
        // There is none yet, the first time.
        editor.load_history(path).ok();
    }
    let mut printer = editor
        .create_external_printer()
        .context("cannot use the terminal")?;
    let prompt = format!("{}> ", crate::cli::shown(prompt.as_ref()));
    thread::Builder::new().name("lines".into()).spawn(move || {
        while let Ok(line) = editor.readline(&prompt) {
            if let Some(path) = &history {
                editor.append_history(path).ok();
            }
            if say.blocking_send(Input::Line(line.into_bytes())).is_err() {
                return;
            }
        }
        say.blocking_send(Input::End).ok();
    })?;
    let above = Box::new(move |text| printer.print(text).map_err(io::Error::other));
    Ok(Screen::above(above, borrowed))
}

/// A terminal in which lines are edited, as it was before: it is given back like that, also from
/// under an editor that still waits for a key.
pub(super) struct Borrowed(Termios);

impl Drop for Borrowed {
    fn drop(&mut self) {
        let is_as_it_was = tcgetattr(io::stdin()).is_ok_and(|now| now == self.0);
        if !is_as_it_was && tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.0).is_ok() {
            // The editor marks what is pasted. What was typed stays to be seen, above the next prompt.
            io::stdout().write_all(b"\x1b[?2004l\n").ok();
        }
    }
}

/// Where lines are kept for the next time; nowhere if there is no home.
fn history() -> Option<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    let dir = state.join("scalesocket");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("history"))
}

/// Reads lines from standard input, whatever it is.
pub(super) fn from_pipe(say: Sender<Input>) {
    let read = move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match input.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            if line.ends_with(b"\n") {
                line.pop();
                if line.ends_with(b"\r") {
                    line.pop();
                }
            }
            if say.blocking_send(Input::Line(line)).is_err() {
                return;
            }
        }
        say.blocking_send(Input::End).ok();
    };
    // Without the thread the channel closes, which is the end of the input.
    thread::Builder::new().name("lines".into()).spawn(read).ok();
}
