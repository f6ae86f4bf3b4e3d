//! JSON in colours: names, strings, numbers and words, each in its own. The text stays what it is,
//! byte by byte; only escapes of the terminal come between.

/// Of a member's name, a string, a number, and `true`, `false` and `null` (ECMA-48, SGR).
const NAME: &str = "\x1b[34m";
const STRING: &str = "\x1b[32m";
const NUMBER: &str = "\x1b[36m";
const WORD: &str = "\x1b[35m";
const END: &str = "\x1b[0m";

/// Colours a text that is JSON. Of another it colours what looks like it.
pub(super) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (colour, length) = match first {
            '"' => {
                let length = string(rest);
                let after = rest.get(length..).unwrap_or_default().trim_start();
                (if after.starts_with(':') { NAME } else { STRING }, length)
            }
            '-' | '0'..='9' => (
                NUMBER,
                run(rest, |c| c.is_ascii_alphanumeric() || "+-.".contains(c)),
            ),
            'a'..='z' => (WORD, run(rest, |c| c.is_ascii_lowercase())),
            other => {
                out.push(other);
                rest = rest.get(other.len_utf8()..).unwrap_or_default();
                continue;
            }
        };
        let (token, later) = rest.split_at_checked(length).unwrap_or((rest, ""));
        out.extend([colour, token, END]);
        rest = later;
    }
    out
}

/// The length of the string that begins here, quotes included.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn without_colours(text: &str) -> String {
        [NAME, STRING, NUMBER, WORD, END]
            .iter()
            .fold(text.to_owned(), |text, code| text.replace(code, ""))
    }

    #[test]
    fn each_kind_has_its_colour() {
        let text = r#"{"a\"b": [-1.5e+3, "x: y", true], "c" : null}"#;
        let coloured = json(text);
        for (colour, token) in [
            (NAME, r#""a\"b""#),
            (NUMBER, "-1.5e+3"),
            (STRING, r#""x: y""#),
            (WORD, "true"),
            (NAME, r#""c""#),
            (WORD, "null"),
        ] {
            assert!(
                coloured.contains(&format!("{colour}{token}{END}")),
                "{token}"
            );
        }
        assert_eq!(without_colours(&coloured), text);
    }

    proptest! {
        #[test]
        fn any_text_stays_what_it_is(text in "[ -~é日\"\\\\{}:]*") {
            prop_assert_eq!(without_colours(&json(&text)), text);
        }
    }
}
