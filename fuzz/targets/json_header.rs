//! Lines of JSON that a child prints: in any pieces the same events, and those that serde_json's
//! reading of each line leads to.

use scalesocket::frame::{Audience, Decoder, Drop, Event, JsonFields, Kind, ServerFraming};
use serde_json::Value;

use super::input::{Input, pieces};
use super::json_text::{Text, read};

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Everyone(Vec<u8>, Kind, bool),
    Only(Vec<u32>, Vec<u8>, bool),
    Except(Vec<u32>, Vec<u8>, bool),
    Metadata(Vec<u8>),
    Close(Vec<u32>, u16, String),
    Counted(Drop),
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = input.byte();
    let seed = input.byte();
    let stream = input.rest();
    let field = ["to", "_to", "a\"/b", "id"][usize::from(options & 3)];
    let framing = ServerFraming::Json(JsonFields {
        from: "from".to_owned(),
        to: field.to_owned(),
    });
    let mut decoder = Decoder::new(&framing, 1 << 20);
    let mut heard = Vec::new();
    for piece in pieces(stream, seed) {
        let fed = decoder.feed(piece, &mut |event| heard.push(copied(event)));
        assert_eq!(fed, Ok(()), "no line is too long");
    }
    decoder.finish(&mut |event| heard.push(copied(event)));
    let mut heard = heard.into_iter();
    let mut lines = stream.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        let line = match line.strip_suffix(b"\r") {
            Some(bare) if !last => bare,
            _ => line,
        };
        if last && line.is_empty() {
            break;
        }
        match expected(line, field) {
            Some(events) => {
                for event in events {
                    assert_eq!(
                        heard.next(),
                        Some(event),
                        "of {}",
                        String::from_utf8_lossy(line)
                    );
                }
            }
            // Nobody can tell what it means: it does something that has an end.
            None => {
                for event in heard.by_ref() {
                    if !matches!(event, Heard::Counted(_)) {
                        break;
                    }
                }
                return;
            }
        }
    }
    assert_eq!(heard.next(), None);
}

fn copied(event: Event<'_>) -> Heard {
    match event {
        Event::Message {
            to,
            kind,
            payload,
            tagged,
        } => {
            let payload = payload.to_vec();
            match to {
                Audience::Everyone => Heard::Everyone(payload, kind, tagged),
                Audience::Only(ids) => Heard::Only(ids.to_vec(), payload, tagged),
                Audience::Except(ids) => Heard::Except(ids.to_vec(), payload, tagged),
            }
        }
        Event::Metadata(line) => Heard::Metadata(line.to_vec()),
        Event::Close {
            clients,
            code,
            reason,
        } => Heard::Close(clients.to_vec(), code, reason.to_owned()),
        Event::Counted(drop) => Heard::Counted(drop),
    }
}

/// What a line comes to; none: its keys cannot be read by serde_json.
fn expected(line: &[u8], field: &str) -> Option<Vec<Heard>> {
    let members = match read(line) {
        Text::Object(members) => members.0,
        Text::Unspeakable => return None,
        Text::Other => {
            let kind = match std::str::from_utf8(line) {
                Ok(_) => Kind::Text,
                Err(_) => Kind::Binary,
            };
            return Some(vec![Heard::Everyone(line.to_vec(), kind, false)]);
        }
    };
    let value = |name: &str| {
        let named = members.iter().rev().find(|(key, _)| key == name);
        named.map(|(_, value)| value.get())
    };
    let mut events = Vec::new();
    let mut quiet = false;
    if value("_meta") == Some("true") {
        events.push(Heard::Metadata(line.to_vec()));
        quiet = true;
    }
    if let Some(clients) = value("_close") {
        match ids(clients) {
            None => events.push(Heard::Counted(Drop::BadClose)),
            Some((clients, unknown)) => {
                events.extend(unknowns(unknown));
                events.extend(close(clients, value("_code"), value("_reason"))?);
                quiet = true;
            }
        }
    }
    if quiet {
        return Some(events);
    }
    let mut list = |value: Option<&str>, fault| {
        let ids = ids(value?);
        match &ids {
            None => events.push(Heard::Counted(fault)),
            Some((_, unknown)) => events.extend(unknowns(*unknown)),
        }
        Some(ids?.0)
    };
    let only = list(value(field), Drop::BadTo);
    let except = list(value("_except"), Drop::BadExcept).unwrap_or_default();
    let tagged = value("_cache") == Some("true");
    events.push(match only {
        Some(mut only) => {
            only.retain(|id| !except.contains(id));
            Heard::Only(only, line.to_vec(), tagged)
        }
        None if except.is_empty() => Heard::Everyone(line.to_vec(), Kind::Text, tagged),
        None => Heard::Except(except, line.to_vec(), tagged),
    });
    Some(events)
}

fn unknowns(count: usize) -> impl Iterator<Item = Heard> {
    std::iter::repeat_with(|| Heard::Counted(Drop::UnknownClient)).take(count)
}

/// None: the reason is a string that serde_json cannot hold.
fn close(clients: Vec<u32>, code: Option<&str>, reason: Option<&str>) -> Option<Vec<Heard>> {
    let mut bad = false;
    let code = match code.map(str::parse::<u16>) {
        None => 4000,
        // A number of JSON has no sign and no zero before it.
        Some(Ok(code)) if code == 1000 || (3000..5000).contains(&code) => code,
        Some(_) => {
            bad = true;
            4000
        }
    };
    let reason = match reason {
        None => String::new(),
        Some(text) if text.starts_with('"') => serde_json::from_str(text).ok()?,
        Some(_) => {
            bad = true;
            String::new()
        }
    };
    let counted = bad.then_some(Heard::Counted(Drop::BadClose));
    Some(
        counted
            .into_iter()
            .chain([Heard::Close(clients, code, reason)])
            .collect(),
    )
}

/// The clients that a value names, and how many more that cannot be: none if it names none.
fn ids(value: &str) -> Option<(Vec<u32>, usize)> {
    // Numbers stay what they are written as: 1.0 and 1e0 are no clients.
    let elements: Vec<Box<serde_json::value::RawValue>> = match value.starts_with('[') {
        true => serde_json::from_str(value).ok()?,
        false => vec![serde_json::from_str(value).ok()?],
    };
    let mut ids = Vec::new();
    let mut unknown = 0;
    for element in &elements {
        let digits = element.get();
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        match serde_json::from_str::<Value>(digits)
            .ok()
            .and_then(|number| number.as_u64())
        {
            Some(id) if id <= u64::from(u32::MAX) => ids.push(id as u32),
            _ => unknown += 1,
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Some((ids, unknown))
}
