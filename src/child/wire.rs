//! What the server and its warden say to each other over their socket.
//!
//! A frame is its length (u32, little endian), a byte that says which, the id of the room, and
//! the fields. Both ends are this same program, yet a frame that makes no sense is an error, never
//! a panic: it could only mean that the socket is not what we think it is.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    time::Duration,
};

use bytes::BytesMut;

use super::{
    Exit,
    cage::{Cage, Identity, Limit, Limits},
};

/// The longest frame that is believed; the system itself allows no environment near this size.
const LONGEST: usize = 64 << 20;

/// What the server asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Start a program; its descriptors 0, 1 and 2 travel with the frame.
    Start { id: u64, launch: Box<Launch> },
    /// Signal all of the room, and kill what is left after the grace.
    Stop {
        id: u64,
        signal: i32,
        grace: Duration,
    },
    /// Kill all of the room.
    Kill { id: u64 },
    /// Kill all rooms at that time of [`clock`](super::clock), and start none from then on, unless
    /// told of a later one before.
    Until { at: u64 },
}

/// What to execute.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Launch {
    /// The file.
    pub(super) path: OsString,
    /// What the program is told as its own name.
    pub(super) name: OsString,
    /// Its arguments after the name.
    pub(super) args: Vec<OsString>,
    /// Its whole environment.
    pub(super) env: Vec<(OsString, OsString)>,
    /// What is done to it first.
    pub(super) cage: Cage,
    /// Whether its descriptor 0 becomes its controlling terminal.
    pub(super) terminal: bool,
}

/// What a start failed at, besides the reason of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Anything that no flag asks for, and the exec itself.
    Exec,
    /// `--user` and `--group`.
    Identity,
    /// `--chdir`.
    Directory,
    /// `--nice` and limits.
    Limits,
    /// `--pty`.
    Terminal,
}

impl Step {
    /// From its number on the wire; one that is none is the exec.
    pub(super) fn from_number(number: u32) -> Step {
        match number {
            1 => Step::Identity,
            2 => Step::Directory,
            3 => Step::Limits,
            4 => Step::Terminal,
            _ => Step::Exec,
        }
    }
}

/// What the warden tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is there and watches; the first frame of all.
    Ready,
    /// The program runs, and this is its leader.
    Started { id: u64, pid: u32 },
    /// It does not run, for this `errno`.
    Failed { id: u64, errno: i32, step: Step },
    /// The leader ended; others of the room may live.
    Exited { id: u64, exit: Exit },
    /// Nothing of the room is left.
    Gone { id: u64, exit: Exit },
}

impl Request {
    /// The frame of this request.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut frame = match self {
            Request::Start { id, .. } => Frame::new(1, *id),
            Request::Stop { id, .. } => Frame::new(2, *id),
            Request::Kill { id } => Frame::new(3, *id),
            Request::Until { at } => Frame::new(4, *at),
        };
        match self {
            Request::Start { launch, .. } => {
                frame
                    .bytes(&launch.path)
                    .bytes(&launch.name)
                    .number(launch.args.len());
                for arg in &launch.args {
                    frame.bytes(arg);
                }
                frame.number(launch.env.len());
                for (name, value) in &launch.env {
                    frame.bytes(name).bytes(value);
                }
                cage(&mut frame, &launch.cage);
                frame.word(launch.terminal.into());
            }
            Request::Stop { signal, grace, .. } => {
                frame.word(*signal as u32);
                frame.number(usize::try_from(grace.as_millis()).unwrap_or(usize::MAX));
            }
            Request::Kill { .. } | Request::Until { .. } => {}
        }
        frame.finish()
    }

    /// Takes the first whole frame off `buf`; none when more bytes are needed.
    pub(super) fn take(buf: &mut BytesMut) -> io::Result<Option<Request>> {
        take(buf, |kind, id, fields| {
            Some(match kind {
                1 => {
                    let (path, name) = (fields.bytes()?, fields.bytes()?);
                    let args = (0..fields.word()?)
                        .map(|_| fields.bytes())
                        .collect::<Option<_>>()?;
                    let env = (0..fields.word()?)
                        .map(|_| Some((fields.bytes()?, fields.bytes()?)))
                        .collect::<Option<_>>()?;
                    Request::Start {
                        id,
                        launch: Box::new(Launch {
                            path,
                            name,
                            args,
                            env,
                            cage: cage_of(fields)?,
                            terminal: fields.word()? != 0,
                        }),
                    }
                }
                2 => {
                    let signal = fields.word()? as i32;
                    let grace = Duration::from_millis(fields.word()?.into());
                    Request::Stop { id, signal, grace }
                }
                3 => Request::Kill { id },
                4 => Request::Until { at: id },
                _ => return None,
            })
        })
    }
}

impl Answer {
    /// The frame of this answer.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, id, words) = match *self {
            Answer::Ready => (0, 0, [0; 4]),
            Answer::Started { id, pid } => (1, id, [pid, 0, 0, 0]),
            Answer::Failed { id, errno, step } => (2, id, [errno as u32, step as u32, 0, 0]),
            Answer::Exited { id, exit } => (3, id, exit_words(exit)),
            Answer::Gone { id, exit } => (4, id, exit_words(exit)),
        };
        let mut frame = Frame::new(kind, id);
        words.into_iter().for_each(|word| frame.word(word));
        frame.finish()
    }

    /// Takes the first whole frame off `buf`; none when more bytes are needed.
    pub(super) fn take(buf: &mut BytesMut) -> io::Result<Option<Answer>> {
        take(buf, |kind, id, fields| {
            let words = [
                fields.word()?,
                fields.word()?,
                fields.word()?,
                fields.word()?,
            ];
            Some(match kind {
                0 => Answer::Ready,
                1 => Answer::Started { id, pid: words[0] },
                2 => Answer::Failed {
                    id,
                    errno: words[0] as i32,
                    step: Step::from_number(words[1]),
                },
                3 => Answer::Exited {
                    id,
                    exit: exit_of(words)?,
                },
                4 => Answer::Gone {
                    id,
                    exit: exit_of(words)?,
                },
                _ => return None,
            })
        })
    }
}

