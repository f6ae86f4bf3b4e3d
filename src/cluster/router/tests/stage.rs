//! A fleet in one process: real doors, sockets and rooms, and a table in place of the API server.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use futures_util::future::BoxFuture;

use super::super::*;
use crate::auth::Guard;
use crate::child::{self, Starter, Transport};
use crate::cluster::peer::Secrets;
use crate::cluster::view::{Census, Scaling};
use crate::frame::{ClientFraming, ServerFraming, Template};
use crate::http::gate::Gate;
use crate::http::{self as door, Door, Listener, OriginRule, Readiness, Refuse, Side};
use crate::metrics::Metrics;
use crate::room::{self, Claim, Ownership, Unclaimed};
use crate::stop::Asked;
use crate::ws::connection;

/// How long anything in these tests may take before they fail.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing came of it"),
    }
}

/// What all pods agree on: claims, and who there is.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) claims: Mutex<HashMap<RoomName, Owner>>,
    pub(super) pods: Mutex<Vec<Pod>>,
    /// Whether the watch shows no claims, as if it were far behind.
    pub(super) blind: AtomicBool,
}

impl Fleet for Table {
    fn owner(&self, room: &RoomName) -> Option<Owner> {
        match self.blind.load(SeqCst) {
            true => None,
            false => self.claims.lock().get(room).copied(),
        }
    }

    fn pods(&self) -> Vec<Pod> {
        let claims = self.claims.lock();
        let mut pods = self.pods.lock().clone();
        for pod in &mut pods {
            pod.rooms += claims.values().filter(|owner| **owner == pod.owner).count();
        }
        pods
    }

    fn public(&self, session: u128) -> Option<SocketAddr> {
        let pods = self.pods.lock();
        let pod = pods.iter().find(|pod| pod.owner.session == session)?;
        pod.public
    }

    fn census(&self, _: &str, _: usize) -> Census {
        Census::default()
    }

    fn scaling(&self, _: usize) -> Scaling {
        unreachable!("nobody asks for figures here")
    }
}

/// One pod's right to claim rooms in the table.
#[derive(Debug)]
struct Claims {
    table: Arc<Table>,
    me: Owner,
}

impl Ownership for Claims {
    fn claim<'a>(&'a self, room: &'a RoomName) -> BoxFuture<'a, Result<Claim, Unclaimed>> {
        Box::pin(async move {
            // The API server takes a moment, in which others ask too.
            tokio::task::yield_now().await;
            let owner = *self
                .table
                .claims
                .lock()
                .entry(room.clone())
                .or_insert(self.me);
            if owner != self.me {
                return Err(Unclaimed::Elsewhere(owner));
            }
            let (table, room) = (Arc::clone(&self.table), room.clone());
            let release = move || {
                table.claims.lock().remove(&room);
            };
            Ok(Claim::new("1".to_owned(), release))
        })
    }
}

/// The programs of all rooms: each says who joined, and repeats every line.
#[derive(Debug)]
struct Programs {
    address: SocketAddr,
    started: Arc<AtomicUsize>,
}

/// What the pods of a fleet are told, where tests differ.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) placement: Placement,
    pub(super) route_timeout: Duration,
    pub(super) proxy: bool,
    pub(super) max_rooms: usize,
    pub(super) guard: Option<Arc<Guard>>,
}

impl Default for Told {
    fn default() -> Self {
        Told {
            placement: Placement::Spread,
            route_timeout: PATIENCE,
            proxy: true,
            max_rooms: 100,
            guard: None,
        }
    }
}

pub(super) struct Stage {
    pub(super) table: Arc<Table>,
    programs: Programs,
    tasks: TaskTracker,
    stop: CancellationToken,
    secret: PathBuf,
    _dir: tempfile::TempDir,
}

/// One pod of the fleet.
pub(super) struct OnePod {
    pub(super) public: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) session: u128,
    pub(super) rooms: Rooms,
    pub(super) router: Arc<Router>,
    _standing: watch::Sender<Standing>,
    _ready: watch::Sender<Readiness>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address at which nobody listens.
pub(super) async fn nobody() -> SocketAddr {
    listener().await.1
}

async fn repeat(stream: TcpStream) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if write
            .write_all(format!("{line}\n").as_bytes())
            .await
            .is_err()
        {
            break;
        }
    }
}

