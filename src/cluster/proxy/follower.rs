//! Where one frame ends and the next begins, in a stream that is passed on as it is (RFC 6455 section 5.2).

/// Longest header of a frame: 2 bytes, 8 of extended length, 4 of mask.
const HEADER_MAX: usize = 14;
const CLOSE: u8 = 0x8;

/// Follows the headers of frames, however the bytes are cut; payloads are skipped.
///
/// It believes what headers say: whoever writes them answers for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Follower {
    header: [u8; HEADER_MAX],
    have: u8,
    /// Payload of the frame begun that is still to come.
    left: u64,
    /// The frame begun ends the conversation.
    closing: bool,
    closed: bool,
}

impl Follower {
    /// Takes note of bytes that were passed on.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.step(rest);
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// Whether what was passed on ends with a frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Whether a whole close frame was passed on.
    pub(super) fn has_closed(&self) -> bool {
        self.closed
    }

    /// How many of the bytes that come next belong to the frame begun: none between frames.
    pub(super) fn rest_of_frame(&self, next: &[u8]) -> usize {
        if self.is_between_frames() {
            return 0;
        }
        self.clone().step(next)
    }

    /// Goes on to the end of the frame, or of the bytes; takes at least one.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        if self.left == 0 {
            for byte in bytes {
                if let Some(next) = self.header.get_mut(usize::from(self.have)) {
                    *next = *byte;
                }
                self.have += 1;
                taken += 1;
                if usize::from(self.have) == header_len(self.header, self.have) {
                    self.have = 0;
                    self.left = payload_len(self.header);
                    self.closing = self.header[0] & 0x0F == CLOSE;
                    break;
                }
            }
            if self.have > 0 {
                return taken;
            }
        }
        let here = (bytes.len() - taken) as u64;
        let payload = self.left.min(here);
        self.left -= payload;
        self.closed |= self.left == 0 && self.closing;
        taken + payload as usize
    }
}

/// The length of a header of which `have` bytes are there, as far as that shows.
fn header_len(header: [u8; HEADER_MAX], have: u8) -> usize {
    if have < 2 {
        return 2;
    }
    let extended = match header[1] & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if header[1] & 0x80 == 0 { 0 } else { 4 };
    2 + extended + mask
}

fn payload_len(header: [u8; HEADER_MAX]) -> u64 {
    let [_, second, a, b, c, d, e, f, g, h, ..] = header;
    match second & 0x7F {
        126 => u64::from(u16::from_be_bytes([a, b])),
        127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        short => u64::from(short),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame of an opcode and a length; masked or not.
    pub(in super::super) fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..=0xFFFF => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        // A payload that looks like headers.
        frame.extend((0..length).map(|n| [0x88, 0x02, 0xFF, 0x7E][n % 4]));
        frame
    }

    pub(in super::super) fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![
            4 => 0usize..140,
            1 => Just(0xFFFF),
            1 => Just(0x1_0000),
            1 => 130usize..70_000,
        ];
        let opcode = prop_oneof![Just(0u8), Just(1), Just(2), Just(9), Just(10)];
        (opcode, length, any::<bool>()).prop_map(|(opcode, length, masked)| {
            let length = if opcode > 8 { length % 126 } else { length };
            frame(opcode, length, masked)
        })
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_it_knows_where_frames_end(
            frames in proptest::collection::vec(any_frame(), 1..6),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let stream = frames.concat();
            let mut ends = vec![0];
            for frame in &frames {
                ends.push(ends.last().copied().unwrap_or(0) + frame.len());
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.push(stream.len());
            cuts.sort_unstable();
            let mut follower = Follower::default();
            let mut at = 0;
            for cut in cuts {
                follower.follow(&stream[at..cut]);
                at = cut;
                prop_assert_eq!(follower.is_between_frames(), ends.contains(&at));
                let next = ends.iter().find(|end| **end >= at).copied().unwrap_or(at);
                prop_assert_eq!(follower.rest_of_frame(&stream[at..]), next - at);
            }
            prop_assert!(!follower.has_closed());
            follower.follow(&frame(CLOSE, 9, false)[..10]);
            prop_assert!(!follower.has_closed());
            follower.follow(&[0]);
            prop_assert!(follower.has_closed() && follower.is_between_frames());
        }

        #[test]
        fn any_bytes_are_followed_without_a_panic_and_the_same_in_any_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), cut: prop::sample::Index,
        ) {
            let cut = cut.index(bytes.len() + 1);
            let (mut whole, mut cut_up) = (Follower::default(), Follower::default());
            whole.follow(&bytes);
            cut_up.follow(&bytes[..cut]);
            prop_assert!(cut_up.rest_of_frame(&bytes[cut..]) <= bytes.len() - cut);
            cut_up.follow(&bytes[cut..]);
            prop_assert_eq!(
                (whole.have, whole.left, whole.closed),
                (cut_up.have, cut_up.left, cut_up.closed)
            );
        }
    }
}