fn exit_words(exit: Exit) -> [u32; 4] {
    let halves = |limit: u64| [limit as u32, (limit >> 32) as u32];
    let over = |kind, limit| {
        let [low, high] = halves(limit);
        [3, kind, low, high]
    };
    match exit {
        Exit::Code(code) => [0, code as u32, 0, 0],
        Exit::Signal(signal) => [1, signal as u32, 0, 0],
        Exit::Closed => [2, 0, 0, 0],
        Exit::Over(Limit::Memory(most)) => over(0, most),
        Exit::Over(Limit::CpuSeconds(most)) => over(1, most),
        Exit::Over(Limit::Processes(most)) => over(2, most),
    }
}

fn exit_of(words: [u32; 4]) -> Option<Exit> {
    let [form, kind, low, high] = words;
    let limit = u64::from(high) << 32 | u64::from(low);
    Some(match (form, kind) {
        (0, code) => Exit::Code(code as i32),
        (1, signal) => Exit::Signal(signal as i32),
        (2, _) => Exit::Closed,
        (3, 0) => Exit::Over(Limit::Memory(limit)),
        (3, 1) => Exit::Over(Limit::CpuSeconds(limit)),
        (3, 2) => Exit::Over(Limit::Processes(limit)),
        _ => return None,
    })
}

/// A cage's fields in their order; what may be missing has a count of 0 or 1 before it.
fn cage(frame: &mut Frame, cage: &Cage) {
    let identity = cage.identity.as_ref();
    frame.number(usize::from(identity.is_some()));
    if let Some(identity) = identity {
        frame.maybe(identity.uid.map(u64::from));
        frame.word(identity.gid);
        frame.number(identity.groups.len());
        identity.groups.iter().for_each(|group| frame.word(*group));
        frame.word(identity.held.into());
    }
    let directory = cage.directory.as_ref();
    frame.bytes(directory.map(|path| path.as_os_str()).unwrap_or_default());
    frame.maybe(cage.nice.map(|nice| nice as u32 as u64));
    let Limits {
        memory,
        cpu_seconds,
        files,
        processes,
    } = cage.limits;
    for limit in [memory, cpu_seconds, files, processes, cage.user_processes] {
        frame.maybe(limit);
    }
}

/// The other way round. What a program is told of its user is in its environment by then.
fn cage_of(fields: &mut Fields<'_>) -> Option<Cage> {
    let identity = match fields.word()? {
        0 => None,
        _ => Some(Identity {
            uid: fields.maybe()?.map(|uid| uid as u32),
            gid: fields.word()?,
            groups: (0..fields.word()?)
                .map(|_| fields.word())
                .collect::<Option<_>>()?,
            held: fields.word()? != 0,
            env: Vec::new(),
        }),
    };
    let directory = Some(fields.bytes()?).filter(|path| !path.is_empty());
    Some(Cage {
        identity,
        directory: directory.map(Into::into),
        nice: fields.maybe()?.map(|nice| nice as i32),
        limits: Limits {
            memory: fields.maybe()?,
            cpu_seconds: fields.maybe()?,
            files: fields.maybe()?,
            processes: fields.maybe()?,
        },
        user_processes: fields.maybe()?,
    })
}

/// A frame being written; its length is filled in at the end.
struct Frame(Vec<u8>);

impl Frame {
    fn new(kind: u8, id: u64) -> Self {
        let mut frame = vec![0; 4];
        frame.push(kind);
        frame.extend_from_slice(&id.to_le_bytes());
        Frame(frame)
    }

    fn word(&mut self, word: u32) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }

    /// A number that may be missing.
    fn maybe(&mut self, number: Option<u64>) {
        self.word(number.is_some().into());
        if let Some(number) = number {
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// A length or a count; one that does not fit makes the frame too long to be believed anyway.
    fn number(&mut self, number: usize) -> &mut Self {
        self.word(u32::try_from(number).unwrap_or(u32::MAX));
        self
    }

    fn bytes(&mut self, text: &OsStr) -> &mut Self {
        self.number(text.len()).0.extend_from_slice(text.as_bytes());
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        if let Some(head) = self.0.first_chunk_mut() {
            *head = length.to_le_bytes();
        }
        self.0
    }
}

/// The fields of a frame that are still to be read; none when it is shorter than it says.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn maybe(&mut self) -> Option<Option<u64>> {
        Some(match self.word()? {
            0 => None,
            _ => Some(u64::from_le_bytes(self.array()?)),
        })
    }

    fn bytes(&mut self) -> Option<OsString> {
        let length = usize::try_from(self.word()?).ok()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(OsString::from_vec(head.to_vec()))
    }
}

fn take<T>(
    buf: &mut BytesMut,
    parse: impl FnOnce(u8, u64, &mut Fields<'_>) -> Option<T>,
) -> io::Result<Option<T>> {
    let Some(head) = buf.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*head) as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if buf.len() < 4 + length {
        return Ok(None);
    }
    let frame = buf.split_to(4 + length);
    let mut fields = Fields(frame.get(4..).unwrap_or_default());
    let parsed = (|| {
        let [kind] = fields.array()?;
        let id = u64::from_le_bytes(fields.array()?);
        parse(kind, id, &mut fields).filter(|_| fields.0.is_empty())
    })();
    parsed
        .map(Some)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests;
