//! Asking another pod for a client: the handshake on its peer port, and the answers that it may give.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::http::gate::{OWNER, REASON, SESSION};

/// How long a pod may take to take the connection.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// A pod that says nothing for so long is asked by the kernel whether it is there, so often, and then given up.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMES: u32 = 3;
/// How long a pod may leave what it was sent without an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that the kernel takes on either side beyond what is in flight: more is memory outside every bound, and a lag that the
/// pod with the room does not see.
const UNSENT_MAX: u32 = 256 << 10;
const UNREAD_MAX: u32 = 256 << 10;
/// Most headers of an answer, and most bytes of its head.
const HEADERS_MAX: (usize, usize) = (100, 32 << 10);

/// What belongs to one connection and not to the request (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
];

/// What a pod answers.
#[derive(Debug)]
pub enum Answer {
    /// It has taken the client.
    Taken(Line),
    /// Another pod has the room.
    Elsewhere {
        /// The peer port of that pod.
        owner: SocketAddr,
        /// The session that holds the claim.
        session: u128,
    },
    /// It is another incarnation than the one that was meant.
    SessionOver,
    /// It does not take the client.
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// The label of the reason; empty if the answer names none.
        reason: String,
    },
}

/// The connection to a pod that has taken a client.
#[derive(Debug)]
pub struct Line {
    /// Of its answer, for the client: those of the one connection left out.
    pub headers: HeaderMap,
    /// Behind the handshake.
    pub stream: TcpStream,
    /// What came of it with the handshake.
    pub early: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It takes no connection: nothing of the request has reached it.
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    /// The connection broke, or what came makes no sense: it may have done what it was asked for.
    #[error("no answer: {0}")]
    Broken(String),
}

impl Failure {
    /// Whether it is for want of something of our own: descriptors, ports, memory.
    pub fn is_ours(&self) -> bool {
        const WANTS: [i32; 5] = [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::EADDRNOTAVAIL,
        ];
        match self {
            Failure::Unreachable(error) => error
                .raw_os_error()
                .is_some_and(|errno| WANTS.contains(&errno)),
            Failure::Broken(_) => false,
        }
    }
}

/// Asks the pod at `endpoint` to take the client whose signed handshake has these headers; it may think for `patience`.
///
/// # Errors
///
/// See [`Failure`]: only the first kind says that the pod has not heard of the client.
pub async fn call(
    endpoint: SocketAddr,
    uri: &Uri,
    headers: &HeaderMap,
    patience: Duration,
) -> Result<Answer, Failure> {
    let connected = timeout(CONNECT_TIME.min(patience), connect(endpoint)).await;
    let stream = connected
        .map_err(|_| Failure::Unreachable(io::ErrorKind::TimedOut.into()))?
        .map_err(Failure::Unreachable)?;
    match timeout(patience, ask(stream, request(uri, headers)?)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Broken("it took too long".to_owned())),
    }
}

async fn connect(endpoint: SocketAddr) -> io::Result<TcpStream> {
    let socket = match endpoint {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Before it connects: the window is agreed on then.
    socket.set_recv_buffer_size(UNREAD_MAX)?;
    let stream = socket.connect(endpoint).await?;
    let socket = socket2::SockRef::from(&stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TIMES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    limit_silence(&stream, true);
    Ok(stream)
}

/// Whether a pod that leaves what it was sent without an acknowledgement is given up.
///
/// Linux counts the time in which it says that it takes nothing (tcp(7), TCP_USER_TIMEOUT; since
/// 5.11 also when it says so again and again): a room that is busy is no pod that is lost.
pub(super) fn limit_silence(stream: &TcpStream, limited: bool) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let patience = if limited { PATIENCE } else { Duration::ZERO };
        let socket = socket2::SockRef::from(stream);
        // It cannot fail on a socket of TCP; if it did, the connection would only be older.
        let _ = socket.set_tcp_user_timeout(Some(patience));
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, limited);
}

fn request(uri: &Uri, headers: &HeaderMap) -> Result<Request<Empty<Bytes>>, Failure> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path)
        .body(Empty::new())
        .map_err(|error| Failure::Broken(error.to_string()))?;
    *request.headers_mut() = end_to_end(headers);
    let upgrade = request.headers_mut();
    upgrade.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    upgrade.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    Ok(request)
}

/// The headers that are passed on: neither those of one connection only, nor those that `Connection` names.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Nobody talks us out of what the handshake needs, nor out of what is signed.
        .filter(|name: &HeaderName| {
            let name = name.as_str();
            !name.starts_with("sec-websocket-")
                && !name.starts_with("scalesocket-")
                && name != "host"
        })
        .collect();
    let mut passed = headers.clone();
    for name in HOP_BY_HOP.iter().chain(&named) {
        passed.remove(name);
    }
    passed
}

async fn ask(stream: TcpStream, request: Request<Empty<Bytes>>) -> Result<Answer, Failure> {
    let broken = |error: hyper::Error| Failure::Broken(error.to_string());
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEADERS_MAX.0)
        .max_buf_size(HEADERS_MAX.1)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let connection = connection.with_upgrades();
    let exchange = async {
        let mut response = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(refusal(response.status(), response.headers()));
        }
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(broken)?;
        let parts = upgraded
            .downcast::<TokioIo<TcpStream>>()
            .map_err(|_| Failure::Broken("the connection is not ours".to_owned()))?;
        let headers = response.headers();
        if !headers.contains_key(header::SEC_WEBSOCKET_ACCEPT) {
            return Err(Failure::Broken("it agreed to no websocket".to_owned()));
        }
        let mut headers = end_to_end(headers);
        // Ours will do.
        headers.remove(header::DATE);
        Ok(Answer::Taken(Line {
            headers,
            stream: parts.io.into_inner(),
            early: parts.read_buf.to_vec(),
        }))
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // The connection is over, or has become another: the answer, or its failure, is there.
        _ = connection => exchange.await,
    }
}

fn refusal(status: StatusCode, headers: &HeaderMap) -> Answer {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    match status {
        StatusCode::MISDIRECTED_REQUEST => {
            let owner = text(OWNER).and_then(|owner| owner.parse().ok());
            let session = text(SESSION).and_then(|hex| u128::from_str_radix(hex, 16).ok());
            if let (Some(owner), Some(session)) = (owner, session) {
                return Answer::Elsewhere { owner, session };
            }
        }
        StatusCode::GONE => return Answer::SessionOver,
        _ => {}
    }
    Answer::Refused {
        status,
        reason: text(REASON).unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests;
