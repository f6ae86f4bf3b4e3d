//! The sender put into a client's object, so that no client can speak as another.
//!
//! Every top-level member that spells the from-field is removed with its comma and the true one put
//! last. All else passes byte for byte, except that raw line breaks become spaces: in a JSON text
//! they only stand between tokens, and for the child one message must stay one line.

use super::{RESERVED, scan, spells};
use crate::frame::{ClientId, Drop, Kind};

/// How deep clients may nest: every parser of the child's side is likely to follow.
const DEPTH: usize = 128;

/// Writes clients' objects for one child.
#[derive(Clone, Debug)]
pub(in crate::frame) struct Stamp {
    from_field: String,
    /// The from-field as a member's beginning: quoted, escaped, with its colon.
    member: String,
}

impl Stamp {
    pub(in crate::frame) fn new(from_field: &str) -> Stamp {
        let member = format!("{}:", serde_json::Value::from(from_field));
        Stamp {
            from_field: from_field.to_owned(),
            member,
        }
    }

    /// Appends the object as sent by that client, and a newline.
    pub(in crate::frame) fn write(
        &self,
        from: ClientId,
        kind: Kind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Drop> {
        let before = out.len();
        self.append(from, kind, payload, out)
            .inspect_err(|_| out.truncate(before))?;
        // Here, not while scanning: messages with line breaks are rare, and finding none is cheap.
        let line = out.get_mut(before..).unwrap_or_default();
        let mut at = 0;
        while let Some(next) = line
            .get(at..)
            .and_then(|rest| memchr::memchr2(b'\n', b'\r', rest))
        {
            at += next;
            if let Some(byte) = line.get_mut(at) {
                *byte = b' ';
            }
        }
        out.push(b'\n');
        Ok(())
    }

    fn append(
        &self,
        from: ClientId,
        kind: Kind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Drop> {
        // The wire lets no text pass that is not UTF-8.
        if kind == Kind::Binary && simdutf8::basic::from_utf8(payload).is_err() {
            return Err(Drop::NotJsonObject);
        }
        out.reserve(payload.len() + self.member.len() + 12);
        let part = |from: usize, to: usize| payload.get(from..to).unwrap_or_default();
        let mut reserved = false;
        let mut done = 0; // what of the payload has been copied or removed
        let mut comma_due = false;
        let close = scan::object(payload, DEPTH, |member| {
            if spells(member.key, member.escaped, self.from_field.as_bytes()) {
                // The comma that follows goes with it. If none does, the one before it stays,
                // and is then the one before the sender.
                out.extend_from_slice(part(done, member.start));
                done = member.end + usize::from(payload.get(member.end) == Some(&b','));
                comma_due = false;
            } else {
                reserved |= is_reserved(member.key, member.escaped);
                comma_due = true;
            }
        });
        let close = close.ok_or(Drop::NotJsonObject)?;
        if reserved {
            return Err(Drop::ReservedName);
        }
        out.extend_from_slice(part(done, close));
        if comma_due {
            out.push(b',');
        }
        out.extend_from_slice(self.member.as_bytes());
        put_number(from.get(), out);
        out.extend_from_slice(part(close, payload.len()));
        Ok(())
    }
}

#[inline]
fn is_reserved(key: &[u8], escaped: bool) -> bool {
    let may_be = escaped || key.first() == Some(&b'_');
    may_be
        && RESERVED
            .iter()
            .any(|name| spells(key, escaped, name.as_bytes()))
}

/// In digits; what `write!` does for any width and base costs as much as scanning a short object.
fn put_number(mut number: u32, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 10];
    let mut first = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        first = at;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

#[cfg(test)]
mod tests;
