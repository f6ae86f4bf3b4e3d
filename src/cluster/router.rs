//! The way of a client to its room, the same in every pod: here, to the pod that has the room, or to one that is chosen for it.
//!
//! What is known of the fleet may be old. A wrong turn costs a hop or a wait, within `--route-timeout`; it never starts a second
//! program, because who may run a room is decided by its claim alone. So a room whose owner does not answer is waited for, and
//! never given to another pod from here.

mod door;
mod fleet;
mod memory;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::request::Parts;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

pub use fleet::{Fleet, Pod};

use super::chance::jittered;
use super::peer::{Authority, Target};
use super::placement::{Candidate, place};
use super::proxy::{Answer, Failure, Transits, Tunnel, call};
use super::session::Standing;
use super::{Addresses, Placement};
use crate::http::gate::{Entrance, Forwarded, Passage, Turned, Visit};
use crate::metrics::FleetMetrics;
use crate::room::{Owner, Refusal, RoomName, Rooms, Transit as Share};
use memory::{Counted, Counts, Dispatched, Hints};

/// How long what an owner was said to be is believed, and a pod that does not answer is left alone.
const HINT_TIME: Duration = Duration::from_secs(5);
/// Pods that one client is sent on by before it waits for the fleet to agree.
const HOPS_MAX: u8 = 3;
/// Between two tries of a client that is held: the first and the longest wait.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// What the router is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The uid of this pod.
    pub uid: String,
    /// Where this pod is reached.
    pub addresses: Addresses,
    /// Which pod gets a new room.
    pub placement: Placement,
    /// How long a client is held while its room is looked for.
    pub route_timeout: Duration,
    /// How long a client on its way through may take nothing.
    pub stall_timeout: Duration,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Router {
    options: Options,
    rooms: Rooms,
    fleet: Arc<dyn Fleet>,
    standing: watch::Receiver<Standing>,
    /// None: clients are told where their room is, and go there themselves.
    authority: Option<Authority>,
    transits: Transits,
    metrics: FleetMetrics,
    /// Owners that other pods spoke of and the watch has not shown yet.
    learned: Hints<RoomName, Owner>,
    /// Sessions of pods that did not answer.
    suspects: Hints<u128, ()>,
    /// Rooms that were placed and are not yet known to be there.
    dispatched: Dispatched,
    held: Counts<RoomName>,
}

/// What one try comes to.
enum Step {
    In(Entrance),
    /// Something was learned: try at once.
    Again,
    /// It may be better soon; what the client hears if not.
    Hold(Turned),
    /// It will not.
    Turned(Turned),
}

/// Whether a pod has the room, as far as is known, or is to get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Owner,
    Candidate,
}

/// What one client has been through.
#[derive(Debug, Default)]
struct Trip {
    hops: u8,
    /// Sessions that do not take the room at present.
    excluded: Vec<u128>,
    /// Sessions that are no more, though a claim may still name them.
    over: Vec<u128>,
    /// Of this pod's limits, unless the client is in a room here.
    share: Option<Share>,
    held: Option<Counted<RoomName>>,
}

impl Router {
    /// Nothing is contacted yet. `standing` is this pod's own; without `authority` nobody is proxied.
    pub fn new(
        options: Options,
        rooms: Rooms,
        fleet: Arc<dyn Fleet>,
        standing: watch::Receiver<Standing>,
        authority: Option<Authority>,
        metrics: FleetMetrics,
    ) -> Self {
        Router {
            options,
            rooms,
            fleet,
            standing,
            authority,
            transits: Transits::new(metrics.transit()),
            metrics,
            learned: Hints::new(HINT_TIME),
            suspects: Hints::new(HINT_TIME),
            dispatched: Dispatched::default(),
            held: Counts::new(),
        }
    }

    /// The clients on their way through this pod.
    pub fn transits(&self) -> &Transits {
        &self.transits
    }

