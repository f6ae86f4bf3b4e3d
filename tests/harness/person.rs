//! An ordinary client, over a websocket library that shares nothing with ours. A person reads only
//! when asked what they hear, so one who is never asked is one who does not read.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::PATIENCE;
use super::diary::Page;
use super::socket::Socket;

pub struct Person {
    socket: WebSocketStream<Socket>,
    page: Page,
    fences: u64,
    /// Of a terminal: what came and was not looked at.
    screen: Vec<u8>,
}

/// What a person may hear next.
#[derive(Debug, PartialEq)]
enum Heard {
    Text(String),
    Bytes(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    /// The connection ended without a close frame, or after one.
    End(String),
}

impl Person {
    pub fn new(socket: WebSocketStream<Socket>, page: Page) -> Person {
        Person {
            socket,
            page,
            fences: 0,
            screen: Vec::new(),
        }
    }

    pub async fn says(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub async fn says_bytes(&mut self, bytes: &[u8]) {
        self.send(Message::binary(bytes.to_vec())).await;
    }

    /// Everything at once: nothing is read in between, one flush at the end.
    pub async fn says_all_of(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            match timeout(PATIENCE, self.socket.feed(Message::text(text))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.page.fail(&format!("could not speak: {error}")),
                Err(_) => self
                    .page
                    .fail("could not speak: the server stopped reading"),
            }
        }
        match timeout(PATIENCE, self.socket.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.page.fail(&format!("could not speak: {error}")),
            Err(_) => self
                .page
                .fail("could not speak: the server stopped reading"),
        }
    }

    /// Speaks for as long as the server listens, at most `patience`, and says whether it stopped
    /// listening: the way to fill an inbox without knowing how much kernels keep.
    pub async fn says_until_ignored(
        &mut self,
        text: &str,
        most: usize,
        patience: Duration,
    ) -> bool {
        for _ in 0..most {
            match timeout(patience, self.socket.send(Message::text(text))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.page.fail(&format!("could not speak: {error}")),
                Err(_) => return true,
            }
        }
        false
    }

    /// Says all of these, and begins to hear only once `ready` is: then the same texts, in order.
    pub async fn says_and_later_hears(
        &mut self,
        texts: &[String],
        ready: impl Future<Output = ()>,
    ) {
        let Person { socket, page, .. } = self;
        let (mut sink, mut stream) = socket.split();
        let speaks = async {
            for text in texts {
                if let Err(error) = sink.send(Message::text(text)).await {
                    page.fail(&format!("could not speak: {error}"));
                }
            }
        };
        let hears = async {
            ready.await;
            for text in texts {
                match timeout(PATIENCE, stream.next()).await {
                    Ok(Some(Ok(Message::Text(heard)))) if heard.as_str() == text => {}
                    other => page.fail(&format!("expected {text:.40} but heard {other:.80?}")),
                }
            }
        };
        futures_util::join!(speaks, hears);
    }

    async fn send(&mut self, message: Message) {
        match timeout(PATIENCE, self.socket.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.page.fail(&format!("could not speak: {error}")),
            Err(_) => self
                .page
                .fail("could not speak: the server stopped reading"),
        }
    }

