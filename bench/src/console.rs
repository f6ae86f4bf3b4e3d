//! What somebody who watches costs: a room where 10,000 messages a second pass, among rooms that are
//! silent, with and without the console, and with it open on another room and on this one.
//!
//! Each room runs `cat`; one client speaks at that pace, and two hear all of it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::crowd::{Crowd, Heard};
use crate::figures::each;
use crate::scenario::{Bench, Cell, Run, Scenario};
use crate::sequence::{Faults, Sequence, number, put_line};
use crate::served::Who;
use crate::wire;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "console",
    runs: 7,
    cells,
};

const SIZE: usize = 64;
const RATE: u64 = 10_000;
/// Said together, so that the pace is no matter of how finely a thread can sleep.
const AT_ONCE: u64 = 20;
const LISTENERS: usize = 2;
const ROOM: &str = "flooded";
const IDLE: &str = "silent";
/// How long an answer may take, and nothing more come.
const PATIENCE: Duration = Duration::from_secs(10);
const TOKEN: &str = "the-token-of-the-benchmarks";

/// What of the console is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// There is none.
    Absent,
    /// Nobody looks.
    Nothing,
    /// A room in which nothing passes.
    AnotherRoom,
    /// The room that is flooded.
    TheRoom,
    /// The overview, which a page asks for each second.
    Overview,
}

impl Open {
    const ALL: [Open; 5] = [
        Open::Absent,
        Open::Nothing,
        Open::AnotherRoom,
        Open::TheRoom,
        Open::Overview,
    ];

    fn shape(self) -> &'static str {
        match self {
            Open::Absent => "without --console",
            Open::Nothing => "nobody watches",
            Open::AnotherRoom => "another room is watched",
            Open::TheRoom => "the room is watched",
            Open::Overview => "the overview of all rooms is open",
        }
    }
}

fn cells(_: &Bench) -> Vec<Cell> {
    Open::ALL
        .map(|open| Cell::new(open.shape(), Who::Ours, move |bench| measure(bench, open)))
        .into()
}

fn measure(bench: &Bench, open: Open) -> Result<Run> {
    let token = TokenFile::new()?;
    let with = ["--maxrooms=1024", "--console", token.flag.as_str()];
    let flags = match open {
        Open::Absent => with.get(..1).unwrap_or_default(),
        _ => &with,
    };
    let served = bench.serve(Who::Ours, flags, &["cat"])?;
    let mut silent = Crowd::new(served.addr)?;
    let idle = bench.of(1_000, 20);
    for room in 0..idle {
        silent.grow(&format!("{IDLE}-{room}"), 1, PATIENCE)?;
    }
    let mut crowd = Crowd::join(served.addr, ROOM, LISTENERS)?;
    let page = match open {
        Open::Absent | Open::Nothing => None,
        Open::AnotherRoom => Some(Page::watches(served.addr, &format!("{IDLE}-0"))?),
        Open::TheRoom => Some(Page::watches(served.addr, ROOM)?),
        Open::Overview => Some(Page::asks(served.addr)?),
    };
    // What starting a thousand programs left to do.
    speak(&mut crowd, RATE / 10, 0)?;
    let lines = bench.of(3 * RATE, RATE / 10);
    let before = served.cpu()?;
    let (faults, wall) = speak(&mut crowd, lines, RATE / 10)?;
    let cpu = served.cpu()?.saturating_sub(before);
    let told = page.map(Page::closes).transpose()?;
    drop((crowd, silent));
    served.stop()?;
    let mut run = Run::new(faults)
        .with("server CPU per message", "µs", each(cpu, lines) / 1e3)
        .with("messages", "a second", lines as f64 / wall.as_secs_f64());
    if let Some(told) = told {
        run = run.with("told to the page", "KiB", told as f64 / 1024.0);
    }
    Ok(run)
}

