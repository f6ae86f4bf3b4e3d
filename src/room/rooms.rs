//! The registry: which rooms live, who may come in, and what becomes of all of them at the end.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio_util::task::TaskTracker;

use super::admission::{Admission, Admitted};
use super::close::Close;
use super::crashes::{CrashLoop, Crashes};
use super::flights::{Boarding, Flights, Pilot};
use super::history::History;
use super::live::{Opening, Order, Room, Shut};
use super::mute::Advice;
use super::name::RoomName;
use super::options::Options;
use super::ownership::{Claim, Owner, Ownership, Unclaimed};
use super::place::{Newcomer, Place};
use super::starts::Starts;
use super::supervisor;
use super::transcript::Transcript;
use crate::child::{Exit, Starter, unique_id};
use crate::frame::{ClientId, Encoder};
use crate::metrics::Metrics;

/// Room events that a slow listener may be behind before it misses some.
const EVENTS: usize = 256;

/// A room came, changed or went; for the listeners of `/api/events`.
#[derive(Debug, Clone)]
pub enum RoomEvent {
    /// A room was opened.
    Started(RoomName),
    /// Somebody came or left.
    Changed(RoomName),
    /// A room ended, with the reason its clients read.
    Ended(RoomName, String),
}

impl RoomEvent {
    /// Which room it was.
    pub fn room(&self) -> &RoomName {
        match self {
            RoomEvent::Started(name) | RoomEvent::Changed(name) | RoomEvent::Ended(name, _) => name,
        }
    }
}

/// Why somebody is not let in, before the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not one of `--rooms`.
    #[error("there is no such room here")]
    NotAllowed,
    /// The address has as many clients as it may.
    #[error("too many connections from this address")]
    PerAddress,
    /// The server has as many clients as it may.
    #[error("the server has as many clients as it takes")]
    ServerFull,
    /// The room has as many clients as it may.
    #[error("the room is full")]
    RoomFull,
    /// There are as many rooms as there may be.
    #[error("there are as many rooms as the server takes")]
    NoMoreRooms,
    /// No TCP port is left for another child.
    #[error("no port is left for another room")]
    NoMorePorts,
    /// Programs are started as fast as they may be; so many seconds, and there is room again.
    #[error("more rooms are opened than programs may be started; again in {0} s")]
    SpawnRate(u64),
    /// The room's program failed too often; only the server that saw it knows how.
    #[error("{}", .0.map_or("crash loop; again soon".to_owned(), |seen| seen.to_string()))]
    CrashLoop(Option<CrashLoop>),
    /// The server has as much in memory as it may.
    #[error("the server is short of memory and opens no rooms at present")]
    ShortOfMemory,
    /// The server is draining, and the room does not live.
    #[error("the server is draining and opens no more rooms")]
    Draining,
    /// The room was ending, and took too long to.
    #[error("the room is ending; try again")]
    Ending,
    /// Another server of the fleet has the room.
    #[error("the room is on another server")]
    Elsewhere(Owner),
    /// The fleet did not say who may run the room.
    #[error("it cannot be told at present which server has the room; try again")]
    ClaimUnavailable,
    /// This server may not run rooms at present.
    #[error("the server may not open rooms at present")]
    Suspended,
    /// Four thousand million clients were served.
    #[error("the server has no client ids left; it needs a restart")]
    OutOfIds,
}

impl Refusal {
    /// The label of the refusal in metrics, and its `error` in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::NotAllowed => "room_not_allowed",
            Refusal::PerAddress => "too_many_from_address",
            Refusal::ServerFull => "server_full",
            Refusal::RoomFull => "room_full",
            Refusal::NoMoreRooms => "too_many_rooms",
            Refusal::NoMorePorts => "no_ports",
            Refusal::SpawnRate(_) => "spawn_rate",
            Refusal::CrashLoop(_) => "crash_loop",
            Refusal::ShortOfMemory => "short_of_memory",
            Refusal::Draining => "draining",
            Refusal::Ending => "ending",
            Refusal::Elsewhere(_) => "elsewhere",
            Refusal::ClaimUnavailable => "claim_unavailable",
            Refusal::Suspended => "suspended",
            Refusal::OutOfIds => "out_of_ids",
        }
    }

    /// Seconds until another try can be worth it.
    pub fn again(self) -> u64 {
        match self {
            Refusal::SpawnRate(again) => again,
            Refusal::CrashLoop(Some(crashes)) => crashes.again,
            _ => 1,
        }
    }
}

impl From<Unclaimed> for Refusal {
    fn from(why: Unclaimed) -> Self {
        match why {
            Unclaimed::Elsewhere(owner) => Refusal::Elsewhere(owner),
            Unclaimed::Unavailable => Refusal::ClaimUnavailable,
            Unclaimed::Suspended => Refusal::Suspended,
        }
    }
}

