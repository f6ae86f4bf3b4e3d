//! An independent parser is the judge of what is JSON and what its members are.

use std::fmt;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::scan;
use crate::frame::tests::{client, heard, json};
use crate::frame::{ClientFraming, Encoder, Kind, ServerFraming};

/// The top-level members of an object as the judge reads them, in order, duplicates and all.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn members(text: &str) -> Vec<(String, String)> {
    let Members(members) = serde_json::from_str(text).unwrap();
    members
        .into_iter()
        .map(|(name, value)| (name, value.get().to_owned()))
        .collect()
}

fn blank() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,2}"
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(r#""id""#.to_owned()),
        Just(r#""\u0069d""#.to_owned()),
        Just(r#""i\u0064""#.to_owned()),
        any::<String>().prop_map(|key| serde_json::to_string(&key).unwrap()),
        "[a-z]{0,20}".prop_map(|key| format!("\"{key}\"")),
    ]
}

/// JSON values as people and programs write them, white space and odd numbers included.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
        Just(r#""\ud800""#.to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,4})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        let item = (blank(), inner, blank())
            .prop_map(|(a, b, c)| a + &b + &c)
            .boxed();
        let member = (blank(), key(), blank(), item.clone())
            .prop_map(|(a, key, b, value)| format!("{a}{key}{b}:{value}"));
        prop_oneof![
            prop::collection::vec(item, 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..5).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    })
}

fn object() -> impl Strategy<Value = String> {
    let member = (blank(), key(), blank(), blank(), value(), blank())
        .prop_map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}"));
    (blank(), prop::collection::vec(member, 0..6), blank())
        .prop_map(|(a, members, b)| format!("{a}{{{}}}{b}", members.join(",")))
}

