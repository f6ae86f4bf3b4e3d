//! The composition root: cuts the configuration into what each floor needs, starts everything,
//! and ends it in order. The only file that knows everybody.

mod bare;
mod cage;
mod console;
mod develop;
#[cfg_attr(not(feature = "kube"), path = "app/alone.rs")]
mod fleet;
mod front;
mod greeting;
mod heap;
mod identity;
mod memory;
mod notify;
mod program;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use http::{HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::auth::SUBPROTOCOL;
use crate::child::{self, Division, Warden};
use crate::cli::{self, Config, Listen, Source};
use crate::frame::{ClientFraming, JsonFields, ServerFraming, Template};
use crate::http::{self as door, Door, Listener, OriginRule, Readiness, Side, Tls};
use crate::metrics::Metrics;
use crate::room::{self, Close, RoomName, Rooms};
use crate::stop::{self, Asked, Signals, Stage};
use crate::telemetry::Terminal;
use crate::ws::connection;
use fleet::{Fleet, Member};
use greeting::Greeting;
pub use heap::share_heap;
use notify::ServiceManager;

/// Descriptors that are neither clients' nor rooms'.
const SPARE_DESCRIPTORS: u64 = 64;
/// Descriptors of a room: three pipes.
const ROOM_DESCRIPTORS: u64 = 4;
/// How long clients may take to read why they are closed, once all rooms have ended.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How much longer than their ladder rooms may take to end: slow clients have ten seconds for their
/// last words. Then it is taken that they cannot, because the warden was stopped, or a program sits in
/// the kernel.
const LATE: Duration = Duration::from_secs(7);
const STUCK: Duration = Duration::from_secs(6);

/// What main has prepared before any thread was started.
#[derive(Debug)]
pub struct Prepared {
    /// Starts and ends every program; none with `--connect`.
    pub warden: Option<Warden>,
    /// The program as an absolute path; none with `--connect`.
    pub program: Option<std::path::PathBuf>,
    /// Our own cgroup, divided, or why it is not; none where nobody asked.
    pub division: Option<Result<Division, String>>,
    /// Somebody who reads the log as it comes.
    pub terminal: Option<Terminal>,
}

/// What the floors need, cut from the configuration.
#[derive(Debug)]
pub struct Plan {
    config: Config,
    cage: child::Cage,
    rooms: room::Options,
    door: door::Options,
    /// The limit of open ones.
    descriptors: u64,
}

impl Plan {
    /// Checks what only the disk can tell, such as the directory of static files; `descriptors` is
    /// the limit of open ones. An error is one sentence for the user.
    pub fn new(config: Config, descriptors: u64) -> anyhow::Result<Plan> {
        develop::check(&config)?;
        let rooms = room_options(&config, descriptors)?;
        let door = door_options(&config)?;
        let cage = cage::cage(&config).map_err(|sentence| anyhow!(sentence))?;
        Ok(Plan {
            config,
            cage,
            rooms,
            door,
            descriptors,
        })
    }

    /// Whether rooms may get cgroups of their own.
    pub fn wants_cgroups(&self) -> bool {
        self.config.cage.cgroups
    }