/// A client of a room on another server, who counts here as any other; dropping it is leaving.
#[derive(Debug)]
pub struct Transit(#[expect(dead_code, reason = "held for its end")] Admitted);

/// How the last rooms ended, newest last.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LastEnd {
    /// The room.
    pub room: String,
    /// The reason its clients read.
    pub reason: String,
    /// The close code its clients read.
    pub code: u16,
    /// How long it lived.
    pub age_seconds: f64,
    /// How its child ended; null if none was started.
    pub exit: Option<String>,
    /// The last line of its stderr: for operators who may see what programs say.
    #[serde(skip)]
    pub stderr: Option<String>,
}

/// What is kept of ended rooms for `/stats`.
const LAST_ENDS: usize = 16;

/// What all rooms share; the supervisors hold it too.
pub(super) struct Registry {
    pub(super) options: Arc<Options>,
    pub(super) starter: Starter,
    pub(super) metrics: Metrics,
    events: broadcast::Sender<RoomEvent>,
    pub(super) oneshot: watch::Sender<Option<Exit>>,
    pub(super) tasks: TaskTracker,
    encoder: Arc<Encoder>,
    live: Mutex<HashMap<RoomName, Arc<Room>>>,
    kept: Mutex<IndexMap<RoomName, History>>,
    ends: Mutex<std::collections::VecDeque<LastEnd>>,
    admission: Arc<Admission>,
    pub(super) starts: Starts,
    pub(super) crashes: Crashes,
    pub(super) advice: Advice,
    next_id: AtomicU32,
    draining: AtomicBool,
    /// Whether rooms may not be opened, until they may again.
    suspended: AtomicBool,
    /// Whether rooms may not be opened for want of memory.
    pub(super) short_of_memory: AtomicBool,
    /// Asked before a room is opened; none for a server alone.
    ownership: Option<Arc<dyn Ownership>>,
    flights: Flights,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("rooms", &self.live.lock().len())
            .finish_non_exhaustive()
    }
}

/// The rooms of a server; clones share them.
#[derive(Debug, Clone)]
pub struct Rooms(pub(super) Arc<Registry>);

impl Rooms {
    /// No rooms yet. Supervisors and pumps run on `tasks`. Without `ownership` all rooms are ours.
    pub fn new(
        options: Options,
        starter: Starter,
        metrics: Metrics,
        tasks: TaskTracker,
        ownership: Option<Arc<dyn Ownership>>,
    ) -> Self {
        let encoder = Arc::new(Encoder::new(&options.client_framing));
        let admission = Admission::new(options.max_clients, options.max_clients_per_ip);
        Rooms(Arc::new(Registry {
            starts: Starts::new(options.spawn_every),
            crashes: Crashes::new(options.crash_limit),
            advice: Advice::new(options.flush_advice),
            options: Arc::new(options),
            starter,
            metrics,
            events: broadcast::Sender::new(EVENTS),
            oneshot: watch::Sender::new(None),
            tasks,
            encoder,
            live: Mutex::default(),
            kept: Mutex::default(),
            ends: Mutex::default(),
            admission: Arc::new(admission),
            next_id: AtomicU32::new(1),
            draining: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            short_of_memory: AtomicBool::new(false),
            ownership,
            flights: Flights::default(),
        }))
    }

    /// What the rooms have in common.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// A place in the room of that name, which is opened if it does not live. Waits for a room
    /// of that name that is on its way out.
    pub async fn join(&self, name: RoomName, newcomer: &Newcomer) -> Result<Place, Refusal> {
        let registry = &self.0;
        let options = &registry.options;
        self.allows(&name)?;
        let mut admitted = registry.admission.admit(newcomer)?;
        let id = registry.next_id()?;
        let name = if options.isolate {
            RoomName::isolated(id)
        } else {
            name
        };
        let deadline = tokio::time::Instant::now() + options.start_timeout;
        // What is held while we ask, so that nobody else does before the room is open.
        let mut flight: Option<Pilot<'_>> = None;
        let mut claim = None;
        loop {
            match registry.enter(&name, id, newcomer, admitted, claim.take())? {
                Entered::In(place) => return Ok(place),
                Entered::Unclaimed(back, ownership, most) => {
                    admitted = back;
                    match registry.flights.board(&name, most) {
                        Boarding::Passenger(passenger) => passenger.landed().await?,
                        Boarding::Full => return Err(Refusal::NoMoreRooms),
                        Boarding::Pilot(pilot) => match ownership.claim(&name).await {
                            Ok(fresh) => {
                                claim = Some(fresh);
                                flight = Some(pilot);
                            }
                            Err(why) => {
                                pilot.land(Err(why));
                                return Err(why.into());
                            }
                        },
                    }
                }
                Entered::Wait(back, mut gone) => {
                    admitted = back;
                    drop(flight.take());
                    let wait = gone.wait_for(|gone| *gone);
                    match tokio::time::timeout_at(deadline, wait).await {
                        Ok(_) => {}
                        Err(_) => return Err(Refusal::Ending),
                    }
                }
            }
        }
    }

