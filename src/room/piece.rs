//! What a client writes: pieces of the feed, and the one it has begun.

use bytes::Bytes;

use super::backlog::Cursor;
use crate::ws::codec;

/// The rest of a frame that is copied, when all behind it is forgotten.
const CUT_COPY_MAX: usize = 64 << 10;

/// One piece of what a client writes next.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// The client's cursor once the piece is begun.
    pub(super) after: Cursor,
    /// From its side queue.
    pub(super) side: bool,
}

/// A piece that a client has begun to write: it must end the frame it is in, whatever happens.
#[derive(Debug)]
pub(crate) struct Begun {
    piece: Bytes,
    written: usize,
}

impl Begun {
    /// Of `piece`, so much was written.
    pub(super) fn new(piece: Bytes, written: usize) -> Self {
        Begun { piece, written }
    }

    /// The rest of the piece.
    pub(crate) fn rest(&self) -> &[u8] {
        self.piece.get(self.written..).unwrap_or_default()
    }

    /// So many more bytes were written. Returns whether the piece is done.
    pub(crate) fn advance(&mut self, written: usize) -> bool {
        self.written += written;
        self.written >= self.piece.len()
    }

    /// Forgets all behind the frame that was begun. A copy, so that no batch stays for it; but of
    /// a long frame a share, as others may be in the midst of the same.
    pub(crate) fn cut_to_frame(&mut self) {
        let mut boundary = 0;
        while boundary < self.written {
            match self.piece.get(boundary..).and_then(codec::frame_len) {
                Some(length) => boundary += length,
                None => break,
            }
        }
        let end = boundary.clamp(self.written, self.piece.len());
        let rest = self.piece.slice(self.written..end);
        self.piece = if rest.len() > CUT_COPY_MAX {
            rest
        } else {
            Bytes::copy_from_slice(&rest)
        };
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Kind;
    use crate::ws::deflate;

    #[test]
    fn what_is_begun_is_ended_and_no_more() {
        for length in [10, 1 << 20] {
            let mut batch = Vec::new();
            codec::put_message(&mut batch, Kind::Text, b"before");
            codec::put_message(&mut batch, Kind::Text, &vec![b'x'; length]);
            let end = batch.len();
            codec::put_message(&mut batch, Kind::Text, b"behind");
            let piece = Bytes::from(batch);
            let mut begun = Begun::new(piece.clone(), 12);
            begun.cut_to_frame();
            assert_eq!(begun.rest(), &piece[12..end]);
            let shared = begun.rest().as_ptr() == piece[12..].as_ptr();
            assert_eq!(shared, length > CUT_COPY_MAX, "a long one is shared");
        }
    }
    #[test]
    fn a_compressed_frame_that_is_begun_is_ended_too() {
        let mut plain = Vec::new();
        codec::put_message(&mut plain, Kind::Text, &b"again and ".repeat(300));
        let mut batch = Vec::new();
        for _ in 0..3 {
            assert!(deflate::pack(&mut batch, &plain, 0));
        }
        let length = batch.len() / 3;
        let mut begun = Begun::new(batch.clone().into(), length + 1);
        begun.cut_to_frame();
        assert_eq!(begun.rest(), &batch[length + 1..2 * length]);
    }
}