fn is_object(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
        .starts_with('{')
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Mostly valid texts with a few bytes changed, left out or put in: the borders of the grammar.
fn almost_json() -> impl Strategy<Value = String> {
    let edit = (
        any::<prop::sample::Index>(),
        0..3,
        prop::sample::select(b"{}[]\",:\\ue0-+.1 \n\x01".as_slice()),
    );
    (object(), prop::collection::vec(edit, 0..3)).prop_map(|(text, edits)| {
        let mut bytes = text.into_bytes();
        for (place, what, byte) in edits {
            let at = place.index(bytes.len() + 1);
            match what {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ => {}
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_json_is_what_the_judge_takes_for_json(text in almost_json()) {
        let taken = scan::object(text.as_bytes(), usize::MAX, |_| {}).is_some();
        prop_assert_eq!(taken, is_object(&text), "{}", text);
    }

    #[test]
    fn any_text_is_judged_alike(text in "[{}\\[\\]\",:\\\\u0-9a-fnrtls.eE+ -]{0,24}") {
        let text = format!("{{\"\":{text}}}");
        let taken = scan::object(text.as_bytes(), usize::MAX, |_| {}).is_some();
        prop_assert_eq!(taken, is_object(&text), "{}", text);
    }

    #[test]
    fn members_are_what_the_judge_reads(text in object()) {
        let mut seen = Vec::new();
        scan::object(text.as_bytes(), usize::MAX, |member| {
            let name = super::name(member.key, member.escaped).into_owned();
            let value = member.value.to_vec();
            seen.push((String::from_utf8(name).unwrap(), String::from_utf8(value).unwrap()));
        }).unwrap();
        prop_assert_eq!(seen, members(&text));
    }

    #[test]
    fn a_stamped_object_is_the_clients_less_its_claims_plus_the_sender(text in object()) {
        let framing = ClientFraming::Json(json("id", "id"));
        let mut out = Vec::new();
        let encoder = Encoder::new(&framing);
        let from = client(7);
        encoder.message(from, Kind::Text, text.as_bytes(), &mut out).unwrap();
        let line = String::from_utf8(out).unwrap();
        prop_assert_eq!(line.matches(['\n', '\r']).count(), 1, "one line: {}", line);
        prop_assert!(line.ends_with('\n'));
        let mut told = members(&text.replace(['\n', '\r'], " "));
        let claimed = told.iter().any(|(name, _)| name == "id");
        told.retain(|(name, _)| name != "id");
        told.push(("id".to_owned(), "7".to_owned()));
        prop_assert_eq!(members(&line), told);
        if !claimed {
            let (head, tail) = text.rsplit_once('}').unwrap();
            let comma = if members(&text).is_empty() { "" } else { "," };
            let whole = format!("{head}{comma}\"id\":7}}{tail}").replace(['\n', '\r'], " ");
            prop_assert_eq!(line, whole + "\n", "all else byte for byte");
        }
    }

    #[test]
    fn a_line_is_heard_as_printed_by_whom_the_judge_names(text in object()) {
        let line = text.replace(['\n', '\r'], " ");
        let framing = ServerFraming::Json(json("id", "id"));
        let told = heard(&framing, &[line.as_bytes(), b"\n"]);
        let last = members(&line).into_iter().rfind(|(name, _)| name == "id");
        let ids = last.as_ref().and_then(|(_, value)| {
            let one = serde_json::from_str::<u32>(value).ok().map(|id| vec![id]);
            one.or_else(|| serde_json::from_str(value).ok())
        });
        match (last, ids) {
            (Some(_), Some(mut ids)) => {
                ids.sort_unstable();
                ids.dedup();
                let told_ids = format!("only {ids:?} text: {}", line.as_bytes().escape_ascii());
                prop_assert_eq!(told, [told_ids]);
            }
            (Some(_), None) => prop_assert!(told[0].starts_with("counted "), "{:?}", told),
            (None, _) => {
                prop_assert_eq!(told, [format!("everyone text: {}", line.as_bytes().escape_ascii())]);
            }
        }
    }

    #[test]
    fn a_string_of_any_length_is_judged_alike(
        blank in "[ ]{0,20}",
        key in "[a-zé\"\\\\]{0,40}",
        value in "[ -~]{0,70}[\"\\\\\u{0}-\u{20}\u{7f}é\u{10ffff}]{0,2}[ -~]{0,20}",
        rest in "[ -~]{0,20}",
    ) {
        for text in [
            format!("{blank}{{\"{key}\":\"{value}\"}}"),
            format!("{blank}{{\"{key}\":\"{value}\",\"{rest}\":1}}"),
            format!("{blank}{{\"{key}\":[\"{value}\",\"{rest}"),
        ] {
            let taken = scan::object(text.as_bytes(), usize::MAX, |_| {}).is_some();
            prop_assert_eq!(taken, is_object(&text), "{}", text);
        }
    }

    #[test]
    fn a_line_is_read_alike_whatever_came_before_it(lines in prop::collection::vec(object(), 1..5)) {
        let framing = ServerFraming::Json(json("id", "id"));
        let lines: Vec<String> = lines
            .iter()
            .map(|line| line.replace(['\n', '\r'], " ") + "\n")
            .collect();
        let alone = lines.iter().flat_map(|line| heard(&framing, &[line.as_bytes()]));
        let alone: Vec<String> = alone.collect();
        prop_assert_eq!(heard(&framing, &[lines.concat().as_bytes()]), alone);
    }

    #[test]
    fn a_binary_message_is_stamped_as_the_same_text(text in almost_json(), id in 1u32..) {
        let encoder = Encoder::new(&ClientFraming::Json(json("id", "id")));
        let stamped = |kind| {
            let mut out = Vec::new();
            encoder.message(client(id), kind, text.as_bytes(), &mut out).map(|()| out)
        };
        prop_assert_eq!(stamped(Kind::Binary), stamped(Kind::Text));
        if let Ok(line) = stamped(Kind::Text) {
            let (_, sender) = members(str::from_utf8(&line).unwrap()).pop().unwrap();
            prop_assert_eq!(sender, id.to_string());
        }
    }
}
