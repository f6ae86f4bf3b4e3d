//! A recording as a replay needs it: the lives of its programs, one after the other, each with what
//! it was given and what it said. Files come from anywhere: whatever is in one is read or refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

use super::compare::{Cutter, Message};
use crate::record::line::{self, Framing, Line, Transport, VERSION, What};

/// Bytes of a line: a file that has no lines at all may have no end either.
const LINE_MOST: u64 = 256 << 20;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) transport: Transport,
    pub(super) framing: Framing,
    pub(super) lives: Vec<Life>,
    /// Whether it goes on until the end of the room.
    pub(super) is_whole: bool,
}

/// The life of one program.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// Variables of its own.
    pub(super) env: BTreeMap<String, String>,
    pub(super) steps: Vec<Step>,
    /// What it said.
    pub(super) messages: Vec<Said>,
    /// How it ended; none if that was not recorded, or the server's doing.
    pub(super) exit: Option<String>,
}

/// Something that is done to the program.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    /// Seconds since its start.
    pub(super) at: f64,
    /// After so many messages of it.
    pub(super) after: usize,
    pub(super) what: Given,
}

/// See [`Step`].
#[derive(Debug, PartialEq)]
pub(super) enum Given {
    Bytes(Vec<u8>),
    /// A line that it told its recording: what chance was, the first time.
    Told(Vec<u8>),
    End,
}

/// A message, and when it had come.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) at: f64,
    pub(super) message: Message,
}

/// What of a recording would be replayed, life by life: for whoever checks how it is read.
#[derive(Debug, PartialEq, Eq)]
pub struct Outline {
    /// All that each program was given, and how it ended.
    pub lives: Vec<(Vec<u8>, Option<String>)>,
    /// Whether it goes on until the end of the room.
    pub is_whole: bool,
}

/// The outline of what is in a file; none where it is refused.
pub fn outline(file: &[u8]) -> Option<Outline> {
    let recording = Recording::parse(file).ok()?;
    let lives = recording.lives.into_iter().map(|life| {
        let given = life.steps.into_iter().flat_map(|step| match step.what {
            Given::Bytes(bytes) => bytes,
            Given::Told(_) | Given::End => Vec::new(),
        });
        (given.collect(), life.exit)
    });
    Some(Outline {
        lives: lives.collect(),
        is_whole: recording.is_whole,
    })
}

/// A life that is being read.
struct Reading {
    life: Life,
    began: f64,
    cutter: Cutter,
    /// Lines that the program was given, where lines of JSON are its messages.
    lines: Option<u64>,
    /// The server ends it: what it does from now on is not its own doing.
    is_stopped: bool,
}

/// The first line of any version.
#[derive(Deserialize)]
struct AnyHead {
    recording: AnyVersion,
}

#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

impl Recording {
    pub(super) fn read(path: &Path) -> anyhow::Result<Recording> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        Self::parse(BufReader::new(file)).with_context(|| format!("cannot replay {shown}"))
    }

    pub(super) fn parse(mut lines: impl BufRead) -> anyhow::Result<Recording> {
        let mut text = Vec::new();
        let mut head = None;
        let mut lives = Vec::new();
        let mut reading: Option<Reading> = None;
        let mut is_whole = false;
        for number in 1.. {
            text.clear();
            let read = lines
                .by_ref()
                .take(LINE_MOST)
                .read_until(b'\n', &mut text)?;
            if read as u64 == LINE_MOST {
                bail!("line {number} is longer than any of --record");
            }
            // The last line of a server that was killed has no end, and counts for nothing.
            if !text.ends_with(b"\n") {
                break;
            }
            if number == 1 {
                check_version(&text)?;
            }
            let Line { at, what } = match serde_json::from_slice(&text) {
                Ok(line) => line,
                Err(_) if number == 1 => bail!("it is not a recording of --record"),
                Err(error) => return Err(anyhow!("line {number}: {error}")),
            };
            match (what, &mut reading) {
                (What::Recording(told), _) if number == 1 => {
                    head = Some((told.transport, told.framing));
                }
                (What::Recording(_), _) => bail!("line {number}: another recording begins"),
                (What::Start(start), _) => {
                    let (_, framing) = head.as_ref().context("it does not begin with its room")?;
                    lives.extend(reading.take().map(Reading::end));
                    let life = Life {
                        env: start.env,
                        ..Life::default()
                    };
                    reading = Some(Reading {
                        life,
                        began: at,
                        cutter: Cutter::new(framing),
                        lines: (*framing == Framing::Json).then_some(0),
                        is_stopped: false,
                    });
                }
                (What::Cut(_), _) => {
                    is_whole = false;
                    break;
                }
                (What::End(_), _) => is_whole = true,
                (what, Some(reading)) => reading
                    .add(at, what)
                    .with_context(|| format!("line {number}: no base64"))?,
                (_, None) => {}
            }
        }
        lives.extend(reading.take().map(Reading::end));
        if lives.is_empty() {
            bail!("no program runs in it");
        }
        let (transport, framing) = head.context("it does not begin with its room")?;
        Ok(Recording {
            transport,
            framing,
            lives,
            is_whole,
        })
    }
}

