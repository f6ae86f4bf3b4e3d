//! One life of a server: the real session, claims, takeover and view over its own lines to the
//! double, and rooms whose children are in the ledger. All of it is one future, which can be
//! frozen (SIGSTOP), dropped (SIGKILL) or drained (SIGTERM).

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use scalesocket::cluster::api::Api;
use scalesocket::cluster::claims::Claims;
use scalesocket::cluster::session::{Household, Options, Session, Standing};
use scalesocket::cluster::takeover::Heirs;
use scalesocket::cluster::view::View;
use scalesocket::cluster::{Addresses, Fence, Identity, Takeover, names};
use scalesocket::metrics::FleetMetrics;
use scalesocket::room::{Claim, Owner, Ownership, RoomName, Unclaimed};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::double::{Double, NAMESPACE};
use crate::ledger::{Ledger, Lives, ProcessId};
use crate::patience::patient;

/// How long a drain waits for rooms to end by themselves.
const DRAIN: Duration = Duration::from_secs(8);
/// How long a pod object must be gone.
pub(crate) const TAKEOVER_DELAY: Duration = Duration::from_secs(5);
/// The fleet of all pods here.
pub(crate) const FLEET: &str = "scalesocket";

/// The rule that is left out, to see that a run finds that out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LeftOut {
    /// All rules hold.
    Nothing,
    /// C5: a room is opened again under a claim whose deletion was sent, while it is still seen.
    C5,
    /// S3: children outlive the fence.
    S3,
}

/// A pod object.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) number: u8,
}

impl Pod {
    /// The lines of its servers to the API: of requests, and of watches.
    pub(crate) fn lines(&self) -> [String; 2] {
        [self.name.clone(), format!("{} watch", self.name)]
    }

    fn address(&self, port: u16) -> std::net::SocketAddr {
        ([10, 0, 0, self.number], port).into()
    }
}

/// What a client hears from a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// The room lives here.
    Served,
    /// It is another one's.
    Elsewhere(Owner),
    /// Not known, or not now.
    No(Unclaimed),
}

struct Ask {
    room: RoomName,
    reply: oneshot::Sender<Said>,
}

/// The handle of a process. Dropping it leaves the process alone.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) pod: Pod,
    pub(crate) view: View,
    ledger: Ledger,
    claims: Claims,
    standing: watch::Sender<Standing>,
    asks: mpsc::Sender<Ask>,
    ice: Arc<Ice>,
    drain: CancellationToken,
    ended: CancellationToken,
    task: AbortHandle,
}

impl Process {
    /// Starts a server in that pod.
    pub(crate) fn start(
        id: ProcessId,
        pod: &Pod,
        double: &Double,
        ledger: &Ledger,
        fence: Option<Fence>,
        left_out: LeftOut,
        lives: Lives,
    ) -> Process {
        let [requests, watches] = pod.lines();
        let metrics = FleetMetrics::default();
        let api = Api::new(double.client(&requests), NAMESPACE, metrics.clone());
        let identity = Identity {
            pod: pod.name.clone(),
            namespace: NAMESPACE.to_owned(),
            uid: pod.uid.clone(),
            fleet: FLEET.to_owned(),
        };
        let view = View::new(FLEET);
        let standing = Session::none();
        let claims = Claims::new(
            api.clone(),
            identity.clone(),
            pod.address(7900).to_string(),
            standing.clone(),
            metrics.clone(),
        );
        let house = Arc::new(House {
            id,
            ledger: ledger.clone(),
            claims: claims.clone(),
            api: api.clone(),
            left_out,
            fenced: fence.is_some(),
            lives,
            closed: Mutex::new(true),
            rooms: watch::Sender::new(BTreeSet::new()),
            flights: Mutex::default(),
            former: Mutex::default(),
            drain: CancellationToken::new(),
        });
        let session = Session::new(
            api.clone(),
            view.clone(),
            Options {
                identity,
                addresses: Addresses {
                    peer: pod.address(7900),
                    public: Some(pod.address(9000)),
                },
                limit: 100,
                fence,
            },
            house.clone(),
            claims.clone(),
            metrics,
        );
        let takeover = fence.map_or(Takeover::Pod, Takeover::Fenced);
        let delay = TAKEOVER_DELAY;
        let heirs = Heirs::new(api, view.clone(), takeover, delay, standing.subscribe());
        let watcher = patient(double.client(&watches));
        let (asks, questions) = mpsc::channel(1024);
        let (ended, ice) = (CancellationToken::new(), Arc::new(Ice::default()));
        let (drain, looks, claimed) = (house.drain.clone(), view.clone(), claims.clone());
        let life = {
            let ended = ended.clone();
            async move {
                let drained = tokio::select! {
                    biased;
                    () = session.run() => false,
                    () = drained(&house, &session) => true,
                    () = claims.release() => false,
                    () = heirs.run() => false,
                    () = looks.run(
                        kube::Api::default_namespaced(watcher.clone()),
                        kube::Api::default_namespaced(watcher),
                    ) => false,
                    () = house.serve(questions) => false,
                };
                if drained {
                    session.end().await;
                }
                let left = house.rooms.borrow().len();
                if left > 0 {
                    house
                        .ledger
                        .wrong(&format!("process {id} ends with {left} rooms"));
                }
                house.ledger.note(&format!("process {id} ends"));
                ended.cancel();
            }
        };
        let frozen = Freezing {
            ice: ice.clone(),
            life: Box::pin(life),
        };
        ledger.note(&format!("process {id} starts in {}", pod.name));
        Process {
            id,
            pod: pod.clone(),
            view,
            ledger: ledger.clone(),
            claims: claimed,
            standing,
            asks,
            ice,
            drain,
            ended,
            task: TaskTracker::new().spawn(frozen).abort_handle(),
        }
    }

