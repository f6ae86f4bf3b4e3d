//! Given a line of the child, then these hear it; given what a client says, then the child reads this.
//! An independent parser is the judge of what is JSON and what its members are.

use std::fmt;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::scan;
use crate::frame::tests::{heard, json, read};
use crate::frame::{ClientFraming, Drop, Kind, ServerFraming};

fn said(line: &str) -> Vec<String> {
    heard(
        &ServerFraming::Json(json("id", "id")),
        &[line.as_bytes(), b"\n"],
    )
}

fn stamped(message: &str) -> Result<String, Drop> {
    let framing = ClientFraming::Json(json("id", "id"));
    read(&framing, Kind::Text, message.as_bytes()).map(|read| read.replace("\\\"", "\""))
}

#[track_caller]
fn reads(message: &str, line: &str) {
    assert_eq!(stamped(message).unwrap(), format!("{line}\\n"), "{message}");
}

#[track_caller]
fn hears(line: &str, told: &[&str]) {
    let payload = line.as_bytes().escape_ascii().to_string();
    let told: Vec<_> = told
        .iter()
        .map(|told| told.replace("...", &payload))
        .collect();
    assert_eq!(said(line), told, "{line}");
}

#[test]
fn a_clients_object_gets_its_sender_last() {
    reads("{}", r#"{"id":7}"#);
    reads(r#"{"hi":true}"#, r#"{"hi":true,"id":7}"#);
    reads(
        r#"{"a":{"id":1},"b":[{"id":2}]}"#,
        r#"{"a":{"id":1},"b":[{"id":2}],"id":7}"#,
    );
    reads(r#" { "a" : 1 } "#, r#" { "a" : 1 ,"id":7} "#);
    reads("{ }", r#"{ "id":7}"#);
}

#[test]
fn no_client_speaks_as_another() {
    reads(r#"{"id":1}"#, r#"{"id":7}"#);
    reads(r#"{"id":1,"a":2}"#, r#"{"a":2,"id":7}"#);
    reads(r#"{"a":2,"id":1}"#, r#"{"a":2,"id":7}"#);
    reads(r#"{"a":2,"id":1,"b":3}"#, r#"{"a":2,"b":3,"id":7}"#);
    reads(
        r#"{"id":1,"id":[2],"a":2,"id":{"id":3},"id":4}"#,
        r#"{"a":2,"id":7}"#,
    );
    reads(
        r#"{"\u0069d":1,"i\u0064":2,"\u0069\u0064":3}"#,
        r#"{"id":7}"#,
    );
    reads(
        r#"{ "id" : 1 , "a" : 2 , "id" : 3 }"#,
        r#"{ "a" : 2 ,"id":7}"#,
    );
    reads(
        r#"{"ID":1,"id ":2,"idx":3}"#,
        r#"{"ID":1,"id ":2,"idx":3,"id":7}"#,
    );
}

#[test]
fn all_else_passes_byte_for_byte() {
    reads(
        r#"{"n":12345678901234567890123,"e":1e400,"f":-0.10E+05}"#,
        r#"{"n":12345678901234567890123,"e":1e400,"f":-0.10E+05,"id":7}"#,
    );
    let escapes = r#"{"lone":"\ud800","\udfff":"\/\b\f\n\r\t\u0000","b":1,"a":1,"b":2"#;
    let framing = ClientFraming::Json(json("id", "id"));
    let line = read(&framing, Kind::Binary, format!("{escapes}}}").as_bytes()).unwrap();
    assert_eq!(
        line,
        format!("{escapes},\"id\":7}}\n")
            .as_bytes()
            .escape_ascii()
            .to_string()
    );
}

#[test]
fn raw_line_breaks_between_tokens_become_spaces() {
    reads(
        "{\r\n\"a\"\n:\r1,\n\"id\":2}\r\n",
        r#"{  "a" : 1,"id":7}  "#,
    );
    reads(r#"{"a":"\n\r"}"#, r#"{"a":"\\n\\r","id":7}"#);
}

#[test]
fn what_is_not_an_object_is_dropped() {
    for message in [
        "",
        " ",
        "1",
        "null",
        "\"{}\"",
        "[]",
        "[{}]",
        "{",
        "}",
        "{}{}",
        "{},",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":-}",
        "{\"a\":1e}",
        "{\"a\":tru}",
        "{\"a\":truex}",
        "{\"a\":NaN}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"}",
        "{\"a\":[1}",
        "{\"a\":{]}",
        "{\"a\":[1,]}",
        "{\"a\":1 \"b\":2}",
        "{\"a\" 1}",
        "\u{feff}{}",
        "{\"a\":1}\0",
        "// {}\n{}",
        "{\"a\":\"\\\"}",
    ] {
        assert_eq!(stamped(message), Err(Drop::NotJsonObject), "{message:?}");
    }
    let framing = ClientFraming::Json(json("id", "id"));
    assert_eq!(
        read(&framing, Kind::Binary, b"{\"a\":\"\xff\"}"),
        Err(Drop::NotJsonObject)
    );
}

#[test]
fn clients_nest_128_deep_and_no_deeper() {
    for (open, shut) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| {
            let core = if open == "[" { "" } else { "0" };
            format!(
                "{{\"a\":{}{core}{}}}",
                open.repeat(depth - 1),
                shut.repeat(depth - 1)
            )
        };
        assert!(stamped(&nested(128)).is_ok());
        assert_eq!(stamped(&nested(129)), Err(Drop::NotJsonObject));
        assert_eq!(stamped(&nested(100_000)), Err(Drop::NotJsonObject));
    }
    let wide = format!("{{\"a\":[{}1]}}", "[],{},".repeat(1000));
    assert!(stamped(&wide).is_ok(), "depth is not how many there are");
}

#[test]
fn clients_cannot_steer_the_room() {
    for name in super::RESERVED {
        let escaped = name.replacen('_', "\\u005F", 1);
        for message in [
            format!(r#"{{"{name}":true}}"#),
            format!(r#"{{"a":1,"{name}":null,"b":2}}"#),
            format!(r#"{{"{escaped}":true}}"#),
        ] {
            assert_eq!(stamped(&message), Err(Drop::ReservedName), "{message}");
        }
        let nested = format!(r#"{{"a":{{"{name}":1}},"b":"{name}"}}"#);
        assert!(stamped(&nested).is_ok(), "only the top level is reserved");
    }
}

#[test]
fn the_from_field_may_have_any_name() {
    for (name, spelt) in [
        ("_from", "_from"),
        ("a\"b\\", "a\\\"b\\\\"),
        ("é", "\\u00e9"),
        ("", ""),
    ] {
        let framing = ClientFraming::Json(json(name, "id"));
        let message = format!(r#"{{"{spelt}":1,"id":2}}"#);
        let line = read(&framing, Kind::Text, message.as_bytes()).unwrap();
        let own = serde_json::to_string(name).unwrap();
        let told = format!("{{\"id\":2,{own}:7}}\n");
        assert_eq!(line, told.as_bytes().escape_ascii().to_string());
    }
}

#[test]
fn the_to_field_names_who_hears() {
    hears(r#"{"id":3}"#, &["only [3] text: ..."]);
    hears(r#"{"id":[9,2,9]}"#, &["only [2, 9] text: ..."]);
    hears(r#"{"id":[ ]}"#, &["only [] text: ..."]);
    hears(r#"{"id":0}"#, &["only [0] text: ..."]);
    hears(
        r#"{"x":[{"id":1}], "\u0069d" : [ 4 , 5 ] , "y":"id"}"#,
        &["only [4, 5] text: ..."],
    );
    hears(r#"{"id":1,"id":2}"#, &["only [2] text: ..."]);
    hears(
        r#"{"id":1,"id":null}"#,
        &["counted bad_to", "everyone text: ..."],
    );
    hears(r#"{"id":4294967295}"#, &["only [4294967295] text: ..."]);
    hears(
        r#"{"id":4294967296}"#,
        &["counted unknown_client", "only [] text: ..."],
    );
    hears(
        r#"{"id":[99999999999999999999,1]}"#,
        &["counted unknown_client", "only [1] text: ..."],
    );
}

#[test]
fn any_other_value_means_everyone_and_is_counted() {
    for value in [
        r#""sword""#,
        r#""1""#,
        "-1",
        "-0",
        "1.0",
        "1e2",
        "true",
        "null",
        "{}",
        r#"{"id":1}"#,
        "[[1]]",
        r#"[1,"2"]"#,
        "[1,-2]",
        "[1.5]",
        "[null]",
        r#"["a,1"]"#,
    ] {
        hears(
            &format!(r#"{{"id":{value}}}"#),
            &["counted bad_to", "everyone text: ..."],
        );
    }
}

#[test]
fn all_other_lines_go_to_everyone_unchanged() {
    for line in [
        "",
        "hello",
        "[1,\"id\"]",
        r#"{"a":1}"#,
        r#" { "n" : 1e400 } "#,
        r#"{"id":1"#,
        r#"{"id":01}"#,
        r#"{"id":1}}"#,
        r#"["id",{"id":1}]"#,
        r#"{"a":"\"id\":1"}"#,
        r#"{"_gap":1,"_other":2}"#,
    ] {
        hears(line, &["everyone text: ..."]);
    }
    let broken = heard(
        &ServerFraming::Json(json("id", "id")),
        &[b"{\"id\":1,\"a\":\"\xff\"}\n"],
    );
    assert_eq!(
        broken,
        ["everyone binary: {\\\"id\\\":1,\\\"a\\\":\\\"\\xff\\\"}"]
    );
}

#[test]
fn depth_does_not_make_a_directed_line_public() {
    for depth in [1, 63, 64, 65, 127, 128, 129, 500, 100_000] {
        let deep = format!(
            r#"{{"id":1,"a":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        hears(&deep, &["only [1] text: ..."]);
        let mixed = format!(
            r#"{{"a":{}0{},"id":1}}"#,
            r#"[{"":"#.repeat(depth),
            "}]".repeat(depth)
        );
        hears(&mixed, &["only [1] text: ..."]);
        let crossed = format!(r#"{{"id":1,"a":[{{"":{}]}}}}"#, "[".repeat(depth));
        hears(&crossed, &["everyone text: ..."]);
    }
}

#[test]
fn except_names_who_does_not_hear() {
    hears(r#"{"_except":2}"#, &["all but [2] text: ..."]);
    hears(r#"{"_except":[3,2,3]}"#, &["all but [2, 3] text: ..."]);
    hears(r#"{"\u005fexcept":2}"#, &["all but [2] text: ..."]);
    hears(r#"{"_except":[]}"#, &["everyone text: ..."]);
    hears(
        r#"{"_except":"me"}"#,
        &["counted bad_except", "everyone text: ..."],
    );
    hears(
        r#"{"_except":1e1,"id":1}"#,
        &["counted bad_except", "only [1] text: ..."],
    );
    hears(
        r#"{"_except":[2,9],"id":[1,2,3]}"#,
        &["only [1, 3] text: ..."],
    );
    hears(
        r#"{"_except":2,"id":"x"}"#,
        &["counted bad_to", "all but [2] text: ..."],
    );
}

#[test]
fn metadata_and_the_tag_need_the_word_true() {
    hears(r#"{"_meta":true,"id":1,"map":"x"}"#, &["metadata: ..."]);
    hears(r#"{"_meta":1}"#, &["everyone text: ..."]);
    hears(r#"{"_meta":true,"_meta":false}"#, &["everyone text: ..."]);
    hears(r#"{"_cache":true}"#, &["everyone text tagged: ..."]);
    hears(
        r#"{"_cache":true,"_except":1}"#,
        &["all but [1] text tagged: ..."],
    );
    hears(r#"{"_cache":"true"}"#, &["everyone text: ..."]);
}

#[test]
fn a_child_ends_connections_with_a_code_and_a_reason() {
    hears(r#"{"_close":3}"#, &["close [3] 4000: "]);
    hears(
        r#"{"_close":[5,3],"_code":1000,"_reason":"bye"}"#,
        &["close [3, 5] 1000: bye"],
    );
    hears(
        r#"{"_reason":"a\"\u00e9\ud83d\ude00\ud800","_close":1}"#,
        &["close [1] 4000: a\"\u{e9}\u{1f600}\u{fffd}"],
    );
    for (code, told) in [(3000, 3000), (4999, 4999)] {
        let line = format!(r#"{{"_close":1,"_code":{code}}}"#);
        hears(&line, &[&format!("close [1] {told}: ")]);
    }
    for code in [
        "999", "1001", "1011", "2999", "5000", "65536", "-1", "4000.0", "\"4000\"", "null",
    ] {
        let line = format!(r#"{{"_close":1,"_code":{code}}}"#);
        hears(&line, &["counted bad_close", "close [1] 4000: "]);
    }
    hears(
        r#"{"_close":1,"_reason":5}"#,
        &["counted bad_close", "close [1] 4000: "],
    );
    hears(
        r#"{"_close":"ann"}"#,
        &["counted bad_close", "everyone text: ..."],
    );
    hears(
        r#"{"_close":1,"_meta":true}"#,
        &["metadata: ...", "close [1] 4000: "],
    );
    hears(r#"{"_code":4001,"_reason":"x"}"#, &["everyone text: ..."]);
}

#[test]
fn the_to_field_may_have_any_name() {
    for (name, line) in [
        ("_to", r#"{"_to":1}"#),
        ("a/b", r#"{"a\/b":1}"#),
        ("a\"", r#"{"a\"":1}"#),
        ("a\n", r#"{"a\n":1}"#),
        ("é", r#"{"\u00E9":1}"#),
        ("😀", r#"{"\uD83D\uDE00":1}"#),
        ("", r#"{"":1}"#),
    ] {
        let told = heard(&ServerFraming::Json(json("id", name)), &[line.as_bytes()]);
        assert_eq!(
            told,
            [format!("only [1] text: {}", line.as_bytes().escape_ascii())]
        );
    }
}

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
        let encoder = crate::frame::Encoder::new(&framing);
        let from = crate::frame::tests::client(7);
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
        let told = said(&line);
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
}
