//! The name of a room: parsed once at the door, trusted inside.

use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

/// Longest name, in bytes after decoding.
const NAME_MAX: usize = 128;

/// First path components that are endpoints, now or later.
pub const RESERVED: [&str; 15] = [
    "api",
    "metrics",
    "stats",
    "health",
    "healthz",
    "livez",
    "ready",
    "readyz",
    "console",
    "resolve",
    "drain",
    "static",
    "upload",
    "favicon.ico",
    "robots.txt",
];

/// 1–128 bytes of UTF-8 without control characters or `/`, not reserved, not starting with `~`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// Why a path component names no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing stands between the slashes.
    #[error("the room name is empty: connect to /<room>")]
    Empty,
    /// Over 128 bytes.
    #[error("the room name is longer than {NAME_MAX} bytes")]
    TooLong,
    /// Not UTF-8 once decoded.
    #[error("the room name is not UTF-8")]
    NotUtf8,
    /// A control character or `/`.
    #[error("the room name has a control character or a slash")]
    Forbidden,
    /// Starts with `~`.
    #[error("room names that start with ~ are the server's own")]
    Tilde,
    /// An endpoint's name.
    #[error("the room name is reserved")]
    Reserved,
}

impl RoomName {
    /// From a raw path component, percent-encoded as it came.
    pub fn from_component(component: &str) -> Result<Self, BadName> {
        let name = percent_decode_str(component)
            .decode_utf8()
            .map_err(|_| BadName::NotUtf8)?;
        Self::parse(&name)
    }

    /// From a decoded name.
    pub fn parse(name: &str) -> Result<Self, BadName> {
        if name.is_empty() {
            return Err(BadName::Empty);
        }
        if name.len() > NAME_MAX {
            return Err(BadName::TooLong);
        }
        if name.chars().any(|c| c.is_control() || c == '/') {
            return Err(BadName::Forbidden);
        }
        if name.starts_with('~') {
            return Err(BadName::Tilde);
        }
        if RESERVED.contains(&name) {
            return Err(BadName::Reserved);
        }
        Ok(RoomName(name.into()))
    }

    /// Where a path without a first component leads, when that does not matter.
    pub(crate) fn root() -> Self {
        RoomName("".into())
    }

    /// The room of one isolated connection.
    pub(crate) fn isolated(client: crate::frame::ClientId) -> Self {
        RoomName(format!("~{client}").into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(
            RoomName::from_component("a%20b").expect("fine").as_str(),
            "a b"
        );
        assert_eq!(
            RoomName::from_component("%C3%A9").expect("fine").as_str(),
            "é"
        );
        assert_eq!(
            RoomName::from_component("a%2541").expect("fine").as_str(),
            "a%41"
        );
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        for (component, reason) in [
            ("", BadName::Empty),
            ("%ff", BadName::NotUtf8),
            ("a%2Fb", BadName::Forbidden),
            ("a%00", BadName::Forbidden),
            ("a%C2%85", BadName::Forbidden),
            ("~1", BadName::Tilde),
            ("%7E1", BadName::Tilde),
            ("metrics", BadName::Reserved),
            ("%6Detrics", BadName::Reserved),
        ] {
            assert_eq!(
                RoomName::from_component(component),
                Err(reason),
                "{component}"
            );
        }
        assert_eq!(RoomName::parse(&"x".repeat(129)), Err(BadName::TooLong));
        assert!(RoomName::parse(&"x".repeat(128)).is_ok());
    }
}
