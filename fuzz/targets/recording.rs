//! Recordings, which come from anywhere: what is not refused has the lives that a plain reading of its
//! lines has.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use scalesocket::replay::{Outline, outline};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

pub(super) fn run(bytes: &[u8]) {
    let Some(read) = outline(bytes) else { return };
    assert!(!read.lives.is_empty(), "nothing would be replayed");
    if let Some(expected) = plainly(bytes) {
        assert_eq!(read, expected);
    }
}

/// What the lines say; none where one says several things, of which any may count.
fn plainly(bytes: &[u8]) -> Option<Outline> {
    let mut lives: Vec<(Vec<u8>, Option<String>)> = Vec::new();
    let mut is_whole = false;
    let mut is_stopped = false;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if !line.ends_with(b"\n") {
            break;
        }
        let Members(members) = serde_json::from_slice(line).ok()?;
        let said: Vec<_> = members.iter().filter(|(name, _)| name != "at").collect();
        let [(name, value)] = said[..] else {
            return None;
        };
        match (name.as_str(), lives.last_mut()) {
            ("cut", _) => {
                is_whole = false;
                break;
            }
            ("end", _) => is_whole = true,
            ("start", _) => {
                lives.push((Vec::new(), None));
                is_stopped = false;
            }
            (_, None) => {}
            ("stop", _) => is_stopped = true,
            _ if is_stopped => {}
            ("in", Some((given, _))) => given.extend(value.as_str()?.bytes()),
            ("in64", Some((given, _))) => given.extend(STANDARD.decode(value.as_str()?).ok()?),
            ("back", Some((given, _))) => {
                let back = usize::try_from(value.as_u64()?).unwrap_or(usize::MAX);
                given.truncate(given.len().saturating_sub(back));
            }
            ("exit", Some((_, exit))) => *exit = Some(value.as_str()?.to_owned()),
            _ => {}
        }
    }
    Some(Outline { lives, is_whole })
}

/// The members of an object as they stand there, also those that stand there twice.
struct Members(Vec<(String, Value)>);

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
