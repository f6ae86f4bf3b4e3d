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
    let mut at = space(text, 0);
    if *text.get(at)? != b'{' {
        return None;
    }
    let mut start = at + 1;
    at = space(text, start);
    if *text.get(at)? != b'}' {
        loop {
            if *text.get(at)? != b'"' {
                return None;
            }
            let (after_key, escaped) = string(text, at + 1)?;
            let key = text.get(at + 1..after_key - 1)?;
            let from = colon(text, after_key)?;
            let to = value(text, from, depth)?;
            let end = space(text, to);
            visit(Member {
                key,
                escaped,
                value: text.get(from..to)?,
                start,
                end,
            });
            at = end;
            match *text.get(at)? {
                b',' => start = at + 1,
                b'}' => break,
                _ => return None,
            }
            at = space(text, start);
        }
    }
    (space(text, at + 1) == text.len()).then_some(at)
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

    /// Whether the innermost bracket is an object's; none when all are closed.
    fn inside_object(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.objects & 1 == 1)
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

/// Where the value that starts at `at` ends.
#[inline]
fn value(text: &[u8], at: usize, depth: usize) -> Option<usize> {
    match *text.get(at)? {
        b'{' | b'[' => bracket(text, at, depth),
        first => scalar(text, at, first),
    }
}

/// Where the string, number or word ends that starts at `at` with the byte `first`.
#[inline]
fn scalar(text: &[u8], at: usize, first: u8) -> Option<usize> {
    match first {
        b'"' => Some(string(text, at + 1)?.0),
        b'-' | b'0'..=b'9' => number(text, at, first),
        b't' => literal(text, at, b"true"),
        b'f' => literal(text, at, b"false"),
        b'n' => literal(text, at, b"null"),
        _ => None,
    }
}

/// Where the object or list that starts at `at` ends.
fn bracket(text: &[u8], mut at: usize, depth: usize) -> Option<usize> {
    let mut nesting = Nesting {
        left: depth,
        depth: 0,
        objects: 0,
        below: Vec::new(),
    };
    loop {
        match *text.get(at)? {
            b'{' => {
                nesting.open(true)?;
                at = space(text, at + 1);
                if *text.get(at)? != b'}' {
                    at = key(text, at)?;
                    continue;
                }
            }
            b'[' => {
                nesting.open(false)?;
                at = space(text, at + 1);
                if *text.get(at)? != b']' {
                    continue;
                }
            }
            first => at = scalar(text, at, first)?,
        }
        // A value has ended, or an empty bracket is about to; after it come more, or ends.
        loop {
            let Some(in_object) = nesting.inside_object() else {
                return Some(at);
            };
            at = space(text, at);
            match (*text.get(at)?, in_object) {
                (b'}', true) | (b']', false) => {
                    nesting.close();
                    at += 1;
                }
                (b',', true) => {
                    at = key(text, space(text, at + 1))?;
                    break;
                }
                (b',', false) => {
                    at = space(text, at + 1);
                    break;
                }
                _ => return None,
            }
        }
    }
}

/// Past a key and its colon, to where the value starts.
#[inline]
fn key(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at)? {
        b'"' => colon(text, string(text, at + 1)?.0),
        _ => None,
    }
}

#[inline]
fn colon(text: &[u8], at: usize) -> Option<usize> {
    let at = space(text, at);
    (*text.get(at)? == b':').then(|| space(text, at + 1))
}

#[inline]
fn space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

#[inline]
fn literal(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text.get(at..)?.starts_with(word).then_some(at + word.len())
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

/// Past the closing quote of the string whose first character is at `at`, and whether the string
/// holds escapes.
#[inline]
fn string(text: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut escaped = false;
    loop {
        at = plain(text, at);
        match *text.get(at)? {
            b'"' => return Some((at + 1, escaped)),
            b'\\' => {
                escaped = true;
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
    }
}

/// To the first byte that is not plain inside a string: a quote, a backslash or a control
/// character. Most bytes of most messages are passed here, so eight at a time.
#[inline]
fn plain(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    const QUOTES: u64 = ONES * 0x22;
    const SLASHES: u64 = ONES * 0x5c;
    const SPACES: u64 = ONES * 0x20;
    while let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*bytes);
        // Subtracting borrows into the top bit of a byte that was smaller. A borrow may also run
        // on into the next byte, so only the lowest bit found is true, and that is the one used.
        let (quote, slash) = (word ^ QUOTES, word ^ SLASHES);
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(SPACES) & !word);
        let found = found & TOPS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(&byte) = text.get(at)
        && byte != b'"'
        && byte != b'\\'
        && byte >= 0x20
    {
        at += 1;
    }
    at
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
