//! The cases, a chapter to a file, in the order of the RFCs.

mod closing;
mod control;
mod deflate;
mod fragmentation;
mod framing;
mod limits;
mod masking;
mod text;

use std::sync::LazyLock;

use super::case::Chapter;

/// Made once: the large messages take a moment.
type Made = LazyLock<Chapter>;

pub(crate) static FRAMING: Made = LazyLock::new(framing::chapter);
pub(crate) static MASKING: Made = LazyLock::new(masking::chapter);
pub(crate) static FRAGMENTATION: Made = LazyLock::new(fragmentation::chapter);
pub(crate) static CONTROL: Made = LazyLock::new(control::chapter);
pub(crate) static CLOSING: Made = LazyLock::new(closing::chapter);
pub(crate) static TEXT: Made = LazyLock::new(text::chapter);
pub(crate) static LIMITS: Made = LazyLock::new(limits::chapter);
pub(crate) static DEFLATE: Made = LazyLock::new(deflate::chapter);

/// Every chapter.
pub(crate) fn all() -> impl Iterator<Item = &'static Chapter> {
    let all: [&'static Made; 8] = [
        &FRAMING,
        &MASKING,
        &FRAGMENTATION,
        &CONTROL,
        &CLOSING,
        &TEXT,
        &LIMITS,
        &DEFLATE,
    ];
    all.into_iter().map(|chapter| &**chapter)
}
