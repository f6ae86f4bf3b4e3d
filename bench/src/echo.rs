//! One client's round trip through `cat`, one message at a time.
//!
//! The floor is the same `cat` behind a bare TCP relay: the two sockets, the two pipes and `cat`,
//! and nothing of a server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figures::{each, quantile};
use crate::scenario::{Bench, Cell, Run, Scenario};
use crate::sequence::{Faults, number, put_line};
use crate::served::Who;
use crate::wire;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "echo",
    runs: 9,
    cells,
};

const SIZE: usize = 64;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
const FLOOR: Who = Who::Floor("floor: TCP, pipes, cat");

fn cells(_: &Bench) -> Vec<Cell> {
    [Who::Ours, Who::Predecessor, Who::Websocketd, FLOOR]
        .map(|who| Cell::new("", who, move |bench| measure(bench, who)))
        .into()
}

fn measure(bench: &Bench, who: Who) -> Result<Run> {
    let program: &[&str] = match who {
        FLOOR => &["relay"],
        _ => &["cat"],
    };
    let served = bench.serve(who, &[], program)?;
    let (warm, rounds) = (bench.of(1_000, 50), bench.of(20_000, 500));
    let mut stream = match who {
        FLOOR => connect(served.addr)?,
        _ => join(served.addr, "echo")?,
    };
    let mut faults = Faults::default();
    let mut times = Vec::with_capacity(rounds);
    let mut cpu = served.cpu()?;
    let (mut asked, mut wanted) = (Vec::new(), Vec::new());
    let mut heard = vec![0; SIZE + 2];
    for round in 0..warm + rounds {
        if round == warm {
            cpu = served.cpu()?;
        }
        asked.clear();
        wanted.clear();
        let mut line = Vec::with_capacity(SIZE + 1);
        put_line(&mut line, round as u64, SIZE);
        if who == FLOOR {
            asked.extend_from_slice(&line);
            wanted.extend_from_slice(&line);
        } else {
            let text = line.get(..SIZE).unwrap_or_default();
            wire::put_frame(&mut asked, wire::TEXT, text);
            wanted.extend([0x80 | wire::TEXT, SIZE as u8]);
            wanted.extend_from_slice(text);
        }
        heard.resize(wanted.len(), 0);
        let begun = Instant::now();
        stream.write_all(&asked)?;
        stream.read_exact(&mut heard)?;
        if round >= warm {
            times.push(begun.elapsed());
        }
        faults.due += 1;
        if heard != wanted {
            // Whatever came instead, this one did not.
            let text = heard.get(wanted.len() - SIZE..).and_then(number);
            let earlier = text.is_some_and(|number| number < round as u64);
            faults.duplicated += u64::from(earlier);
            faults.lost += u64::from(!earlier);
            break;
        }
    }
    let cpu = served.cpu()?.saturating_sub(cpu);
    drop(stream);
    served.stop()?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Run::new(faults)
        .with("p50", "µs", micros(quantile(&mut times, 0.5)))
        .with("p99", "µs", micros(quantile(&mut times, 0.99)))
        .with(
            "server CPU per message",
            "µs",
            each(cpu, rounds as u64) / 1e3,
        ))
}

/// A connection that waits for what it is to read.
pub(crate) fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The same, after the handshake.
pub(crate) fn join(addr: SocketAddr, room: &str) -> Result<TcpStream> {
    let mut stream = connect(addr)?;
    stream.write_all(wire::handshake(room, false).as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.extend_from_slice(&byte);
    }
    Ok(stream)
}
