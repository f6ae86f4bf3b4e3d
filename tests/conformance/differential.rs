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
use crate::engine::{Line, Patience, play};
use crate::handshakes;
use crate::harness::Address;
use crate::stage::{Stage, Transport};

/// How the connection was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Open,
    Closed(Option<u16>),
    /// Nothing is said: it waits for more.
    Silent,
    /// Of a handshake.
    Welcome,
    Refused,
}

/// Cases of which theirs judges otherwise, by a chapter's title and the beginning of a name.
pub(crate) struct Difference {
    pub(crate) chapter: &'static str,
    pub(crate) cases: &'static str,
    pub(crate) theirs: Verdict,
    pub(crate) why: &'static str,
}

const FRAMING: &str = "Framing";
const CONTROL: &str = "Control frames";
const PACKED: &str = "Compressed messages";
const ODD: &str = "Handshakes with odd spellings";
const NASTY: &str = "Nasty handshakes";
const OFFERS: &str = "Offers to compress";

pub(crate) const DIFFERENCES: &[Difference] = &[
    differs(FRAMING, "length_0_in_", Verdict::Open, LONGER),
    differs(FRAMING, "length_1_in_", Verdict::Open, LONGER),
    differs(FRAMING, "length_125_in_", Verdict::Open, LONGER),
    differs(FRAMING, "length_126_in_", Verdict::Open, LONGER),
    differs(FRAMING, "length_65535_in_", Verdict::Open, LONGER),
    differs(FRAMING, "length_2_63", Verdict::Closed(Some(1009)), HIGHEST),
    differs(
        FRAMING,
        "length_all_ones",
        Verdict::Closed(Some(1009)),
        HIGHEST,
    ),
    differs(
        "Fragmentation",
        "close_between",
        Verdict::Closed(Some(1002)),
        "5.4 lets control frames come between fragments, and a close is one: it is answered with its own code",
    ),
    differs(CONTROL, "ping_with_long_length", Verdict::Open, LONGER),
    differs(CONTROL, "pong_with_long_length", Verdict::Silent, LONGER),
    differs(
        CONTROL,
        "close_with_long_length",
        Verdict::Closed(Some(1000)),
        LONGER,
    ),
    differs(
        "Text",
        "fails_in",
        Verdict::Silent,
        "8.1 does not say when: theirs judges a message when it is whole, ours as soon as no rest can mend it",
    ),
    differs(
        PACKED,
        "after_a_final_block",
        Verdict::Open,
        "7.2.1 lets a sender put blocks behind a final one: theirs stops there and hands on a shorter message",
    ),
    differs(
        PACKED,
        "wrong_",
        Verdict::Closed(Some(1002)),
        "no code is named: the frames are right, what they hold is not what it says, so ours is 1007",
    ),
    differs(
        ODD,
        "bare_line_feeds",
        Verdict::Refused,
        "RFC 9112 (2.2) lets a server take LF for CRLF",
    ),
    differs(
        ODD,
        "empty_line_first",
        Verdict::Refused,
        "RFC 9112 (2.2) wants at least one empty line before a request ignored",
    ),
    differs(
        ODD,
        "upgrade_",
        Verdict::Refused,
        "RFC 9110 (7.8) makes `Upgrade` a list, of which a server picks",
    ),
    differs(
        ODD,
        "two_upgrade_headers",
        Verdict::Refused,
        "RFC 9110 (5.3) makes one list of two headers",
    ),
    differs(
        ODD,
        "subprotocol_empty",
        Verdict::Refused,
        "an empty list offers nothing, and nothing is echoed",
    ),
    differs(
        NASTY,
        "no_host",
        Verdict::Welcome,
        "4.2.1 wants a `Host`, and RFC 9112 (3.2) a 400 without",
    ),
    differs(
        NASTY,
        "two_hosts",
        Verdict::Welcome,
        "RFC 9112 (3.2) wants a 400 for more than one",
    ),
    differs(
        NASTY,
        "key_with_odd_bits",
        Verdict::Welcome,
        "RFC 4648 (3.5) lets a decoder refuse bits that encode nothing: no encoder writes them",
    ),
    differs(
        NASTY,
        "nul_in_path",
        Verdict::Welcome,
        "no URI has a NUL (RFC 3986)",
    ),
    differs(
        OFFERS,
        "declined_empty",
        Verdict::Refused,
        "an empty list offers nothing, and nothing is agreed to",
    ),
];

const LONGER: &str = "5.2: \"the minimal number of bytes MUST be used\": theirs takes any form, ours is strict, because two readings of one frame help whoever hides something from a middlebox";
const HIGHEST: &str =
    "5.2: the highest bit \"MUST be 0\", so it is no length that is too large, but none";

const fn differs(
    chapter: &'static str,
    cases: &'static str,
    theirs: Verdict,
    why: &'static str,
) -> Difference {
    Difference {
        chapter,
        cases,
        theirs,
        why,
    }
}

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
            let stream = Transport::Tcp.connect(&address).await.unwrap();
            let mut line = Line::open(stream, &case.name, chapter.packed)
                .await
                .unwrap();
            let patience = match listed(chapter.title, &case.name) {
                Some((
                    _,
                    Difference {
                        theirs: Verdict::Silent,
                        ..
                    },
                )) => Patience::HangsUp,
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
            let stream = Transport::Tcp.connect(&address).await.unwrap();
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
