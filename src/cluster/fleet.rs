//! Everything of the fleet put together: from the options to a member that holds its session,
//! claims its rooms and publishes them, until it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use kube::{Client, Config};
use tokio::sync::{broadcast, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::api::{Api, bounded, patient};
use super::claims::Claims;
use super::peer::{Authority, Secrets};
use super::publish::{self, Publisher, Snapshot, Source, State};
use super::router::{self, Router};
use super::session::{self, Household, Session, Standing};
use super::takeover::Heirs;
use super::view::View;
use super::{Addresses, Options, Takeover};
use crate::metrics::FleetMetrics;
use crate::room::{Ownership, RoomEvent, Rooms};

/// How often what nobody tells of is looked at: clients in transit.
const LOOK: Duration = Duration::from_secs(5);

/// A fleet that this server is about to join. Nothing was asked of the API server yet.
pub struct Fleet {
    options: Options,
    metrics: FleetMetrics,
    addresses: Addresses,
    view: View,
    api: Api,
    /// For watches and patches, which have times of their own.
    patient: Client,
    claims: Option<Claims>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// Reads where the API server is: a kubeconfig if there is one, else the service account of the pod.
    pub async fn find(
        options: Options,
        addresses: Addresses,
        metrics: FleetMetrics,
    ) -> anyhow::Result<Fleet> {
        let config = Config::infer()
            .await
            .context("--kube finds no API server: neither a service account nor a kubeconfig")?;
        let client = |config| Client::try_from(config).context("--kube cannot use its API server");
        let quick = client(bounded(config.clone()))?;
        let patient = client(patient(config))?;
        let identity = options.identity.clone();
        let api = Api::new(quick, &identity.namespace, metrics.clone());
        let claims = options.takeover.map(|_| {
            Claims::new(
                api.clone(),
                identity.clone(),
                addresses.peer.to_string(),
                Session::none(),
                metrics.clone(),
            )
        });
        Ok(Fleet {
            view: View::new(&identity.fleet),
            options,
            metrics,
            addresses,
            api,
            patient,
            claims,
        })
    }

    /// Who gives out the right to run rooms; none where nobody is asked.
    pub fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        let claims = self.claims.clone()?;
        Some(Arc::new(claims))
    }

    /// How this server stands; none where there are no sessions.
    pub fn standing(&self) -> Option<watch::Receiver<Standing>> {
        Some(self.claims.as_ref()?.standing().subscribe())
    }

    /// Leads clients to their rooms; none where nobody is led. `stall_timeout` is how long one on
    /// its way through may take nothing.
    pub fn router(
        &self,
        rooms: &Rooms,
        stall_timeout: Duration,
    ) -> anyhow::Result<Option<Arc<Router>>> {
        let Some(claims) = &self.claims else {
            return Ok(None);
        };
        let secrets = match &self.options.secret_file {
            Some(file) if self.options.proxy => Some(Secrets::open(file)?),
            _ => None,
        };
        let options = router::Options {
            uid: self.options.identity.uid.clone(),
            addresses: self.addresses,
            placement: self.options.placement,
            route_timeout: self.options.route_timeout,
            stall_timeout,
        };
        Ok(Some(Arc::new(Router::new(
            options,
            rooms.clone(),
            Arc::new(self.view.clone()),
            claims.standing().subscribe(),
            secrets.map(Authority::new),
            self.metrics.clone(),
        ))))
    }

    /// Becomes a member: from now on its session is held and its rooms are published.
    pub fn join(self, rooms: &Rooms, household: Arc<dyn Household>) -> Member {
        let tasks = TaskTracker::new();
        let end = CancellationToken::new();
        let draining = watch::Sender::new(false);
        let lost = watch::Sender::new(false);
        let identity = &self.options.identity;
        let pods = kube::Api::namespaced(self.patient.clone(), &identity.namespace);
        let published = publish::Options {
            pod: identity.pod.clone(),
            uid: identity.uid.clone(),
            rooms_annotation: self.options.rooms_annotation,
        };
        let source = Ours {
            rooms: rooms.clone(),
            events: rooms.events(),
            transit: self.metrics.transit(),
            limit: self.options.max_rooms,
            draining: draining.subscribe(),
        };
        let publisher =
            Publisher::new(pods.clone(), published, source).counted(self.metrics.clone());
        let stop = end.clone();
        tasks.spawn(async move {
            // That the pod is another one is seen by the session too, if there are any.
            stop.run_until_cancelled(publisher.run()).await;
        });
        let session = self
            .claims
            .as_ref()
            .zip(self.options.takeover)
            .map(|(claims, takeover)| {
                let options = session::Options {
                    identity: identity.clone(),
                    addresses: self.addresses,
                    limit: self.options.max_rooms,
                    fence: match takeover {
                        Takeover::Pod => None,
                        Takeover::Fenced(fence) => Some(fence),
                    },
                };
                let session = Arc::new(Session::new(
                    self.api.clone(),
                    self.view.clone(),
                    options,
                    household,
                    claims.clone(),
                    self.metrics.clone(),
                ));
                let heirs = Heirs::new(
                    self.api.clone(),
                    self.view.clone(),
                    takeover,
                    self.options.takeover_delay,
                    claims.standing().subscribe(),
                );
                let leases = kube::Api::namespaced(self.patient.clone(), &identity.namespace);
                let (view, claims) = (self.view.clone(), claims.clone());
                let (held, stop, lost) = (Arc::clone(&session), end.clone(), lost.clone());
                tasks.spawn(async move {
                    let others = async {
                        tokio::join!(
                            view.run(leases, pods),
                            claims.release(),
                            claims.sweep(&view),
                            heirs.run()
                        );
                    };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = others => {}
                        () = held.run() => {
                            lost.send_replace(true);
                        }
                    }
                });
                session
            });
        tasks.close();
        Member {
            session,
            tasks,
            end,
            draining,
            lost,
        }
    }
}

