//! The fleet's part of the composition root: cuts its options, and lets the session rule over
//! rooms and programs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::anyhow;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{info, warn};

use super::{Config, Listen, Listener, Prepared};
use crate::child::Warden;
use crate::cli;
use crate::cluster::router::Router;
use crate::cluster::{self, Addresses, Household, Identity, Takeover};
use crate::http::{Gate, Readiness};
use crate::metrics::Metrics;
use crate::room::{Close, FENCED, Ownership, Rooms};

/// Where other pods connect, if clients are led from pod to pod.
pub(super) async fn bind(config: &Config) -> anyhow::Result<Vec<Listener>> {
    match &config.cluster {
        Some(given) if given.claims != cli::Claims::Off && given.route == cli::Route::Proxy => {
            let listen = reachable(&given.peer_addr, config);
            super::bind_one(&listen, config.unix_mode).await
        }
        _ => Ok(Vec::new()),
    }
}

/// A client on its way to another pod has a socket there too.
pub(super) fn descriptors_per_client(config: &Config) -> u64 {
    match &config.cluster {
        Some(given) if given.claims != cli::Claims::Off && given.route == cli::Route::Proxy => 2,
        _ => 1,
    }
}

/// Where to listen so that a pod whose address is of IPv6 is reached there: `0.0.0.0`, which means
/// every address, does not mean that one.
pub(super) fn reachable(listen: &Listen, config: &Config) -> Listen {
    let pod_ip = config.cluster.as_ref().and_then(|given| given.pod_ip);
    reachable_at(listen, pod_ip)
}

fn reachable_at(listen: &Listen, pod_ip: Option<IpAddr>) -> Listen {
    match listen {
        Listen::Tcp(address) if pod_ip.is_some_and(|ip| ip.is_ipv6()) => {
            match address.strip_prefix("0.0.0.0:") {
                Some(port) => Listen::Tcp(format!("[::]:{port}")),
                None => listen.clone(),
            }
        }
        _ => listen.clone(),
    }
}

/// The fleet that this server is about to join, with `--kube`.
pub(super) struct Fleet(Option<cluster::Fleet>);

impl Fleet {
    /// Finds the API server, and where this server is reached.
    pub(super) async fn find(
        config: &Config,
        public: &[Listener],
        peers: &[Listener],
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let Some(given) = &config.cluster else {
            return Ok(Fleet(None));
        };
        let addresses = addresses(given, public, peers)?;
        let options = options(given, config.maxrooms);
        info!(pod = %given.pod_name, fleet = %given.fleet, "joining the fleet");
        let fleet = cluster::Fleet::find(options, addresses, metrics.fleet()).await?;
        Ok(Fleet(Some(fleet)))
    }

    pub(super) fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        self.0.as_ref()?.ownership()
    }

    /// Becomes a member. The server is ready once it holds a session, where there are any.
    pub(super) fn join(
        self,
        config: &Config,
        rooms: &Rooms,
        prepared: &Prepared,
        ready: &watch::Sender<Readiness>,
    ) -> anyhow::Result<Member> {
        let router = match &self.0 {
            Some(fleet) => fleet.router(rooms, config.stall_timeout)?,
            None => None,
        };
        let standing = self.0.as_ref().and_then(cluster::Fleet::standing);
        ready.send_replace(match standing {
            Some(_) => Readiness::NoSession,
            None => Readiness::Ready,
        });
        let follow = standing.map(|mut standing| {
            let ready = ready.clone();
            AbortOnDropHandle::new(TaskTracker::new().spawn(async move {
                while standing.changed().await.is_ok() {
                    let now = match standing.borrow_and_update().holds() {
                        Some(_) => Readiness::Ready,
                        None => Readiness::NoSession,
                    };
                    ready.send_if_modified(|ready| {
                        let new = *ready != Readiness::Draining && *ready != now;
                        if new {
                            *ready = now;
                        }
                        new
                    });
                }
            }))
        });
        let household = Arc::new(Ours {
            rooms: rooms.clone(),
            warden: prepared.warden.clone(),
        });
        Ok(Member {
            router,
            member: self.0.map(|fleet| fleet.join(rooms, household)),
            _follow: follow,
        })
    }
}

/// This server in its fleet; none without `--kube`.
pub(super) struct Member {
    router: Option<Arc<Router>>,
    member: Option<cluster::Member>,
    _follow: Option<AbortOnDropHandle<()>>,
}

impl Member {
    /// Who leads clients to their rooms.
    pub(super) fn gate(&self) -> Option<Arc<dyn Gate>> {
        let router = self.router.clone()?;
        Some(router)
    }

    /// Waits until nobody is on the way through this server.
    pub(super) async fn nobody_in_transit(&self) {
        if let Some(router) = &self.router {
            // The sender is the router's own.
            let _ = router
                .transits()
                .count()
                .wait_for(|count| *count == 0)
                .await;
        }
    }

    /// Who is on the way through this server is told so.
    pub(super) fn end_transit(&self, close: &Close) {
        if let Some(router) = &self.router {
            router.transits().drain(close.clone());
        }
    }

    /// No new rooms are wanted here.
    pub(super) fn drain(&self) {
        if let Some(member) = &self.member {
            member.drain();
        }
    }

    /// The pod is gone: the server has nothing left to do.
    pub(super) async fn lost(&self) {
        match &self.member {
            Some(member) => member.lost().await,
            None => std::future::pending().await,
        }
    }

    /// No room lives any more.
    pub(super) async fn leave(self) {
        if let Some(member) = self.member {
            member.leave().await;
        }
    }
}