impl Stage {
    pub(super) async fn new() -> Self {
        let (listener, address) = listener().await;
        let started = Arc::new(AtomicUsize::new(0));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (counted, repeaters, until) = (Arc::clone(&started), tasks.clone(), stop.clone());
        tasks.spawn(async move {
            while let Some(Ok((stream, _))) = until.run_until_cancelled(listener.accept()).await {
                counted.fetch_add(1, SeqCst);
                repeaters.spawn(repeat(stream));
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "the secret of this fleet\n").unwrap();
        Stage {
            table: Arc::default(),
            programs: Programs { address, started },
            tasks,
            stop,
            secret,
            _dir: dir,
        }
    }

    /// How many programs were started by all pods together.
    pub(super) fn programs(&self) -> usize {
        self.programs.started.load(SeqCst)
    }

    pub(super) async fn pods<const N: usize>(&self, told: &Told) -> [OnePod; N] {
        let mut pods = Vec::new();
        for _ in 0..N {
            pods.push(self.pod(told).await);
        }
        pods.try_into().unwrap_or_else(|_| unreachable!())
    }

    pub(super) async fn pod(&self, told: &Told) -> OnePod {
        let ((public, public_at), (peer, peer_at)) = (listener().await, listener().await);
        let number = self.table.pods.lock().len();
        let me = Owner {
            endpoint: peer_at,
            session: 1000 + number as u128,
        };
        let uid = format!("uid-{number}");
        self.table.pods.lock().push(Pod {
            uid: uid.clone(),
            owner: me,
            public: Some(public_at),
            rooms: 0,
            limit: told.max_rooms,
            eligible: true,
        });
        let table = Arc::clone(&self.table);
        let ownership = Arc::new(Claims {
            table: Arc::clone(&table),
            me,
        });
        let metrics = Metrics::new(0).unwrap();
        let rooms = Rooms::new(
            room_options(told),
            starter(self.programs.address),
            metrics.clone(),
            self.tasks.clone(),
            Some(ownership),
        );
        let (standing, watched) = watch::channel(Standing {
            session: Some(me.session),
            epoch: 0,
            open: true,
            valid_until: None,
        });
        let options = Options {
            uid,
            addresses: Addresses {
                peer: peer_at,
                public: Some(public_at),
            },
            placement: told.placement,
            route_timeout: told.route_timeout,
            stall_timeout: PATIENCE,
        };
        let secrets = told.proxy.then(|| Secrets::open(&self.secret).unwrap());
        let authority = secrets.map(Authority::new);
        let figures = FleetMetrics::default();
        let router = Router::new(options, rooms.clone(), table, watched, authority, figures);
        let router = Arc::new(router);
        let (ready, is_ready) = watch::channel(Readiness::Ready);
        let door = Arc::new(Door {
            rooms: rooms.clone(),
            gate: Some(Arc::clone(&router) as Arc<dyn Gate>),
            options: door_options(told),
            connections: door::Connections::new(usize::MAX, None, metrics.clone()),
            metrics,
            tasks: self.tasks.clone(),
            ready: is_ready,
            stop: Asked::default(),
            started: std::time::Instant::now(),
        });
        for (listener, side) in [(public, Side::Public), (peer, Side::Peer)] {
            let (door, stop) = (Arc::clone(&door), self.stop.clone());
            self.tasks
                .spawn(door::serve(Listener::Tcp(listener), side, door, stop));
        }
        OnePod {
            public: public_at,
            peer: peer_at,
            session: me.session,
            rooms,
            router,
            _standing: standing,
            _ready: ready,
        }
    }
}

fn starter(program: SocketAddr) -> Starter {
    let spec = child::Spec {
        program: PathBuf::new(),
        args: Vec::new(),
        env: Vec::new(),
        stop_signal: 15,
        stop_grace: Duration::from_secs(1),
        stderr: child::Stderr::Drop,
        transport: Transport::Connect(program.to_string()),
        attach_delay: None,
        start_timeout: PATIENCE,
        cage: child::Cage::default(),
    };
    Starter::new(spec, None)
}

fn room_options(told: &Told) -> room::Options {
    room::Options {
        backlog: 1 << 20,
        inbox: 1 << 20,
        slow: room::Slow::Disconnect,
        server_framing: ServerFraming::Lines {
            delimiters: b"\n".to_vec(),
            strip_cr: true,
        },
        client_framing: ClientFraming::Lines { terminator: b'\n' },
        max_child_message: 1 << 20,
        join_message: Some(Template::parse(match told.guard {
            None => {
                "joined from #REMOTE_ADDR:#REMOTE_PORT at #SERVER_PORT [#HTTP_SCALESOCKET_PEER_USER]"
            }
            Some(_) => "#USER|#AUTH_TYPE|#QUERY_STRING|#REQUEST_URI",
        })),
        leave_message: None,
        history: None,
        persist_history: false,
        rooms: None,
        max_rooms: told.max_rooms,
        max_clients: 1000,
        max_clients_per_room: None,
        max_clients_per_ip: Some(30),
        isolate: false,
        oneshot: false,
        linger: Duration::ZERO,
        max_idle: None,
        max_lifetime: None,
        stop_eof: Duration::from_secs(1),
        start_timeout: PATIENCE,
        restart: false,
        spawn_every: None,
        guests: false,
        crash_limit: None,
        stderr: room::Stderr::Elsewhere,
        output_ends_room: true,
        flush_advice: None,
        terminal: None,
        recorder: None,
    }
}

fn door_options(told: &Told) -> door::Options {
    door::Options {
        guard: told.guard.clone(),
        origin: OriginRule::default(),
        proxies: Default::default(),
        proxy_protocol: false,
        hosts: Default::default(),
        head: door::Limits {
            bytes: 32 << 10,
            headers: 100,
        },
        base_path: String::new(),
        subprotocols: vec!["chat".to_owned()],
        headers: vec![(
            ::http::HeaderName::from_static("x-served-by"),
            ::http::HeaderValue::from_static("the entry"),
        )],
        refuse: Refuse::Http,
        metrics: false,
        stats: false,
        api: false,
        console: None,
        files: None,
        admin: false,
        tls: None,
        connection: Arc::new(connection::Options {
            max_message: 1 << 20,
            compress: Some(512),
            ping: None,
            ping_timeout: None,
            stall_timeout: PATIENCE,
        }),
    }
}

/// Somebody in a room.
pub(super) struct Person {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(super) address: SocketAddr,
    pub(super) headers: ::http::HeaderMap,
}

/// A refusal: status, headers, and the label in the body.
#[derive(Debug)]
pub(super) struct No {
    pub(super) status: u16,
    pub(super) headers: ::http::HeaderMap,
    pub(super) error: String,
}

/// Joins `path` at `door`, with these headers.
pub(super) async fn join_with(
    door: SocketAddr,
    path: &str,
    headers: &[(&'static str, &'static str)],
) -> Result<Person, No> {
    let mut request = format!("ws://{door}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        let value = ::http::HeaderValue::from_static(value);
        request.headers_mut().insert(*name, value);
    }
    match within("joining", connect_async(request)).await {
        Ok((socket, response)) => {
            let MaybeTlsStream::Plain(tcp) = socket.get_ref() else {
                panic!("not plain TCP");
            };
            let address = tcp.local_addr().unwrap();
            Ok(Person {
                address,
                headers: response.headers().clone(),
                socket,
            })
        }
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            Err(No {
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                error: body["error"].as_str().unwrap_or_default().to_owned(),
            })
        }
        Err(error) => panic!("joining failed: {error}"),
    }
}

pub(super) async fn join(door: SocketAddr, path: &str) -> Person {
    match join_with(door, path, &[]).await {
        Ok(person) => person,
        Err(no) => panic!("turned away from {path}: {no:?}"),
    }
}

pub(super) async fn turned_away(door: SocketAddr, path: &str) -> No {
    match join_with(door, path, &[]).await {
        Ok(_) => panic!("let into {path}"),
        Err(no) => no,
    }
}

impl Person {
    pub(super) async fn says(&mut self, text: &str) {
        let said = self.socket.send(Message::text(text.to_owned()));
        within("saying", said).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        let next = within("hearing", self.socket.next()).await;
        next.expect("the connection ended without a close")
            .expect("the connection broke")
    }

    /// Waits until it hears that, whatever else is said before.
    pub(super) async fn hears(&mut self, expected: &str) {
        while self.next().await != Message::text(expected.to_owned()) {}
    }

    /// Reads up to the close, and gives its code and reason.
    pub(super) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(Some(close)) = self.next().await {
                return (close.code.into(), close.reason.to_string());
            }
        }
    }
}