    /// How many rooms clients are held for here.
    pub fn pending_rooms(&self) -> usize {
        self.held.len()
    }

    async fn find(&self, visit: Visit<'_>) -> Result<Entrance, Turned> {
        self.rooms.allows(visit.room).map_err(Turned::Room)?;
        tokio::select! {
            biased;
            found = self.search(visit) => found,
            // Who is still held when this server ends is told so, while there is time to.
            () = self.transits.drained() => Err(Turned::Room(Refusal::Draining)),
        }
    }

    async fn search(&self, visit: Visit<'_>) -> Result<Entrance, Turned> {
        let deadline = Instant::now() + self.options.route_timeout;
        let mut trip = Trip::default();
        let mut pause = PAUSE.0;
        loop {
            let turned = match self.step(&visit, &mut trip, deadline).await {
                Step::In(entrance) => return Ok(entrance),
                Step::Turned(turned) => return Err(turned),
                Step::Again if trip.hops <= HOPS_MAX => continue,
                Step::Again => Turned::Unreachable,
                Step::Hold(turned) => turned,
            };
            let next = Instant::now() + jittered(pause);
            if next >= deadline {
                debug!(room = %visit.room, ?turned, "no way found in time");
                return Err(turned);
            }
            // Who waits counts as anybody who is in.
            self.share(&visit, &mut trip).map_err(Turned::Room)?;
            trip.held
                .get_or_insert_with(|| self.held.add(visit.room.clone()));
            (trip.hops, trip.excluded) = (0, Vec::new());
            sleep_until(next).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn step(&self, visit: &Visit<'_>, trip: &mut Trip, deadline: Instant) -> Step {
        if self.rooms.get(visit.room.as_str()).is_some() {
            return self.here(visit, trip, Role::Owner).await;
        }
        let me = self.standing.borrow().session;
        if let Some(owner) = self.owner(visit.room, &trip.over) {
            return match Some(owner.session) == me {
                true => self.here(visit, trip, Role::Owner).await,
                false => self.there(visit, trip, owner, Role::Owner, deadline).await,
            };
        }
        match self.choose(visit.room, &trip.excluded) {
            None => Step::Hold(Turned::NoServer),
            Some(pod) => {
                let _on_the_way = self.dispatched.add(visit.room, pod.owner);
                match Some(pod.owner.session) == me {
                    true => self.here(visit, trip, Role::Candidate).await,
                    false => {
                        self.there(visit, trip, pod.owner, Role::Candidate, deadline)
                            .await
                    }
                }
            }
        }
    }

    fn owner(&self, room: &RoomName, over: &[u128]) -> Option<Owner> {
        let learned = self.learned.get(room);
        let known = learned.or_else(|| self.fleet.owner(room));
        known.filter(|owner| !over.contains(&owner.session))
    }

    /// The pod that a new room goes to; what is known of this one is newer than what the fleet says of it.
    fn choose(&self, room: &RoomName, excluded: &[u128]) -> Option<Pod> {
        let mut pods = self.fleet.pods();
        let standing = *self.standing.borrow();
        pods.retain(|pod| pod.uid != self.options.uid);
        if let Some(session) = standing.holds() {
            pods.push(Pod {
                uid: self.options.uid.clone(),
                owner: Owner {
                    endpoint: self.options.addresses.peer,
                    session,
                },
                public: self.options.addresses.public,
                rooms: self.rooms.load(),
                limit: self.rooms.options().max_rooms,
                eligible: !self.rooms.is_draining(),
            });
        }
        let on_the_way = self.dispatched.loads();
        let candidates: Vec<Candidate<'_>> = pods
            .iter()
            .map(|pod| {
                let session = pod.owner.session;
                let shunned = excluded.contains(&session) || self.suspects.get(&session).is_some();
                // Those on their way to this pod are in its own figure.
                let coming = match pod.uid == self.options.uid {
                    true => 0,
                    false => on_the_way.get(&session).copied().unwrap_or(0),
                };
                Candidate {
                    id: &pod.uid,
                    load: pod.rooms + coming,
                    limit: pod.limit,
                    eligible: pod.eligible && !shunned,
                }
            })
            .collect();
        // Whoever comes while the first client of the room is on its way goes with it, though that
        // pod now has a room more; if it is no longer open, it is said so there.
        let same = self.dispatched.to(room).and_then(|owner| {
            let mut all = pods.iter().zip(&candidates);
            all.position(|(pod, candidate)| pod.owner == owner && candidate.eligible)
        });
        let chosen = same.or_else(|| place(room.as_str(), self.options.placement, &candidates))?;
        pods.into_iter().nth(chosen)
    }

    /// A place in a room of this pod.
    async fn here(&self, visit: &Visit<'_>, trip: &mut Trip, role: Role) -> Step {
        // The place comes with a share of its own.
        trip.share = None;
        let refusal = match self.rooms.join(visit.room.clone(), visit.newcomer).await {
            Ok(place) => return Step::In(Entrance::Here(place)),
            Err(refusal) => refusal,
        };
        let me = self.standing.borrow().session;
        self.refused(visit.room, trip, refusal, role, me)
    }

    /// What is made of a refusal, of whichever pod.
    fn refused(
        &self,
        room: &RoomName,
        trip: &mut Trip,
        refusal: Refusal,
        role: Role,
        session: Option<u128>,
    ) -> Step {
        use Refusal as R;
        match (refusal, role) {
            (R::Elsewhere(owner), _) => {
                trip.hops = trip.hops.saturating_add(1);
                self.learned.put(room.clone(), owner);
                Step::Again
            }
            // The room is on its way, or on its way out.
            (R::Ending | R::ClaimUnavailable, _) => Step::Hold(Turned::Room(refusal)),
            // These are the pod's own.
            (
                R::NoMoreRooms
                | R::NoMorePorts
                | R::ServerFull
                | R::SpawnRate(_)
                | R::ShortOfMemory
                | R::Draining
                | R::Suspended
                | R::OutOfIds,
                Role::Candidate,
            ) => {
                trip.excluded.extend(session);
                Step::Again
            }
            // It has no such room any more, and will give up its claim.
            (
                R::NoMoreRooms
                | R::NoMorePorts
                | R::SpawnRate(_)
                | R::ShortOfMemory
                | R::Draining
                | R::Suspended,
                Role::Owner,
            ) => {
                self.learned.forget(room);
                Step::Hold(Turned::Room(refusal))
            }
            _ => Step::Turned(Turned::Room(refusal)),
        }
    }

    fn share(&self, visit: &Visit<'_>, trip: &mut Trip) -> Result<(), Refusal> {
        if trip.share.is_none() {
            trip.share = Some(self.rooms.transit(visit.newcomer)?);
        }
        Ok(())
    }

    /// A place in a room of another pod.
    async fn there(
        &self,
        visit: &Visit<'_>,
        trip: &mut Trip,
        owner: Owner,
        role: Role,
        deadline: Instant,
    ) -> Step {
        let Some(authority) = &self.authority else {
            return match self.fleet.public(owner.session) {
                Some(public) => Step::Turned(Turned::At(public)),
                None => Step::Hold(Turned::Unreachable),
            };
        };
        if let Err(refusal) = self.share(visit, trip) {
            return Step::Turned(Turned::Room(refusal));
        }
        let forwarded = Forwarded {
            remote: visit.ends.remote,
            local: visit.ends.local,
            https: visit.ends.https,
            subject: visit.subject.cloned(),
            identity: visit.identity.cloned(),
            hops: trip.hops,
            session: owner.session,
        };
        let mut headers = visit.request.headers.clone();
        let target = target(visit.request);
        if let Err(error) = authority.sign(target, &mut headers, &forwarded, SystemTime::now()) {
            warn!(%error, "handshake cannot be signed");
            return Step::Turned(Turned::Unreachable);
        }
        let patience = deadline.saturating_duration_since(Instant::now());
        let answer = call(owner.endpoint, &visit.request.uri, &headers, patience).await;
        self.metrics.proxied(label(&answer));
        match answer {
            Ok(Answer::Taken(mut line)) => {
                debug!(room = %visit.room, pod = %owner.endpoint, "client led to another pod");
                // It counts from now on, while the client is being told.
                let transit = self.transits.enter(trip.share.take());
                let stall_timeout = self.options.stall_timeout;
                Step::In(Entrance::There(Passage {
                    headers: std::mem::take(&mut line.headers),
                    // The tunnel itself, without a frame around it: there is one for each client.
                    carry: Box::new(move |client, early| {
                        Box::pin(Tunnel::new(client, early, line, stall_timeout, transit))
                    }),
                }))
            }
            Ok(Answer::Elsewhere { owner, session }) => {
                let owner = Owner {
                    endpoint: owner,
                    session,
                };
                self.refused(visit.room, trip, Refusal::Elsewhere(owner), role, None)
            }
            Ok(Answer::SessionOver) => {
                trip.hops = trip.hops.saturating_add(1);
                trip.over.push(owner.session);
                trip.excluded.push(owner.session);
                self.learned.forget(visit.room);
                Step::Again
            }
            Ok(Answer::Refused { status, reason }) => match refusal(&reason) {
                Some(refusal) => self.refused(visit.room, trip, refusal, role, Some(owner.session)),
                None => {
                    warn!(%status, reason, pod = %owner.endpoint, "a pod of the fleet refuses us");
                    self.unanswered(owner, role)
                }
            },
            Err(error) => {
                debug!(%error, pod = %owner.endpoint, "a pod of the fleet does not answer");
                match error.is_ours() || Instant::now() >= deadline {
                    // That says nothing of the pod: others are not to be kept from it.
                    true => Step::Hold(Turned::Unreachable),
                    false => self.unanswered(owner, role),
                }
            }
        }
    }

    /// A pod is of no use now. One that has the room is waited for: only its claim's end makes the room free.
    fn unanswered(&self, owner: Owner, role: Role) -> Step {
        match role {
            Role::Owner => Step::Hold(Turned::Unreachable),
            Role::Candidate => {
                self.suspects.put(owner.session, ());
                Step::Again
            }
        }
    }
}

fn target(request: &Parts) -> Target<'_> {
    Target {
        method: &request.method,
        uri: &request.uri,
    }
}

/// The label of a call's result in metrics.
fn label(answer: &Result<Answer, Failure>) -> &'static str {
    match answer {
        Ok(Answer::Taken(_)) => "taken",
        Ok(Answer::Elsewhere { .. }) => "elsewhere",
        Ok(Answer::SessionOver) => "session_over",
        Ok(Answer::Refused { .. }) => "refused",
        Err(Failure::Unreachable(_)) => "unreachable",
        Err(Failure::Broken(_)) => "broken",
    }
}

/// What a pod meant by the label of its refusal; none if it is not one of a room's.
fn refusal(label: &str) -> Option<Refusal> {
    let all = [
        Refusal::NotAllowed,
        Refusal::PerAddress,
        Refusal::ServerFull,
        Refusal::RoomFull,
        Refusal::NoMoreRooms,
        Refusal::NoMorePorts,
        Refusal::SpawnRate(1),
        Refusal::CrashLoop(None),
        Refusal::ShortOfMemory,
        Refusal::Draining,
        Refusal::Ending,
        Refusal::ClaimUnavailable,
        Refusal::Suspended,
        Refusal::OutOfIds,
    ];
    all.into_iter().find(|refusal| refusal.label() == label)
}

#[cfg(test)]
mod tests;
