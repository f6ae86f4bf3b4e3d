//! The accept loop of one listener, and HTTP/1.1 on what it accepts, behind a proxy's header and over
//! TLS where that is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::accept::{Accepted, Acceptor, Stream};
use super::answer::Denied;
use super::away::{self, Patience};
use super::connections::Share;
use super::head::{Limits, Rewound};
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
/// How much longer than the stall timeout a client may take nothing before the kernel gives it up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The least that HTTP's buffer may have.
const BUFFER_LEAST: usize = 8 << 10;

/// Accepts until `stop`; every connection runs as a task of its own.
pub async fn serve(listener: Listener, side: Side, door: Arc<Door>, stop: CancellationToken) {
    let options = &door.options;
    let entry = Entry {
        router: router(side, &door),
        side,
        door: Arc::clone(&door),
        limits: match side {
            Side::Peer => options.head.of_peers(),
            Side::Public | Side::Admin | Side::Redirect(_) => options.head,
        },
        stop,
    };
    let tls = match side {
        Side::Public => options.tls.clone(),
        Side::Admin | Side::Peer | Side::Redirect(_) => None,
    };
    let patience = options.connection.stall_timeout.saturating_add(PATIENCE);
    let introductions = match side {
        Side::Public | Side::Redirect(_) if options.proxy_protocol => {
            Some(Arc::new(Introductions::default()))
        }
        _ => None,
    };
    let mut acceptor = Acceptor::new(listener, patience);
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.next() => accepted,
            () = entry.stop.cancelled() => return,
        };
        let (stream, entered) = match accepted {
            Accepted::One(stream) => {
                let entered = enter(&door, side, &stream).map_err(|no| (no, Patience::Some));
                (stream, entered)
            }
            // One of them may come in all the same: who is to find out needs to.
            Accepted::Excess(stream) if side == Side::Admin => (stream, Ok(None)),
            Accepted::Excess(stream) => (stream, Err((Denied::NoDescriptors, Patience::None))),
        };
        let tls = tls.clone().filter(|_| matches!(stream, Stream::Tcp(..)));
        let share = match entered {
            Ok(share) => share,
            Err((denied, patience)) => {
                let porch = &door.connections.porch;
                porch.turn_away(&door, stream, denied, tls.is_some(), patience);
                continue;
            }
        };
        let newcomer = Newcomer {
            who: Who {
                ends: stream.ends(),
                subject: None,
                share,
            },
            stream,
            began: Instant::now(),
            tls,
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
}

/// A share of the limits for those who need one: operators and the servers of the fleet shall come in
/// above all when clients are too many.
fn enter(door: &Door, side: Side, stream: &Stream) -> Result<Option<Share>, Denied> {
    let proxies = &door.options.proxies;
    let address = stream.ends().remote.map(|remote| remote.ip());
    let address = match side {
        Side::Admin | Side::Peer => return Ok(None),
        Side::Redirect(_) if !door.options.proxy_protocol => address,
        Side::Public | Side::Redirect(_) => {
            address.filter(|address| !proxies.trusts(Some(*address)))
        }
    };
    let entered = door.connections.enter(address);
    entered.map(Some).map_err(Denied::Crowded)
}

/// What all connections of one listener have in common.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) router: Router,
    pub(super) side: Side,
    pub(super) door: Arc<Door>,
    pub(super) limits: Limits,
    pub(super) stop: CancellationToken,
}

/// Who is at the other end of a connection, as far as the connection tells.
#[derive(Debug, Default)]
pub(super) struct Who {
    ends: Ends,
    /// Whose certificate it has.
    subject: Option<Arc<Subject>>,
    /// What it has of the limits.
    share: Option<Share>,
}

/// A connection of which nothing was read.
struct Newcomer {
    stream: Stream,
    who: Who,
    began: Instant,
    tls: Option<Arc<Tls>>,
}

