//! Patterns for names of rooms: `*` is any text, `?` one character, all else itself.
//!
//! They come from a token's issuer and names from clients, so matching takes at most the product of
//! both lengths, whatever they are.

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<char>);

impl Glob {
    /// Any text is a pattern.
    pub(super) fn new(pattern: &str) -> Self {
        Glob(pattern.chars().collect())
    }

    /// Whether it is a pattern for the whole name.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut here) = (0, 0);
        // Where the last star is, and how much of the name it has taken: the earlier ones need
        // never take more than they have.
        let mut star: Option<(usize, usize)> = None;
        while let Some(character) = name.get(here) {
            match (self.0.get(at), star) {
                (Some('*'), _) => {
                    star = Some((at, here));
                    at += 1;
                }
                (Some(pattern), _) if *pattern == '?' || pattern == character => {
                    at += 1;
                    here += 1;
                }
                (_, Some((back, taken))) => {
                    star = Some((back, taken + 1));
                    at = back + 1;
                    here = taken + 1;
                }
                (_, None) => return false,
            }
        }
        self.0.iter().skip(at).all(|rest| *rest == '*')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::new(pattern).matches(name)
    }

    #[test]
    fn a_star_is_any_text_and_a_question_mark_one_character() {
        for (pattern, name) in [
            ("a*", "abc"),
            ("a*", "a"),
            ("*", ""),
            ("*", "anything"),
            ("caf?", "café"),
            ("team-*-lobby", "team-7-lobby"),
            ("*a*b*c", "xaybzabc"),
            ("a.c", "a.c"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a*", "b"),
            ("a*", "ba"),
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("team-*-lobby", "team-7-lobby2"),
            ("a.c", "abc"),
            ("A*", "abc"),
            ("[ab]", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    /// What it means, slowly.
    fn plainly(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, _) => name.is_empty(),
            (Some(('*', rest)), None) => plainly(rest, name),
            (Some(('*', rest)), Some((_, later))) => plainly(rest, name) || plainly(pattern, later),
            (Some(_), None) => false,
            (Some((one, rest)), Some((character, later))) => {
                (*one == '?' || one == character) && plainly(rest, later)
            }
        }
    }

    proptest! {
        #[test]
        fn it_means_what_it_says(pattern in "[ab*?]{0,8}", name in "[ab*]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &name), plainly(&chars(&pattern), &chars(&name)));
        }
    }
}
