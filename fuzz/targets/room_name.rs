//! Names of rooms as they stand in a path: decoded once, and none gets in that the rules leave out.

use scalesocket::room::{RESERVED, RoomName};

pub(super) fn run(bytes: &[u8]) {
    let Ok(component) = std::str::from_utf8(bytes) else {
        return;
    };
    let named = RoomName::from_component(component);
    let expected = decoded(bytes).filter(|name| is_good(name));
    assert_eq!(
        named.as_ref().ok().map(RoomName::as_str),
        expected.as_deref()
    );
    let Ok(name) = named else { return };
    // What it is called is a name by itself, and the same however it is spelt.
    assert_eq!(RoomName::parse(name.as_str()).as_ref(), Ok(&name));
    let spelt: String = name
        .as_str()
        .bytes()
        .map(|byte| format!("%{byte:02x}"))
        .collect();
    assert_eq!(RoomName::from_component(&spelt).as_ref(), Ok(&name));
}

/// RFC 3986 section 2.1; a `%` that begins no triplet is itself.
fn decoded(text: &[u8]) -> Option<String> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn is_good(name: &str) -> bool {
    let forbidden = |c: char| c == '/' || matches!(u32::from(c), 0..=0x1F | 0x7F..=0x9F);
    (1..=128).contains(&name.len())
        && !name.contains(forbidden)
        && !name.starts_with('~')
        && !RESERVED.contains(&name)
}
