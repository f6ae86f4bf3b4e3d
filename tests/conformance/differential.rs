//! A second implementation as judge: Python's `websockets` hears the same bytes as a server, and as
//! a client reads what our server answers. Where it judges otherwise, a reason is listed here, and a
//! reason that nothing needs any more is a failure too.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::case::{Case, Ending, Heard, Kind, Step};
use crate::cases;
use crate::differences::{DIFFERENCES, Difference, Verdict};
use crate::engine::{Line, Patience, play};
use crate::handshakes;
use crate::harness::Address;
use crate::stage::{Stage, Transport, connect};

fn listed(chapter: &str, name: &str) -> Option<(usize, &'static Difference)> {
    let mut all = DIFFERENCES.iter().enumerate();
    all.find(|(_, listed)| listed.chapter == chapter && name.starts_with(listed.cases))
}

fn verdict(heard: &[Heard]) -> Verdict {
    match heard {
        [.., Heard::Close(code), Heard::End] => Verdict::Closed(*code),
        [.., Heard::End] => Verdict::Silent,
        _ => Verdict::Open,
    }
}

/// What was compared.
#[derive(Default)]
struct Tally {
    compared: usize,
    used: Vec<usize>,
    wrong: Vec<String>,
}

impl Tally {
    /// `same`: they say in all what we say.
    fn compare(&mut self, chapter: &str, name: &str, same: bool, theirs: Verdict) {
        self.compared += 1;
        match listed(chapter, name) {
            Some((number, listed)) if !same && listed.theirs == theirs => self.used.push(number),
            None if same => {}
            other => {
                let why = other.map(|(_, listed)| listed.theirs);
                self.wrong.push(format!(
                    "{chapter}: {name}: theirs is {theirs:?}, the same: {same}, listed: {why:?}"
                ));
            }
        }
    }
}

/// The peer, as a process that ends with its standard input.
fn peer(role: &str) -> Child {
    let python =
        std::env::var("CONFORMANCE_PYTHON").expect("CONFORMANCE_PYTHON: a Python with websockets");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/peer.py");
    Command::new(python)
        .args([script, role])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the peer can be started")
}

#[tokio::test]
#[ignore = "needs Python's websockets: bash tests/conformance/differential.sh"]
async fn differential_theirs_as_a_server() {
    let mut peer = peer("serve");
    let mut lines = BufReader::new(peer.stdout.take().unwrap()).lines();
    let port = lines.next().expect("it tells its port").unwrap();
    let address = Address::parse(&format!("127.0.0.1:{port}")).expect("a port");
    let mut tally = Tally::default();
    for chapter in cases::all() {
        for case in &chapter.cases {
            let stream = Box::new(connect(&address).await.unwrap());
            let mut line = Line::open(stream, &case.name, chapter.packed)
                .await
                .unwrap();
            let listed = listed(chapter.title, &case.name);
            let patience = match listed.map(|(_, listed)| listed.theirs) {
                Some(Verdict::Silent) => Patience::HangsUp,
                _ => Patience::Waits,
            };
            match play(case, &mut line, patience).await {
                Ok(heard) => {
                    let same = heard == case.expected();
                    tally.compare(chapter.title, &case.name, same, verdict(&heard));
                }
                Err(what) => tally
                    .wrong
                    .push(format!("{}: {}: {what}", chapter.title, case.name)),
            }
        }
    }
    for (title, knocks) in handshakes::all() {
        for knock in knocks.iter().filter(|knock| !knock.is_our_rule()) {
            let stream = Box::new(connect(&address).await.unwrap());
            let theirs = match Line::knock(stream, &knock.request).await {
                Ok((_, answer)) if answer.status == 101 => Verdict::Welcome,
                _ => Verdict::Refused,
            };
            let same = (theirs == Verdict::Welcome) == knock.is_welcome();
            tally.compare(title, knock.name, same, theirs);
        }
    }
    let unused = (0..DIFFERENCES.len()).filter(|number| !tally.used.contains(number));
    let unused: Vec<&str> = unused
        .filter_map(|number| Some(DIFFERENCES.get(number)?.cases))
        .collect();
    println!(
        "differential: as a server, {} of {} cases judged the same, {} differences of {} kinds, each with its reason, {} without",
        tally.compared - tally.used.len() - tally.wrong.len(),
        tally.compared,
        tally.used.len(),
        DIFFERENCES.len(),
        tally.wrong.len(),
    );
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
    assert!(unused.is_empty(), "listed, and judged the same: {unused:?}");
    drop(peer.stdin.take());
    peer.wait().unwrap();
}

