//! The way in: an ordinary person over an independent library, the client that can do wrong, or
//! somebody who is refused. What differs from a plain handshake is said before.

use std::sync::Arc;

use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::http::{self, Answer};
use super::{Address, PATIENCE, Person, Server, Socket, Wire};

/// How one person comes in.
pub struct Door<'a> {
    server: &'a Server,
    path: String,
    headers: Vec<(String, String)>,
    receive_buffer: Option<u32>,
    address: Address,
    trust: Option<Arc<ClientConfig>>,
    first: Vec<u8>,
}

impl<'a> Door<'a> {
    pub fn new(server: &'a Server, path: &str) -> Door<'a> {
        let address = server.address();
        let trust = server.trust(&address);
        Door {
            server,
            path: path.to_owned(),
            headers: Vec::new(),
            receive_buffer: None,
            address,
            trust,
            first: Vec::new(),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Someone whose kernel keeps little for them, so that not reading is noticed soon.
    pub fn narrow(mut self) -> Self {
        self.receive_buffer = Some(4096);
        self
    }

    /// Someone whose kernel keeps exactly this much, instead of what it sees fit.
    pub fn receiving(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    pub fn at(mut self, address: &Address) -> Self {
        self.address = address.clone();
        self.trust = self.server.trust(address);
        self
    }

    /// Someone who trusts others than most do, or is somebody else.
    pub fn trusting(mut self, trust: ClientConfig) -> Self {
        self.trust = Some(Arc::new(trust));
        self
    }

    /// Someone who does not know of TLS.
    pub fn plain(mut self) -> Self {
        self.trust = None;
        self
    }

    /// Someone who says this before anything else, TLS too.
    pub fn first(mut self, bytes: &[u8]) -> Self {
        self.first = bytes.to_vec();
        self
    }

    /// A connection, TLS included.
    pub async fn connects(&self) -> std::io::Result<Socket> {
        let connect = async {
            let mut socket = Socket::connect(&self.address, self.receive_buffer).await?;
            tokio::io::AsyncWriteExt::write_all(&mut socket, &self.first).await?;
            match &self.trust {
                Some(trust) => socket.secured(Arc::clone(trust), "localhost").await,
                None => Ok(socket),
            }
        };
        timeout(PATIENCE, connect).await?
    }

    async fn socket(&self) -> Socket {
        match self.connects().await {
            Ok(socket) => socket,
            Err(error) => self
                .server
                .fail(&format!("cannot reach {:?}: {error}", self.address)),
        }
    }

    /// Comes in with an independent library, which checks the server's side of the handshake.
    pub async fn join(self) -> Person {
        let page = self.server.page(&self.path);
        let socket = self.socket().await;
        let url = format!("ws://{}{}", self.address.host(), self.path);
        let mut request = url.into_client_request().expect("a websocket address");
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().expect("a header's name");
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header's value");
            request.headers_mut().append(name, value);
        }
        let limits = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let shake = tokio_tungstenite::client_async_with_config(request, socket, Some(limits));
        match timeout(PATIENCE, shake).await {
            Ok(Ok((socket, _))) => Person::new(socket, page),
            Ok(Err(error)) => page.fail(&format!("was not let in: {error}")),
            Err(_) => page.fail("got no answer at the door"),
        }
    }

    /// The request of a handshake, as bytes.
    pub fn request(&self) -> String {
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            self.path,
            self.address.host()
        );
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request
    }

    /// Knocks with a correct handshake and gets the response, whatever it is.
    async fn knock(&self) -> (Answer, Socket, Vec<u8>) {
        let mut socket = self.socket().await;
        let request = self.request();
        let knock = async {
            tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await?;
            http::read_head(&mut socket).await
        };
        match timeout(PATIENCE, knock).await {
            Ok(Ok((answer, rest))) => (answer, socket, rest),
            Ok(Err(error)) => self
                .server
                .fail(&format!("the door of {}: {error}", self.path)),
            Err(_) => self
                .server
                .fail(&format!("the door of {} stays silent", self.path)),
        }
    }

    /// The same as `wire`, but the server may fail to answer.
    pub async fn tries(&self) -> std::io::Result<(Wire, Answer)> {
        let mut socket = self.connects().await?;
        let request = self.request();
        tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await?;
        let (answer, rest) = http::read_head(&mut socket).await?;
        let page = self.server.page(&self.path);
        Ok((Wire::new(socket, rest, page), answer))
    }

    /// Comes in with the client that can do wrong; the response is returned too.
    pub async fn wire(self) -> (Wire, Answer) {
        let page = self.server.page(&self.path);
        let (answer, socket, rest) = self.knock().await;
        if answer.status != 101 {
            page.fail(&format!("was not let in: {answer:?}"));
        }
        (Wire::new(socket, rest, page), answer)
    }

    /// Is not let in, with this status and a JSON body that gives a reason.
    pub async fn refused(self, status: u16) -> Answer {
        let mut socket = self.socket().await;
        let request = self.request();
        let exchange = http::exchange(&mut socket, request.as_bytes(), true);
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) if answer.status == status => answer,
            Ok(Ok(answer)) => self.server.fail(&format!(
                "expected the refusal {status} of {} but got {} {}",
                self.path,
                answer.status,
                answer.text()
            )),
            Ok(Err(error)) => self
                .server
                .fail(&format!("the door of {}: {error}", self.path)),
            Err(_) => self
                .server
                .fail(&format!("the door of {} stays silent", self.path)),
        }
    }
}