    /// The door of a server that listens nowhere and opens no room.
    #[doc(hidden)]
    pub fn bare(self) -> anyhow::Result<Arc<Door>> {
        bare::door(self)
    }
}

/// Serves until it is asked to stop, or its only room has ended.
pub async fn run(plan: Plan, prepared: Prepared) -> anyhow::Result<ExitCode> {
    let Plan {
        config,
        cage,
        rooms,
        mut door,
        descriptors,
    } = plan;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let asked = Asked::default();
    let (reloads, reload) = watch::channel(0);
    let signals = stop::listen(Signals::new()?, asked.clone(), reloads);
    let signals = TaskTracker::new().spawn(signals);
    let tasks = TaskTracker::new();
    let metrics = Metrics::new(config.metrics_rooms)?;
    let (public, admin) = bind(&config).await?;
    let console = console::place(&config, &mut door.console, &public, &admin);
    let (redirect, tls_port) = bind_redirect(&config, &public).await?;
    warn_of_pages(&config, &public);
    let peers = fleet::bind(&config).await?;
    let fleet = Fleet::find(&config, &public, &peers, &metrics).await?;
    cage::tell(&cage, &prepared);
    let sources = develop::sources(&config, prepared.program.as_deref())?;
    let starter = program::starter(&config, &prepared, cage).watching(sources.clone());
    let ownership = fleet.ownership();
    let buffers = !config.tcp && config.pty.is_none();
    let piped = prepared.program.as_deref().filter(|_| buffers);
    let recorder = develop::recorder(&config, &rooms, &metrics)?;
    let rooms = room::Options {
        flush_advice: piped.map(cli::flush_advice),
        recorder: recorder.clone(),
        ..rooms
    };
    let rooms = Rooms::new(rooms, starter, metrics.clone(), tasks.clone(), ownership);
    let (ready, watched) = watch::channel(Readiness::Starting);
    let manager = ServiceManager::from_env();
    let member = fleet.join(&config, &rooms, &prepared, &ready)?;
    let door = Arc::new(Door {
        rooms: rooms.clone(),
        gate: member.gate(),
        options: door,
        connections: front::connections(&config, &metrics, descriptors),
        metrics,
        tasks: tasks.clone(),
        ready: watched.clone(),
        stop: asked.clone(),
        started: Instant::now(),
    });
    let closing = CancellationToken::new();
    if let Some(tls) = &door.options.tls {
        let metrics = door.metrics.clone();
        tasks.spawn(Arc::clone(tls).watch(metrics, reload.clone(), closing.clone()));
    }
    let guard = door.options.guard.clone();
    tasks.spawn(identity::reload(guard, reload, closing.clone()));
    let to_tls = Side::Redirect(tls_port);
    let greeting = Greeting::new(&config, &public, console);
    for (listeners, side, name) in [
        (public, Side::Public, "public"),
        (admin, Side::Admin, "admin"),
        (peers, Side::Peer, "peer"),
        (redirect, to_tls, "redirect"),
    ] {
        for listener in listeners {
            let secure = side == Side::Public && door.options.tls.is_some();
            let scheme = listener
                .tcp_address()
                .map(|_| if secure { "https" } else { "http" });
            info!(addr = %listener, listener = name, scheme, "listening");
            tasks.spawn(door::serve(
                listener,
                side,
                Arc::clone(&door),
                closing.clone(),
            ));
        }
    }
    tasks.spawn(heap::keep_small(rooms.clone(), closing.clone()));
    tasks.spawn(memory::keep_within(
        memory::limit(config.memory),
        rooms.clone(),
        door.metrics.clone(),
        closing.clone(),
    ));
    let restart = config.develop.watch_restart;
    tasks.spawn(develop::watch(
        sources,
        restart,
        rooms.clone(),
        closing.clone(),
    ));
    greeting.say(prepared.terminal.as_ref());
    if let Some(manager) = manager {
        let end = config.drain_timeout.saturating_add(longest_end(&config));
        let serving = greeting.summary();
        tasks.spawn(manager.follow(watched, serving, end, closing.clone()));
    }

    let warden = prepared.warden.as_ref();
    let story = story(&config, &rooms, &member, &asked, &ready, warden).await;
    signals.abort();
    closing.cancel();
    if !matches!(story, Ending::Killed(_) | Ending::Stuck) {
        tasks.close();
        // Whoever does not read by now will not.
        let _ = tokio::time::timeout(LAST_WORDS, tasks.wait()).await;
    }
    if let Some(warden) = &prepared.warden {
        warden.shutdown().await;
    }
    if let Some(recorder) = recorder {
        recorder.finish().await;
    }
    // Nothing of any room is left: the others may have them.
    member.leave().await;
    info!("stopped");
    Ok(match story {
        Ending::Well => ExitCode::SUCCESS,
        Ending::Status(code) => ExitCode::from(code),
        Ending::Killed(signal) => ExitCode::from(status_of_signal(signal)),
        Ending::Stuck | Ending::Failed => ExitCode::FAILURE,
    })
}

/// How the server's life came to its end.
enum Ending {
    /// As it was asked to.
    Well,
    /// With the status of its only child.
    Status(u8),
    /// By a second signal.
    Killed(i32),
    /// Rooms were ended, and did not.
    Stuck,
    /// Something of ours failed.
    Failed,
}

fn status_of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// Waits for what ends the server, then drains: no new rooms; until the drain timeout rooms may
/// end by themselves; then their clients are told, and children walk the ladder. A more urgent
/// request is heard at every step.
async fn story(
    config: &Config,
    rooms: &Rooms,
    member: &Member,
    asked: &Asked,
    ready: &watch::Sender<Readiness>,
    warden: Option<&Warden>,
) -> Ending {
    let mut oneshot = rooms.oneshot();
    let died = async {
        match warden {
            Some(warden) => warden.died().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(died);
    let stage = tokio::select! {
        stage = asked.at_least(Stage::Drain) => stage,
        Ok(exit) = oneshot.wait_for(Option::is_some) => {
            let exit = exit.unwrap_or(child::Exit::Code(0));
            return Ending::Status(u8::try_from(exit.code()).unwrap_or(u8::MAX));
        }
        () = member.lost() => {
            error!("this server's pod is gone; it ends");
            ready.send_replace(Readiness::Draining);
            // Its own rooms were ended by the session.
            member.end_transit(&Close::new(Close::RESTART, "the server lost its pod"));
            return Ending::Failed;
        }
        () = &mut died => {
            error!("the process that starts programs has died; all rooms end");
            rooms.drain();
            member.end_transit(&Close::new(Close::RESTART, "the server failed"));
            rooms.end_all(&Close::new(Close::ERROR, "the server failed"), "server_failed");
            return Ending::Failed;
        }
    };
    rooms.drain();
    member.drain();
    ready.send_replace(Readiness::Draining);
    let wait = if stage == Stage::Drain {
        config.drain_timeout
    } else {
        Duration::ZERO
    };
    info!(
        rooms = rooms.len(),
        seconds = wait.as_secs_f64(),
        "draining"
    );
    let over = async {
        let patient = async { tokio::join!(rooms.all_gone(), member.nobody_in_transit()) };
        tokio::select! {
            _ = tokio::time::timeout(wait, patient) => {}
            _ = asked.at_least(Stage::End) => {}
        }
        let close = Close::new(Close::RESTART, "server draining");
        member.end_transit(&close);
        rooms.end_all(&close, "drain");
        if !all_end(config, rooms).await {
            return Ending::Stuck;
        }
        Ending::Well
    };
    tokio::select! {
        ending = over => ending,
        stage = asked.at_least(Stage::Kill(0)) => match stage {
            Stage::Kill(signal) => Ending::Killed(signal),
            _ => Ending::Failed,
        },
        () = &mut died => Ending::Failed,
    }
}

/// How long rooms may take that were told to end.
fn ladder(config: &Config) -> Duration {
    // Twice for input: what is queued, and what was printed behind it.
    let input = config.stop_eof.saturating_mul(2);
    input.saturating_add(config.stop_grace).saturating_add(LATE)
}

/// How long the server's end takes at the most, once it waits for rooms no more; with a moment for what
/// has no bound of its own.
fn longest_end(config: &Config) -> Duration {
    ladder(config).saturating_add(STUCK + 2 * LAST_WORDS)
}

/// Waits until no room lives, or until it is plain that some will not end.
async fn all_end(config: &Config, rooms: &Rooms) -> bool {
    let late = ladder(config);
    if tokio::time::timeout(late, rooms.all_gone()).await.is_ok() {
        return true;
    }
    warn!(
        rooms = rooms.len(),
        "rooms take longer to end than they may"
    );
    if tokio::time::timeout(STUCK, rooms.all_gone()).await.is_ok() {
        return true;
    }
    error!(
        rooms = rooms.len(),
        "rooms do not end; what is left of them is killed"
    );
    false
}

async fn bind(config: &Config) -> anyhow::Result<(Vec<Listener>, Vec<Listener>)> {
    let mut public = Vec::new();
    for listen in &config.addr {
        let listen = fleet::reachable(listen, config);
        public.extend(bind_one(&listen, config.unix_mode).await?);
    }
    if config.addr.is_empty() {
        public = door::inherited()?;
        if public.is_empty() {
            let listen = fleet::reachable(&Listen::Tcp(cli::DEFAULT_ADDR.to_owned()), config);
            public = bind_one(&listen, config.unix_mode).await?;
        }
    }
    let admin = match &config.admin_addr {
        Some(listen) => {
            let listen = fleet::reachable(listen, config);
            bind_one(&listen, config.unix_mode).await?
        }
        None => Vec::new(),
    };
    Ok((public, admin))
}

/// Where plain HTTP is sent to https, and the port that it is sent to.
async fn bind_redirect(
    config: &Config,
    public: &[Listener],
) -> anyhow::Result<(Vec<Listener>, u16)> {
    let Some(listen) = config.tls.as_ref().and_then(|tls| tls.redirect.as_ref()) else {
        return Ok((Vec::new(), 0));
    };
    let secure = public.iter().find_map(Listener::tcp_address);
    let secure = secure.context("--redirect-addr has no address of TLS to send anybody to")?;
    let listen = fleet::reachable(listen, config);
    Ok((bind_one(&listen, config.unix_mode).await?, secure.port()))
}

async fn bind_one(listen: &Listen, unix_mode: u32) -> anyhow::Result<Vec<Listener>> {
    match listen {
        Listen::Tcp(address) => door::bind_tcp(address).await,
        Listen::Unix(path) => Ok(vec![door::bind_unix(path, unix_mode)?]),
    }
}

/// Any page that a browser shows can connect to a server without a rule.
fn warn_of_pages(config: &Config, public: &[Listener]) {
    let open = public
        .iter()
        .filter_map(Listener::tcp_address)
        .any(|address| !address.ip().to_canonical().is_loopback());
    // Browsers on this machine come by loopback, whatever page they show.
    if (open || config.pty.is_some()) && config.origin.is_empty() && !config.same_origin {
        warn!("any web page may connect: set --same-origin or --origin to say which may");
    }
}

fn room_options(config: &Config, descriptors: u64) -> anyhow::Result<room::Options> {
    let fields = JsonFields {
        from: config.from_field.clone(),
        to: config.to_field.clone(),
    };
    let rooms: Option<HashSet<RoomName>> = match &config.rooms {
        Some(names) => Some(
            names
                .iter()
                .map(|name| RoomName::parse(name))
                .collect::<Result<_, _>>()?,
        ),
        None => None,
    };
    Ok(room::Options {
        backlog: config.backlog,
        inbox: config.inbox,
        slow: match (config.slow, &config.server_framing) {
            (cli::Slow::Disconnect, _) => room::Slow::Disconnect,
            (cli::Slow::Drop, cli::ServerFraming::Json) => room::Slow::Drop("_gap"),
            (cli::Slow::Drop, _) => room::Slow::Drop("gap"),
            (cli::Slow::Block, _) => room::Slow::Block,
        },
        server_framing: match &config.server_framing {
            cli::ServerFraming::Lines => ServerFraming::Lines {
                delimiters: b"\n".to_vec(),
                strip_cr: true,
            },
            cli::ServerFraming::Null => ServerFraming::Lines {
                delimiters: b"\0".to_vec(),
                strip_cr: false,
            },
            cli::ServerFraming::Delimiters(delimiters) => ServerFraming::Lines {
                delimiters: delimiters.clone(),
                strip_cr: false,
            },
            cli::ServerFraming::Raw => ServerFraming::Raw,
            cli::ServerFraming::Json => ServerFraming::Json(fields.clone()),
            cli::ServerFraming::Binary | cli::ServerFraming::Gwsocket => ServerFraming::Packets,
        },
        client_framing: match config.client_framing {
            cli::ClientFraming::Lines => ClientFraming::Lines { terminator: b'\n' },
            cli::ClientFraming::Null => ClientFraming::Lines { terminator: 0 },
            cli::ClientFraming::Raw => ClientFraming::Raw,
            cli::ClientFraming::Json => ClientFraming::Json(fields),
            cli::ClientFraming::Binary => ClientFraming::Binary,
            cli::ClientFraming::Gwsocket => ClientFraming::Gwsocket,
        },
        max_child_message: config.max_child_message,
        join_message: config.joinmsg.as_deref().map(Template::parse),
        leave_message: config.leavemsg.as_deref().map(Template::parse),
        history: config.cache.map(|cache| match cache.keep {
            cli::Keep::All => room::Keep::All(cache.messages),
            cli::Keep::Tagged => room::Keep::Tagged(cache.messages),
        }),
        persist_history: config.cachepersist,
        rooms,
        max_rooms: config.maxrooms,
        max_clients: config
            .max_clients
            .unwrap_or_else(|| front::most_clients(config, descriptors)),
        max_clients_per_room: config.max_clients_per_room,
        max_clients_per_ip: config.max_clients_per_ip,
        isolate: config.isolate,
        oneshot: config.oneshot,
        linger: config.linger,
        max_idle: config.max_idle,
        max_lifetime: config.max_lifetime,
        stop_eof: config.stop_eof,
        start_timeout: config.start_timeout,
        restart: config.restart == cli::Restart::OnFailure,
        guests: config.console.is_some(),
        spawn_every: config.cage.spawn_rate,
        crash_limit: config.cage.crash_limit,
        stderr: match config.stderr {
            cli::Stderr::Log => room::Stderr::Log,
            cli::Stderr::Client => room::Stderr::Client,
            cli::Stderr::Inherit | cli::Stderr::Drop => room::Stderr::Elsewhere,
        },
        output_ends_room: config.tcp || matches!(config.source, Source::Connect(_)),
        // Known once the program was found.
        flush_advice: None,
        terminal: program::size(config),
        recorder: None,
    })
}

fn door_options(config: &Config) -> anyhow::Result<door::Options> {
    let headers = config.header.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        Ok((name, HeaderValue::from_str(value)?))
    });
    let files = match &config.staticdir {
        Some(dir) => {
            let files = door::Files::new(dir).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => anyhow!(
                    "`--staticdir {}` is no directory: write the one that has the page, from where you are or from /",
                    dir.display()
                ),
                _ => anyhow!(error).context(format!("cannot serve files from {}", dir.display())),
            });
            Some(files?)
        }
        None => None,
    };
    let tls = match &config.tls {
        Some(tls) => {
            let files = door::tls::Files {
                pairs: tls.pairs.clone(),
                client_ca: tls.client_ca.clone(),
            };
            Some(Arc::new(Tls::read(files).context("cannot speak TLS")?))
        }
        None => None,
    };
    let connection = connection::Options {
        max_message: config.max_message,
        compress: config.compress,
        ping: config.ping,
        ping_timeout: config.ping_timeout,
        stall_timeout: config.stall_timeout,
    };
    let guard = identity::guard(config)?;
    let mut subprotocols = config.subprotocol.clone();
    if matches!(config.identity, Some(cli::Identity::Token { .. })) {
        // For pages that offer it beside their token.
        subprotocols.push(SUBPROTOCOL.to_owned());
    }
    Ok(door::Options {
        proxies: front::proxies(config),
        proxy_protocol: config.front.proxy_protocol,
        hosts: front::hosts(config),
        head: front::head(config),
        base_path: config.front.base_path.clone(),
        guard,
        origin: OriginRule::new(&config.origin, config.same_origin)
            .map_err(|error| anyhow!("--origin: {error}"))?,
        subprotocols,
        headers: headers.collect::<anyhow::Result<_>>()?,
        refuse: match config.refuse {
            cli::Refuse::Http => door::Refuse::Http,
            cli::Refuse::Close => door::Refuse::Close,
        },
        metrics: config.metrics,
        stats: config.stats,
        api: config.api,
        console: console::console(config)?,
        files,
        admin: config.admin_addr.is_some(),
        tls,
        connection: Arc::new(connection),
    })
}
