//! What a client offers in `Sec-WebSocket-Extensions`, and what is agreed to (RFC 7692 section 7.1).

use super::WINDOW;

const NAME: &str = "permessage-deflate";
/// Always both: see the module above. A server may ask this of a client that did not offer it.
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What client and server do from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// The value of `Sec-WebSocket-Extensions` that says so.
    pub answer: String,
    /// Whether what we compress fits the client's window. If not, all it hears is plain, as any message may be;
    /// what it says may be compressed all the same.
    pub hears_packed: bool,
}

/// A header that is no list of extensions: the handshake fails (RFC 6455 section 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Agrees to the first offer, of those in the values of all headers in their order, that can be met;
/// an empty list offers nothing.
///
/// # Errors
///
/// [`Malformed`], also behind an offer that can be met.
pub fn agree<'a>(
    values: impl IntoIterator<Item = &'a str>,
) -> Result<Option<Agreement>, Malformed> {
    let mut agreed = None;
    let offers = values.into_iter().flat_map(|value| split(value, ','));
    // A list may have empty elements (RFC 9110 section 5.6.1).
    for offer in offers.filter(|offer| !offer.is_empty()) {
        let offer = Offer::parse(offer)?;
        agreed = agreed.or_else(|| offer.meet());
    }
    Ok(agreed)
}

/// An extension and its parameters.
struct Offer<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, Option<String>)>,
}

impl<'a> Offer<'a> {
    fn parse(offer: &'a str) -> Result<Self, Malformed> {
        let mut parts = split(offer, ';');
        let name = parts
            .next()
            .filter(|name| is_token(name))
            .ok_or(Malformed)?;
        let parameters = parts.map(|part| {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => {
                    let value = unquoted(value.trim()).filter(|value| is_token(value));
                    (name.trim(), Some(value.ok_or(Malformed)?))
                }
                None => (part, None),
            };
            is_token(name).then_some((name, value)).ok_or(Malformed)
        });
        Ok(Offer {
            name,
            parameters: parameters.collect::<Result<_, _>>()?,
        })
    }

    /// Agrees to it. `None`: it is another extension, or has a parameter that is unknown, wrong, or
    /// there twice.
    fn meet(&self) -> Option<Agreement> {
        if self.name != NAME {
            return None;
        }
        let mut seen = Vec::with_capacity(4);
        let mut window = None;
        for (name, value) in &self.parameters {
            match (*name, value) {
                ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
                // It may be told to use less than all; what it uses is small enough for us either way.
                ("client_max_window_bits", None) => {}
                ("client_max_window_bits", Some(bits)) => {
                    window_bits(bits)?;
                }
                ("server_max_window_bits", Some(bits)) => window = Some(window_bits(bits)?),
                _ => return None,
            }
            if seen.contains(name) {
                return None;
            }
            seen.push(*name);
        }
        let answer = match window {
            Some(bits) => format!("{ANSWER}; server_max_window_bits={bits}"),
            None => ANSWER.to_owned(),
        };
        Some(Agreement {
            answer,
            hears_packed: window.is_none_or(|bits| bits >= WINDOW),
        })
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let mut bytes = text.bytes();
    !text.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// From 8 to 15, without zeros before it.
fn window_bits(text: &str) -> Option<u8> {
    (8..=15).find(|bits: &u8| bits.to_string() == text)
}

/// The value of a parameter: a token, or a string in quotes (RFC 9110 section 5.6.4).
fn unquoted(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return Some(value.to_owned());
    };
    let mut text = String::new();
    let mut chars = inner.chars();
    loop {
        match chars.next()? {
            '\\' => text.push(chars.next()?),
            '"' => return chars.next().is_none().then_some(text),
            other => text.push(other),
        }
    }
}

/// The parts between `separator`s that are not in quotes, without the space around them.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let outside = move |c: char| {
        let escapes = quoted && c == '\\' && !escaped;
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = escapes;
        c == separator && !quoted
    };
    text.split(outside).map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(offer: &str) -> Option<String> {
        let agreed = agree([offer]).expect("a list of extensions");
        agreed.map(|agreed| agreed.answer)
    }

    #[test]
    fn what_can_be_met_is_agreed_to() {
        for (offer, more) in [
            ("permessage-deflate", ""),
            ("permessage-deflate; client_max_window_bits", ""),
            (" permessage-deflate ;client_max_window_bits = 8 ", ""),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                "",
            ),
            (
                "permessage-deflate; server_max_window_bits=12",
                "; server_max_window_bits=12",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"1\\5\"",
                "; server_max_window_bits=15",
            ),
            ("x-webkit-deflate-frame, permessage-deflate", ""),
            (r#"x; y="\z", permessage-deflate"#, ""),
            (", ,permessage-deflate, ", ""),
        ] {
            assert_eq!(answer(offer), Some(format!("{ANSWER}{more}")), "{offer}");
        }
    }

    #[test]
    fn what_is_wrong_or_unknown_is_declined() {
        for offer in [
            "",
            "permessage-bzip2",
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=1",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=15",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=256",
            "permessage-deflate; client_max_window_bits=0x9",
        ] {
            assert_eq!(answer(offer), None, "{offer}");
        }
    }

    #[test]
    fn what_is_no_list_of_extensions_is_malformed() {
        for value in [
            ",;=",
            ";",
            "permessage-deflate;",
            "permessage-deflate; =10",
            "permessage-deflate; client_no_context_takeover=\"\"",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"12",
            "permessage-deflate; server_max_window_bits=\"12\"3",
            "permessage-deflate; server_max_window_bits=1 2",
            "permessage deflate",
            "permessage-deflate, x; y=\"a, b\"",
            "x; y=\"\\",
        ] {
            assert_eq!(agree([value]), Err(Malformed), "{value}");
        }
        assert_eq!(
            agree([NAME, ";"]),
            Err(Malformed),
            "behind one that can be met"
        );
        assert_eq!(agree(["", " , "]), Ok(None));
    }

    #[test]
    fn the_first_offer_that_can_be_met_counts_whichever_header_it_is_in() {
        let agreed = agree([
            "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ]);
        assert_eq!(
            agreed.map(|agreed| agreed.map(|agreed| agreed.answer)),
            Ok(Some(format!("{ANSWER}; server_max_window_bits=10")))
        );
    }

    #[test]
    fn who_has_less_memory_than_our_window_needs_hears_plain() {
        for bits in 8..=15 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let agreed = agree([&*offer]).ok().flatten().expect("can be met");
            assert_eq!(agreed.hears_packed, bits >= WINDOW, "{bits}");
        }
        assert!(agree([NAME]).is_ok_and(|agreed| agreed.is_some_and(|agreed| agreed.hears_packed)));
    }

    proptest! {
        #[test]
        fn any_header_is_judged_without_a_panic(value in "[ -~]{0,80}|([,;=\"\\\\ 0-9]|permessage-deflate|server_max_window_bits){0,12}") {
            if let Ok(Some(agreed)) = agree([&*value]) {
                prop_assert!(value.contains(NAME));
                prop_assert!(agreed.answer.starts_with(ANSWER));
            }
        }
    }
}
