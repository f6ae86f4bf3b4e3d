//! The log: what the server tells of itself on stderr, as text for people or JSON for machines.
//!
//! Whoever logs never waits for whoever reads: lines go through a bounded buffer to a thread that
//! writes them, and what does not fit is counted and told. A write that fails (disk full, reader
//! gone) loses its lines and nothing else. Figures live in `metrics`, not here.

mod log;

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use log::Flush;

use log::Log;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event; in colour on a terminal, unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object per line: `timestamp`, `level`, `message`, `target` and the event's fields.
    Json,
}

/// Starts the log on stderr. `verbosity` counts `-v` up and `-q` down: 0 is info, 1 debug, 2 and
/// more trace, -1 warnings, -2 and less errors. That is for our own events; libraries are heard
/// only when they warn.
///
/// It starts a thread, so it comes after anything that forks, and fails when the process has a
/// log already.
pub fn init(format: LogFormat, verbosity: i8) -> anyhow::Result<(Flush, Option<Terminal>)> {
    let stderr = io::stderr();
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let people = stderr.is_terminal();
    let colour = people && !set("NO_COLOR");
    let log = Log::start(stderr, |lines| {
        tracing::warn!(
            lines,
            "log lines were lost: the log was read too slowly, or could not be written"
        );
    })?;
    subscriber(format, verbosity, colour, log.clone())
        .try_init()
        .context("cannot start the log")?;
    let listening = people && format == LogFormat::Text && verbosity >= 0;
    let terminal = listening.then(|| Terminal {
        log: log.clone(),
        colour,
    });
    Ok((log.flush_at_end(), terminal))
}

/// Where somebody reads the log as it comes.
#[derive(Clone)]
pub struct Terminal {
    log: Log,
    colour: bool,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

impl Terminal {
    /// Whether colours are wanted.
    pub fn is_coloured(&self) -> bool {
        self.colour
    }

    /// Puts whole lines between those of the log, as they are.
    pub fn say(&self, lines: &str) {
        // The log takes everything.
        let _ = self.log.clone().write_all(lines.as_bytes());
    }
}

fn subscriber<W>(
    format: LogFormat,
    verbosity: i8,
    colour: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ours = match verbosity {
        ..=-2 => LevelFilter::ERROR,
        -1 => LevelFilter::WARN,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    };
    let levels = Targets::new()
        .with_default(ours.min(LevelFilter::WARN))
        // It tells of every request that fails; so do we, once, and what it means.
        .with_target("kube_client", LevelFilter::OFF)
        .with_target(env!("CARGO_CRATE_NAME"), ours);
    // An error of the writer is told to stderr by default, and panics when that fails as well.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(levels);
    match format {
        LogFormat::Text => {
            let fields = debug_fn(write_field).delimited(" ");
            Box::new(registry.with(lines.with_ansi(colour).fmt_fields(fields)))
        }
        LogFormat::Json => {
            let json = lines.json().flatten_event(true).with_span_list(false);
            Box::new(registry.with(json))
        }
    }
}

/// Writes one field of a text line.
fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(out, "{field}=")?;
    }
    fmt::Write::write_fmt(&mut Harmless(out), format_args!("{value:?}"))
}

/// SECURITY: children and clients are quoted in the log. What they say must neither steer a
/// terminal nor write lines of its own, also in fields given by `%`, which are not escaped
/// otherwise. JSON needs no such care.
struct Harmless<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Harmless<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            match piece.char_indices().next_back() {
                Some((at, control)) if control.is_control() => {
                    self.0.write_str(piece.get(..at).unwrap_or_default())?;
                    write!(self.0, "{}", control.escape_default())?;
                }
                _ => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    use super::log::tests::{DEADLINE, Heard};

    /// What `speak` logs, with the log at this verbosity.
    fn logged(format: LogFormat, verbosity: i8, speak: impl FnOnce()) -> String {
        let (sender, heard) = channel();
        let log = Log::start(Heard(sender), |_| {}).unwrap();
        let subscriber = subscriber(format, verbosity, false, log.clone());
        tracing::subscriber::with_default(subscriber, speak);
        log.wait_written(DEADLINE);
        String::from_utf8(heard.try_iter().flatten().collect()).unwrap()
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let text = logged(LogFormat::Json, 0, || {
            tracing::info!(room = %"lo\"by\n", clients = 3, "room ended");
            tracing::warn!("second");
        });
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["message"], "room ended");
        assert_eq!(lines[0]["room"], "lo\"by\n");
        assert_eq!(lines[0]["clients"], 3);
        assert!(
            lines[0]["timestamp"].as_str().unwrap().ends_with('Z'),
            "{text}"
        );
        assert_eq!(lines[1]["message"], "second");
    }

    #[test]
    fn a_text_line_has_time_level_message_and_fields_and_no_colour_when_not_wanted() {
        let text = logged(LogFormat::Text, 0, || {
            tracing::info!(clients = 3, "room ended")
        });
        assert!(
            text.starts_with("20") && text.ends_with("room ended clients=3\n"),
            "{text:?}"
        );
        assert!(
            text.contains(" INFO ") && !text.contains('\u{1b}'),
            "{text:?}"
        );
    }

    #[test]
    fn a_line_from_outside_can_neither_colour_nor_forge_the_log() {
        let text = logged(LogFormat::Text, 0, || {
            let line = "\u{1b}[2J\u{9b}x\nINFO y\rz";
            tracing::info!(line, "a");
            tracing::info!(%line, "a");
            tracing::info!("{line}");
        });
        assert_eq!(text.split(['\n', '\r']).count(), 3 + 1, "{text:?}");
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
        assert_eq!(text.matches(r"x\nINFO y\rz").count(), 3, "{text:?}");
    }

    #[test]
    fn verbosity_chooses_our_levels_and_libraries_only_warn() {
        for (verbosity, expected) in [
            (-9, "e E"),
            (-2, "e E"),
            (-1, "e w E W"),
            (0, "e w i E W"),
            (1, "e w i d E W"),
            (2, "e w i d t E W"),
            (9, "e w i d t E W"),
        ] {
            let text = logged(LogFormat::Json, verbosity, || {
                tracing::error!("e");
                tracing::warn!("w");
                tracing::info!("i");
                tracing::debug!("d");
                tracing::trace!("t");
                tracing::error!(target: "hyper::proto", "E");
                tracing::warn!(target: "hyper::proto", "W");
                tracing::info!(target: "hyper::proto", "I");
            });
            let heard: Vec<String> = text
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
                .map(|line| line["message"].as_str().unwrap().to_string())
                .collect();
            assert_eq!(heard.join(" "), expected, "verbosity {verbosity}");
        }
    }
}
