//! The developer's part of the composition root: what a change of the program means to the rooms
//! (`--watch`), and who writes down what passes in them (`--record`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Config;
use crate::child::{HoldUp, Sources};
use crate::cli::Source;
use crate::frame::ServerFraming;
use crate::metrics::Metrics;
use crate::record::line::{Framing, Transport};
use crate::record::{self, Recorder};
use crate::room::{self, Rooms};

/// What is to be watched, the program itself included; none where nobody asked.
pub(super) fn sources(
    config: &Config,
    program: Option<&Path>,
) -> anyhow::Result<Option<Arc<Sources>>> {
    let named = &config.develop.watch;
    if named.is_empty() {
        return Ok(None);
    }
    let paths = named.iter().map(AsRef::as_ref).chain(program);
    let paths: Vec<_> = paths.map(Path::to_path_buf).collect();
    let sources = Sources::new(paths).map_err(|error| anyhow!("--watch: {error}"))?;
    Ok(Some(Arc::new(sources)))
}

/// Refuses what cannot be watched or must not be recorded, with a sentence.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    if let Some(record) = &config.develop.record
        && let Some(files) = &config.staticdir
        && real(&record.dir).starts_with(real(files))
    {
        // SECURITY: what people say would be sent to whoever asks for the file.
        bail!(
            "--record: `{}` is inside --staticdir, where everybody could read it: write the path of another \
             directory",
            record.dir.display()
        );
    }
    for path in &config.develop.watch {
        if let Err(error) = std::fs::metadata(path) {
            let path = path.display();
            return Err(match error.kind() {
                std::io::ErrorKind::NotFound => anyhow!(
                    "--watch: `{path}` does not exist: write the path of a file or directory"
                ),
                _ => anyhow!("--watch: `{path}` cannot be watched: {error}"),
            });
        }
    }
    Ok(())
}

/// Where a path leads, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let there = whole.ancestors().find_map(|part| {
        let rest = whole.strip_prefix(part).ok()?;
        Some(part.canonicalize().ok()?.join(rest))
    });
    there.unwrap_or(whole)
}

/// Looks from time to time, and says what has changed, until the server ends.
pub(super) async fn watch(
    sources: Option<Arc<Sources>>,
    restart: bool,
    rooms: Rooms,
    closing: CancellationToken,
) {
    let Some(sources) = sources else { return };
    let mut changes = sources.changes();
    if let Some(files) = sources.is_cut().await {
        warn!(
            files,
            "--watch: there are more files than are looked at; name those that matter"
        );
    }
    let mut settled = true;
    let mut told = None;
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            () = sleep(sources.pause(settled)) => {}
            // Somebody who opened a room has looked.
            _ = changes.changed() => changes.mark_changed(),
        }
        settled = sources.look().await.is_some();
        let hold_up = sources.hold_up().await;
        if hold_up.is_none() || told.is_none() {
            tell(hold_up.as_ref());
            told = hold_up;
        }
        let news = changes.has_changed().unwrap_or(false);
        let change = changes.borrow_and_update().clone();
        if news {
            rooms.forgive();
            info!(
                file = %change.file.display(),
                files = change.files,
                old_rooms = rooms.outdated(change.version),
                "the program has changed: new rooms run the new one"
            );
        }
        if restart {
            rooms.end_outdated(change.version);
        }
    }
}

/// Says what new rooms wait for.
fn tell(hold_up: Option<&HoldUp>) {
    match hold_up {
        Some(HoldUp::Missing(file)) => warn!(
            file = %file.display(),
            "what --watch names is missing: new rooms wait for it, at most --start-timeout"
        ),
        Some(HoldUp::Restless(file)) => warn!(
            file = %file.display(),
            "what --watch names is written all the time: new rooms wait for a pause, at most --start-timeout; \
             name only what somebody writes by hand"
        ),
        None => {}
    }
}

/// Who writes rooms down; none where nobody asked.
pub(super) fn recorder(
    config: &Config,
    rooms: &room::Options,
    metrics: &Metrics,
) -> anyhow::Result<Option<Recorder>> {
    let Some(asked) = &config.develop.record else {
        return Ok(None);
    };
    let options = record::Options {
        dir: asked.dir.clone(),
        most: asked.most,
        most_together: asked.most_together,
        transport: match (&config.source, config.tcp, config.pty) {
            (_, _, Some(_)) => Transport::Terminal,
            (_, true, _) => Transport::Tcp,
            (Source::Connect(_), ..) => Transport::Connect,
            _ => Transport::Stdio,
        },
        framing: match &rooms.server_framing {
            ServerFraming::Lines {
                delimiters,
                strip_cr,
            } => Framing::Lines {
                delimiters: delimiters.clone(),
                strip_cr: *strip_cr,
            },
            ServerFraming::Json(_) => Framing::Json,
            ServerFraming::Packets => Framing::Packets,
            ServerFraming::Raw => Framing::Raw,
        },
    };
    let recorder = Recorder::new(options, metrics.clone());
    let dir = asked.dir.display();
    let recorder = recorder.with_context(|| format!("--record: cannot write to {dir}"))?;
    info!(dir = %dir, "rooms are recorded: what people say is written down");
    Ok(Some(recorder))
}
