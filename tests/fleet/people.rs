//! Clients, and what they hear of the program in their room.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long an answer may take; one that comes is never waited for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody in a room.
pub(crate) struct Person {
    socket: WebSocketStream<TcpStream>,
    pub(crate) room: String,
    asked: u32,
}

/// Why somebody did not come in.
#[derive(Debug)]
#[allow(dead_code, reason = "shown when a test fails")]
pub(crate) enum Refused {
    /// This status, with this body.
    Status(u16, String),
    /// Something else.
    Broken(String),
}

/// Comes into a room by the door at that address.
pub(crate) async fn join(door: Ipv4Addr, room: &str) -> Result<Person, Refused> {
    let broken = |error: &dyn std::fmt::Display| Refused::Broken(error.to_string());
    let come = async {
        let stream = TcpStream::connect((door, 9000))
            .await
            .map_err(|e| broken(&e))?;
        let request = format!("ws://{door}:9000/{room}");
        let request = request.into_client_request().map_err(|e| broken(&e))?;
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Person {
                socket,
                room: room.to_owned(),
                asked: 0,
            }),
            Err(Error::Http(answer)) => {
                let body = answer.body().as_deref().map(String::from_utf8_lossy);
                let body = body.unwrap_or_default().into_owned();
                Err(Refused::Status(answer.status().as_u16(), body))
            }
            Err(error) => Err(broken(&error)),
        }
    };
    timeout(2 * PATIENCE, come)
        .await
        .unwrap_or_else(|_| Err(Refused::Broken("no answer".to_owned())))
}

/// How a connection ended: the close code, or none if it broke.
pub(crate) type End = Option<u16>;

impl Person {
    /// The program in the room: no two starts of a room have the same name. None if the connection ended.
    pub(crate) async fn program(&mut self) -> Result<String, End> {
        self.asked += 1;
        let question = format!("{}-{:p}", self.asked, self);
        if self
            .socket
            .send(Message::text(question.clone()))
            .await
            .is_err()
        {
            // It may have been told why.
            return Err(self.ends().await);
        }
        loop {
            match timeout(PATIENCE, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => {
                    // Others ask too.
                    if let Some((program, asked)) = text.split_once(' ')
                        && asked == question
                    {
                        return Ok(program.to_owned());
                    }
                }
                Ok(Some(Ok(Message::Close(close)))) => return Err(close.map(|c| c.code.into())),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => return Err(None),
                Err(_) => panic!("{}: the program does not answer", self.room),
            }
        }
    }

    /// Says something to a program that repeats it, and waits until it has.
    pub(crate) async fn hears_itself(&mut self) {
        self.socket
            .send(Message::text("echo"))
            .await
            .expect("it is said");
        match timeout(PATIENCE, self.socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) if text == "echo" => {}
            other => panic!("{}: {other:?}", self.room),
        }
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ends(&mut self) -> End {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(close))) => return close.map(|close| close.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

/// The answer of an endpoint: status, head and body.
pub(crate) async fn get(address: Ipv4Addr, port: u16, path: &str) -> (u16, String, String) {
    get_as(address, port, path, "").await
}

/// The same, asked with these lines in the head.
pub(crate) async fn get_as(
    address: Ipv4Addr,
    port: u16,
    path: &str,
    headers: &str,
) -> (u16, String, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = TcpStream::connect((address, port)).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, ask)
        .await
        .expect("an answer in time")
        .expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or(0), head.to_owned(), body.to_owned())
}
