//! How the bytes of an input become choices: the first ones are options, the rest is what is parsed.

/// What is left of an input.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    /// The next byte; 0 behind the end, so that a short input is one with few choices.
    pub(super) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Pieces of `bytes` whose lengths depend on `seed` alone: all of one byte for 0, and otherwise of
/// 1 to 1, 16 or 256 bytes as it falls.
pub(super) fn pieces(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed);
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // Knuth's generator: good enough for lengths, and the same everywhere.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = [1, 16, 256][usize::from(seed.min(2))];
        let len = 1 + (state >> 16) as usize % most;
        let (piece, later) = rest.split_at(len.min(rest.len()));
        rest = later;
        Some(piece)
    })
}
