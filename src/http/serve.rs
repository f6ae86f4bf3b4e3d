//! The accept loop of one listener, and HTTP/1.1 on what it accepts, behind a proxy's header and over
//! TLS where that is asked for.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::introduction::Introductions;
use super::listen::Listener;
use super::router::router;
use super::tls::{self, Arrival};
use super::{Door, Ends, Side, Subject, Tls, plain};
use super::{front, head};

/// How long a client may take for the headers of its request, what precedes them included: a proxy's
/// header and the handshake of TLS.
pub(super) const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long it may take for these two, so that something is left for the headers.
const HANDSHAKE_TIME: Duration = Duration::from_secs(9);
/// Most headers of a request, and most bytes of its head.
pub(super) const HEADERS_MAX: (usize, usize) = (100, 32 << 10);
/// The same for a peer, which passes a client's headers on and adds its own.
const PEER_HEADERS_MAX: (usize, usize) = (120, 40 << 10);
/// Bytes that the kernel takes for a client beyond what is in flight (tcp(7)): one large write.
const UNSENT_MAX: u32 = 256 << 10;
/// How much longer than the stall timeout a client may take nothing before the kernel gives it up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection may be silent before the kernel asks whether the client is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long to wait when accepting fails for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop`; every connection runs as a task of its own.
pub async fn serve(listener: Listener, side: Side, door: Arc<Door>, stop: CancellationToken) {
    let entry = Entry {
        router: router(side, &door),
        side,
        door: Arc::clone(&door),
        headers_max: match side {
            Side::Peer => PEER_HEADERS_MAX,
            Side::Public | Side::Admin | Side::Redirect(_) => HEADERS_MAX,
        },
        stop,
    };
    let tls = match side {
        Side::Public => door.options.tls.clone(),
        Side::Admin | Side::Peer | Side::Redirect(_) => None,
    };
    let patience = door
        .options
        .connection
        .stall_timeout
        .saturating_add(PATIENCE);
    let introductions = match side {
        Side::Public | Side::Redirect(_) if door.options.proxy_protocol => {
            Some(Arc::new(Introductions::default()))
        }
        _ => None,
    };
    let mut troubled = false;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, patience) => accepted,
            () = entry.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, ends)) => {
                troubled = false;
                let newcomer = Newcomer {
                    stream,
                    ends,
                    began: Instant::now(),
                    tls: tls.clone(),
                };
                let entry = entry.clone();
                match &introductions {
                    None => newcomer.enter(entry),
                    Some(introductions) => {
                        let introductions = Arc::clone(introductions);
                        door.tasks.spawn(newcomer.introduced(introductions, entry));
                    }
                }
            }
            // One client's trouble, not ours (accept(2), "Error handling").
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut troubled, true) {
                    warn!(%error, listener = %listener, "cannot accept connections; trying again");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What all connections of one listener have in common.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) router: Router,
    pub(super) side: Side,
    pub(super) door: Arc<Door>,
    pub(super) headers_max: (usize, usize),
    pub(super) stop: CancellationToken,
}

/// Who is at the other end of a connection, as far as the connection tells.
#[derive(Debug, Default)]
pub(super) struct Who {
    ends: Ends,
    /// Whose certificate it has.
    subject: Option<Arc<Subject>>,
}

/// A connection of which nothing was read.
struct Newcomer {
    stream: Stream,
    ends: Ends,
    began: Instant,
    tls: Option<Arc<Tls>>,
}

impl Newcomer {
    /// Goes on once a proxy has said whose connection it is. What that takes is a task's that ends
    /// then.
    async fn introduced(mut self, introductions: Arc<Introductions>, entry: Entry) {
        let (ends, door, stop) = (self.ends, &entry.door, &entry.stop);
        let heard = match &mut self.stream {
            Stream::Tcp(tcp) => {
                introductions
                    .hear(tcp, ends, HANDSHAKE_TIME, door, stop)
                    .await
            }
            Stream::Unix(unix) => {
                introductions
                    .hear(unix, ends, HANDSHAKE_TIME, door, stop)
                    .await
            }
        };
        if let Some(ends) = heard {
            Newcomer { ends, ..self }.enter(entry);
        }
    }

    /// Speaks TLS or HTTP, in a task of its own.
    fn enter(self, entry: Entry) {
        let door = Arc::clone(&entry.door);
        let who = Who {
            ends: self.ends,
            subject: None,
        };
        let time = left_of(HEADER_TIME, self.began);
        match (self.stream, self.tls) {
            (Stream::Tcp(tcp), Some(tls)) => {
                let tasks = Arc::clone(&door);
                door.tasks
                    .spawn(secure(tcp, self.ends, self.began, tls, tasks, entry))
            }
            (Stream::Tcp(tcp), None) => door.tasks.spawn(http(tcp, who, time, entry)),
            (Stream::Unix(unix), _) => door.tasks.spawn(http(unix, who, time, entry)),
        };
    }
}