/// Rooms and programs, for the session.
#[derive(Debug)]
struct Ours {
    rooms: Rooms,
    /// None where programs are not ours (`--connect`), or there are none.
    warden: Option<Warden>,
}

impl Household for Ours {
    fn rooms(&self) -> usize {
        self.rooms.load()
    }

    fn may_live_until(&self, deadline: Option<Instant>) {
        if let Some(warden) = &self.warden {
            warden.may_live_until(deadline.map(Instant::into_std));
        }
    }

    fn kill_all(&self) {
        self.rooms.suspend(true);
        let close = Close::new(Close::TRY_LATER, "this server lost its place in the fleet");
        self.rooms.end_all(&close, FENCED);
        if let Some(warden) = &self.warden {
            warden.may_live_until(Some(std::time::Instant::now()));
        }
    }

    fn resume(&self) {
        self.rooms.suspend(false);
    }

    fn emptied(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.rooms.all_gone())
    }
}

fn addresses(
    given: &cli::Cluster,
    public: &[Listener],
    peers: &[Listener],
) -> anyhow::Result<Addresses> {
    let ip = match given.pod_ip {
        Some(ip) => ip,
        // Nobody is led here: nobody asks.
        None => std::net::Ipv4Addr::UNSPECIFIED.into(),
    };
    let reached = |listeners: &[Listener]| {
        let listening: Vec<_> = listeners.iter().filter_map(Listener::tcp_address).collect();
        let told = told(ip, &listening)?;
        if given.pod_ip.is_some() && !listening.iter().any(|at| reaches(*at, ip)) {
            warn!(%told, "other pods are told an address at which nothing listens");
        }
        Some(told)
    };
    let public = reached(public);
    // Without a port for peers, they only tell clients where to go.
    let peer = reached(peers).or(public);
    let peer = peer.or((given.claims == cli::Claims::Off).then(|| SocketAddr::new(ip, 0)));
    Ok(Addresses {
        peer: peer.ok_or_else(|| anyhow!("--kube needs an --addr that other pods can reach"))?,
        public,
    })
}

/// What others are told: of several listeners the first that is reached at the pod's address, since
/// another may be there for the pod itself.
fn told(ip: IpAddr, listening: &[SocketAddr]) -> Option<SocketAddr> {
    let fits = listening.iter().find(|at| reaches(**at, ip));
    let chosen = fits.or(listening.first())?;
    Some(SocketAddr::new(ip, chosen.port()))
}

/// Whether a listener hears who connects to that address.
fn reaches(listening: SocketAddr, ip: IpAddr) -> bool {
    match listening.ip() {
        IpAddr::V6(all) if all.is_unspecified() => true,
        IpAddr::V4(all) if all.is_unspecified() => ip.is_ipv4(),
        one => one.to_canonical() == ip.to_canonical(),
    }
}

fn options(given: &cli::Cluster, max_rooms: usize) -> cluster::Options {
    cluster::Options {
        identity: Identity {
            pod: given.pod_name.clone(),
            namespace: given.pod_namespace.clone(),
            uid: given.pod_uid.clone(),
            fleet: given.fleet.clone(),
        },
        takeover: match given.claims {
            cli::Claims::Off => None,
            cli::Claims::Pod => Some(Takeover::Pod),
            cli::Claims::Fenced => Some(Takeover::Fenced(cluster::Fence {
                after: given.fence_after,
                margin: given.fence_margin,
            })),
        },
        takeover_delay: given.takeover_delay,
        placement: match given.placement {
            cli::Placement::Spread => cluster::Placement::Spread,
            cli::Placement::Packed => cluster::Placement::Packed(given.target_rooms),
        },
        proxy: given.route == cli::Route::Proxy,
        route_timeout: given.route_timeout,
        secret_file: given.peer_secret_file.clone(),
        rooms_annotation: given.rooms_annotation,
        max_rooms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_the_listener_that_they_reach() {
        let told = |ip: &str, listening: &[&str]| {
            let listening: Vec<_> = listening.iter().map(|at| at.parse().unwrap()).collect();
            told(ip.parse().unwrap(), &listening).map(|told| told.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(told("10.0.0.7", &["0.0.0.0:9000"]), some("10.0.0.7:9000"));
        assert_eq!(
            told("10.0.0.7", &["127.0.0.1:9000", "0.0.0.0:9001"]),
            some("10.0.0.7:9001")
        );
        assert_eq!(
            told("fd00::7", &["0.0.0.0:9000", "[::]:9001"]),
            some("[fd00::7]:9001")
        );
        assert_eq!(told("10.0.0.7", &["[::]:9000"]), some("10.0.0.7:9000"));
        assert_eq!(
            told("10.0.0.7", &["192.0.2.1:9000", "10.0.0.7:9001"]),
            some("10.0.0.7:9001")
        );
        assert_eq!(told("10.0.0.7", &[]), None);
    }

    #[test]
    fn every_address_means_that_of_the_pod_too() {
        let tcp = |address: &str| Listen::Tcp(address.to_owned());
        let (four, six) = ("10.0.0.7".parse().ok(), "fd00::7".parse().ok());
        assert_eq!(reachable_at(&tcp("0.0.0.0:7900"), six), tcp("[::]:7900"));
        assert_eq!(
            reachable_at(&tcp("0.0.0.0:7900"), four),
            tcp("0.0.0.0:7900")
        );
        assert_eq!(reachable_at(&tcp("127.0.0.1:1"), six), tcp("127.0.0.1:1"));
        assert_eq!(reachable_at(&tcp("0.0.0.0:1"), None), tcp("0.0.0.0:1"));
    }
}
