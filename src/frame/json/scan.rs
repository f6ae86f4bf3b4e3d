//! One pass over a JSON text (RFC 8259): is it an object, and where do its top-level members lie?
//!
//! Nothing is built and nothing recurses: nesting costs one bit a level. The grammar is checked in
//! full, values are not interpreted: numbers of any size and lone surrogate escapes are grammatical.
//! Whether the text is UTF-8 is for the caller to check.

/// A top-level member, where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// What stands between the quotes of the key.
    pub(super) key: &'a [u8],
    /// The key holds escapes.
    pub(super) escaped: bool,
    /// The value, without the white space around it.
    pub(super) value: &'a [u8],
    /// Just after the `{` or `,` before the member.
    pub(super) start: usize,
    /// At the `,` or `}` after it.
    pub(super) end: usize,
}

/// Shows every top-level member of an object in order and returns where its `}` lies; none when
/// the text is anything but one object, nested at most `depth` deep. Members shown before a fault
/// is met count for nothing.
pub(super) fn object<'a>(
    text: &'a [u8],
    depth: usize,
    mut visit: impl FnMut(Member<'a>),
) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    let (at, b'{') = next(text, 0)? else {
        return None;
    };
    let mut start = at + 1;
    let (mut at, mut byte) = next(text, start)?;
    if byte != b'}' {
        loop {
            if byte != b'"' {
                return None;
            }
            let mut shut = plain(text, at + 1);
            let escaped = *text.get(shut)? != b'"';
            if escaped {
                shut = escapes(text, shut)?;
            }
            let key = text.get(at + 1..shut)?;
            let (from, first) = colon(text, shut + 1)?;
            let to = match first {
                b'{' | b'[' => bracket(text, from, first, depth)?,
                _ => scalar(text, from, first)?,
            };
            (at, byte) = next(text, to)?;
            visit(Member {
                key,
                escaped,
                value: text.get(from..to)?,
                start,
                end: at,
            });
            match byte {
                b',' => start = at + 1,
                b'}' => break,
                _ => return None,
            }
            (at, byte) = next(text, start)?;
        }
    }
    next(text, at + 1).is_none().then_some(at)
}

/// Which brackets are open around a value: one bit each, 64 in a register and the rest below.
struct Nesting {
    left: usize,
    depth: usize,
    objects: u64,
    below: Vec<u64>,
}

impl Nesting {
    fn open(&mut self, object: bool) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.below.push(self.objects);
        }
        self.objects = self.objects << 1 | u64::from(object);
        self.depth += 1;
        Some(())
    }

    /// Whether the innermost bracket is an object's.
    fn inside_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn close(&mut self) {
        self.left += 1;
        self.depth -= 1;
        self.objects >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.objects = self.below.pop().unwrap_or_default();
        }
    }
}

/// Where the string, number or word ends that starts at `at` with the byte `first`.
#[inline(always)]
fn scalar(text: &[u8], at: usize, first: u8) -> Option<usize> {
    match first {
        b'"' => string(text, at + 1),
        b'-' | b'0'..=b'9' => number(text, at, first),
        b't' => literal(text, at, b"true"),
        b'f' => literal(text, at, b"false"),
        b'n' => literal(text, at, b"null"),
        _ => None,
    }
}