#[tokio::test]
#[ignore = "needs Python's websockets: bash tests/conformance/differential.sh"]
async fn differential_theirs_as_a_client() {
    let (mut compared, mut wrong) = (0, Vec::new());
    for chapter in cases::all() {
        let stage = Stage::for_cases(Transport::Tcp, chapter.packed).await;
        let mut peer = peer("speak");
        let mut input = peer.stdin.take().unwrap();
        let mut output = BufReader::new(peer.stdout.take().unwrap()).lines();
        for case in &chapter.cases {
            let task = task(case, chapter.packed, &stage.address().host());
            writeln!(input, "{task}").unwrap();
            // It keeps deadlines of its own, so it answers.
            let answer = output.next().expect("an answer").unwrap();
            let answer: Value = serde_json::from_str(&answer).unwrap();
            compared += 1;
            let heard: Vec<Option<Heard>> = answer["heard"]
                .as_array()
                .unwrap()
                .iter()
                .map(heard)
                .collect();
            let expected: Vec<Option<Heard>> = case.expected().into_iter().map(Some).collect();
            if heard != expected || !answer["trouble"].is_null() {
                wrong.push(format!(
                    "{}: {}: {:?}, {}",
                    chapter.title,
                    case.name,
                    heard.last(),
                    answer["trouble"]
                ));
            }
        }
        drop(input);
        peer.wait().unwrap();
    }
    println!(
        "differential: as a client, {} of {compared} cases heard as they must be",
        compared - wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A case for the peer: the bytes to send, and what the same is in a library's own calls.
fn task(case: &Case, packed: bool, host: &str) -> Value {
    let steps = case.steps.iter().map(|step| match step {
        Step::Send(bytes, piece) => {
            json!(["send", STANDARD.encode(bytes), piece.min(&bytes.len())])
        }
        Step::Hear(Heard::LastPong(payload)) => json!(["hear last pong", STANDARD.encode(payload)]),
        Step::Hear(_) => json!(["hear"]),
    });
    let says = case
        .child
        .iter()
        .map(|(kind, payload)| json!([kind.to_string(), STANDARD.encode(payload)]));
    let close = match (case.ending, case.name.strip_prefix("code_")) {
        (Ending::Closed(Some(code)), Some(name)) if name == code.to_string() => Some(code),
        _ => None,
    };
    json!({
        "url": format!("ws://{host}/{}", case.name),
        "packed": packed,
        "steps": steps.collect::<Vec<_>>(),
        "open": case.ending == Ending::Open,
        "says": says.collect::<Vec<_>>(),
        "close": close,
    })
}

fn heard(told: &Value) -> Option<Heard> {
    let payload = || STANDARD.decode(told[1].as_str()?).ok();
    Some(match told[0].as_str()? {
        "text" => Heard::Message(Kind::Text, payload()?),
        "binary" => Heard::Message(Kind::Binary, payload()?),
        "pong" => Heard::Pong(payload()?),
        "last pong" => Heard::LastPong(payload()?),
        "close" => Heard::Close(told[1].as_u64().and_then(|code| u16::try_from(code).ok())),
        "end" => Heard::End,
        _ => return None,
    })
}
