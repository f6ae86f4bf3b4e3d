//! The header of a child's line: who hears it, and what the room shall do.
//!
//! The header is whatever of the to-field and the reserved names stands at the top level of an
//! object; of duplicates the last counts. The line is never changed. Lines that are no object, and
//! objects without a header, are for everyone.

use std::ops::RangeInclusive;

use memchr::memmem::Finder;

use super::{name, scan, spells};
use crate::frame::{Audience, Drop, Event, Kind};

/// The code of a `_close` that names none.
const KICKED: u16 = 4000;
/// The codes a program may use besides 1000 (RFC 6455, section 7.4.2).
const PROGRAM_CODES: RangeInclusive<u16> = 3000..=4999;
/// Lists up to this length keep their memory for the next line.
const KEPT_IDS: usize = 1024;

/// Reads the headers of one child's lines.
#[derive(Debug)]
pub(in crate::frame) struct Header {
    to_field: String,
    /// `"<to-field>"`, as it stands in a line that spells it without escapes; none for a name that
    /// has shorter escapes than `\u`, which is not worth a quick look.
    quoted: Option<Finder<'static>>,
    reserved: Finder<'static>,
    escape: Finder<'static>,
    /// The last line had a header: the next is likely to have one too.
    lately: bool,
    to: Vec<u32>,
    except: Vec<u32>,
}

/// The values of the header's members, as they stand in the line.
#[derive(Default)]
struct Found<'a> {
    to: Option<&'a [u8]>,
    except: Option<&'a [u8]>,
    meta: Option<&'a [u8]>,
    cache: Option<&'a [u8]>,
    close: Option<&'a [u8]>,
    code: Option<&'a [u8]>,
    reason: Option<&'a [u8]>,
}

impl Header {
    pub(in crate::frame) fn new(to_field: &str) -> Header {
        let plain = to_field
            .bytes()
            .all(|byte| byte >= 0x20 && !b"\"\\/".contains(&byte));
        let quoted = format!("\"{to_field}\"");
        Header {
            to_field: to_field.to_owned(),
            quoted: plain.then(|| Finder::new(&quoted).into_owned()),
            reserved: Finder::new("\"_").into_owned(),
            escape: Finder::new("\\u").into_owned(),
            lately: false,
            to: Vec::new(),
            except: Vec::new(),
        }
    }

