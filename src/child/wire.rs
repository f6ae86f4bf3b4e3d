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

use super::Exit;

/// The longest frame that is believed; the system itself allows no environment near this size.
const LONGEST: usize = 64 << 20;

/// What the server asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Start a program; its descriptors 0, 1 and 2 travel with the frame.
    Start { id: u64, launch: Launch },
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
}

/// What the warden tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is there and watches; the first frame of all.
    Ready,
    /// The program runs, and this is its leader.
    Started { id: u64, pid: u32 },
    /// It does not run, for this `errno`.
    Failed { id: u64, errno: i32 },
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
                        launch: Launch {
                            path,
                            name,
                            args,
                            env,
                        },
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
            Answer::Ready => (0, 0, [0, 0]),
            Answer::Started { id, pid } => (1, id, [pid, 0]),
            Answer::Failed { id, errno } => (2, id, [errno as u32, 0]),
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
            let words = [fields.word()?, fields.word()?];
            Some(match kind {
                0 => Answer::Ready,
                1 => Answer::Started { id, pid: words[0] },
                2 => Answer::Failed {
                    id,
                    errno: words[0] as i32,
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

fn exit_words(exit: Exit) -> [u32; 2] {
    match exit {
        Exit::Code(code) => [0, code as u32],
        Exit::Signal(signal) => [1, signal as u32],
        Exit::Closed => [2, 0],
    }
}

fn exit_of(words: [u32; 2]) -> Option<Exit> {
    Some(match words {
        [0, code] => Exit::Code(code as i32),
        [1, signal] => Exit::Signal(signal as i32),
        [2, _] => Exit::Closed,
        _ => return None,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = OsString> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(OsString::from_vec)
    }

    fn request() -> impl Strategy<Value = Request> {
        let args = proptest::collection::vec(text(), 0..5);
        let env = proptest::collection::vec((text(), text()), 0..5);
        prop_oneof![
            (any::<u64>(), text(), text(), args, env).prop_map(|(id, path, name, args, env)| {
                Request::Start {
                    id,
                    launch: Launch {
                        path,
                        name,
                        args,
                        env,
                    },
                }
            }),
            (any::<u64>(), 1..64i32, any::<u32>()).prop_map(|(id, signal, millis)| {
                Request::Stop {
                    id,
                    signal,
                    grace: Duration::from_millis(millis.into()),
                }
            }),
            any::<u64>().prop_map(|id| Request::Kill { id }),
            any::<u64>().prop_map(|at| Request::Until { at }),
        ]
    }

    proptest! {
        #[test]
        fn requests_arrive_as_they_were_sent_however_they_are_cut(
            sent in proptest::collection::vec(request(), 1..6),
            step in 1..200usize,
        ) {
            let stream: Vec<u8> = sent.iter().flat_map(Request::encode).collect();
            let (mut buf, mut heard) = (BytesMut::new(), Vec::new());
            for piece in stream.chunks(step) {
                buf.extend_from_slice(piece);
                while let Some(request) = Request::take(&mut buf).unwrap() {
                    heard.push(request);
                }
            }
            prop_assert_eq!(heard, sent);
            prop_assert!(buf.is_empty());
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            let mut buf = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Request::take(&mut buf) {}
            let mut buf = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Answer::take(&mut buf) {}
        }
    }

    #[test]
    fn answers_arrive_as_they_were_sent() {
        for answer in [
            Answer::Ready,
            Answer::Started { id: 1, pid: 2 },
            Answer::Failed {
                id: u64::MAX,
                errno: libc::ENOENT,
            },
            Answer::Exited {
                id: 3,
                exit: Exit::Code(255),
            },
            Answer::Gone {
                id: 4,
                exit: Exit::Signal(9),
            },
        ] {
            let mut buf = BytesMut::from(&answer.encode()[..]);
            assert_eq!(Answer::take(&mut buf).unwrap(), Some(answer));
            assert_eq!(Answer::take(&mut buf).unwrap(), None);
        }
    }
}
