//! What state a terminal is in besides its text: the modes that a program has switched.
//!
//! A program says them once, and whoever comes later has not heard it: without them arrow keys,
//! the mouse and the screen itself are other ones. Private modes of ECMA-48's `CSI`, as xterm
//! knows them (ctlseqs), that matter to who joins; whatever else comes is passed over.

/// The modes that are kept, and whether a new terminal has them on. The screen comes first: to
/// switch it clears it.
const KEPT: [(u16, bool); 19] = [
    (1049, false), // the alternate screen, three ways
    (1047, false),
    (47, false),
    (1, false), // what arrow keys send
    (KEYPAD, false),
    (5, false), // reverse video
    (6, false), // where lines are counted from
    (7, true),  // long lines are wrapped
    (25, true), // the cursor is seen
    (9, false), // the mouse, and how it is told
    (1000, false),
    (1002, false),
    (1003, false),
    (1004, false), // focus
    (1005, false),
    (1006, false),
    (1015, false),
    (1016, false),
    (2004, false), // pasted text is marked
];
const KEYPAD: u16 = 66;
/// What `CSI ! p` resets.
const SOFT: [u16; 5] = [1, KEYPAD, 6, 7, 25];
/// More parameters than any program gives at once.
const PARAMETERS: usize = 16;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Modes {
    /// Which of [`KEPT`] are not as in a new terminal.
    changed: u32,
    place: Place,
    parameters: Vec<u16>,
}

/// Where in a control sequence the output stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Text,
    Escape,
    /// Behind `CSI`, before anything else.
    Begun,
    /// Behind `CSI ?`.
    Private,
    /// Behind `CSI !`.
    Soft,
}

impl Modes {
    /// The program has printed this.
    pub(super) fn note(&mut self, mut output: &[u8]) {
        loop {
            if self.place == Place::Text {
                let Some(at) = memchr::memchr(0x1b, output) else {
                    return;
                };
                output = output.get(at..).unwrap_or_default();
            }
            let Some((byte, rest)) = output.split_first() else {
                return;
            };
            self.place = self.next(*byte);
            output = rest;
        }
    }

    /// What makes a new terminal one in these modes.
    pub(super) fn sequence(&self) -> Vec<u8> {
        self.each(|preset| !preset)
    }

    /// What makes a terminal in these modes one in a new one's.
    pub(super) fn undoing(&self) -> Vec<u8> {
        self.each(|preset| preset)
    }

    fn each(&self, on: impl Fn(bool) -> bool) -> Vec<u8> {
        let mut sequence = Vec::new();
        for (index, (mode, preset)) in KEPT.iter().enumerate() {
            if self.changed & 1 << index != 0 {
                let set = if on(*preset) { 'h' } else { 'l' };
                sequence.extend(format!("\x1b[?{mode}{set}").into_bytes());
            }
        }
        sequence
    }

    /// Whether the program draws on a screen of its own.
    pub(super) fn is_full_screen(&self) -> bool {
        self.changed & 0b111 != 0
    }

    fn next(&mut self, byte: u8) -> Place {
        match (self.place, byte) {
            (_, 0x1b) => return Place::Escape,
            (Place::Escape, b'[') => {
                self.parameters.clear();
                return Place::Begun;
            }
            (Place::Escape, b'=') => self.set(KEYPAD, true),
            (Place::Escape, b'>') => self.set(KEYPAD, false),
            (Place::Escape, b'c') => self.changed = 0,
            (Place::Begun, b'?') => {
                self.parameters.push(0);
                return Place::Private;
            }
            (Place::Begun, b'!') => return Place::Soft,
            (Place::Soft, b'p') => SOFT.iter().for_each(|mode| self.reset(*mode)),
            (Place::Private, b'0'..=b'9') => {
                if let Some(last) = self.parameters.last_mut() {
                    *last = last.saturating_mul(10).saturating_add((byte - b'0').into());
                }
                return Place::Private;
            }
            (Place::Private, b';') if self.parameters.len() < PARAMETERS => {
                self.parameters.push(0);
                return Place::Private;
            }
            (Place::Private, b'h' | b'l') => {
                for mode in std::mem::take(&mut self.parameters) {
                    self.set(mode, byte == b'h');
                }
            }
            _ => {}
        }
        Place::Text
    }

    fn set(&mut self, mode: u16, on: bool) {
        for (index, (kept, preset)) in KEPT.iter().enumerate() {
            if *kept == mode {
                let bit = 1 << index;
                self.changed = match on == *preset {
                    true => self.changed & !bit,
                    false => self.changed | bit,
                };
            }
        }
    }

    fn reset(&mut self, mode: u16) {
        let preset = KEPT.iter().find(|(kept, _)| *kept == mode);
        if let Some((_, preset)) = preset {
            self.set(mode, *preset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(output: &[u8], cut: usize) -> (Vec<u8>, bool) {
        let mut modes = Modes::default();
        output.chunks(cut).for_each(|chunk| modes.note(chunk));
        (modes.sequence(), modes.is_full_screen())
    }

    #[test]
    fn modes_are_kept_however_the_output_is_cut() {
        let cases: [(&[u8], &[u8], bool); 8] = [
            (b"plain \x1b[1;31mred\x1b[0m", b"", false),
            (
                b"\x1b[?1h\x1b=\x1b[?1049h",
                b"\x1b[?1049h\x1b[?1h\x1b[?66h",
                true,
            ),
            (b"\x1b[?1049h\x1b[?1049l", b"", false),
            (
                b"\x1b[?25l\x1b[?1000;1006h",
                b"\x1b[?25l\x1b[?1000h\x1b[?1006h",
                false,
            ),
            (b"\x1b[?25l\x1b[?2004h\x1b[!p", b"\x1b[?2004h", false),
            (b"\x1b[?1049h\x1b[?1hx\x1bc", b"", false),
            (b"\x1b]0;?1h\x07\x1b[?\x1b[?1h", b"\x1b[?1h", false),
            (
                b"\x1b[?99999999999h\x1b[?;;;;;;;;;;;;;;;;;;;;;;1h\x1b[?7l",
                b"\x1b[?7l",
                false,
            ),
        ];
        for (output, sequence, full) in cases {
            for cut in 1..=output.len() {
                let shown = output.escape_ascii().to_string();
                assert_eq!(
                    after(output, cut),
                    (sequence.to_vec(), full),
                    "{shown} by {cut}"
                );
            }
        }
    }

    #[test]
    fn a_terminal_in_these_modes_is_told_the_same_again() {
        let (sequence, _) = after(b"\x1b[?1049h\x1b[?25l\x1b[?1002h\x1b[?1006h\x1b>\x1b=", 3);
        assert_eq!(after(&sequence, 1).0, sequence);
        let mut modes = Modes::default();
        modes.note(&sequence);
        modes.note(&modes.undoing());
        assert_eq!(modes.sequence(), b"");
    }

    proptest::proptest! {
        #[test]
        fn any_output_is_passed_over(output: Vec<u8>) {
            let whole = after(&output, output.len().max(1));
            proptest::prop_assert_eq!(after(&output, 1), whole);
        }
    }
}
