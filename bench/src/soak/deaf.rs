//! A child that never reads, pushed for a minute: the inbox is all that grows, the sender is
//! stopped, and everybody still hears the child.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Peak, mib};
use crate::crowd::{Crowd, Heard};
use crate::proc;
use crate::sequence::{Sequence, number};
use crate::server::{Server, this_program};
use crate::wire;

const TIME: Duration = Duration::from_secs(60);
/// The inbox of 1 MiB, and what the issue allows besides.
const BOUND: u64 = (1 << 20) + (2 << 20);
/// The child says something ten times as often.
const SILENCE: Duration = Duration::from_secs(1);
const PUSHED: usize = 16 << 10;
/// EOF, the signal, and time for a loaded machine.
const END: Duration = Duration::from_secs(12);

pub(super) fn run(binary: &Path) -> Result<String> {
    let program = this_program()?;
    let program = program.to_str().context("a path in UTF-8")?;
    let server = Server::start(binary, &[program, "--", "child", "deaf", "100"])?;
    let mut crowd = Crowd::join(server.addr, "deaf", 3)?;
    let before = proc::memory(server.pid())?;
    let peak = Peak::watch(server.pid());
    let mut frames = Vec::new();
    for _ in 0..4 {
        wire::put_frame(&mut frames, wire::TEXT, &vec![b'x'; PUSHED]);
    }
    // Of the pushers what is left of the frames.
    let mut left = [(0, frames.len()), (1, frames.len())];
    let (mut pushed, mut wrong) = (0u64, None);
    let mut sequences = [(); 3].map(|()| None::<Sequence>);
    let mut heard_at = [Instant::now(); 3];
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        for (client, left) in &mut left {
            let rest = frames.get(frames.len() - *left..).unwrap_or_default();
            let taken = crowd.push(*client, rest)?;
            pushed += taken as u64;
            *left -= taken;
            if *left == 0 {
                *left = frames.len();
            }
        }
        crowd.turn(Duration::from_millis(10), |client, heard| match heard {
            Heard::Message(head, _) => {
                let (Some(number), Some(sequence)) = (number(head), sequences.get_mut(client))
                else {
                    return;
                };
                // Each heard the child from when it came.
                let sequence = sequence.get_or_insert_with(|| {
                    let mut sequence = Sequence::default();
                    sequence.excuse(number);
                    sequence
                });
                sequence.note(number);
                heard_at
                    .get_mut(client)
                    .into_iter()
                    .for_each(|at| *at = Instant::now());
            }
            Heard::Open => {}
            other => wrong = Some(format!("client {client} heard {other:?}")),
        })?;
        if let Some(wrong) = wrong {
            bail!(wrong);
        }
        let silence = heard_at
            .iter()
            .map(Instant::elapsed)
            .max()
            .unwrap_or_default();
        ensure!(
            silence < SILENCE,
            "somebody has heard nothing of the child for {silence:?}"
        );
    }
    let most = peak.most();
    ensure!(
        most <= before + BOUND,
        "memory {:.1} MiB at first, {:.1} at most",
        mib(before),
        mib(most)
    );
    for (client, sequence) in sequences.iter().enumerate() {
        let sequence = sequence.as_ref().context("somebody heard nothing at all")?;
        let faults = (
            sequence.lost(sequence.next()),
            sequence.duplicated,
            sequence.reordered,
        );
        ensure!(
            faults == (0, 0, 0),
            "client {client}: lost, duplicated, reordered {faults:?}"
        );
    }
    drop(crowd);
    let ending = Instant::now();
    let children = server.wait_childless(END);
    ensure!(
        children.is_empty(),
        "everybody has left and {children:?} live"
    );
    let told = format!(
        "{:.1} MiB went out in {} s, memory {:.1} MiB at first, {:.1} at most; the child was gone \
         {:.1} s after the last client",
        mib(pushed),
        TIME.as_secs(),
        mib(before),
        mib(most),
        ending.elapsed().as_secs_f64()
    );
    server.stop()?;
    Ok(told)
}
