//! `docs/conformance.md`, made from the cases: `UPDATE_DOCS=1 cargo test --test conformance page`
//! writes it, and the tests compare it, so that it tells of every case there is and of no other.

use std::collections::{BTreeMap, BTreeSet};

use crate::case::{Case, Ending, Heard};
use crate::differences::{DIFFERENCES, Verdict};
use crate::handshakes::{Answer, Knock};
use crate::{cases, handshakes};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conformance.md");

/// Every section that says something of what a server does on the wire; in the last column why it
/// has no cases.
const SECTIONS: &[(u16, &str, &str, &str)] = &[
    (6455, "1.3", "Opening handshake", ""),
    (
        6455,
        "3",
        "URIs",
        "of clients; the path of a request is in 4.2.1",
    ),
    (6455, "4.1", "Client requirements", "of clients"),
    (6455, "4.2.1", "Reading the client's opening handshake", ""),
    (6455, "4.2.2", "Sending the server's opening handshake", ""),
    (6455, "4.4", "Supporting multiple versions", ""),
    (
        6455,
        "5.1",
        "Overview: masked by clients, not by servers",
        "",
    ),
    (6455, "5.2", "Base framing protocol", ""),
    (6455, "5.3", "Client-to-server masking", ""),
    (6455, "5.4", "Fragmentation", ""),
    (6455, "5.5", "Control frames", ""),
    (6455, "5.5.1", "Close", ""),
    (6455, "5.5.2", "Ping", ""),
    (6455, "5.5.3", "Pong", ""),
    (6455, "5.6", "Data frames", ""),
    (
        6455,
        "5.8",
        "Extensibility",
        "RSV bits and opcodes are in 5.2, RFC 7692 is below",
    ),
    (
        6455,
        "6.1",
        "Sending data",
        "what comes back is read strictly in every case: no mask, shortest lengths, no fragments",
    ),
    (6455, "6.2", "Receiving data", "every case"),
    (
        6455,
        "7.1.2",
        "Start the closing handshake",
        "by the server: `tests/conformance/closed_by_server.rs::what_comes_behind_a_close_of_the_server_is_not_answered`",
    ),
    (6455, "7.1.5", "The connection close code", ""),
    (6455, "7.1.6", "The connection close reason", ""),
    (
        6455,
        "7.1.7",
        "Fail the connection",
        "every case that ends with a close of ours: the stream ends behind it",
    ),
    (6455, "7.2.1", "Client-initiated closure", "of clients"),
    (6455, "7.4", "Status codes", ""),
    (6455, "8.1", "Handling of errors in UTF-8-encoded data", ""),
    (6455, "9.1", "Negotiating extensions", ""),
    (6455, "10.2", "Origin considerations", ""),
    (6455, "10.3", "Attacks on infrastructure (masking)", ""),
    (6455, "10.4", "Implementation-specific limits", ""),
    (6455, "11.3.1", "Sec-WebSocket-Key", ""),
    (6455, "11.3.5", "Sec-WebSocket-Version", ""),
    (7692, "5", "Negotiation of per-message compression", ""),
    (
        7692,
        "6",
        "Framing: RSV1 belongs to the first frame of a message",
        "",
    ),
    (7692, "6.1", "Compressed messages in fragments", ""),
    (7692, "7.1", "Negotiation of permessage-deflate", ""),
    (7692, "7.1.1", "Context takeover control", ""),
    (7692, "7.1.1.1", "server_no_context_takeover", ""),
    (7692, "7.1.1.2", "client_no_context_takeover", ""),
    (7692, "7.1.2.1", "server_max_window_bits", ""),
    (7692, "7.1.2.2", "client_max_window_bits", ""),
    (7692, "7.2", "Message payload transformation", ""),
    (7692, "7.2.1", "Compression: what a sender may choose", ""),
    (7692, "7.2.2", "Decompression", ""),
    (7692, "7.2.3.1", "A message compressed using one block", ""),
    (
        7692,
        "7.2.3.2",
        "Sharing the sliding window",
        "never agreed to: 7.1.1.2 has a message that does it all the same",
    ),
    (7692, "7.2.3.3", "A block with no compression", ""),
    (7692, "7.2.3.4", "A block with BFINAL set", ""),
    (7692, "7.2.3.5", "Two blocks in one message", ""),
    (7692, "7.2.3.6", "An empty message", ""),
    (7692, "8", "Security considerations: bombs", ""),
];

