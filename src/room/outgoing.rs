//! What one read of a child's output becomes: frames for everybody in one piece, and marks for
//! what single clients hear, each at its place between them.

use std::collections::VecDeque;

use bytes::Bytes;
use smallvec::SmallVec;

use tracing::trace;

use super::close::Close;
use super::history::Keep;
use super::tap::{Slot, Tap, Way, Whom};
use super::twin::Twin;
use crate::frame::{Audience, Drop, Event, Kind};
use crate::ws::codec;

/// Longer messages for one client are marks of their own, which saves a copy.
const RUN_MAX: usize = 4 << 10;
/// From so many bytes on a scratch buffer that is mostly full is given away too: copying it costs
/// more than making another.
const HAND_OVER: usize = 16 << 10;
/// A scratch buffer above this is given away rather than copied and kept.
const SCRATCH_MAX: usize = 1 << 20;

/// Ids of clients: most messages that are not for everybody are for one.
type Ids = SmallVec<[u32; 4]>;

/// Who a mark is for.
#[derive(Debug)]
pub(crate) enum Who {
    /// These clients.
    Only(Ids),
    /// Everybody but these.
    Except(Ids),
}

/// What single clients hear or suffer.
#[derive(Debug, Clone)]
pub(crate) enum Whisper {
    /// One encoded frame.
    Frame(Bytes),
    /// The end of the connection.
    Close(Close),
}

/// A whisper at its place in the batch.
#[derive(Debug)]
pub(crate) struct Mark {
    /// Bytes of broadcast frames of the batch before it.
    pub(crate) offset: u64,
    /// Broadcast messages of the batch before it.
    pub(crate) messages: u64,
    pub(crate) who: Who,
    pub(crate) whisper: Whisper,
    /// How many messages the frame is.
    pub(crate) count: u64,
    /// The frame, compressed, for those of them who read such frames.
    pub(crate) packed: Option<Box<Bytes>>,
}

impl Mark {
    /// As somebody hears it who reads compressed frames, or does not.
    pub(crate) fn form(&self, packed: bool) -> Whisper {
        match self.packed.as_deref().filter(|_| packed) {
            Some(frame) => Whisper::Frame(frame.clone()),
            None => self.whisper.clone(),
        }
    }

    /// The same, for the only one who hears it.
    pub(crate) fn into_form(self, packed: bool) -> Whisper {
        match self.packed.filter(|_| packed) {
            Some(frame) => Whisper::Frame(*frame),
            None => self.whisper,
        }
    }

    /// Whether it is a frame with a message of at least `least` bytes, about.
    fn may_be_packed(&self, least: usize) -> bool {
        matches!(&self.whisper, Whisper::Frame(frame) if frame.len() > least)
    }
}

/// Messages for one client that follow each other: they become one mark, as what is for everybody
/// becomes one batch.
#[derive(Debug, Default)]
struct Run {
    id: Option<u32>,
    frames: Vec<u8>,
    count: u64,
}

/// See the module's documentation. Kept by the pump and reused for every read.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Which broadcast messages are copied for the room's history.
    keep: Option<Keep>,
    /// The copies, oldest first, as many as are kept at the most.
    pub(crate) kept: VecDeque<Bytes>,
    frames: Vec<u8>,
    run: Run,
    /// How long they were when the buffer was last given away: the next one is likely to be.
    expected: usize,
    twin: Option<Box<Twin>>,
    /// Messages for everybody among the frames.
    pub(crate) broadcast: u64,
    /// Messages of any audience, and their payload bytes.
    pub(crate) messages: u64,
    pub(crate) payload: u64,
    marks: Vec<Mark>,
    pub(crate) metadata: Option<Bytes>,
    /// Dropped or odd, to be counted.
    pub(crate) counted: Vec<Drop>,
}

