//! What a recording means, which are refused, and what is the same.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::compare::{Cutter, Side, text};
use super::recording::{Given, Recording};
use super::*;
use crate::cli::Pace;
use crate::record::line::Framing;

const HEAD: &str = r#"{"at":0,"recording":{"version":1,"room":"x","began":"","server":"","transport":"stdio","framing":{"lines":{"delimiters":[10],"strip_cr":true}}}}
{"at":1,"start":{"pid":1,"program":"","sha256":null,"args":[],"env":{"ROOM":"x"},"env_names":[]}}
"#;

fn parsed(lines: &str) -> Recording {
    Recording::parse(format!("{HEAD}{lines}").as_bytes()).unwrap()
}

#[test]
fn lives_have_what_was_given_and_said() {
    let recording = parsed(
        r#"{"at":2,"in":"a\n"}
{"at":2.5,"out":"on"}
{"at":3,"out64":"ZQp0d28="}
{"at":3,"in":"b\nc\n"}
{"at":3,"back":2}
{"at":4,"eof":true}
{"at":5,"exit":"exit 0"}
{"at":6,"start":{"pid":1,"program":"","sha256":null,"args":[],"env":{},"env_names":[]}}
{"at":7,"err":"x"}
{"at":8,"end":{"code":1000,"reason":"exit 0"}}
"#,
    );
    assert!(recording.is_whole);
    let [first, second] = &recording.lives[..] else {
        panic!("two lives")
    };
    let steps: Vec<_> = first
        .steps
        .iter()
        .map(|s| (s.at, s.after, &s.what))
        .collect();
    assert_eq!(
        steps,
        [
            (1.0, 0, &Given::Bytes(b"a\n".to_vec())),
            (2.0, 1, &Given::Bytes(b"b\n".to_vec())),
            (3.0, 1, &Given::End),
        ]
    );
    let said: Vec<_> = first.messages.iter().map(|s| (s.at, &s.message)).collect();
    assert_eq!(said, [(2.0, &text("one")), (2.0, &text("two"))]);
    assert_eq!(first.exit.as_deref(), Some("exit 0"));
    assert_eq!((second.steps.len(), second.exit.as_ref()), (0, None));
}