    /// A client asks for a room.
    pub(crate) async fn ask(&self, room: &RoomName) -> Said {
        let (reply, answer) = oneshot::channel();
        let room = room.clone();
        // Full, gone or killed: nobody answers.
        let asked = self.asks.try_send(Ask { room, reply });
        let no = Said::No(Unclaimed::Unavailable);
        match asked {
            Ok(()) => answer.await.unwrap_or(no),
            Err(_) => no,
        }
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) {
        self.ice.set(true);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.ice.set(false);
    }

    /// SIGTERM.
    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// SIGKILL: its children are killed by the warden.
    pub(crate) fn kill(&self) {
        self.task.abort();
        self.ledger.kill(self.id);
        self.ended.cancel();
    }

    /// Whether it is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Waits until it is over.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Its claims, for who asks past its rooms.
    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// How it stands in its fleet.
    pub(crate) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Waits until it stands as it should.
    pub(crate) async fn stands(&self, so: impl Fn(&Standing) -> bool) -> Standing {
        let mut standing = self.standing.subscribe();
        let patience = Duration::from_secs(600);
        let stands = timeout(patience, standing.wait_for(|now| so(now))).await;
        *stands.expect("in time").expect("the sender is here")
    }

    /// Waits until it has a session and knows its fleet.
    pub(crate) async fn is_up(&self) -> Standing {
        let mut changes = self.view.changes();
        while !self.view.is_synced() {
            changes.changed().await.expect("the view is here");
        }
        self.stands(|standing| standing.holds().is_some()).await
    }
}

/// The rooms of a process.
#[derive(Debug)]
struct House {
    id: ProcessId,
    ledger: Ledger,
    claims: Claims,
    api: Api,
    left_out: LeftOut,
    fenced: bool,
    lives: Lives,
    closed: Mutex<bool>,
    rooms: watch::Sender<BTreeSet<RoomName>>,
    /// Rooms that are being asked for, and who waits for that.
    flights: Mutex<BTreeMap<RoomName, Vec<oneshot::Sender<Said>>>>,
    /// The tokens of the last claims, for the rule that is left out.
    former: Mutex<BTreeMap<RoomName, String>>,
    drain: CancellationToken,
}

impl Household for House {
    fn rooms(&self) -> usize {
        self.rooms.borrow().len() + self.flights.lock().len()
    }

    fn may_live_until(&self, deadline: Option<Instant>) {
        if self.fenced && deadline.is_none() {
            let id = self.id;
            self.ledger
                .wrong(&format!("process {id} lifts its deadline"));
        }
        if self.left_out != LeftOut::S3 {
            self.ledger.may_live_until(self.id, deadline);
        }
    }

    fn kill_all(&self) {
        self.ledger.note(&format!("process {} kills all", self.id));
        *self.closed.lock() = true;
        let fence = self.claims.standing().borrow().session.is_some();
        if !(self.left_out == LeftOut::S3 && fence) {
            self.ledger.kill(self.id);
        }
    }

    fn resume(&self) {
        *self.closed.lock() = false;
    }