    /// Whether there may be a room of that name at all.
    pub fn allows(&self, name: &RoomName) -> Result<(), Refusal> {
        match &self.0.options.rooms {
            Some(rooms) if !rooms.contains(name) => Err(Refusal::NotAllowed),
            _ => Ok(()),
        }
    }

    /// A share of this server's limits for a client whose room is on another one.
    pub fn transit(&self, newcomer: &Newcomer) -> Result<Transit, Refusal> {
        self.0.admission.admit(newcomer).map(Transit)
    }

    /// The live room of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Room>> {
        self.0.live.lock().get(name).cloned()
    }

    /// All live rooms, by name.
    pub fn list(&self) -> Vec<Arc<Room>> {
        let mut rooms: Vec<_> = self.0.live.lock().values().cloned().collect();
        rooms.sort_by(|a, b| a.name().cmp(b.name()));
        rooms
    }

    /// How many rooms live.
    pub fn len(&self) -> usize {
        self.0.live.lock().len()
    }

    /// How many rooms live or are about to.
    pub fn load(&self) -> usize {
        self.len() + self.0.flights.len()
    }

    /// Whether no room lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.0.admission.clients()
    }

    /// Waits until a crowd of clients has left.
    pub async fn ebb(&self) {
        self.0.admission.ebb().await;
    }

    /// Gives up what rooms keep for clients who have left.
    pub fn shrink(&self) {
        for room in self.list() {
            room.hall.lock().feed.shrink();
        }
        self.0.live.lock().shrink_to_fit();
    }

    /// How the last rooms ended, oldest first.
    pub fn last_ends(&self) -> Vec<LastEnd> {
        self.0.ends.lock().iter().cloned().collect()
    }

    /// Whether no new rooms are opened.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Relaxed)
    }

    /// From now on no new rooms are opened; those that live go on.
    pub fn drain(&self) {
        self.0.draining.store(true, Relaxed);
        self.0.metrics.set_draining(true);
    }

    /// From now on no rooms are opened, until they may be again; those that live go on.
    pub fn suspend(&self, suspended: bool) {
        // Under the lock that rooms are opened under: who is past the check is in the list.
        let _live = self.0.live.lock();
        self.0.suspended.store(suspended, Relaxed);
    }

    /// Ends every room: its clients are closed with `close`.
    pub fn end_all(&self, close: &Close, label: &'static str) {
        for room in self.list() {
            room.order(Order::End(close.clone(), label));
        }
    }

    /// Waits until no room lives.
    pub async fn all_gone(&self) {
        loop {
            // Any room will do: each must go.
            let Some(room) = self.0.live.lock().values().next().cloned() else {
                return;
            };
            // The room holds the sender: it cannot close.
            let _ = room.gone.subscribe().wait_for(|gone| *gone).await;
        }
    }

    /// Rooms coming, changing, going, from now on.
    pub fn events(&self) -> broadcast::Receiver<RoomEvent> {
        self.0.events.subscribe()
    }

    /// With `--oneshot`: how the only child ended, once it has.
    pub fn oneshot(&self) -> watch::Receiver<Option<Exit>> {
        self.0.oneshot.subscribe()
    }
}

enum Entered {
    In(Place),
    Wait(Admitted, watch::Receiver<bool>),
    /// The room is to be asked for; so many may be at once.
    Unclaimed(Admitted, Arc<dyn Ownership>, usize),
}

impl Registry {
    pub(super) fn next_id(&self) -> Result<ClientId, Refusal> {
        // 0 once all were given out: it stays there rather than wrap.
        let next = |id: u32| (id != 0).then(|| id.wrapping_add(1));
        let id = self
            .next_id
            .fetch_update(Relaxed, Relaxed, next)
            .unwrap_or(0);
        ClientId::new(id).ok_or(Refusal::OutOfIds)
    }