/// Where the object or list ends that starts at `at` with `byte`, its bracket.
fn bracket(text: &[u8], mut at: usize, mut byte: u8, depth: usize) -> Option<usize> {
    let mut nesting = Nesting {
        left: depth,
        depth: 0,
        objects: 0,
        below: Vec::new(),
    };
    loop {
        // A value begins.
        match byte {
            b'{' => {
                nesting.open(true)?;
                (at, byte) = next(text, at + 1)?;
                if byte != b'}' {
                    (at, byte) = key(text, at, byte)?;
                    continue;
                }
            }
            b'[' => {
                nesting.open(false)?;
                (at, byte) = next(text, at + 1)?;
                if byte != b']' {
                    continue;
                }
            }
            first => (at, byte) = next(text, scalar(text, at, first)?)?,
        }
        // It has ended, or an empty bracket is about to; after it come more, or ends.
        loop {
            match (byte, nesting.inside_object()) {
                (b',', false) => {
                    (at, byte) = next(text, at + 1)?;
                    break;
                }
                (b',', true) => {
                    (at, byte) = next(text, at + 1)?;
                    (at, byte) = key(text, at, byte)?;
                    break;
                }
                (b'}', true) | (b']', false) => {
                    nesting.close();
                    if nesting.depth == 0 {
                        return Some(at + 1);
                    }
                    (at, byte) = next(text, at + 1)?;
                }
                _ => return None,
            }
        }
    }
}

/// Past a key that starts at `at` with `byte`, and its colon: to the value.
#[inline]
fn key(text: &[u8], at: usize, byte: u8) -> Option<(usize, u8)> {
    match byte {
        b'"' => colon(text, string(text, at + 1)?),
        _ => None,
    }
}

#[inline]
fn colon(text: &[u8], at: usize) -> Option<(usize, u8)> {
    match next(text, at)? {
        (at, b':') => next(text, at + 1),
        _ => None,
    }
}

/// The first byte from `at` that is no white space, and where it is; none at the end.
#[inline]
fn next(text: &[u8], at: usize) -> Option<(usize, u8)> {
    match *text.get(at)? {
        ..=b' ' => behind_space(text, at),
        byte => Some((at, byte)),
    }
}

fn behind_space(text: &[u8], mut at: usize) -> Option<(usize, u8)> {
    loop {
        match *text.get(at)? {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            byte => return Some((at, byte)),
        }
    }
}

#[inline]
fn literal<const N: usize>(text: &[u8], at: usize, word: &[u8; N]) -> Option<usize> {
    (text.get(at..)?.first_chunk() == Some(word)).then_some(at + N)
}

#[inline]
fn number(text: &[u8], at: usize, first: u8) -> Option<usize> {
    let mut at = at + usize::from(first == b'-');
    at = match *text.get(at)? {
        b'0' => at + 1,
        _ => digits(text, at)?,
    };
    if let Some(b'.') = text.get(at) {
        at = digits(text, at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = text.get(at) {
            at += 1;
        }
        at = digits(text, at)?;
    }
    Some(at)
}

/// Past a run of at least one digit.
#[inline]
fn digits(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(b'0'..=b'9') = text.get(at) {
        at += 1;
    }
    (at > from).then_some(at)
}

/// Past the closing quote of the string whose first character is at `at`.
#[inline]
fn string(text: &[u8], at: usize) -> Option<usize> {
    let at = plain(text, at);
    match *text.get(at)? {
        b'"' => Some(at + 1),
        _ => Some(escapes(text, at)? + 1),
    }
}

/// To the closing quote of a string, from a byte of it that is not plain.
#[inline(never)]
fn escapes(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *text.get(at)? {
            b'"' => return Some(at),
            b'\\' => {
                at += match *text.get(at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                    b'u' => {
                        hex(text.get(at + 2..)?)?;
                        6
                    }
                    _ => return None,
                };
            }
            _ => return None, // a control character
        }
        at = plain(text, at);
    }
}

/// How many bytes of a string are looked at together: most bytes of most messages are.
const LOOK: usize = 16;

/// To the first byte that is not plain inside a string: a quote, a backslash or a control
/// character. Keys and many values end within one look; what is longer is worth a call.
#[inline]
fn plain(text: &[u8], at: usize) -> usize {
    match look(text, at).map(special) {
        Some(found @ 1..) => at + found.trailing_zeros() as usize,
        _ => plain_from(text, at),
    }
}

