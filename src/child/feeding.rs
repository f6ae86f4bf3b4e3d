//! How much may be typed into a terminal so that it drops nothing.
//!
//! A terminal that reads lines (canonical mode, termios(3)) keeps one unfinished line of so many
//! bytes and drops the rest of it in silence. What is longer is handed over in pieces: the EOF
//! character behind some bytes of a line makes a read return them, and is itself not read. In raw
//! mode the system drops nothing.

use std::io;

use nix::sys::termios::{InputFlags, LocalFlags, SpecialCharacterIndices as Key, Termios};

/// So long a piece of a line: less than any system keeps (`MAX_CANON` is 1,024 with macOS and 4,095
/// with Linux, of which marked parity errors, `PARMRK`, leave a third).
const PIECE: usize = 1_000;
/// A character that is switched off (`_POSIX_VDISABLE`).
const NONE: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

/// How far the line has come that is being typed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Feeding {
    /// Bytes of it, at the most: what was erased counts.
    line: usize,
    /// The last of them makes the next an ordinary one.
    quoted: bool,
    /// The last of them is an ordinary one: the line is not empty.
    ordinary: bool,
}

impl Feeding {
    /// Bytes of a line that is not ended: a terminal that reads lines does not tell of them.
    pub(super) fn pending(&self) -> usize {
        self.line
    }

    /// Has as many of the bytes written as is safe now, in one piece, and gives their number.
    pub(super) fn feed(
        &mut self,
        mode: &Termios,
        bytes: &[u8],
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let keys = Keys::new(mode);
        let Some(eof) = keys.eof.filter(|_| keys.canonical) else {
            *self = Feeding::default();
            return write(bytes.get(..PIECE).unwrap_or(bytes));
        };
        let mut ahead = *self;
        let mut length = 0;
        for byte in bytes.iter().take(PIECE) {
            ahead.note(&keys, *byte);
            length += 1;
            if ahead.is_long() {
                break;
            }
        }
        let piece = bytes.get(..length).unwrap_or_default();
        if !ahead.is_long() {
            let written = write(piece)?;
            self.note_all(&keys, piece, written);
            return Ok(written);
        }
        // In the same call as a byte of the line: behind none it would be the end of the input.
        let written = write(&[piece, &[eof]].concat())?;
        self.note_all(&keys, piece, written);
        if written > length {
            *self = Feeding::default();
        }
        Ok(written.min(length))
    }

    /// Has written what says that nothing more comes, to a terminal that reads lines: a line that is
    /// begun is handed over first.
    pub(super) fn end(
        &mut self,
        mode: &Termios,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let keys = Keys::new(mode);
        let Some(eof) = keys.eof.filter(|_| keys.canonical) else {
            return Ok(0);
        };
        if self.line > 0 {
            write(&[eof])?;
            *self = Feeding::default();
        }
        write(&[eof])
    }

    fn is_long(&self) -> bool {
        self.line >= PIECE && self.ordinary && !self.quoted
    }

    fn note_all(&mut self, keys: &Keys, piece: &[u8], written: usize) {
        piece
            .iter()
            .take(written)
            .for_each(|byte| self.note(keys, *byte));
    }

    fn note(&mut self, keys: &Keys, byte: u8) {
        if !self.quoted && keys.ends.contains(&byte) {
            *self = Feeding::default();
            return;
        }
        self.line += 1;
        self.ordinary = self.quoted || !keys.special.contains(&byte);
        self.quoted = !self.quoted && keys.quote == Some(byte);
    }
}

/// The characters that mean something to a terminal.
struct Keys {
    canonical: bool,
    /// What ends a line.
    ends: Vec<u8>,
    eof: Option<u8>,
    /// What makes the next one ordinary.
    quote: Option<u8>,
    /// What may be something else than a byte of the line.
    special: Vec<u8>,
}

