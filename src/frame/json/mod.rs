//! JSON framing: one object a line, both ways, read without re-encoding it.
//!
//! [`Header`] finds in the child's lines who hears them and what the room shall do; [`Stamp`] puts
//! the sender into clients' objects. Both rest on [`scan`], which checks the grammar of RFC 8259 and
//! shows the top-level members where they lie; every other byte passes as it came.

mod header;
mod scan;
mod stamp;

use std::borrow::Cow;

pub(super) use header::Header;
pub(super) use stamp::Stamp;

/// Top-level names by which a child steers its room. A client's message that uses one is dropped:
/// a child that reflects its input must not let clients steer.
pub const RESERVED: [&str; 8] = [
    "_meta", "_cache", "_close", "_code", "_reason", "_except", "_gap", "_replay",
];

/// The name a key spells, from what stands between its quotes.
fn name(key: &[u8], escaped: bool) -> Cow<'_, [u8]> {
    match escaped {
        true => Cow::Owned(scan::unescape(key)),
        false => Cow::Borrowed(key),
    }
}

/// Whether a key spells that name. Most keys differ from it in length.
#[inline]
fn spells(key: &[u8], escaped: bool, wanted: &[u8]) -> bool {
    match escaped {
        true => *name(key, true) == *wanted,
        false => key.len() == wanted.len() && key == wanted,
    }
}

#[cfg(test)]
mod tests;