#[inline(never)]
fn plain_from(text: &[u8], mut at: usize) -> usize {
    while let Some(bytes) = look(text, at) {
        let found = special(bytes);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += LOOK;
    }
    let rest = text.get(at..).unwrap_or_default();
    let end = match text.last_chunk() {
        // The last bytes of the text, less those that are not of the rest.
        Some(bytes) => (special(bytes) >> (LOOK - rest.len())).trailing_zeros() as usize,
        None => {
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
            rest.iter().position(special).unwrap_or(LOOK)
        }
    };
    at + rest.len().min(end)
}

#[inline]
fn look(text: &[u8], at: usize) -> Option<&[u8; LOOK]> {
    text.get(at..)?.first_chunk()
}

/// A bit for every byte that is a quote, a backslash or a control character, the first byte's
/// lowest.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // vectors: no safe shape of it is compiled to them, and words take twice as long
#[inline]
fn special(bytes: &[u8; LOOK]) -> u32 {
    use std::arch::x86_64 as sse;
    // SAFETY: every x86_64 has SSE2; 16 bytes are read where 16 bytes are, of any alignment.
    unsafe {
        let bytes = sse::_mm_loadu_si128(bytes.as_ptr().cast());
        let equal = |to| sse::_mm_cmpeq_epi8(bytes, to);
        let quotes = equal(sse::_mm_set1_epi8(0x22));
        let slashes = equal(sse::_mm_set1_epi8(0x5c));
        let controls = equal(sse::_mm_min_epu8(bytes, sse::_mm_set1_epi8(0x1f)));
        let found = sse::_mm_or_si128(controls, sse::_mm_or_si128(quotes, slashes));
        sse::_mm_movemask_epi8(found).cast_unsigned()
    }
}

#[cfg(not(target_arch = "x86_64"))]
use special_in_words as special;

/// The same for processors whose vectors we do not know.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn special_in_words(bytes: &[u8; LOOK]) -> u32 {
    const ONES: u64 = u64::MAX / 255;
    const SEVENS: u64 = ONES * 0x7f;
    let all = u128::from_le_bytes(*bytes);
    let [low, high] = [all as u64, (all >> 64) as u64].map(|word| {
        // Adding to seven bits carries into the eighth of the same byte and no further: it is
        // set where the byte differs, and where it is no control character.
        let differs = |from: u64| {
            let other = word ^ (ONES * from);
            ((other & SEVENS) + SEVENS) | other
        };
        let printable = ((word & SEVENS) + ONES * 0x60) | word;
        let found = !(differs(0x22) & differs(0x5c) & printable) & !SEVENS;
        // The eighth bits, side by side.
        ((found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    });
    high << 8 | low
}

/// The number that the first four characters spell in base 16.
fn hex(text: &[u8]) -> Option<u32> {
    let digits = text.first_chunk::<4>()?;
    digits.iter().try_fold(0, |sum, &digit| {
        Some(sum << 4 | char::from(digit).to_digit(16)?)
    })
}

/// What a string that [`object`] has passed spells. A surrogate without its other half becomes
/// U+FFFD: it is grammatical, but no text can hold it.
pub(super) fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before);
        let (character, len) = escape_at(escape);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = escape.get(len..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// The character that an escape stands for, and the length of the escape.
fn escape_at(text: &[u8]) -> (char, usize) {
    const UNKNOWN: char = char::REPLACEMENT_CHARACTER;
    let unit = |at: usize| match text.get(at..) {
        Some([b'\\', b'u', digits @ ..]) => hex(digits),
        _ => None,
    };
    match text.get(1) {
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'u') => match (unit(0), unit(6)) {
            (Some(high @ 0xd800..0xdc00), Some(low @ 0xdc00..0xe000)) => {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                (char::from_u32(code).unwrap_or(UNKNOWN), 12)
            }
            (code, _) => (code.and_then(char::from_u32).unwrap_or(UNKNOWN), 6),
        },
        Some(&other) => (char::from(other), 2), // a quote, a backslash or a slash
        None => (UNKNOWN, 1),
    }
}

#[cfg(test)]
mod tests;
