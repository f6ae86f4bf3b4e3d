//! RFC 6455 section 4 and RFC 7692 section 7.1: handshakes as they are oddly but rightly spelled,
//! those that must be refused, and what is agreed to of offers to compress.

mod good;
mod nasty;
mod offers;

use serde_json::Value;

use crate::case::{Heard, Kind, TEXT, frame};
use crate::engine::{ACCEPT, GOOD, Line};
use crate::stage::{Stage, Transport};

/// What the door says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 101 with the right key. The header of that name has this value, or is not there.
    Welcome(&'static str, Option<&'static str>),
    /// This status; with this label where the answer is ours and not that of HTTP itself.
    Refused(u16, Option<&'static str>),
}

/// One handshake.
pub(crate) struct Knock {
    pub(crate) rfc: u16,
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    /// What is sent, in words; of what is refused also why.
    pub(crate) sent: String,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: Answer,
}

impl Knock {
    fn new(
        section: &'static str,
        name: &'static str,
        sent: &str,
        request: impl Into<Vec<u8>>,
    ) -> Knock {
        Knock {
            rfc: 6455,
            section,
            name,
            sent: sent.to_owned(),
            request: request.into(),
            answer: Answer::Welcome("sec-websocket-accept", Some(ACCEPT)),
        }
    }

    fn refused(mut self, status: u16, label: Option<&'static str>) -> Knock {
        self.answer = Answer::Refused(status, label);
        self
    }

    pub(crate) fn is_welcome(&self) -> bool {
        matches!(self.answer, Answer::Welcome(..))
    }

    /// Refused for what the RFCs leave to servers: names of rooms, origins, sizes.
    pub(crate) fn is_our_rule(&self) -> bool {
        !matches!(
            self.answer,
            Answer::Welcome(..)
                | Answer::Refused(400, None | Some("bad_handshake"))
                | Answer::Refused(426, _)
        )
    }

    fn welcome(mut self, header: &'static str, value: Option<&'static str>) -> Knock {
        self.answer = Answer::Welcome(header, value);
        self
    }
}

/// The good handshake with something else in it.
fn but(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not there to be replaced");
    GOOD.replacen(from, to, 1)
}

/// The good handshake with more headers.
fn and(lines: &str) -> String {
    but(
        "Sec-WebSocket-Version: 13\r\n",
        &format!("Sec-WebSocket-Version: 13\r\n{lines}\r\n"),
    )
}

/// Those that are let in, those that are refused, and offers.
pub(crate) fn all() -> [(&'static str, Vec<Knock>); 3] {
    [
        ("Handshakes with odd spellings", good::knocks()),
        ("Nasty handshakes", nasty::knocks()),
        ("Offers to compress", offers::knocks()),
    ]
}

/// A server whose rules can be broken.
const FLAGS: &str = "--compress --subprotocol chat,game --origin https://good.example";

async fn judge(stage: &Stage, knock: &Knock) -> Result<(), String> {
    let (mut line, answer) = Line::knock(stage.connect().await?, &knock.request).await?;
    match knock.answer {
        Answer::Welcome(header, value) => {
            let told = [
                ("sec-websocket-accept", Some(ACCEPT)),
                ("sec-websocket-version", None),
                ("upgrade", Some("websocket")),
                (header, value),
            ];
            let wrong = told.iter().any(|(name, value)| {
                let given = answer.headers.iter().filter(|(given, _)| given == name);
                !given
                    .map(|(_, value)| value.as_str())
                    .eq(value.iter().copied())
            });
            let connection = answer.header("connection").unwrap_or_default();
            let upgrades = connection.split(", ").any(|token| token == "upgrade");
            if answer.status != 101 || wrong || !upgrades {
                return Err(format!(
                    "{answer:?} {}",
                    String::from_utf8_lossy(&line.body(&answer).await?)
                ));
            }
            line.send(&frame(0x80 | TEXT, b"in"), usize::MAX).await?;
            match line.next().await? {
                Heard::Message(Kind::Text, payload) if payload == b"in" => Ok(()),
                other => Err(format!("heard {other:?}")),
            }
        }
        Answer::Refused(status, label) => {
            let body = line.body(&answer).await?;
            let json: Value = serde_json::from_slice(&body).unwrap_or_default();
            let version = answer.header("sec-websocket-version");
            let fits = answer.status == status
                && json["error"].as_str() == label
                && version == (status == 426).then_some("13");
            fits.then_some(())
                .ok_or_else(|| format!("{answer:?} {}", String::from_utf8_lossy(&body)))
        }
    }
}

async fn conform(knocks: Vec<Knock>) {
    let only = std::env::var("CASE").unwrap_or_default();
    let mut wrong = Vec::new();
    for transport in Transport::ALL {
        let stage = Stage::new(transport, FLAGS, "packets").await;
        for knock in knocks.iter().filter(|knock| knock.name.contains(&only)) {
            if let Err(what) = judge(&stage, knock).await {
                wrong.push(format!(
                    "{transport:?} {} ({}): {what}",
                    knock.name, knock.sent
                ));
            }
        }
        stage.server.has_programs(0).await;
        let health = stage
            .server
            .request_at(stage.address(), "GET", "/health", &[])
            .await;
        assert_eq!(health.status, 200, "somebody else is served");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn odd_spellings_are_let_in() {
    conform(good::knocks()).await;
}

#[tokio::test]
async fn nasty_handshakes_are_refused_with_the_right_status() {
    let knocks = nasty::knocks();
    assert!(knocks.len() >= 24, "{}", knocks.len());
    conform(knocks).await;
}

#[tokio::test]
async fn offers_are_agreed_to_or_declined() {
    conform(offers::knocks()).await;
}
