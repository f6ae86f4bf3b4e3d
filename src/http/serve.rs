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
const HEADERS_MAX: (usize, usize) = (100, 32 << 10);
/// Bytes that the kernel takes for a client beyond what is in flight (tcp(7)): one large write.
const UNSENT_MAX: u32 = 256 << 10;
/// How long to wait when accepting fails for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop`; every connection runs as a task of its own.
pub async fn serve(listener: Listener, side: Side, door: Arc<Door>, stop: CancellationToken) {
    let router = router(side, &door);
    let mut troubled = false;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok(stream) => {
                troubled = false;
                let router = router.clone();
                match stream {
                    Stream::Tcp(tcp, ends) => {
                        door.tasks.spawn(http(tcp, ends, router, stop.clone()))
                    }
                    Stream::Unix(unix) => {
                        door.tasks
                            .spawn(http(unix, Ends::default(), router, stop.clone()))
                    }
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

async fn accept(listener: &Listener) -> io::Result<Stream> {
    match listener {
        Listener::Tcp(listener) => {
            let (tcp, remote) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            limit_unsent(&tcp);
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

/// Without this the kernel takes megabytes for a client that does not read: memory outside every
/// bound of ours, and a lag that nobody sees. What is in flight is not limited by it.
fn limit_unsent(tcp: &tokio::net::TcpStream) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT_MAX) {
        debug!(%error, "TCP_NOTSENT_LOWAT is not to be had");
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = tcp;
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

async fn http<S>(stream: S, ends: Ends, router: Router, stop: CancellationToken)
where
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
        .max_headers(HEADERS_MAX.0)
        .max_buf_size(HEADERS_MAX.1)
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