    fn enter(
        self: &Arc<Self>,
        name: &RoomName,
        id: ClientId,
        newcomer: &Newcomer,
        admitted: Admitted,
        claim: Option<Claim>,
    ) -> Result<Entered, Refusal> {
        let mut live = self.live.lock();
        let known = live.get(name).cloned();
        let room = match (&known, &self.ownership) {
            (Some(room), _) => Arc::clone(room),
            (None, Some(ownership)) if claim.is_none() => {
                let most = self.may_open(name, &live)?;
                return Ok(Entered::Unclaimed(admitted, Arc::clone(ownership), most));
            }
            (None, _) => self.open(name, &live)?,
        };
        match room.enter(id, newcomer.address, self.options.max_clients_per_room) {
            Ok(key) => {
                if known.is_none() {
                    live.insert(name.clone(), Arc::clone(&room));
                    let run = supervisor::run(
                        Arc::clone(&room),
                        Arc::clone(self),
                        newcomer.variables.clone(),
                        claim,
                    );
                    self.tasks.spawn(run);
                }
                drop(live);
                let event = match known {
                    Some(_) => RoomEvent::Changed(name.clone()),
                    None => RoomEvent::Started(name.clone()),
                };
                room.tell(event);
                let messages = (
                    self.options.join_message.as_ref(),
                    self.options.leave_message.as_ref(),
                );
                room.show_window_to(id);
                let place = Place::new(room, key, id, messages, newcomer, admitted);
                Ok(Entered::In(place))
            }
            Err(Shut::Full) => Err(Refusal::RoomFull),
            Err(Shut::Ending) if self.draining.load(Relaxed) => Err(Refusal::Draining),
            Err(Shut::Ending) => Ok(Entered::Wait(admitted, room.gone.subscribe())),
        }
    }

    /// How many rooms more there may be: at least one.
    fn may_open(
        &self,
        name: &RoomName,
        live: &HashMap<RoomName, Arc<Room>>,
    ) -> Result<usize, Refusal> {
        if self.draining.load(Relaxed) {
            return Err(Refusal::Draining);
        }
        if self.suspended.load(Relaxed) {
            return Err(Refusal::Suspended);
        }
        if self.short_of_memory.load(Relaxed) {
            return Err(Refusal::ShortOfMemory);
        }
        let crashes = self.crashes.check(name, tokio::time::Instant::now());
        crashes.map_err(|crashes| Refusal::CrashLoop(Some(crashes)))?;
        match self.options.max_rooms.saturating_sub(live.len()) {
            0 => Err(Refusal::NoMoreRooms),
            more => Ok(more),
        }
    }

    fn open(
        &self,
        name: &RoomName,
        live: &HashMap<RoomName, Arc<Room>>,
    ) -> Result<Arc<Room>, Refusal> {
        self.may_open(name, live)?;
        let port = self.starter.lease().map_err(|_| Refusal::NoMorePorts)?;
        let turn = self.starts.reserve(tokio::time::Instant::now());
        let turn =
            turn.map_err(|wait| Refusal::SpawnRate(wait.as_millis().div_ceil(1000) as u64))?;
        let history = self.options.history.map(|keep| {
            let kept = self.kept.lock().shift_remove(name);
            kept.unwrap_or_else(|| History::new(keep, self.options.backlog))
        });
        let recorder = self.options.recorder.as_ref();
        let recording = recorder.map(|recorder| recorder.room(name.as_str(), &unique_id()));
        Ok(Arc::new(Room::new(
            name.clone(),
            &self.options,
            Arc::clone(&self.encoder),
            self.metrics.clone(),
            self.events.clone(),
            Opening {
                history,
                port,
                transcript: Transcript::new(recording),
                turn,
            },
        )))
    }

    /// A room is gone: its name is free again.
    pub(super) fn remove(&self, room: &Room, close: &Close, exit: Option<Exit>) {
        if self.options.persist_history
            && let Some(history) = room.hall.lock().history.take()
        {
            let mut kept = self.kept.lock();
            kept.insert(room.name.clone(), history);
            if kept.len() > self.options.max_rooms {
                kept.shift_remove_index(0);
            }
        }
        let mut ends = self.ends.lock();
        if ends.len() >= LAST_ENDS {
            ends.pop_front();
        }
        ends.push_back(LastEnd {
            room: room.name.to_string(),
            reason: close.reason.to_string(),
            code: close.code,
            age_seconds: room.opened.elapsed().as_secs_f64(),
            exit: exit.map(|exit| exit.to_string()),
            stderr: room.last_stderr(),
        });
        drop(ends);
        if self.options.oneshot {
            self.draining.store(true, Relaxed);
        }
        self.live.lock().remove(&room.name);
        room.gone.send_replace(true);
        room.tell(RoomEvent::Ended(
            room.name.clone(),
            close.reason.to_string(),
        ));
        if self.options.oneshot {
            self.oneshot
                .send_replace(Some(exit.unwrap_or(Exit::Code(0))));
        }
    }
}