/// Refuses what is no recording, or of another form, which this may not be able to read.
fn check_version(line: &[u8]) -> anyhow::Result<()> {
    let Ok(head) = serde_json::from_slice::<AnyHead>(line) else {
        bail!("it is not a recording of --record");
    };
    match head.recording.version {
        VERSION => Ok(()),
        other => bail!("its form is version {other}, and this server reads {VERSION}"),
    }
}

impl Reading {
    /// `None` is base64 that is none.
    fn add(&mut self, at: f64, what: What) -> Option<()> {
        let at = (at - self.began).max(0.0);
        if self.is_stopped {
            return Some(());
        }
        match what {
            What::In(text) => self.given(at, text.into_bytes()),
            What::In64(text) => self.given(at, line::decoded(&text)?),
            What::Out(text) => self.printed(at, text.as_bytes()),
            What::Out64(text) => self.printed(at, &line::decoded(&text)?),
            What::Back(bytes) => self.take_back(bytes),
            What::Eof(_) => self.step(at, Given::End),
            What::Stop(_) => self.is_stopped = true,
            What::Exit(exit) => self.life.exit = Some(exit),
            _ => {}
        }
        Some(())
    }

    fn step(&mut self, at: f64, what: Given) {
        self.life.steps.push(Step {
            at,
            after: self.cutter.progress(),
            what,
        });
    }

    fn given(&mut self, at: f64, bytes: Vec<u8>) {
        if let Some(lines) = &mut self.lines {
            *lines += ends_of_lines(&bytes);
        }
        self.step(at, Given::Bytes(bytes));
    }

    /// What the program has not read, it need not be given again.
    fn take_back(&mut self, bytes: u64) {
        let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
        for step in self.life.steps.iter_mut().rev() {
            if let Given::Bytes(given) = &mut step.what {
                let kept = given.len().saturating_sub(left);
                left = left.saturating_sub(given.len());
                given.truncate(kept);
            }
        }
    }

    fn printed(&mut self, at: f64, bytes: &[u8]) {
        let Reading {
            life,
            cutter,
            lines,
            ..
        } = self;
        let Life {
            steps, messages, ..
        } = life;
        cutter.feed(bytes, &mut |message| {
            let told = lines.and_then(|lines| Some((lines, message.told_after()?)));
            if let Some((given, after)) = told {
                let step = Step {
                    at,
                    after: messages.len(),
                    what: Given::Told(message.line()),
                };
                insert(steps, step, given.saturating_sub(after));
            }
            messages.push(Said { at, message });
        });
    }

    fn end(mut self) -> Life {
        let messages = &mut self.life.messages;
        let at = messages.last().map_or(0.0, |said| said.at);
        // What was not ended by a delimiter is a message too, once nothing more can come.
        if self.life.exit.is_some() {
            self.cutter
                .finish(&mut |message| messages.push(Said { at, message }));
        }
        self.life
    }
}

fn ends_of_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Puts a step before the last so many lines that were given, and before what follows the line
/// that then is the last one. Those that were put there earlier stay before it.
fn insert(steps: &mut Vec<Step>, told: Step, mut lines: u64) {
    let mut index = steps.len();
    while let Some(step) = index
        .checked_sub(1)
        .and_then(|before| steps.get_mut(before))
    {
        match &mut step.what {
            Given::Told(_) => break,
            Given::End => {}
            Given::Bytes(bytes) => {
                for at in memchr::memrchr_iter(b'\n', bytes) {
                    if lines > 0 {
                        lines -= 1;
                        continue;
                    }
                    let rest = bytes.split_off(at + 1);
                    if !rest.is_empty() {
                        let rest = Step {
                            at: step.at,
                            after: step.after,
                            what: Given::Bytes(rest),
                        };
                        steps.insert(index, rest);
                    }
                    steps.insert(index, told);
                    return;
                }
            }
        }
        index -= 1;
    }
    steps.insert(index, told);
}