impl Newcomer {
    /// Goes on once a proxy has said whose connection it is, for whom it counts then. What that takes
    /// is a task's that ends then.
    async fn introduced(mut self, introductions: Arc<Introductions>, entry: Entry) {
        let (ends, door, stop) = (self.who.ends, &entry.door, &entry.stop);
        let heard = match &mut self.stream {
            Stream::Tcp(tcp, _) => {
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
        let Some(ends) = heard else { return };
        let client = ends.remote.map(|remote| remote.ip());
        let client = client.filter(|client| !door.options.proxies.trusts(Some(*client)));
        let named = self.who.share.as_ref().and_then(Share::named);
        match named.map_or(Ok(()), |named| named.counts_for(client)) {
            Ok(()) => {
                self.who.ends = ends;
                self.enter(entry);
            }
            Err(crowded) => {
                let denied = Denied::Crowded(crowded);
                let (porch, secure) = (&door.connections.porch, self.tls.is_some());
                porch.turn_away(door, self.stream, denied, secure, Patience::Some);
            }
        }
    }

    /// Speaks TLS or HTTP, in a task of its own.
    fn enter(self, entry: Entry) {
        let door = Arc::clone(&entry.door);
        let time = left_of(HEADER_TIME, self.began);
        match (self.stream, self.tls) {
            (Stream::Tcp(tcp, _), Some(tls)) => {
                let tasks = Arc::clone(&door);
                door.tasks
                    .spawn(secure(tcp, self.who, self.began, tls, tasks, entry))
            }
            (Stream::Tcp(tcp, _), None) => door.tasks.spawn(http(tcp, self.who, time, entry)),
            (Stream::Unix(unix), _) => door.tasks.spawn(http(unix, self.who, time, entry)),
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
    who: Who,
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
        debug!(reason, %error, client = ?who.ends.remote, "TLS handshake failed");
    };
    match arrival {
        Ok(Ok(Arrival::Secure(stream, subject))) => {
            let who = Who {
                ends: Ends {
                    https: true,
                    ..who.ends
                },
                subject,
                ..who
            };
            let time = left_of(HEADER_TIME, began);
            door.tasks.spawn(http(stream, who, time, entry));
        }
        Ok(Ok(Arrival::Plain(tcp))) => {
            failed("plain_http", &"plain HTTP");
            let router = plain::refuses();
            door.tasks.spawn(http(
                tcp,
                who,
                HEADER_TIME,
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

/// Answers on one connection until it is over; what a client wants that upgrades goes on elsewhere.
pub(super) async fn http<S>(stream: S, mut who: Who, header_time: Duration, entry: Entry)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let awaited = head::awaited(stream, entry.limits, who.share.take());
    let awaited = tokio::time::timeout(header_time, awaited);
    let stream = tokio::select! {
        awaited = awaited => awaited,
        () = entry.stop.cancelled() => return,
    };
    match stream {
        // Boxed, so that nothing is set aside for it before there is a request.
        Ok(Ok((stream, Ok(())))) => {
            if stream.begins_tls() {
                tell_of_tls(who.ends);
            }
            Box::pin(answer(stream, who, entry)).await;
        }
        Ok(Ok((stream, Err(too_long)))) => {
            let denied = Denied::TooLong(too_long, entry.limits);
            entry.door.metrics.refused(denied.label());
            debug!(reason = denied.label(), client = ?who.ends.remote, "request refused");
            let answer = away::answer(&entry.door, denied);
            Box::pin(away::part(stream, answer)).await;
        }
        Ok(Err(error)) => debug!(%error, "connection ended before a request"),
        Err(_) => debug!("no request came in time"),
    }
}

/// A browser shows nothing of our answer to whoever wrote https:// for http://; so the log does, once.
fn tell_of_tls(ends: Ends) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Relaxed) {
        info!(
            client = ?ends.remote,
            "a client speaks TLS where there is none: let it write http:// or ws://, or set --tls-cert and --tls-key"
        );
    }
}

async fn answer<S>(stream: Rewound<S>, who: Who, entry: Entry)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Entry {
        router,
        side,
        door,
        limits,
        stop,
    } = entry;
    let peer = who.ends.remote.map(|remote| remote.ip());
    let is_proxy = side == Side::Public && door.options.proxies.trusts(peer);
    let named = stream.share().filter(|_| is_proxy).and_then(Share::named);
    let is_first = AtomicBool::new(true);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (parts, body) = request.into_parts();
        // Of the first one it is known, to the byte.
        let checked = match is_first.swap(false, Relaxed) {
            true => Ok(()),
            false => limits.check(&parts),
        };
        let checked = checked.map_err(|too_long| Denied::TooLong(too_long, limits));
        let mut request = http::Request::from_parts(parts, Body::new(body));
        request.extensions_mut().insert(who.ends);
        if let Some(subject) = &who.subject {
            request.extensions_mut().insert(Arc::clone(subject));
        }
        let (door, router, named) = (Arc::clone(&door), router.clone(), named.clone());
        async move {
            match checked {
                Ok(()) => front::receive(door, side, router, request, named).await,
                Err(denied) => Ok(front::hang_up(&door, denied)),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        // HTTP's own limits are not sharp, and its answers empty: they are for what is far beyond ours.
        .max_headers(limits.headers.saturating_mul(2))
        .max_buf_size(limits.bytes.saturating_mul(2).saturating_add(BUFFER_LEAST))
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