const HEAD: &str = "# Conformance

RFC 6455 and RFC 7692, section by section: which case shows what. This page is made from the cases (`tests/conformance/`) and compared with them:
`UPDATE_DOCS=1 cargo test --test conformance page`.

The whole server is what is tested, not its codec: a program that is framed in binary reflects every message to all in its room. So
what comes back went through the child, and a witness in the same room hears what the child heard, and nothing else. Every case is played
over TCP, TLS and a unix socket, by an engine that reads what the server sends as strictly as the RFCs ask of it. A case \"goes on\" if the connection lives and the next message
comes back; \"close\" is the close frame with that code, and then the end of the stream.

`cargo test --test conformance` runs all; with `CASE=part_of_a_name` some. `just conformance` runs them on the release build.
`tests/conformance/differential.sh` plays the same cases with a second implementation on either side, see [below](#a-second-implementation).
";

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// What comes back, in few words.
fn back(case: &Case) -> String {
    let expected = case.expected();
    let steps = expected.len() - if case.ending == Ending::Open { 1 } else { 2 };
    let heard = expected.get(..steps).unwrap_or_default();
    let ending = match case.ending {
        Ending::Open => "goes on".to_owned(),
        Ending::Closed(Some(code)) => format!("close {code}"),
        Ending::Closed(None) => "close without a code".to_owned(),
    };
    let echoes: Vec<&Heard> = heard
        .iter()
        .filter(|heard| matches!(heard, Heard::Message(..)))
        .collect();
    let heard = match heard {
        [] => return ending,
        _ if echoes.len() == heard.len() && heard.len() == case.child.len() => match heard.len() {
            1 => "the message".to_owned(),
            many => format!("the {many} messages"),
        },
        few if few.len() <= 3 => few
            .iter()
            .map(|heard| code(&format!("{heard:?}")))
            .collect::<Vec<_>>()
            .join(", "),
        many => format!(
            "{} messages, {} pongs",
            echoes.len(),
            many.len() - echoes.len()
        ),
    };
    format!("{heard}; {ending}")
}

/// What the child hears, in few words.
fn child(case: &Case) -> String {
    match &*case.child {
        [] => "nothing".to_owned(),
        few if few.len() <= 2 => few
            .iter()
            .map(|(kind, payload)| code(&format!("{:?}", Heard::Message(*kind, payload.clone()))))
            .collect::<Vec<_>>()
            .join(", "),
        many => format!("{} messages", many.len()),
    }
}

fn door(knock: &Knock) -> String {
    match knock.answer {
        Answer::Welcome("sec-websocket-accept", _) => "101".to_owned(),
        Answer::Welcome(header, Some(value)) => format!("101, `{header}: {value}`"),
        Answer::Welcome(header, None) => format!("101 without `{header}`"),
        Answer::Refused(status, Some(label)) => format!("{status} `{label}`"),
        Answer::Refused(status, None) => format!("{status}, HTTP's own"),
    }
}

fn named(verdict: Verdict) -> String {
    match verdict {
        Verdict::Open => "goes on".to_owned(),
        Verdict::Closed(Some(code)) => format!("close {code}"),
        Verdict::Closed(None) => "close without a code".to_owned(),
        Verdict::Silent => "waits for more".to_owned(),
        Verdict::Welcome => "lets it in".to_owned(),
        Verdict::Refused => "refuses it".to_owned(),
    }
}

/// The rows of a chapter, and where its cases belong.
fn chapters() -> (Vec<String>, BTreeMap<(u16, &'static str), usize>) {
    let (mut text, mut counts) = (Vec::new(), BTreeMap::new());
    for (title, knocks) in handshakes::all() {
        text.push(format!("\n## {title}\n\n{} handshakes.\n\n| RFC | section | case | what is sent | the answer |\n|---|---|---|---|---|", knocks.len()));
        for knock in knocks {
            *counts.entry((knock.rfc, knock.section)).or_default() += 1;
            text.push(format!(
                "| {} | {} | {} | {} | {} |",
                knock.rfc,
                knock.section,
                code(knock.name),
                escaped(&knock.sent),
                door(&knock)
            ));
        }
    }
    for chapter in cases::all() {
        text.push(format!("\n## {}\n\n{} cases, RFC {}.\n\n| section | case | what is sent | what must come back | the child hears |\n|---|---|---|---|---|", chapter.title, chapter.cases.len(), chapter.rfc));
        for case in &chapter.cases {
            *counts.entry((chapter.rfc, case.section)).or_default() += 1;
            text.push(format!(
                "| {} | {} | {} | {} | {} |",
                case.section,
                code(&case.name),
                escaped(&case.sent),
                back(case),
                child(case)
            ));
        }
    }
    (text, counts)
}

fn page() -> String {
    let (chapters, counts) = chapters();
    let mut text = vec![HEAD.to_owned()];
    for rfc in [6455, 7692] {
        text.push(format!(
            "## Sections of RFC {rfc}\n\n| section | about | cases |\n|---|---|---|"
        ));
        for (_, section, about, why) in SECTIONS.iter().filter(|(of, ..)| *of == rfc) {
            let cases = match counts.get(&(rfc, section)) {
                Some(count) => count.to_string(),
                None => why.to_string(),
            };
            text.push(format!("| {section} | {about} | {cases} |"));
        }
        text.push(String::new());
    }
    text.pop();
    text.extend(chapters);
    text.push(
        "\n## A second implementation\n\n\
        Python's `websockets` hears the bytes of every case as a server, and must judge as ours does, but for what stands here; a row \
        that nothing needs any more is a failure. As a client it sends the same bytes to our server, and then the same messages and closes in its own calls, and \
        must hear what the case says: without exceptions. `.ci/run` has both as a step. Rules of our own (rooms, origins, sizes of heads) are not compared.\n\n\
        | chapter | cases | theirs | why ours differs |\n|---|---|---|---|"
            .to_owned(),
    );
    for listed in DIFFERENCES {
        text.push(format!(
            "| {} | {} | {} | {} |",
            listed.chapter,
            code(listed.cases),
            named(listed.theirs),
            listed.why
        ));
    }
    text.join("\n") + "\n"
}

#[test]
fn page_tells_of_every_case() {
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    let differs = page
        .lines()
        .zip(written.lines())
        .find(|(made, read)| made != read);
    assert!(
        written == page,
        "docs/conformance.md is out of date ({differs:?}): UPDATE_DOCS=1 cargo test --test conformance page"
    );
}

#[test]
fn page_has_a_row_for_every_section() {
    let (_, counts) = chapters();
    for (rfc, section, _, why) in SECTIONS {
        let has = counts.contains_key(&(*rfc, *section));
        assert!(
            has == why.is_empty(),
            "RFC {rfc} section {section}: cases or a reason, not both"
        );
    }
    for (rfc, section) in counts.keys() {
        let known = SECTIONS
            .iter()
            .any(|(of, number, ..)| of == rfc && number == section);
        assert!(known, "RFC {rfc} section {section} is on no list");
    }
}

#[test]
fn names_of_cases_are_their_own() {
    for chapter in cases::all() {
        let names: BTreeSet<&str> = chapter.cases.iter().map(|case| &*case.name).collect();
        assert_eq!(names.len(), chapter.cases.len(), "{}", chapter.title);
    }
    for (title, knocks) in handshakes::all() {
        let names: BTreeSet<&str> = knocks.iter().map(|knock| knock.name).collect();
        assert_eq!(names.len(), knocks.len(), "{title}");
    }
}