fn left_of(time: Duration, began: Instant) -> Duration {
    time.saturating_sub(began.elapsed())
}

/// TLS first, and then HTTP in a task of its own: who never finishes a handshake costs no more than
/// that takes.
async fn secure(
    tcp: tokio::net::TcpStream,
    ends: Ends,
    began: Instant,
    tls: Arc<Tls>,
    door: Arc<Door>,
    entry: Entry,
) {
    let time = left_of(HANDSHAKE_TIME, began);
    let arrival = tokio::select! {
        arrival = tokio::time::timeout(time, tls.accept(tcp)) => arrival,
        () = entry.stop.cancelled() => return,
    };
    // Why it came to nothing.
    let failed = |reason: &'static str, error: &dyn std::fmt::Display| {
        door.metrics.tls_failed(reason);
        debug!(reason, %error, client = ?ends.remote, "TLS handshake failed");
    };
    match arrival {
        Ok(Ok(Arrival::Secure(stream, subject))) => {
            let ends = Ends {
                https: true,
                ..ends
            };
            let time = left_of(HEADER_TIME, began);
            let who = Who { ends, subject };
            door.tasks.spawn(http(stream, who, time, entry));
        }
        Ok(Ok(Arrival::Plain(tcp))) => {
            failed("plain_http", &"plain HTTP");
            let router = plain::refuses();
            let who = Who {
                ends,
                subject: None,
            };
            door.tasks.spawn(http(
                tcp,
                who,
                left_of(HEADER_TIME, began),
                Entry {
                    router,
                    side: Side::Redirect(0),
                    ..entry
                },
            ));
        }
        Ok(Ok(Arrival::Nobody)) => {}
        Ok(Err(error)) => failed(tls::reason(&error), &error),
        Err(elapsed) => failed("timeout", &elapsed),
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn accept(listener: &Listener, patience: Duration) -> io::Result<(Stream, Ends)> {
    match listener {
        Listener::Tcp(listener) => {
            let (tcp, remote) = listener.accept().await?;
            settle(&tcp, patience)?;
            let ends = Ends {
                remote: Some(remote),
                local: tcp.local_addr().ok(),
                ..Ends::default()
            };
            Ok((Stream::Tcp(tcp), ends))
        }
        Listener::Unix(listener, _) => {
            Ok((Stream::Unix(listener.accept().await?.0), Ends::default()))
        }
    }
}

/// What the kernel is told of a client's connection; where it does not know an option, we go on.
///
/// Without a bound on what is unsent it takes megabytes for a client that does not read: memory
/// outside every bound of ours, and a lag that nobody sees. Who takes nothing of an answer is cut
/// off after `patience` (websocket clients are told before), and who is gone without a word is
/// found out.
fn settle(tcp: &tokio::net::TcpStream, patience: Duration) -> io::Result<()> {
    let socket = socket2::SockRef::from(tcp);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
        socket.set_tcp_user_timeout(Some(patience))?;
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = patience;
    Ok(())
}

fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::InvalidInput
    )
}

/// Answers on one connection until it is over; what a client wants that upgrades goes on elsewhere.
pub(super) async fn http<S>(stream: S, who: Who, header_time: Duration, entry: Entry)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Entry {
        headers_max, stop, ..
    } = &entry;
    let awaited = tokio::time::timeout(header_time, head::awaited(stream, headers_max.1));
    let stream = tokio::select! {
        awaited = awaited => awaited,
        () = stop.cancelled() => return,
    };
    match stream {
        // Boxed, so that nothing is set aside for it before there is a request.
        Ok(Ok(stream)) => Box::pin(answer(stream, who, entry)).await,
        Ok(Err(error)) => debug!(%error, "connection ended before a request"),
        Err(_) => debug!("no request came in time"),
    }
}

async fn answer<S>(stream: S, who: Who, entry: Entry)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Entry {
        router,
        side,
        door,
        headers_max,
        stop,
    } = entry;
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(who.ends);
        if let Some(subject) = &who.subject {
            request.extensions_mut().insert(Arc::clone(subject));
        }
        front::receive(Arc::clone(&door), side, router.clone(), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(headers_max.0)
        .max_buf_size(headers_max.1)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            // What is being answered is answered to its end.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "http connection failed");
    }
}