    fn emptied(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut rooms = self.rooms.subscribe();
            let _sender_lives = rooms.wait_for(BTreeSet::is_empty).await;
        })
    }
}

impl House {
    /// Answers clients for ever; all its rooms go on in this one future.
    async fn serve(&self, mut asks: mpsc::Receiver<Ask>) {
        let mut stories = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = stories.next() => {}
                ask = asks.recv() => {
                    let Some(Ask { room, reply }) = ask else {
                        // Nobody can ask any more; what lives goes on.
                        while stories.next().await.is_some() {}
                        return std::future::pending().await;
                    };
                    if self.takes(&room, reply) {
                        stories.push(self.story(room));
                    }
                }
            }
        }
    }

    /// Whether the room is to be asked for; everybody else is answered.
    fn takes(&self, room: &RoomName, reply: oneshot::Sender<Said>) -> bool {
        let mut flights = self.flights.lock();
        let said = if self.rooms.borrow().contains(room) {
            let lives = self.ledger.homes(room).contains(&self.id);
            match lives {
                true => Said::Served,
                false => Said::No(Unclaimed::Unavailable),
            }
        } else if self.drain.is_cancelled() {
            Said::No(Unclaimed::Suspended)
        } else if let Some(passengers) = flights.get_mut(room) {
            passengers.push(reply);
            return false;
        } else {
            flights.insert(room.clone(), vec![reply]);
            return true;
        };
        answer(vec![reply], said);
        false
    }

    /// A room: asked for, started, ended, and then given back.
    async fn story(&self, room: RoomName) {
        let claimed = match self.reopened(&room).await {
            Some(claim) => Ok(claim),
            None => self.claims.claim(&room).await,
        };
        let passengers = self.flights.lock().remove(&room).unwrap_or_default();
        let said = match &claimed {
            Ok(_) => Said::Served,
            Err(Unclaimed::Elsewhere(owner)) => Said::Elsewhere(*owner),
            Err(other) => Said::No(*other),
        };
        if let Ok(claim) = claimed {
            if *self.closed.lock() {
                let id = self.id;
                self.ledger
                    .wrong(&format!("{room} opened in closed process {id}"));
            }
            let child = self.ledger.spawn(&room, self.id, self.lives);
            self.rooms
                .send_if_modified(|rooms| rooms.insert(room.clone()));
            answer(passengers, said);
            self.ledger.ended(child).await;
            self.former
                .lock()
                .insert(room.clone(), claim.token().to_owned());
            drop(claim);
            self.rooms.send_if_modified(|rooms| rooms.remove(&room));
            self.ledger
                .note(&format!("{room} ended in process {}", self.id));
        } else {
            answer(passengers, said);
        }
    }

    /// What C5 forbids.
    async fn reopened(&self, room: &RoomName) -> Option<Claim> {
        if self.left_out != LeftOut::C5 {
            return None;
        }
        let token = self.former.lock().get(room).cloned()?;
        let lease = self.api.lease(&names::claim(FLEET, room)).await.ok()?;
        let holds = self.claims.standing().borrow().holds().is_some();
        let same = lease.metadata.resource_version.as_ref() == Some(&token);
        (same && holds && !*self.closed.lock()).then(|| Claim::new(token, || {}))
    }
}

/// Who has gone in the meantime needs no answer.
fn answer(clients: Vec<oneshot::Sender<Said>>, said: Said) {
    for client in clients {
        let _ = client.send(said);
    }
}

/// Ends when a drain was asked for and every room is gone.
async fn drained(house: &House, session: &Session) {
    house.drain.cancelled().await;
    session.drain();
    if timeout(DRAIN, house.emptied()).await.is_err() {
        house.ledger.kill(house.id);
        house.emptied().await;
    }
    // Who was asking when it began may still be let in; then that room ends too.
    while house.rooms() > 0 {
        house.ledger.kill(house.id);
        house.emptied().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether a process is stopped.
#[derive(Debug, Default)]
struct Ice(Mutex<(bool, Option<Waker>)>);

impl Ice {
    fn set(&self, frozen: bool) {
        let mut state = self.0.lock();
        state.0 = frozen;
        // What woke it in the meantime was not heard.
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

struct Freezing {
    ice: Arc<Ice>,
    life: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for Freezing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.ice.0.lock();
            if state.0 {
                state.1 = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.life.as_mut().poll(context)
    }
}