/// This server as a member of its fleet.
#[derive(Debug)]
pub struct Member {
    session: Option<Arc<Session>>,
    tasks: TaskTracker,
    end: CancellationToken,
    draining: watch::Sender<bool>,
    lost: watch::Sender<bool>,
}

impl Member {
    /// From now on no rooms are wanted here; the others are told at once.
    pub fn drain(&self) {
        self.draining.send_replace(true);
        if let Some(session) = &self.session {
            session.drain();
        }
    }

    /// Resolves when the pod turned out to be gone: every room is dead, and the server is to end.
    pub async fn lost(&self) {
        // The sender is ours.
        let _ = self.lost.subscribe().wait_for(|lost| *lost).await;
    }

    /// The end, once no room lives: the session is deleted, and nothing is asked any more.
    pub async fn leave(self) {
        // First, because a session that is deleted while it is held would be made anew.
        self.end.cancel();
        self.tasks.wait().await;
        if let Some(session) = &self.session {
            session.end().await;
        }
    }
}

/// What runs here, for publishing.
struct Ours {
    rooms: Rooms,
    events: broadcast::Receiver<RoomEvent>,
    transit: Arc<AtomicUsize>,
    limit: usize,
    draining: watch::Receiver<bool>,
}

impl Source for Ours {
    fn snapshot(&self) -> Snapshot {
        let rooms = self.rooms.list();
        Snapshot {
            rooms: rooms
                .iter()
                .map(|room| (room.name().clone(), room.connections()))
                .collect(),
            transit: self.transit.load(Relaxed),
            limit: self.limit,
            state: match self.rooms.is_draining() {
                true => State::Draining,
                false => State::Ready,
            },
        }
    }

    async fn changed(&mut self) {
        tokio::select! {
            event = self.events.recv() => {
                // Missed events are a change like any other; the rooms live as long as we do.
                if let Err(broadcast::error::RecvError::Closed) = event {
                    warn!("no more is heard of rooms");
                    sleep(LOOK).await;
                }
            }
            changed = self.draining.changed() => {
                if changed.is_err() {
                    sleep(LOOK).await;
                }
            }
            () = sleep(LOOK) => {}
        }
    }
}
