//! Given a line of the child, then these hear it.

use crate::frame::ServerFraming;
use crate::frame::tests::{heard, json};

#[track_caller]
fn hears(line: &str, told: &[&str]) {
    let payload = line.as_bytes().escape_ascii().to_string();
    let told: Vec<_> = told
        .iter()
        .map(|told| told.replace("...", &payload))
        .collect();
    assert_eq!(
        heard(
            &ServerFraming::Json(json("id", "id")),
            &[line.as_bytes(), b"\n"]
        ),
        told,
        "{line}"
    );
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

#[test]
fn a_line_has_no_say_in_who_hears_the_next() {
    let lines = b"{\"id\":[1,2],\"_except\":1}\n{\"id\":3}\n{\"_except\":4}\n{}\n";
    let heard = heard(&ServerFraming::Json(json("id", "id")), &[lines]);
    let whom: Vec<_> = heard
        .iter()
        .filter_map(|told| told.split(" text").next())
        .collect();
    assert_eq!(whom, ["only [2]", "only [3]", "all but [4]", "everyone"]);
}