#[test]
fn what_it_told_its_recording_is_given_behind_as_many_lines() {
    let lines = r#"{"at":2,"in":"a\nb"}
{"at":3,"in":"\nc\nd"}
{"at":4,"out":"{\"_replay\":1,\"n\":1}\n{\"_replay\":1,\"n\":2}\n"}
{"at":5,"out":"{\"_replay\":3}\n{\"_replay\":9}\n{\"_replay\":true}\n{\"x\":{\"_replay\":0}}\n"}
"#;
    let given = |text: &str| Given::Bytes(text.into());
    let told = |text: &str| Given::Told(format!("{text}\n").into());
    let json = HEAD.replace(
        r#"{"lines":{"delimiters":[10],"strip_cr":true}}"#,
        r#""json""#,
    );
    let recording = Recording::parse(format!("{json}{lines}").as_bytes()).unwrap();
    let steps: Vec<_> = recording.lives[0].steps.iter().collect();
    let steps: Vec<_> = steps.iter().map(|step| (step.after, &step.what)).collect();
    assert_eq!(
        steps,
        [
            (0, &given("a\n")),
            (0, &told(r#"{"_replay":1,"n":1}"#)),
            (1, &told(r#"{"_replay":1,"n":2}"#)),
            (0, &given("b")),
            (0, &given("\nc\n")),
            (2, &told(r#"{"_replay":3}"#)),
            // Behind more than it was given: as far as that goes.
            (3, &told(r#"{"_replay":9}"#)),
            (0, &given("d")),
        ]
    );
    // Where messages are no JSON, none is told to a recording.
    assert_eq!(parsed(lines).lives[0].steps.len(), 2);
}

#[test]
fn a_torn_or_cut_recording_goes_as_far_as_it_goes() {
    for end in ["{\"at\":2,\"out\":\"tw", "{\"at\":2,\"cut\":\"full\"}\n"] {
        let recording = parsed(&format!("{{\"at\":1.5,\"out\":\"one\\ntwo\"}}\n{end}"));
        assert!(!recording.is_whole);
        let [life] = &recording.lives[..] else {
            panic!("a life")
        };
        assert_eq!(life.messages.len(), 1, "the second has not ended");
    }
}

#[test]
fn what_is_no_recording_is_refused_with_a_word_on_where() {
    for (text, part) in [
        ("", "no program runs"),
        ("\0\n", "not a recording"),
        ("{\"at\":0,\"start\":{}}\n", "not a recording"),
        (&HEAD.replace("\"version\":1", "\"version\":9"), "version 9"),
        ("{\"at\":0,\"recording\":{\"version\":2}}\n", "version 2"),
        (
            "{\"at\":0,\"recording\":{\"version\":1}}\n",
            "not a recording",
        ),
        (&HEAD.repeat(2), "line 3: another recording"),
        (&format!("{HEAD}{{\"at\":1,\"in64\":\"?\"}}\n"), "line 3"),
        (&format!("{HEAD}nonsense\n"), "line 3"),
    ] {
        let error = Recording::parse(text.as_bytes()).unwrap_err();
        assert!(format!("{error:#}").contains(part), "{text}: {error:#}");
    }
}

#[test]
fn how_bytes_are_cut_into_reads_does_not_matter() {
    let lines = Framing::Lines {
        delimiters: vec![b';'],
        strip_cr: false,
    };
    let packet = [0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, b'h', b'i'];
    for (framing, bytes) in [
        (lines, &b"one;two;;three"[..]),
        (Framing::Json, b"{\"id\":1}\r\n[]\n"),
        (Framing::Raw, &[b'x'; 1000]),
        (Framing::Packets, &packet),
    ] {
        let cut = |size: usize| {
            let (mut cutter, mut messages) = (Cutter::new(&framing), Vec::new());
            for chunk in bytes.chunks(size) {
                cutter.feed(chunk, &mut |message| messages.push(message));
            }
            cutter.finish(&mut |message| messages.push(message));
            (messages, cutter.progress())
        };
        assert_eq!(cut(1), cut(bytes.len()), "{framing:?}");
        assert!(!cut(1).0.is_empty(), "{framing:?}");
    }
}

#[test]
fn json_may_be_compared_by_what_it_means() {
    let (one, other) = (text(r#"{"a":1,"b":[2]}"#), text(r#"{ "b": [2], "a": 1 }"#));
    assert!(one.is(&other, true) && !one.is(&other, false));
    assert!(!one.is(&text(r#"{"a":1,"b":[3]}"#), true));
    assert!(!text("x").is(&text("y"), true));
}

#[test]
fn long_messages_are_shown_from_where_they_part() {
    let message = |end: &str| Side::Message(text(&format!("{}{end}", "x".repeat(1000))));
    let shown = message("one").shown(&message("two"));
    assert!(
        shown.starts_with("...x") && shown.ends_with("xone"),
        "{shown}"
    );
    assert!(shown.len() < 100, "{shown}");
    let odd = Side::Message(text("\x1b[2J"));
    assert_eq!(odd.shown(&Side::Nothing(String::new())), "\\u{1b}[2J");
}

#[test]
fn a_program_that_is_not_there_compares_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    std::fs::write(&file, HEAD).unwrap();
    let options = Replay {
        file,
        program: OsString::from_vec(b"/no/such\xff".to_vec()),
        args: Vec::new(),
        pace: Pace::AsAnswered,
        timeout: Duration::from_secs(1),
        json: false,
    };
    let error = run(&options).unwrap_err().to_string();
    assert!(error.contains("is not found"), "{error}");
}
