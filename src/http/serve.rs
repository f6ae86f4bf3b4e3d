//! The accept loop of one listener, and HTTP/1.1 on what it accepts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::listen::Listener;
use super::router::router;
use super::{Door, Ends, Side};

/// How long a client may take for the headers of its request.
const HEADER_TIME: Duration = Duration::from_secs(10);
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
    let router = router(side, &door);
    let headers_max = match side {
        Side::Peer => PEER_HEADERS_MAX,
        Side::Public | Side::Admin => HEADERS_MAX,
    };
    let patience = door
        .options
        .connection
        .stall_timeout
        .saturating_add(PATIENCE);
    let mut troubled = false;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, patience) => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok(stream) => {
                troubled = false;
                let router = router.clone();
                match stream {
                    Stream::Tcp(tcp, ends) => {
                        door.tasks
                            .spawn(http(tcp, ends, headers_max, router, stop.clone()))
                    }
                    Stream::Unix(unix) => door.tasks.spawn(http(
                        unix,
                        Ends::default(),
                        headers_max,
                        router,
                        stop.clone(),
                    )),
                };
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

enum Stream {
    Tcp(tokio::net::TcpStream, Ends),
    Unix(tokio::net::UnixStream),
}

async fn accept(listener: &Listener, patience: Duration) -> io::Result<Stream> {
    match listener {
        Listener::Tcp(listener) => {
            let (tcp, remote) = listener.accept().await?;
            settle(&tcp, patience)?;
            let local = tcp.local_addr().ok();
            Ok(Stream::Tcp(
                tcp,
                Ends {
                    remote: Some(remote),
                    local,
                },
            ))
        }
        Listener::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
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
pub(super) async fn http<S>(
    stream: S,
    ends: Ends,
    headers_max: (usize, usize),
    router: Router,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ends);
        router.clone().oneshot(request)
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
