//! What is heard of a room by whoever is not in it: its recording (`--record`).
//!
//! Everything that passes is told here first, in the order of cause and effect: what the child is
//! given before it can read it, what it prints before anybody hears it. Without a hearer that is one
//! look at a field that never changes.

use std::ffi::OsString;

use super::close::Close;
use crate::child::{Exit, Spec};
use crate::frame::ClientId;
use crate::record::Recording;
use crate::record::line::{End, Start};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Transcript(Option<Box<Recording>>);

impl Transcript {
    pub(super) fn new(recording: Option<Recording>) -> Transcript {
        Transcript(recording.map(Box::new))
    }

    /// A child was started with these variables of the room.
    pub(super) fn started(&self, pid: Option<u32>, spec: &Spec, env: &[(OsString, OsString)]) {
        let Some(recording) = &self.0 else { return };
        let text = |text: &OsString| text.to_string_lossy().into_owned();
        let all = spec.env.iter().chain(spec.cage.env()).chain(env);
        let env: Vec<_> = all.map(|(name, value)| (text(name), text(value))).collect();
        let env = env.iter().map(|(name, value)| (&**name, &**value));
        let start = Start {
            pid,
            program: spec.program.to_string_lossy().into_owned(),
            args: spec.args.iter().map(text).collect(),
            ..Start::default()
        };
        recording.started(start.with_env(env));
    }

    /// The child is about to be given this.
    pub(super) fn given(&self, bytes: &[u8]) {
        if let Some(recording) = &self.0 {
            recording.given(bytes);
        }
    }

    /// So many bytes, the last that it was given, it has not read.
    pub(super) fn taken_back(&self, bytes: usize) {
        if let Some(recording) = &self.0 {
            recording.taken_back(bytes);
        }
    }

    /// The child is about to be told that nothing more comes.
    pub(super) fn ended_input(&self) {
        if let Some(recording) = &self.0 {
            recording.ended_input();
        }
    }

    /// The child has printed this, and nobody has heard it.
    pub(super) fn printed(&self, bytes: &[u8]) {
        if let Some(recording) = &self.0 {
            recording.printed(bytes);
        }
    }

    /// And this line to stderr.
    pub(super) fn whispered(&self, line: &[u8]) {
        if let Some(recording) = &self.0 {
            recording.whispered(line);
        }
    }

    /// A client came in.
    pub(super) fn joined(&self, client: ClientId) {
        if let Some(recording) = &self.0 {
            recording.joined(client.get());
        }
    }

    /// A client hears no more.
    pub(super) fn left(&self, client: ClientId) {
        if let Some(recording) = &self.0 {
            recording.left(client.get());
        }
    }

    /// The child is about to be ended by signals, and all that it started.
    pub(super) fn stopped(&self) {
        if let Some(recording) = &self.0 {
            recording.stopped();
        }
    }

    /// The child and all it started are gone.
    pub(super) fn exited(&self, exit: Exit) {
        if let Some(recording) = &self.0 {
            recording.exited(exit.to_string());
        }
    }

    /// The room is over.
    pub(super) fn ended(&self, close: &Close) {
        if let Some(recording) = &self.0 {
            recording.ended(End {
                code: close.code,
                reason: close.reason.to_string(),
            });
        }
    }
}
