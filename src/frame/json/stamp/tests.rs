//! Given what a client says, then the child reads this.

use crate::frame::json::RESERVED;
use crate::frame::tests::{json, read};
use crate::frame::{ClientFraming, Drop, Kind};

fn stamped(message: &str) -> Result<String, Drop> {
    let framing = ClientFraming::Json(json("id", "id"));
    read(&framing, Kind::Text, message.as_bytes()).map(|read| read.replace("\\\"", "\""))
}

#[track_caller]
fn reads(message: &str, line: &str) {
    assert_eq!(stamped(message).unwrap(), format!("{line}\\n"), "{message}");
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
fn a_message_dropped_half_way_leaves_no_trace() {
    // `read` holds that; here a part had been taken over before the fault was met.
    assert_eq!(stamped(r#"{"id":1,"a":}"#), Err(Drop::NotJsonObject));
    assert_eq!(stamped(r#"{"id":1,"_meta":true}"#), Err(Drop::ReservedName));
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
    for name in RESERVED {
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