    async fn next(&mut self, expected: &str) -> Heard {
        loop {
            let Ok(next) = timeout(PATIENCE, self.socket.next()).await else {
                self.page
                    .fail(&format!("expected {expected}, but heard nothing in time"));
            };
            let heard = match next {
                Some(Ok(Message::Text(text))) => Heard::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(bytes))) => Heard::Bytes(bytes.to_vec()),
                Some(Ok(Message::Pong(payload))) => Heard::Pong(payload.to_vec()),
                Some(Ok(Message::Close(frame))) => {
                    let told = |f: CloseFrame| (f.code.into(), f.reason.as_str().to_owned());
                    Heard::Close(frame.map(told))
                }
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => continue,
                Some(Err(Error::ConnectionClosed)) | None => Heard::End("closed".to_owned()),
                Some(Err(error)) => Heard::End(error.to_string()),
            };
            match &heard {
                Heard::Text(text) => self.page.heard(text),
                Heard::Bytes(bytes) => {
                    let begin = bytes.get(..2_000).unwrap_or(bytes);
                    self.page.heard(&begin.escape_ascii().to_string());
                }
                other => self.page.heard(&format!("({other:?})")),
            }
            return heard;
        }
    }

    #[track_caller]
    fn disagrees(&self, expected: &str, heard: &Heard) -> ! {
        let mut shown = format!("{heard:?}");
        if shown.len() > 500 {
            shown = format!(
                "{} bytes: {}...",
                shown.len(),
                shown.chars().take(300).collect::<String>()
            );
        }
        let expected: String = expected.chars().take(500).collect();
        self.page
            .fail(&format!("expected {expected} but heard {shown}"));
    }

    /// The next message is this text.
    pub async fn hears(&mut self, text: &str) {
        let heard = self.next(text).await;
        if !matches!(&heard, Heard::Text(given) if given == text) {
            self.disagrees(text, &heard);
        }
    }

    /// The next message is these bytes, in a binary message.
    pub async fn hears_bytes(&mut self, bytes: &[u8]) {
        let heard = self.next("bytes").await;
        if !matches!(&heard, Heard::Bytes(given) if given == bytes) {
            self.disagrees(&format!("the bytes {}", bytes.escape_ascii()), &heard);
        }
    }

    /// The next message is a text, any text.
    pub async fn hears_text(&mut self) -> String {
        match self.next("a text").await {
            Heard::Text(text) => text,
            other => self.disagrees("a text", &other),
        }
    }

    /// The next message is a text of JSON.
    pub async fn hears_json(&mut self) -> serde_json::Value {
        let text = self.hears_text().await;
        match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) => self
                .page
                .fail(&format!("expected JSON but heard {text}: {error}")),
        }
    }

    /// Binary messages whose bytes, put together, are these: chunks may be cut anywhere.
    pub async fn hears_chunks(&mut self, bytes: &[u8]) {
        let mut together = Vec::new();
        while together.len() < bytes.len() {
            match self.next("a chunk").await {
                Heard::Bytes(chunk) => together.extend(chunk),
                other => self.disagrees("a chunk", &other),
            }
        }
        if together != bytes {
            self.page
                .fail(&format!("the chunks are {}", together.escape_ascii()));
        }
    }

    /// A terminal shows these bytes, perhaps behind others; all up to their end was seen then, and
    /// is returned.
    pub async fn sees(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.sees_or(bytes.as_ref(), false).await
    }

    /// The same, however often the window changes meanwhile.
    pub async fn sees_at_any_size(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.sees_or(bytes.as_ref(), true).await
    }

    async fn sees_or(&mut self, bytes: &[u8], at_any_size: bool) -> Vec<u8> {
        let mut from = 0;
        loop {
            let unseen = self.screen.get(from..).unwrap_or_default();
            if unseen.len() >= bytes.len()
                && let Some(at) = memchr::memmem::find(unseen, bytes)
            {
                return self.screen.drain(..from + at + bytes.len()).collect();
            }
            from = (self.screen.len() + 1).saturating_sub(bytes.len());
            match self.next("more on the screen").await {
                Heard::Bytes(chunk) => self.screen.extend(chunk),
                Heard::Text(text) if at_any_size && text.starts_with(r#"{"_resize""#) => {}
                other => {
                    let shown = self.screen.escape_ascii().to_string();
                    let shown: String = shown.chars().take(2_000).collect();
                    let expected: String = bytes.escape_ascii().to_string();
                    self.disagrees(&format!("{expected:.200} behind {shown}"), &other)
                }
            }
        }
    }

    /// The terminal is that large from now on, whatever it shows before.
    pub async fn sees_window(&mut self, columns: u16, rows: u16) {
        let expected = format!(r#"{{"_resize":[{columns},{rows}]}}"#);
        loop {
            match self.next(&expected).await {
                Heard::Bytes(chunk) => self.screen.extend(chunk),
                Heard::Text(text) if text == expected => return,
                other => self.disagrees(&expected, &other),
            }
        }
    }

    /// The connection is closed so, whatever the terminal shows before.
    pub async fn sees_close(&mut self, code: u16, reason: &str) {
        let expected = Heard::Close(Some((code, reason.to_owned())));
        loop {
            match self.next(&format!("close {code} {reason}")).await {
                Heard::Bytes(chunk) => self.screen.extend(chunk),
                heard if heard == expected => return self.hears_the_end().await,
                other => self.disagrees(&format!("close {code} {reason:?}"), &other),
            }
        }
    }

    /// These texts, all of them, in this order, and nothing between them.
    pub async fn hears_all_of(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            self.hears(&text).await;
        }
    }

    /// These texts in any order, and nothing between them.
    pub async fn hears_in_any_order(&mut self, texts: impl IntoIterator<Item = String>) {
        let mut expected: Vec<String> = texts.into_iter().collect();
        while !expected.is_empty() {
            let text = self.hears_text().await;
            match expected.iter().position(|e| *e == text) {
                Some(at) => drop(expected.swap_remove(at)),
                None => self
                    .page
                    .fail(&format!("heard {text}, which nobody expected")),
            }
        }
    }

    /// Nothing that anybody has heard so far was for this person too. A ping is the fence: its
    /// pong waits at the place in the room's record where the ping found it, so what the room
    /// recorded before comes before the pong. For this to say something, somebody must have heard
    /// the consequence first; where the child answers this person, `says` and `hears` of a fence
    /// message say more.
    pub async fn hears_nothing(&mut self) {
        self.fences += 1;
        let fence = format!("fence {}", self.fences).into_bytes();
        self.send(Message::Ping(fence.clone().into())).await;
        match self.next("the pong of a fence").await {
            Heard::Pong(payload) if payload == fence => {}
            other => self.disagrees("nothing before the fence", &other),
        }
    }

    /// The next thing is a close with this code and reason, and then the end.
    pub async fn hears_close(&mut self, code: u16, reason: &str) {
        let heard = self.next(&format!("close {code} {reason}")).await;
        if heard != Heard::Close(Some((code, reason.to_owned()))) {
            self.disagrees(&format!("close {code} {reason:?}"), &heard);
        }
        self.hears_the_end().await;
    }

    /// The next thing is a close with this code, whose reason is returned.
    pub async fn hears_close_code(&mut self, code: u16) -> String {
        let heard = self.next(&format!("close {code}")).await;
        match heard {
            Heard::Close(Some((given, reason))) if given == code => {
                self.hears_the_end().await;
                reason
            }
            other => self.disagrees(&format!("close {code}"), &other),
        }
    }

    /// A close with this code comes after any number of messages, which are counted.
    pub async fn hears_until_close(&mut self, code: u16) -> (u64, String) {
        let mut messages = 0;
        loop {
            match self.next(&format!("close {code}")).await {
                Heard::Text(_) | Heard::Bytes(_) => messages += 1,
                Heard::Pong(_) => {}
                Heard::Close(Some((given, reason))) if given == code => {
                    return (messages, reason);
                }
                other => self.disagrees(&format!("close {code}"), &other),
            }
        }
    }

    /// As `hears_until_close`, with every text that came before.
    pub async fn hears_texts_until_close(&mut self, code: u16) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            match self.next(&format!("close {code}")).await {
                Heard::Text(text) => texts.push(text),
                Heard::Close(Some((given, _))) if given == code => return texts,
                other => self.disagrees(&format!("a text or close {code}"), &other),
            }
        }
    }

    /// A close frame comes next; its code and reason are for the test to judge.
    pub async fn hears_some_close(&mut self) -> (u16, String) {
        match self.next("a close").await {
            Heard::Close(Some(told)) => told,
            other => self.disagrees("a close", &other),
        }
    }

    /// Either this text or a close with one of these codes comes next.
    pub async fn hears_or_is_closed(&mut self, text: &str, codes: &[u16]) {
        match self.next(text).await {
            Heard::Text(given) if given == text => {}
            Heard::Close(Some((code, _))) if codes.contains(&code) => {}
            other => self.disagrees(&format!("{text} or one of {codes:?}"), &other),
        }
    }

    /// The connection ends without another word.
    pub async fn hears_the_end(&mut self) {
        let heard = self.next("the end of the connection").await;
        if !matches!(heard, Heard::End(_)) {
            self.disagrees("the end of the connection", &heard);
        }
    }

    /// Says goodbye and waits until the server has said it too.
    pub async fn leaves(mut self) {
        if let Err(error) = self.socket.close(None).await {
            self.page.fail(&format!("could not leave: {error}"));
        }
        loop {
            match self.next("the answer to a goodbye").await {
                Heard::Close(_) | Heard::End(_) => return,
                _ => {}
            }
        }
    }

    /// Is gone without a word, as when a cable is pulled and the kernel resets the connection.
    pub fn vanishes(self) {
        if let Err(error) = self.socket.get_ref().will_reset() {
            self.page.fail(&format!("could not vanish: {error}"));
        }
    }

    /// Reads what the kernel has, without end, and reports how many messages came before `text`.
    pub async fn hears_until(&mut self, text: &str) -> u64 {
        let mut messages = 0;
        loop {
            match self.next(text).await {
                Heard::Text(given) if given == text => return messages,
                Heard::Text(_) | Heard::Bytes(_) => messages += 1,
                other => self.disagrees(text, &other),
            }
        }
    }
}
