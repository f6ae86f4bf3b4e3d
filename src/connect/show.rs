//! What is shown of messages: to people one line each, harmless and in colour; to a pipe as they are.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::Message;

use super::colour;
use super::lines::Borrowed;

/// Bytes of a binary message that people are shown.
const HEX: usize = 64;
/// A line that shows nothing: one up, and down again.
const NOTHING: &str = "\x1b[A\n";
/// The editor keeps one line that it has not shown, and may be at another: who has put two more has
/// seen the last one shown.
const KEPT: usize = 2;
/// How long the editor may take for it: it shows nothing while a key is half typed.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Puts text above the line that is being typed.
type Above = Box<dyn FnMut(String) -> io::Result<()> + Send>;

/// Where messages go; dropping it shows the last of them, and gives a terminal back.
pub(super) struct Screen {
    above: Option<Above>,
    borrowed: Option<Borrowed>,
    /// Bytes as they are.
    raw: bool,
    /// Whether escapes of ours colour the text, and those of others must not.
    terminal: bool,
    coloured: bool,
}

impl Screen {
    /// Standard output, whatever that is.
    pub(super) fn plain(raw: bool) -> Screen {
        Screen::of_output(raw)
    }

    /// A terminal on which somebody is typing.
    pub(super) fn above(above: Above, borrowed: Borrowed) -> Screen {
        let mut screen = Screen::of_output(false);
        screen.above = Some(above);
        screen.borrowed = Some(borrowed);
        screen
    }

    fn of_output(raw: bool) -> Screen {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Screen {
            above: None,
            borrowed: None,
            raw,
            terminal,
            coloured: terminal && !set("NO_COLOR"),
        }
    }

    /// Something that no message said. It does not get into a pipe.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        let text = crate::cli::shown(text.as_ref());
        match &mut self.above {
            Some(above) => above(match self.coloured {
                true => format!("\x1b[2m{text}\x1b[0m\n"),
                false => format!("{text}\n"),
            }),
            None => writeln!(io::stderr(), "scalesocket: {text}"),
        }
    }

    /// A message.
    pub(super) fn message(&mut self, message: &Message) -> io::Result<()> {
        let bytes = match message {
            Message::Text(text) => {
                let text = text.as_str();
                match (&mut self.above, self.raw || !self.terminal) {
                    (None, true) => [text.as_bytes(), b"\n"].concat(),
                    (above, _) => {
                        let line = people(text, self.coloured);
                        match above {
                            Some(above) => return above(line),
                            None => line.into_bytes(),
                        }
                    }
                }
            }
            Message::Binary(bytes) if self.raw => bytes.to_vec(),
            Message::Binary(bytes) => {
                let line = hex(bytes);
                match &mut self.above {
                    Some(above) => return above(line),
                    None => line.into_bytes(),
                }
            }
            _ => return Ok(()),
        };
        let mut out = io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(mut above) = self.above.take() {
            let (say, shown) = mpsc::channel();
            let last = move || {
                for _ in 0..KEPT {
                    above(NOTHING.to_owned()).ok();
                }
                say.send(()).ok();
            };
            if thread::Builder::new().spawn(last).is_ok() {
                shown.recv_timeout(LAST_LINES).ok();
            }
        }
        self.borrowed.take();
    }
}

/// A text as one line that steers nothing; JSON in colours.
fn people(text: &str, coloured: bool) -> String {
    let is_json =
        text.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let mut line = match is_json && coloured {
        true => colour::json(&crate::cli::shown(text.as_ref())),
        false => crate::cli::shown(text.as_ref()),
    };
    line.push('\n');
    line
}

fn hex(bytes: &[u8]) -> String {
    let mut line = format!("<{} bytes:", bytes.len());
    for byte in bytes.iter().take(HEX) {
        let _ = write!(line, " {byte:02x}");
    }
    line.push_str(match bytes.len() > HEX {
        true => " ...>\n",
        false => ">\n",
    });
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_shown_lines_that_steer_nothing() {
        assert_eq!(people("\x1b[2Ja\nb", true), "\\u{1b}[2Ja\\nb\n");
        assert_eq!(people("{\"a\":1}", false), "{\"a\":1}\n");
        assert!(people("{\"a\":1}", true).contains("\x1b["));
        assert_eq!(people("{a", true), "{a\n");
    }

    #[test]
    fn binary_messages_are_shown_by_their_beginning() {
        assert_eq!(hex(&[0, 255]), "<2 bytes: 00 ff>\n");
        assert!(hex(&[1; 65]).ends_with(" 01 ...>\n"));
    }
}