impl Outgoing {
    /// For a room that keeps such a history, or none.
    pub(crate) fn new(keep: Option<Keep>) -> Self {
        Outgoing {
            keep,
            ..Outgoing::default()
        }
    }

    /// Takes in one event of the child's framing.
    pub(crate) fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Message {
                to,
                kind,
                payload,
                tagged,
            } => {
                self.messages += 1;
                self.payload += payload.len() as u64;
                trace!(?to, ?kind, bytes = payload.len(), "message from a child");
                match to {
                    Audience::Everyone => self.everyone(kind, payload, tagged),
                    Audience::Only([id]) if payload.len() <= RUN_MAX => {
                        self.one(*id, kind, payload);
                    }
                    Audience::Only(ids) => self.some(Who::Only(ids.into()), kind, payload),
                    Audience::Except(ids) => self.some(Who::Except(ids.into()), kind, payload),
                }
            }
            Event::Metadata(object) => {
                self.messages += 1;
                self.payload += object.len() as u64;
                self.metadata = Some(Bytes::copy_from_slice(object));
            }
            Event::Close {
                clients,
                code,
                reason,
            } => {
                let close = Close::new(code, codec::cut(reason).to_owned());
                self.mark(Who::Only(clients.into()), Whisper::Close(close));
            }
            Event::Counted(what) => self.counted.push(what),
        }
    }

    /// Takes in one message for everybody that did not come through the framing.
    pub(crate) fn everyone(&mut self, kind: Kind, payload: &[u8], tagged: bool) {
        self.seal();
        let begin = self.frames.len();
        if self.frames.capacity() == 0 {
            let length = codec::encoded_len(payload.len());
            self.frames.reserve_exact(length.max(self.expected));
        }
        codec::put_message(&mut self.frames, kind, payload);
        self.broadcast += 1;
        let Some(keep) = self.keep.filter(|keep| keep.wants(tagged)) else {
            return;
        };
        if self.kept.len() >= keep.count() {
            self.kept.pop_front();
        }
        // A copy: a slice would pin the whole batch that it was printed in.
        let frame = self.frames.get(begin..).unwrap_or_default();
        self.kept.push_back(Bytes::copy_from_slice(frame));
    }

    fn one(&mut self, id: u32, kind: Kind, payload: &[u8]) {
        if self.run.id != Some(id) {
            self.seal();
            self.run.id = Some(id);
        }
        codec::put_message(&mut self.run.frames, kind, payload);
        self.run.count += 1;
    }

    /// Nothing more is added to the run.
    fn seal(&mut self) {
        let Some(id) = self.run.id.take() else { return };
        let frames = Bytes::copy_from_slice(&self.run.frames);
        self.run.frames.clear();
        let count = std::mem::take(&mut self.run.count);
        self.push(
            Who::Only([id].as_slice().into()),
            Whisper::Frame(frames),
            count,
        );
    }

    fn some(&mut self, who: Who, kind: Kind, payload: &[u8]) {
        // Exactly as much: a buffer with room to spare costs another allocation to share.
        let mut frame = Vec::with_capacity(codec::encoded_len(payload.len()));
        codec::put_message(&mut frame, kind, payload);
        self.mark(who, Whisper::Frame(frame.into()));
    }

    fn mark(&mut self, who: Who, whisper: Whisper) {
        self.seal();
        self.push(who, whisper, 1);
    }

    fn push(&mut self, who: Who, whisper: Whisper, count: u64) {
        let offset = self.frames.len() as u64;
        self.marks.push(Mark {
            offset,
            messages: self.broadcast,
            who,
            whisper,
            count,
            packed: None,
        });
    }

    /// The list that they were in, for the next ones.
    pub(crate) fn reuse(&mut self, marks: Vec<Mark>) {
        self.marks = marks;
    }

    /// What single clients hear, in its order, leaving none here.
    pub(crate) fn take_marks(&mut self) -> Vec<Mark> {
        self.seal();
        std::mem::take(&mut self.marks)
    }

    /// Whether somebody's connection is to end.
    pub(crate) fn closes(&self) -> bool {
        let is_close = |mark: &Mark| matches!(mark.whisper, Whisper::Close(_));
        self.marks.iter().any(is_close)
    }

    /// Shows it to who watches the room, in its order, as far as it is shown.
    pub(super) fn show(&mut self, tap: &Tap) {
        self.seal();
        let whispered: u64 = self.marks.iter().map(|mark| mark.count).sum();
        let count = self.broadcast + whispered + u64::from(self.metadata.is_some());
        if count == 0 {
            return;
        }
        tap.pass(Way::Out, count, |slot| {
            let mut shown = 0;
            let mut common = |until: usize, slot: &mut Slot<'_>| {
                let frames = self.frames.get(shown..until).unwrap_or_default();
                show_frames(frames, slot, || Whom::Everyone);
                shown = until;
            };
            for mark in &self.marks {
                common(mark.offset as usize, slot);
                if slot.is_full() {
                    return;
                }
                if let Whisper::Frame(frames) = &mark.whisper {
                    show_frames(frames, slot, || match &mark.who {
                        Who::Only(ids) => Whom::Only(Whom::first(ids)),
                        Who::Except(ids) => Whom::Except(Whom::first(ids)),
                    });
                }
            }
            common(self.frames.len(), slot);
            if let Some(metadata) = &self.metadata {
                slot.show(Whom::Nobody, Kind::Text, metadata);
            }
        });
    }

    /// Compresses once what many will read: messages of at least `least` bytes, those for everybody.
    ///
    /// For a batch that is complete, so that a room in which nobody reads such frames pays nothing.
    pub(crate) fn pack_frames(&mut self, least: usize) {
        self.seal();
        self.twin = Twin::of(&self.frames, least).map(Box::new);
    }

    /// Which of what is for single clients may be worth compressing, and for whom it is.
    pub(crate) fn packable(&self, least: usize) -> impl Iterator<Item = (usize, &Who)> {
        let marks = self.marks.iter().enumerate();
        marks
            .filter(move |(_, mark)| mark.may_be_packed(least))
            .map(|(index, mark)| (index, &mark.who))
    }

    /// Compresses one of these.
    pub(crate) fn pack_mark(&mut self, index: usize, least: usize) {
        if let Some(mark) = self.marks.get_mut(index)
            && let Whisper::Frame(frame) = &mark.whisper
        {
            mark.packed = Twin::of(frame, least).map(|twin| Box::new(twin.into_bytes()));
        }
    }

    /// The twin of the frames for everybody.
    pub(crate) fn take_twin(&mut self) -> Option<Box<Twin>> {
        self.twin.take()
    }

    /// The frames for everybody, leaving none here.
    pub(crate) fn take_frames(&mut self) -> Bytes {
        let length = self.frames.len();
        let worth = length >= HAND_OVER && length >= self.frames.capacity() / 4 * 3;
        if worth || self.frames.capacity() > SCRATCH_MAX {
            self.expected = length;
            return std::mem::take(&mut self.frames).into();
        }
        let frames = Bytes::copy_from_slice(&self.frames);
        self.frames.clear();
        frames
    }

    /// Forgets the counts and marks of the last read, which were published.
    pub(crate) fn reset(&mut self) {
        self.frames.clear();
        self.twin = None;
        self.broadcast = 0;
        self.messages = 0;
        self.payload = 0;
        self.marks.clear();
        self.kept.clear();
        self.counted.clear();
        self.metadata = None;
    }
}

/// Shows frames of ours, one after the other.
fn show_frames(mut frames: &[u8], slot: &mut Slot<'_>, whom: impl Fn() -> Whom) {
    while !slot.is_full()
        && let Some((kind, payload, rest)) = codec::message(frames)
    {
        slot.show(whom(), kind, payload);
        frames = rest;
    }
}