    /// Tells `sink` what a line says.
    ///
    /// `_meta` and `_close` are obeyed both when both are there, and neither is heard by anybody.
    /// With a to-field and `_except`, those named hear the line, less those excepted.
    pub(in crate::frame) fn read(
        &mut self,
        kind: Kind,
        line: &[u8],
        sink: &mut impl FnMut(Event<'_>),
    ) {
        let found = match kind == Kind::Text && (self.lately || self.may_be_in(line)) {
            true => self.find(line),
            false => None,
        };
        self.lately = found.is_some();
        let Some(found) = found else {
            let to = Audience::Everyone;
            return sink(Event::Message {
                to,
                kind,
                payload: line,
                tagged: false,
            });
        };
        let metadata = found.meta == Some(b"true");
        if metadata {
            sink(Event::Metadata(line));
        }
        let closed = found
            .close
            .is_some_and(|value| self.close(value, &found, sink));
        if !metadata && !closed {
            let tagged = found.cache == Some(b"true");
            let to = self.audience(&found, sink);
            sink(Event::Message {
                to,
                kind,
                payload: line,
                tagged,
            });
        }
        self.to.shrink_to(KEPT_IDS);
        self.except.shrink_to(KEPT_IDS);
    }

    /// A quick look that saves most broadcasts the scan: a header needs the to-field in quotes, a
    /// name that starts with `_`, or an escape that could spell one of them.
    fn may_be_in(&self, line: &[u8]) -> bool {
        let Some(quoted) = &self.quoted else {
            return true;
        };
        self.reserved.find(line).is_some()
            || quoted.find(line).is_some()
            || self.escape.find(line).is_some()
    }

    /// None when the line is no object or has nothing of a header.
    fn find<'a>(&self, line: &'a [u8]) -> Option<Found<'a>> {
        let mut found = Found::default();
        let mut any = false;
        // No limit on depth here: the line goes out whatever it holds, and taking a deep one for
        // no object would show everyone what was meant for one.
        scan::object(line, usize::MAX, |member| {
            let value = Some(member.value);
            if spells(member.key, member.escaped, self.to_field.as_bytes()) {
                found.to = value;
                any = true;
                return;
            }
            if !member.escaped && member.key.first() != Some(&b'_') {
                return;
            }
            let place = match &*name(member.key, member.escaped) {
                b"_except" => &mut found.except,
                b"_meta" => &mut found.meta,
                b"_cache" => &mut found.cache,
                b"_close" => &mut found.close,
                b"_code" => &mut found.code,
                b"_reason" => &mut found.reason,
                _ => return,
            };
            *place = value;
            any = true;
        })?;
        any.then_some(found)
    }

    /// Ends connections as `_close` says; false when its value names no clients.
    fn close(&mut self, value: &[u8], found: &Found<'_>, sink: &mut impl FnMut(Event<'_>)) -> bool {
        let Some(unknown) = ids(value, &mut self.to) else {
            sink(Event::Counted(Drop::BadClose));
            return false;
        };
        count(unknown, sink);
        let mut bad = false;
        let code = found.code.map_or(KICKED, |value| {
            let code = std::str::from_utf8(value)
                .ok()
                .and_then(|digits| digits.parse().ok());
            let fits = |code: &u16| *code == 1000 || PROGRAM_CODES.contains(code);
            code.filter(fits).unwrap_or_else(|| {
                bad = true;
                KICKED
            })
        });
        let reason = found.reason.map_or_else(String::new, |value| match value {
            [b'"', raw @ .., b'"'] => String::from_utf8(scan::unescape(raw)).unwrap_or_default(),
            _ => {
                bad = true;
                String::new()
            }
        });
        if bad {
            sink(Event::Counted(Drop::BadClose));
        }
        sink(Event::Close {
            clients: &self.to,
            code,
            reason: &reason,
        });
        true
    }

    fn audience(&mut self, found: &Found<'_>, sink: &mut impl FnMut(Event<'_>)) -> Audience<'_> {
        let mut named = |value, into, fault| match value {
            None => false,
            Some(value) => match ids(value, into) {
                Some(unknown) => {
                    count(unknown, sink);
                    true
                }
                None => {
                    sink(Event::Counted(fault));
                    false
                }
            },
        };
        let only = named(found.to, &mut self.to, Drop::BadTo);
        let except = named(found.except, &mut self.except, Drop::BadExcept);
        match (only, except) {
            (true, true) => {
                self.to.retain(|id| self.except.binary_search(id).is_err());
                Audience::Only(&self.to)
            }
            (true, false) => Audience::Only(&self.to),
            (false, true) if !self.except.is_empty() => Audience::Except(&self.except),
            (false, _) => Audience::Everyone,
        }
    }
}

fn count(unknown: usize, sink: &mut impl FnMut(Event<'_>)) {
    for _ in 0..unknown {
        sink(Event::Counted(Drop::UnknownClient));
    }
}

/// Reads a value that the scan has passed as an id or a list of ids, sorted and each once, and
/// returns how many were too large to be anybody's. None for any other value: `1.0` and `-0` are
/// no ids, nor is a list with one wrong element a list of them.
fn ids(value: &[u8], into: &mut Vec<u32>) -> Option<usize> {
    into.clear();
    let mut unknown = 0;
    let list = match value {
        [b'[', list @ .., b']'] => list.trim_ascii(),
        one => one,
    };
    if list.is_empty() {
        return Some(0);
    }
    for element in list.split(|&byte| byte == b',') {
        let digits = element.trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let id = digits.iter().try_fold(0u32, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
        });
        match id {
            Some(id) => into.push(id),
            None => unknown += 1,
        }
    }
    into.sort_unstable();
    into.dedup();
    Some(unknown)
}

#[cfg(test)]
mod tests;
