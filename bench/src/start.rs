//! From the start of the binary to the first echo, and how large the binary is.

use std::fs;
use std::io::{Read, Write};
use std::time::Instant;

use anyhow::Result;

use crate::echo::join;
use crate::scenario::{Bench, Cell, Run, Scenario};
use crate::sequence::Faults;
use crate::served::{Served, Who};
use crate::wire;

/// See the module's documentation.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "start",
    runs: 9,
    cells,
};

fn cells(_: &Bench) -> Vec<Cell> {
    [Who::Ours, Who::Predecessor, Who::Websocketd]
        .map(|who| Cell::new("", who, move |bench| measure(bench, who)))
        .into()
}

fn measure(bench: &Bench, who: Who) -> Result<Run> {
    let begun = Instant::now();
    // All are found in the same way: by connecting until somebody listens.
    let served = match who {
        Who::Ours => Served::told_a_port(&bench.server, &[], &["cat"])?,
        _ => bench.serve(who, &[], &["cat"])?,
    };
    let mut stream = join(served.addr, "start")?;
    let mut frame = Vec::new();
    wire::put_frame(&mut frame, wire::TEXT, b"hello");
    stream.write_all(&frame)?;
    let mut heard = [0; 7];
    stream.read_exact(&mut heard)?;
    let time = begun.elapsed().as_secs_f64() * 1e3;
    drop(stream);
    served.stop()?;
    let program = match who {
        Who::Ours => Some(bench.server.clone()),
        _ => bench.peers.program(who),
    };
    let size = program
        .and_then(|path| fs::metadata(path).ok())
        .map_or(f64::NAN, |of| of.len() as f64);
    let faults = Faults {
        due: 1,
        lost: u64::from(!heard.ends_with(b"hello")),
        ..Faults::default()
    };
    Ok(Run::new(faults)
        .with("start to first echo", "ms", time)
        .with("size of the binary", "bytes", size))
}