/// Numbered lines, at the pace, until everybody has heard them.
fn speak(crowd: &mut Crowd, lines: u64, from: u64) -> Result<(Faults, Duration)> {
    let mut sequences: Vec<Sequence> = Vec::new();
    sequences.resize_with(LISTENERS, Sequence::default);
    let begun = Instant::now();
    let (mut said, mut heard_at, mut closed) = (0, begun, None);
    while closed.is_none() && sequences.iter().any(|one| one.received < lines) {
        let due = begun.elapsed().as_micros() as u64 * RATE / 1_000_000;
        let mut frames = Vec::new();
        while said < lines && due >= said + AT_ONCE {
            for _ in 0..AT_ONCE.min(lines - said) {
                let mut line = Vec::with_capacity(SIZE + 1);
                put_line(&mut line, from + said, SIZE);
                let text = line.get(..SIZE).unwrap_or_default();
                wire::put_frame(&mut frames, wire::TEXT, text);
                said += 1;
            }
        }
        if !frames.is_empty() {
            crowd.send(0, &frames)?;
        }
        crowd.turn(Duration::from_millis(1), |client, heard| match heard {
            Heard::Message(head, SIZE) => {
                let line = number(head).and_then(|line| line.checked_sub(from));
                if let (Some(line), Some(sequence)) = (line, sequences.get_mut(client)) {
                    sequence.note(line);
                }
                heard_at = Instant::now();
            }
            Heard::Close(code, reason) => closed = Some(format!("{client}: {code} {reason}")),
            Heard::End => closed = Some(format!("{client}: end of stream")),
            _ => {}
        })?;
        if heard_at.elapsed() > PATIENCE {
            break;
        }
    }
    if let Some(closed) = closed {
        bail!("a client was closed: {closed}");
    }
    Ok((Faults::of(&sequences, lines), begun.elapsed()))
}

/// The console's token, in a file that goes with this value.
struct TokenFile {
    path: PathBuf,
    flag: String,
}

impl TokenFile {
    fn new() -> Result<Self> {
        let name = format!("scalesocket-bench-{}.token", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, TOKEN).with_context(|| path.display().to_string())?;
        let flag = format!("--admin-token-file={}", path.display());
        Ok(TokenFile { path, flag })
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // A file in a directory that is emptied.
        let _ = fs::remove_file(&self.path);
    }
}

/// What a browser with the console open asks for and reads, without the browser.
struct Page {
    closed: Arc<AtomicBool>,
    reader: JoinHandle<Result<u64>>,
}

impl Page {
    /// Reads a room's events as they come.
    fn watches(addr: SocketAddr, room: &str) -> Result<Self> {
        let mut stream = ask(addr, &format!("rooms/{room}/watch"))?;
        // It is watched from when the server says so.
        let mut first = [0; 12];
        stream.read_exact(&mut first)?;
        if &first != b"HTTP/1.1 200" {
            bail!("not watched: {}", String::from_utf8_lossy(&first));
        }
        Page::reads(move |closed| {
            let mut told = 0;
            while !closed.load(Relaxed) {
                told += read_some(&mut stream)?;
            }
            Ok(told)
        })
    }

    /// Asks for the first hundred of all rooms once a second.
    fn asks(addr: SocketAddr) -> Result<Self> {
        Page::reads(move |closed| {
            let (mut told, mut next) = (0, Instant::now());
            while !closed.load(Relaxed) {
                if Instant::now() < next {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                next += Duration::from_secs(1);
                let mut stream = ask(addr, "overview?sort=messages&order=desc")?;
                let mut answer = Vec::new();
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.read_to_end(&mut answer)?;
                if !answer.starts_with(b"HTTP/1.1 200") {
                    bail!("no overview");
                }
                told += answer.len() as u64;
            }
            Ok(told)
        })
    }

    fn reads(read: impl FnOnce(&AtomicBool) -> Result<u64> + Send + 'static) -> Result<Self> {
        let closed = Arc::new(AtomicBool::new(false));
        let reader = {
            let closed = Arc::clone(&closed);
            std::thread::spawn(move || read(&closed))
        };
        Ok(Page { closed, reader })
    }

    /// Bytes that it was told.
    fn closes(self) -> Result<u64> {
        self.closed.store(true, Relaxed);
        match self.reader.join() {
            Ok(told) => told,
            Err(_) => bail!("the page's thread failed"),
        }
    }
}

fn ask(addr: SocketAddr, what: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let request = format!(
        "GET /console/{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

/// What came, if anything has by the time somebody looks whether to go on.
fn read_some(stream: &mut TcpStream) -> Result<u64> {
    let mut buffer = [0; 64 << 10];
    match stream.read(&mut buffer) {
        Ok(0) => bail!("the watch ended"),
        Ok(read) => Ok(read as u64),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
