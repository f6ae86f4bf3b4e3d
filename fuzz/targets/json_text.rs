//! JSON as serde_json reads it, for the targets that hold our own reading against it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The top-level members of an object, in order and with duplicates, their values as they stand.
pub(super) struct Members(pub(super) Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// What a text is.
pub(super) enum Text {
    /// No object, or none that may be.
    Other,
    /// An object, of these members.
    Object(Members),
    /// An object with a key that no string can hold, since it has half of a surrogate pair.
    Unspeakable,
}

/// Reads one text.
pub(super) fn read(bytes: &[u8]) -> Text {
    // Checks the grammar alone, to any depth; whether it is UTF-8 it does not.
    let grammatical = std::str::from_utf8(bytes).is_ok()
        && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
        && bytes.trim_ascii_start().starts_with(b"{");
    if !grammatical {
        return Text::Other;
    }
    match serde_json::from_slice(bytes) {
        Ok(members) => Text::Object(members),
        Err(_) => Text::Unspeakable,
    }
}

/// How deep a grammatical text nests.
pub(super) fn depth(bytes: &[u8]) -> usize {
    let (mut deepest, mut depth, mut quoted) = (0_usize, 0_usize, false);
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => drop(bytes.next()),
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
