//! JSON framing: who hears what, what a client may not say, and that nothing is re-encoded.

use crate::harness::{Person, Server, serve};

/// One person who hears what the child made of their words.
async fn echo() -> (Server, Person) {
    let server = serve("--frame=json puppet echo").await;
    let ann = server.join("/lobby").await;
    (server, ann)
}

async fn becomes(said: &str, heard: &str) {
    let (_server, mut ann) = echo().await;
    ann.says(said).await;
    ann.hears(heard).await;
    ann.says(r#"{"fence":1}"#).await;
    ann.hears(r#"{"fence":1,"id":1}"#).await;
}

/// The message is dropped, and its sender stays and is heard.
async fn is_dropped(said: &str) {
    let (_server, mut ann) = echo().await;
    ann.says(said).await;
    ann.says(r#"{"fence":1}"#).await;
    ann.hears(r#"{"fence":1,"id":1}"#).await;
}

#[tokio::test]
async fn a_message_addressed_to_one_is_heard_by_one() {
    let (server, mut ann) = echo().await;
    let mut bob = server.join("/lobby").await;
    ann.says(r#"{"hi":true}"#).await;
    ann.hears(r#"{"hi":true,"id":1}"#).await;
    bob.hears_nothing().await;
    bob.says(r#"{"me":2}"#).await;
    bob.hears(r#"{"me":2,"id":2}"#).await;
}

#[tokio::test]
async fn frame_without_a_mode_is_json() {
    let server = serve("--frame cat").await;
    let mut ann = server.join("/lobby").await;
    ann.says("{}").await;
    ann.hears(r#"{"id":1}"#).await;
}

#[tokio::test]
async fn what_is_not_an_object_is_dropped_and_its_sender_stays() {
    for said in [
        "nonsense",
        "[1]",
        "1",
        "\"x\"",
        "null",
        "",
        "{",
        "{\"a\":1}}",
        "{\"a\":01}",
        "{'a':1}",
    ] {
        is_dropped(said).await;
    }
}

#[tokio::test]
async fn bytes_that_are_json_are_taken_and_bytes_that_are_not_are_dropped() {
    let (_server, mut ann) = echo().await;
    ann.says_bytes(b"{\"a\":\"\xff\"}").await;
    ann.says_bytes(b"{\"a\":1}").await;
    ann.hears(r#"{"a":1,"id":1}"#).await;
}

#[tokio::test]
async fn nobody_speaks_in_the_name_of_another() {
    becomes(r#"{"id":99,"x":1}"#, r#"{"x":1,"id":1}"#).await;
    becomes(r#"{"x":1,"id":99}"#, r#"{"x":1,"id":1}"#).await;
    becomes(r#"{"id":7,"x":1,"id":9}"#, r#"{"x":1,"id":1}"#).await;
    becomes(r#"{"\u0069d":7,"x":1}"#, r#"{"x":1,"id":1}"#).await;
    becomes(r#"{"\u0069\u0064":7}"#, r#"{"id":1}"#).await;
    becomes(r#"{"x":{"id":7}}"#, r#"{"x":{"id":7},"id":1}"#).await;
    becomes(r#"{"x":"\"id\":7"}"#, r#"{"x":"\"id\":7","id":1}"#).await;
}

#[tokio::test]
async fn all_else_passes_byte_for_byte() {
    for inner in [
        r#""z":1,"a":2"#,
        r#""n":12345678901234567890123"#,
        r#""n":1e400,"m":-0.0,"o":1.0E+2"#,
        r#""s":"\u00e9\ud800 \/""#,
        r#""a" : [ 1 , {"b":[]} ]"#,
        r#""same":1,"same":2"#,
    ] {
        becomes(&format!("{{{inner}}}"), &format!("{{{inner},\"id\":1}}")).await;
    }
}

#[tokio::test]
async fn raw_line_breaks_between_tokens_never_make_two_lines() {
    let (_server, mut ann) = echo().await;
    ann.says("{\n\"a\"\r\n:\n[1,\n2]\r\n}\n").await;
    let text = ann.hears_text().await;
    assert!(!text.contains(['\n', '\r']), "{text:?}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value, serde_json::json!({"a": [1, 2], "id": 1}));
    ann.says(r#"{"fence":1}"#).await;
    ann.hears(r#"{"fence":1,"id":1}"#).await;
}

#[tokio::test]
async fn depth_is_bounded() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let fine = nested(127);
    becomes(&fine, &fine.replace("]}", "],\"id\":1}")).await;
    is_dropped(&nested(128)).await;
    is_dropped(&nested(100_000)).await;
}

#[tokio::test]
async fn reserved_names_are_refused_from_clients() {
    for name in [
        "_meta",
        "_cache",
        "_close",
        "_code",
        "_reason",
        "_except",
        "_gap",
        "_replay",
        "_\\u006deta",
    ] {
        is_dropped(&format!("{{\"x\":1,\"{name}\":true}}")).await;
    }
    becomes(r#"{"x":{"_meta":true}}"#, r#"{"x":{"_meta":true},"id":1}"#).await;
}

/// A room of three, ids 1 to 3, whose child prints this line and then `"end"` once they are in.
async fn three_hear(line: &str) -> (Server, Vec<Person>) {
    let server = serve(format!(
        "--frame=json puppet wait then print '{line}' then print '\"end\"' then mute"
    ))
    .await;
    let mut people = Vec::new();
    for _ in 0..3 {
        people.push(server.join("/x").await);
    }
    people[0].says("{}").await;
    (server, people)
}

async fn reaches(line: &str, expected: &[usize]) {
    let (_server, mut people) = three_hear(line).await;
    for (id, person) in (1..).zip(&mut people) {
        if expected.contains(&id) {
            person.hears(line).await;
        }
        person.hears("\"end\"").await;
    }
}

#[tokio::test]
async fn the_child_chooses_who_hears() {
    reaches(r#"{"id":2,"m":1}"#, &[2]).await;
    reaches(r#"{"m":1,"id":[1,3]}"#, &[1, 3]).await;
    reaches(r#"{"id":[],"m":1}"#, &[]).await;
    reaches(r#"{"id":1,"id":2}"#, &[2]).await;
    reaches(r#"{"\u0069d":2}"#, &[2]).await;
    reaches(r#"{"id":99}"#, &[]).await;
    reaches(r#"{"id":[99,1]}"#, &[1]).await;
    reaches(r#"{"id":99999999999999999999}"#, &[]).await;
}

#[tokio::test]
async fn a_field_that_names_nobody_means_everyone() {
    for line in [
        r#"{"id":"sword"}"#,
        r#"{"id":-1}"#,
        r#"{"id":1.5}"#,
        r#"{"id":[1,"x"]}"#,
        r#"{"id":null}"#,
    ] {
        reaches(line, &[1, 2, 3]).await;
    }
}

#[tokio::test]
async fn what_names_nobody_or_is_no_object_is_for_everyone_unchanged() {
    for line in [
        r#"{"m": 1}"#,
        "not json",
        "[1, 2]",
        r#"{"x":{"id":2}}"#,
        r#"{"id":2"#,
    ] {
        reaches(line, &[1, 2, 3]).await;
    }
}

#[tokio::test]
async fn except_is_everybody_else() {
    reaches(r#"{"_except":1,"m":1}"#, &[2, 3]).await;
    reaches(r#"{"_except":[1,2]}"#, &[3]).await;
}

#[tokio::test]
async fn the_child_closes_whom_it_names() {
    let line = r#"{"_close":2,"_code":4123,"_reason":"cheating"}"#;
    let (_server, mut people) = three_hear(line).await;
    people[1].hears_close(4123, "cheating").await;
    people[0].hears("\"end\"").await;
    people[2].hears("\"end\"").await;
}

#[tokio::test]
async fn a_kick_without_a_code_is_4000() {
    let (_server, mut people) = three_hear(r#"{"_close":[1,3]}"#).await;
    people[0].hears_close_code(4000).await;
    people[2].hears_close_code(4000).await;
    people[1].hears("\"end\"").await;
}

#[tokio::test]
async fn a_long_reason_is_cut_on_a_character() {
    let reason = "é".repeat(100);
    let (_server, mut people) = three_hear(&format!(
        "{{\"_close\":2,\"_code\":1000,\"_reason\":\"{reason}\"}}"
    ))
    .await;
    assert_eq!(people[1].hears_close_code(1000).await, "é".repeat(61));
}

#[tokio::test]
async fn a_code_that_no_server_may_send_is_never_sent() {
    for code in ["1006", "999", "5000", "\"x\"", "1001"] {
        let line = format!("{{\"_close\":2,\"_code\":{code}}}");
        let (_server, mut people) = three_hear(&line).await;
        people[0].hears_until("\"end\"").await;
        // Whether the kick counts is the server's choice; the code on the wire is not.
        people[1].hears_or_is_closed("\"end\"", &[4000]).await;
    }
}

#[tokio::test]
async fn metadata_is_kept_and_not_delivered() {
    let line = r#"{"_meta":true,"title":"duel"}"#;
    let server = serve(format!(
        "--api --frame=json puppet print '{line}' then print '1' then mute"
    ))
    .await;
    let mut ann = server.join("/arena").await;
    ann.hears("1").await;
    let rooms = server.get("/api/rooms/").await.json();
    assert_eq!(rooms[0]["name"], "arena");
    assert_eq!(rooms[0]["connections"], 1);
    assert_eq!(rooms[0]["metadata"]["title"], "duel");
}

#[tokio::test]
async fn one_direction_can_be_framed_alone() {
    let server = serve("--client-frame=json cat").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    bob.says(r#"{"a":1}"#).await;
    ann.hears(r#"{"a":1,"id":2}"#).await;
    bob.hears(r#"{"a":1,"id":2}"#).await;
    for flag in ["--server-frame=json", "--serverframe=json"] {
        let server = serve(format!("{flag} cat")).await;
        let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
        ann.says(r#"{"id":2,"a":1}"#).await;
        bob.hears(r#"{"id":2,"a":1}"#).await;
        ann.says("not json").await;
        ann.hears("not json").await;
    }
}

#[tokio::test]
async fn the_fields_have_the_names_one_gives_them() {
    let server = serve("--frame=json --from-field who --to-field whom cat").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    ann.says(r#"{"who":5,"id":7,"whom":2}"#).await;
    bob.hears(r#"{"id":7,"whom":2,"who":1}"#).await;
    ann.says(r#"{"id":2}"#).await;
    ann.hears(r#"{"id":2,"who":1}"#).await;
}

#[tokio::test]
async fn the_json_preset_speaks_as_0_2_4_did() {
    let server = serve("--json cat").await;
    let mut ann = server.join("/x").await;
    let joined = ann.hears_json().await;
    assert_eq!(joined, serde_json::json!({"t": "Join", "_from": 1}));
    let mut bob = server.join("/x").await;
    bob.hears_text().await;
    ann.hears_text().await;
    ann.says(r#"{"_to":2,"x":1}"#).await;
    bob.hears(r#"{"_to":2,"x":1,"_from":1}"#).await;
    bob.leaves().await;
    assert_eq!(
        ann.hears_json().await,
        serde_json::json!({"t": "Leave", "_from": 2})
    );
}

#[tokio::test]
async fn an_answer_in_a_big_room_is_heard_by_its_asker_alone() {
    let (server, mut ann) = echo().await;
    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(server.join("/lobby").await);
    }
    for n in 0..50 {
        ann.says(&format!("{{\"n\":{n}}}")).await;
        ann.hears(&format!("{{\"n\":{n},\"id\":1}}")).await;
    }
    for other in &mut others {
        other.hears_nothing().await;
    }
}

#[tokio::test]
async fn directed_and_common_messages_keep_the_childs_order() {
    let steps: Vec<String> = (0..50)
        .map(|n| format!("then print '{{\"id\":1,\"n\":{n}}}' then print '{{\"n\":{n}}}'"))
        .collect();
    let server = serve(format!("--frame=json puppet wait {}", steps.join(" "))).await;
    let mut ann = server.join("/x").await;
    ann.says("{}").await;
    for n in 0..50 {
        ann.hears(&format!("{{\"id\":1,\"n\":{n}}}")).await;
        ann.hears(&format!("{{\"n\":{n}}}")).await;
    }
    ann.hears_close_code(1000).await;
}
