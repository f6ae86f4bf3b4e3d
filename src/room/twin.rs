//! The twin of a batch: the same frames, those worth it compressed, for clients that agreed to that.
//!
//! Places in the stream are counted in plain bytes; the twin knows where each compressed frame
//! lies in either form, and finds one from the other. Nothing depends on there being a twin: whoever
//! finds none reads the batch itself, and hears the same.

use bytes::Bytes;

use crate::ws::{codec, deflate};

/// One frame that is compressed in the twin.
#[derive(Debug, Clone, Copy)]
struct Swap {
    /// Where it begins and ends in the batch.
    begin: usize,
    end: usize,
    /// Where it ends in the twin.
    packed_end: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Twin {
    bytes: Bytes,
    /// In order; between them the two forms are the same.
    swaps: Vec<Swap>,
}

impl Twin {
    /// Compresses the messages of at least `least` bytes among whole frames. `None`: none became
    /// shorter.
    pub(crate) fn of(frames: &[u8], least: usize) -> Option<Self> {
        let mut twin = Growing::default();
        let mut begin = 0;
        // Up to here the twin has the frames that were not worth it.
        let mut copied = 0;
        while let Some(length) = frames.get(begin..).and_then(codec::frame_len) {
            let end = begin + length;
            let frame = frames.get(begin..end).unwrap_or_default();
            if length > least {
                twin.bytes.extend_from_slice(frames.get(copied..begin)?);
                copied = begin;
                if deflate::pack(&mut twin.bytes, frame, least) {
                    let packed_end = twin.bytes.len();
                    twin.swaps.push(Swap {
                        begin,
                        end,
                        packed_end,
                    });
                    copied = end;
                }
            }
            begin = end;
        }
        if twin.swaps.is_empty() {
            return None;
        }
        twin.bytes.extend_from_slice(frames.get(copied..)?);
        Some(twin.done())
    }

    /// All of it.
    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// What it costs.
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.swaps.len() * size_of::<Swap>()
    }

    /// The form of what lies from `begin` to `end` in the batch, both where frames begin or end.
    pub(super) fn slice(&self, begin: usize, end: usize) -> Option<Bytes> {
        let (begin, end) = (self.place(begin)?, self.place(end)?);
        let within = begin <= end && end <= self.bytes.len();
        within.then(|| self.bytes.slice(begin..end))
    }

    /// Where in the twin the same frame begins as at `plain` in the batch. `None`: none does.
    fn place(&self, plain: usize) -> Option<usize> {
        let passed = self.swaps.partition_point(|swap| swap.end <= plain);
        if self
            .swaps
            .get(passed)
            .is_some_and(|swap| swap.begin < plain)
        {
            return None;
        }
        let last = passed.checked_sub(1).and_then(|last| self.swaps.get(last));
        Some(last.map_or(plain, |last| last.packed_end + (plain - last.end)))
    }
}

/// A twin while it is put together, of single frames or of batches that become one.
#[derive(Debug, Default)]
pub(super) struct Growing {
    bytes: Vec<u8>,
    swaps: Vec<Swap>,
}

impl Growing {
    /// Begins with frames that are the same in both forms.
    pub(super) fn after(frames: &[u8]) -> Self {
        Growing {
            bytes: frames.to_vec(),
            swaps: Vec::new(),
        }
    }

    /// Adds frames that are the same in both forms.
    pub(super) fn add_plain(&mut self, frames: &[u8]) {
        self.bytes.extend_from_slice(frames);
    }

    /// Adds the twin of the batch that begins `plain` bytes behind the first.
    pub(super) fn add(&mut self, plain: usize, twin: &Twin) {
        let packed = self.bytes.len();
        self.bytes.extend_from_slice(&twin.bytes);
        self.swaps.extend(twin.swaps.iter().map(|swap| Swap {
            begin: plain + swap.begin,
            end: plain + swap.end,
            packed_end: packed + swap.packed_end,
        }));
    }

    /// The twin.
    pub(super) fn done(mut self) -> Twin {
        // It stays for as long as its batch.
        self.swaps.shrink_to_fit();
        self.bytes.shrink_to_fit();
        Twin {
            bytes: self.bytes.into(),
            swaps: self.swaps,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::Kind;

    const LEAST: usize = 20;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        codec::put_message(&mut frame, Kind::Binary, payload);
        frame
    }

    /// Of one frame.
    fn in_either_form(payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let plain = frame(payload);
        let mut packed = Vec::new();
        if !deflate::pack(&mut packed, &plain, LEAST) {
            packed.clone_from(&plain);
        }
        (plain, packed)
    }

    #[test]
    fn frames_that_are_not_worth_it_have_no_twin() {
        assert!(Twin::of(&[], 0).is_none());
        let short = [frame(&[7; LEAST - 1]), frame(b"x")].concat();
        assert!(Twin::of(&short, LEAST).is_none());
    }

    #[test]
    fn the_inside_of_a_compressed_frame_has_no_place() {
        let frames = [frame(b"a"), frame(&[7; 1000]), frame(b"b")].concat();
        let twin = Twin::of(&frames, LEAST).expect("worth it");
        assert!(twin.slice(0, 4).is_none() && twin.slice(4, frames.len()).is_none());
        assert!(twin.slice(0, frames.len() + 1).is_none());
        assert_eq!(twin.slice(0, 3).as_deref(), Some(&frame(b"a")[..]));
    }

    fn any_payload() -> impl Strategy<Value = Vec<u8>> {
        let same = (any::<u8>(), 0usize..300).prop_map(|(byte, count)| vec![byte; count]);
        prop_oneof![same, prop::collection::vec(any::<u8>(), 0..40)]
    }

    proptest! {
        #[test]
        fn any_run_of_frames_is_found_in_the_twin(
            batches in prop::collection::vec(prop::collection::vec(any_payload(), 1..6), 1..4),
        ) {
            let forms: Vec<_> = batches.concat().iter().map(|payload| in_either_form(payload)).collect();
            let mut growing = Growing::default();
            let mut plain = 0;
            for batch in &batches {
                let frames = batch.iter().map(|payload| frame(payload)).collect::<Vec<_>>().concat();
                match Twin::of(&frames, LEAST) {
                    Some(twin) => growing.add(plain, &twin),
                    None => growing.add_plain(&frames),
                }
                plain += frames.len();
            }
            let twin = growing.done();
            for begin in 0..=forms.len() {
                for end in begin..=forms.len() {
                    let at = |index: usize| forms.iter().take(index).map(|(plain, _)| plain.len()).sum();
                    let expected: Vec<u8> = forms[begin..end].iter().flat_map(|(_, packed)| packed.clone()).collect();
                    prop_assert_eq!(twin.slice(at(begin), at(end)).map(Vec::from), Some(expected));
                }
            }
        }
    }
}
