//! The cases, a chapter to a file, in the order of the RFCs.

pub(crate) mod closing;
pub(crate) mod control;
pub(crate) mod deflate;
pub(crate) mod fragmentation;
pub(crate) mod framing;
pub(crate) mod limits;
pub(crate) mod masking;
pub(crate) mod text;

use super::case::Chapter;

/// Every chapter.
pub(crate) fn all() -> Vec<Chapter> {
    vec![
        framing::chapter(),
        masking::chapter(),
        fragmentation::chapter(),
        control::chapter(),
        closing::chapter(),
        text::chapter(),
        limits::chapter(),
        deflate::chapter(),
    ]
}