impl Keys {
    fn new(mode: &Termios) -> Keys {
        let key = |key: Key| {
            let byte = mode.control_chars.get(key as usize).copied();
            byte.filter(|byte| *byte != NONE)
        };
        let extended = mode.local_flags.contains(LocalFlags::IEXTEN);
        let input = mode.input_flags;
        let returns = input.contains(InputFlags::ICRNL) && !input.contains(InputFlags::IGNCR);
        let newline = !input.contains(InputFlags::INLCR);
        let eof = key(Key::VEOF);
        let quote = key(Key::VLNEXT).filter(|_| extended);
        let ends = [
            newline.then_some(b'\n'),
            returns.then_some(b'\r'),
            eof,
            key(Key::VEOL),
            key(Key::VEOL2).filter(|_| extended),
        ];
        let others = [
            Key::VINTR,
            Key::VQUIT,
            Key::VERASE,
            Key::VKILL,
            Key::VSTART,
            Key::VSTOP,
            Key::VSUSP,
            Key::VREPRINT,
            Key::VDISCARD,
            Key::VWERASE,
            Key::VLNEXT,
        ];
        let special = others.into_iter().filter_map(key).chain(*b"\r\n");
        Keys {
            canonical: mode.local_flags.contains(LocalFlags::ICANON),
            ends: ends.into_iter().flatten().collect(),
            eof,
            quote,
            special: special.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::termios::{OutputFlags, tcgetattr};

    use super::*;

    fn mode(canonical: bool) -> Termios {
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        let mut mode = tcgetattr(&pty.slave).expect("its mode");
        mode.output_flags = OutputFlags::empty();
        mode.local_flags.set(LocalFlags::ICANON, canonical);
        mode
    }

    /// All that is written for `typed` when so many bytes are accepted at once.
    fn written(mode: &Termios, typed: &[u8], most: usize) -> Vec<u8> {
        let (mut feeding, mut all, mut at) = (Feeding::default(), Vec::new(), 0);
        while let Some(rest) = typed.get(at..).filter(|rest| !rest.is_empty()) {
            let fed = feeding.feed(mode, rest, |piece| {
                let taken = piece.len().min(most);
                all.extend_from_slice(&piece[..taken]);
                Ok(taken)
            });
            at += fed.expect("written");
        }
        all
    }

    #[test]
    fn a_long_line_is_cut_behind_ordinary_bytes_and_nothing_else_is() {
        let canonical = mode(true);
        // No terminal takes one byte each time: then no EOF would ever stand behind one.
        for most in [2, 7, 1_000, 1_001, usize::MAX] {
            for typed in [
                vec![b'x'; 10_000],
                b"short\n".repeat(3_000),
                [vec![b'x'; 999], vec![0x7f; 3], vec![b'x'; 999]].concat(),
            ] {
                let all = written(&canonical, &typed, most);
                let kept: Vec<u8> = all.iter().copied().filter(|byte| *byte != 4).collect();
                assert_eq!(kept, typed, "{most}");
                let lines = all.split(|byte| matches!(byte, 4 | b'\n'));
                assert!(lines.clone().all(|line| line.len() <= 1_003), "{most}");
                let cuts = all.windows(2).filter(|pair| pair[1] == 4);
                assert!(cuts.map(|pair| pair[0]).all(|byte| byte == b'x'), "{most}");
            }
        }
    }

    #[test]
    fn a_raw_terminal_is_typed_what_was_said() {
        let typed = vec![b'x'; 10_000];
        assert_eq!(written(&mode(false), &typed, 777), typed);
    }

    #[test]
    fn a_quoted_newline_ends_no_line() {
        let typed = b"\x16\n".repeat(1_000);
        let all = written(&mode(true), &typed, usize::MAX);
        assert!(all.iter().filter(|byte| **byte == 4).count() >= 1);
        assert!(!all.windows(2).any(|pair| pair == [0x16, 4]));
    }
}
