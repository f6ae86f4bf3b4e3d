//! Rooms that come and go: what they leave behind, and that there is never more than one child.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::mib;
use crate::crowd::{Crowd, Heard};
use crate::proc;
use crate::server::{Server, this_program};

const ROOMS: usize = 1_000;
const CLIENTS: usize = 50;
const OPENS: usize = 500;
const DEADLINE: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(15);

/// Descriptors of the server and of the one process below it that is no child.
fn held(server: &Server) -> Result<usize> {
    let mut held = proc::descriptors(server.pid())?;
    for (pid, _) in proc::descendants(server.pid()) {
        held += proc::descriptors(pid)?;
    }
    Ok(held)
}

/// Waits until there is no child and no more than `wanted` descriptors.
fn settle(server: &Server, wanted: usize) -> Result<()> {
    let children = server.wait_childless(END);
    ensure!(children.is_empty(), "left behind: {children:?}");
    let deadline = Instant::now() + END;
    loop {
        let now = held(server)?;
        if now <= wanted {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{now} descriptors are open, {wanted} at first"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// 1,000 rooms, 100 at a time, four times over.
pub(super) fn rooms(binary: &Path) -> Result<String> {
    let server = Server::start(
        binary,
        &["--maxrooms", "1000", "--", "sh", "-c", "echo hi; cat"],
    )?;
    // One room first: what is made once is made then.
    open_all(&server, 1)?;
    let children = server.wait_childless(END);
    ensure!(children.is_empty(), "left behind: {children:?}");
    std::thread::sleep(Duration::from_millis(200));
    let (descriptors, memory) = (held(&server)?, proc::memory(server.pid())?);
    let begun = Instant::now();
    let mut after = Vec::new();
    for _ in 0..3 {
        open_all(&server, ROOMS)?;
        settle(&server, descriptors)?;
        after.push(proc::memory(server.pid())?);
    }
    let grown: Vec<String> = after
        .iter()
        .map(|now| format!("{:.1}", mib(*now)))
        .collect();
    let told = format!(
        "three times {ROOMS} rooms in {:.1} s left no process, no zombie and no descriptor; memory {:.1} \
         MiB at first, then {}",
        begun.elapsed().as_secs_f64(),
        mib(memory),
        grown.join(", ")
    );
    server.stop()?;
    Ok(told)
}

/// So many rooms live at once, and are left together.
fn open_all(server: &Server, rooms: usize) -> Result<()> {
    let mut crowd = Crowd::new(server.addr)?;
    for room in 0..rooms {
        crowd.connect(&format!("room-{room}"))?;
    }
    let (mut greeted, mut wrong) = (0, None);
    let begun = Instant::now();
    while greeted < rooms {
        crowd.turn(Duration::from_millis(100), |client, heard| match heard {
            Heard::Message(b"hi", _) => greeted += 1,
            Heard::Open => {}
            other => wrong = Some(format!("client {client} heard {other:?}")),
        })?;
        if let Some(wrong) = wrong {
            bail!(wrong);
        }
        ensure!(
            begun.elapsed() < DEADLINE,
            "{greeted} of {rooms} rooms have spoken"
        );
    }
    Ok(())
}

/// 500 opens and closes of one room by 50 clients at once.
pub(super) fn one_room(binary: &Path) -> Result<String> {
    let scratch = std::env::temp_dir().join(format!("scalesocket-churn-{}", std::process::id()));
    std::fs::create_dir(&scratch)?;
    let told = churn(binary, &scratch);
    std::fs::remove_dir_all(&scratch)?;
    told
}

fn churn(binary: &Path, scratch: &Path) -> Result<String> {
    let program = this_program()?;
    let program = program.to_str().context("a path in UTF-8")?;
    let path = |name: &str| scratch.join(name).to_string_lossy().into_owned();
    let (lock, violations) = (path("lock"), path("violations"));
    let words = [
        "--start-timeout",
        "30",
        program,
        "--",
        "child",
        "solo",
        &lock,
        &violations,
    ];
    let server = Server::start(binary, &words)?;
    let mut crowd = Crowd::new(server.addr)?;
    let begun = Instant::now();
    let (mut opened, mut done, mut wrong) = (0, 0, None);
    // Who was let in, and who has heard itself and may go.
    let (mut entered, mut finished) = (Vec::new(), Vec::new());
    while done < OPENS {
        // First somebody comes for everybody who goes; then all go before any come, and these
        // find a room on its way out.
        if opened < OPENS / 2 || opened == done {
            while opened < OPENS && opened - done < CLIENTS {
                crowd.connect("same")?;
                opened += 1;
            }
        }
        crowd.turn(Duration::from_millis(100), |client, heard| match heard {
            Heard::Open => entered.push(client),
            // Everybody hears what anybody says: only the client's own word counts.
            Heard::Message(head, _) if head == format!("word {client}").as_bytes() => {
                finished.push(client);
            }
            Heard::Message(..) => {}
            other => wrong = Some(format!("client {client} heard {other:?}")),
        })?;
        if let Some(wrong) = wrong {
            bail!(wrong);
        }
        for client in entered.drain(..) {
            crowd.say(client, format!("word {client}").as_bytes())?;
        }
        for client in finished.drain(..) {
            crowd.hang_up(client)?;
            done += 1;
        }
        if begun.elapsed() > DEADLINE {
            bail!("{done} of {OPENS} have heard themselves");
        }
    }
    let children = server.wait_childless(END);
    ensure!(children.is_empty(), "left behind: {children:?}");
    let second = std::fs::read_to_string(&violations).unwrap_or_default();
    ensure!(second.is_empty(), "two children lived at once: {second}");
    let complaints = server.complaints();
    ensure!(complaints.is_empty(), "the log complains: {complaints:?}");
    let took = begun.elapsed().as_secs_f64();
    server.stop()?;
    Ok(format!(
        "{OPENS} opens by {CLIENTS} at a time in {took:.1} s, one child at a time, a clean log"
    ))
}
