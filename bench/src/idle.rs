//! What a connection costs that says nothing, and what is kept once it has gone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::crowd::Crowd;
use crate::proc;
use crate::report::Figures;
use crate::server::Server;

const CLIENTS: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);

/// 10,000 in one room, twice: what the second crowd leaves behind is a leak.
pub(crate) fn run(binary: &Path, runs: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for _ in 0..runs {
        let server = Server::start(binary, &["cat"])?;
        let _first = Crowd::join(server.addr, "idle", 1)?;
        let memory = || -> Result<f64> {
            std::thread::sleep(SETTLE);
            Ok(proc::memory(server.pid())? as f64)
        };
        let (empty, descriptors) = (memory()?, proc::descriptors(server.pid())?);
        let each = 1024.0 * CLIENTS as f64;
        let names = [
            (
                "memory per idle connection",
                "kept of it after all have left",
            ),
            ("the same, second crowd", "kept after the second crowd"),
        ];
        for (held, kept) in names {
            let begun = Instant::now();
            let crowd = Crowd::join(server.addr, "idle", CLIENTS)?;
            let rate = CLIENTS as f64 / begun.elapsed().as_secs_f64();
            figures.add(held, "KiB", (memory()? - empty) / each);
            drop(crowd);
            let deadline = Instant::now() + PATIENCE;
            while proc::descriptors(server.pid())? > descriptors {
                if Instant::now() > deadline {
                    bail!("the server keeps descriptors of clients that have gone");
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            figures.add(kept, "KiB", (memory()? - empty) / each);
            figures.add("handshakes", "a second", rate);
        }
        server.stop()?;
    }
    Ok(figures)
}
