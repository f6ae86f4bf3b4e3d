//! The flags of a fleet in Kubernetes, and what they come to: `Flags` -> [`Cluster`], pure.
//! Only in builds with the feature `kube`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::config::Listen;
use super::values;

/// Kubernetes refuses more in all annotations together (262,144 bytes); half of it leaves room for others.
const ANNOTATION_MAX: usize = 128 << 10;
/// The least time between a fence and the deadline behind it: a renewal every third of it must be
/// possible.
const FENCE_MIN: Duration = Duration::from_secs(3);

/// When one pod may end the session of another; `docs/kubernetes.md` has the trade-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Claims {
    /// When its pod object is gone.
    Pod,
    /// Also when its lease was not renewed for so long that it must have fenced itself.
    Fenced,
    /// No claims and no sessions: publish only.
    Off,
}

/// What becomes of a client whose room lives on another pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Route {
    /// It is served through this pod.
    Proxy,
    /// It is told where the room is (421).
    Reject,
}

/// Which pod gets a new room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Placement {
    /// All get about as many.
    Spread,
    /// The fullest that is below its target.
    Packed,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Flags {
    /// Be one pod of a fleet in Kubernetes
    ///
    /// Publishes what runs here as annotations of the pod, claims each room before its program is
    /// started, and leads clients to the pod that has their room. With --maxrooms 0 it is a gateway: it
    /// has no rooms and needs no CMD.
    #[arg(long)]
    pub kube: bool,

    /// The pod's name [default: $POD_NAME]
    #[arg(long, value_name = "NAME", value_parser = values::named)]
    pub pod_name: Option<String>,

    /// The pod's namespace [default: $POD_NAMESPACE]
    #[arg(long, value_name = "NAME", value_parser = values::named)]
    pub pod_namespace: Option<String>,

    /// The pod's uid [default: $POD_UID]
    #[arg(long, value_name = "UID", value_parser = values::named)]
    pub pod_uid: Option<String>,

    /// The address at which other pods reach this one [default: $POD_IP]
    #[arg(long, value_name = "IP")]
    pub pod_ip: Option<IpAddr>,

    /// The fleet: pods with the same label scalesocket.dev/fleet share their rooms
    #[arg(long, value_name = "NAME", default_value = "scalesocket", value_parser = values::label)]
    pub kube_fleet: String,

    /// When a room of a lost pod may start elsewhere: pod, fenced, off [default: pod]
    ///
    /// pod: when the pod object is gone. fenced: also when the pod cannot reach the API server for
    /// --kube-fence-after, and then it has ended its rooms itself. off: no claims, no routing; pods
    /// know nothing of each other.
    #[arg(long, value_name = "MODE", hide_possible_values = true)]
    pub kube_claims: Option<Claims>,

    /// A client whose room is on another pod: proxy, reject [default: proxy]
    ///
    /// proxy: it is served through this pod. reject: it gets status 421 with the header
    /// Scalesocket-Endpoint.
    #[arg(long, value_name = "HOW", hide_possible_values = true)]
    pub kube_route: Option<Route>,

    /// Which pod gets a new room: spread, packed [default: spread]
    ///
    /// spread: all get about as many. packed: the fullest below --kube-target-rooms, so that others become
    /// empty and can be removed.
    #[arg(long, value_name = "POLICY", hide_possible_values = true)]
    pub kube_placement: Option<Placement>,

    /// Packed: rooms that a pod is filled to [default: 80 % of --maxrooms]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub kube_target_rooms: Option<usize>,

    /// How long a pod must be gone before its rooms may start elsewhere
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::duration)]
    pub kube_takeover_delay: Duration,

    /// Fenced: rooms end when the session was not renewed for so long [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = values::span)]
    pub kube_fence_after: Option<Duration>,

    /// Fenced: how much earlier they begin to end [default: a sixth of that]
    #[arg(long, value_name = "DURATION", value_parser = values::span)]
    pub kube_fence_margin: Option<Duration>,

    /// Most bytes of the annotation that lists the rooms
    #[arg(long, value_name = "SIZE", default_value = "32KiB", value_parser = values::size)]
    pub kube_rooms_annotation: usize,

    /// Where other pods connect to this one
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:7900",
          value_parser = values::listen)]
    pub peer_addr: Listen,

    /// The secret that pods prove to each other: a file with one or two lines
    ///
    /// Each at least 16 bytes. All lines are accepted and the first is used, so that secrets can be
    /// exchanged without a gap; the file is read again when it changes.
    #[arg(long, value_name = "FILE", value_parser = values::file)]
    pub peer_secret_file: Option<PathBuf>,

    /// How long a client is held while its room is looked for
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::span)]
    pub route_timeout: Duration,
}

/// What a server in a fleet is told. Fields are named after their flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The pod's name.
    pub pod_name: String,
    /// The pod's namespace.
    pub pod_namespace: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The address at which other pods reach this one; there unless claims are off.
    pub pod_ip: Option<IpAddr>,
    /// The value of the fleet's label.
    pub fleet: String,
    /// When one pod may end the session of another.
    pub claims: Claims,
    /// What becomes of a client whose room is elsewhere.
    pub route: Route,
    /// Which pod gets a new room.
    pub placement: Placement,
    /// Rooms that a pod is filled to, at least 1 (0 on a gateway).
    pub target_rooms: usize,
    /// How long a pod must be gone.
    pub takeover_delay: Duration,
    /// The time that a renewal of the session is good for.
    pub fence_after: Duration,
    /// How much of that time the end of all rooms may take.
    pub fence_margin: Duration,
    /// Most bytes of the annotation that lists the rooms.
    pub rooms_annotation: usize,
    /// Where other pods connect to this one.
    pub peer_addr: Listen,
    /// The file of the secrets; there if clients are proxied.
    pub peer_secret_file: Option<PathBuf>,
    /// How long a client is held.
    pub route_timeout: Duration,
}

/// What the flags come to: nothing without `--kube`.
pub(super) fn validate(flags: &Flags, maxrooms: usize) -> Result<Option<Cluster>, String> {
    if !flags.kube {
        return refuse_without_kube(flags, maxrooms);
    }
    let needed = |given: &Option<String>, flag: &str, what: &str| match given {
        Some(text) => Ok(text.clone()),
        None => Err(format!(
            "--kube needs to know {what}: set {flag} or its variable from the Downward API"
        )),
    };
    let claims = flags.kube_claims.unwrap_or(Claims::Pod);
    let route = flags.kube_route.unwrap_or(Route::Proxy);
    let claiming = claims != Claims::Off;
    if !claiming && flags.kube_route.is_some() {
        return Err(
            "--kube-route cannot go with --kube-claims off: without claims nobody \
                    knows where a room is, so leave out one of the two"
                .into(),
        );
    }
    if claiming && flags.pod_ip.is_none() {
        return Err(
            "--kube needs to know the pod's address: set --pod-ip or POD_IP from the \
                    Downward API, or say --kube-claims off"
                .into(),
        );
    }
    if claiming && route == Route::Proxy && flags.peer_secret_file.is_none() {
        return Err(
            "pods that proxy for each other need a common secret: set --peer-secret-file, \
                    or say --kube-route reject"
                .into(),
        );
    }
    if maxrooms == 0 && !(claiming && route == Route::Proxy) {
        return Err(
            "a gateway (--maxrooms 0) has no rooms and must proxy: leave out \
                    --kube-claims off and --kube-route reject"
                .into(),
        );
    }
    let fenced = claims == Claims::Fenced;
    let timing = flags.kube_fence_after.is_some() || flags.kube_fence_margin.is_some();
    if timing && !fenced {
        return Err(
            "--kube-fence-after and --kube-fence-margin mean nothing without \
                    --kube-claims fenced: leave them out, or say it"
                .into(),
        );
    }
    let fence_after = flags.kube_fence_after.unwrap_or(Duration::from_secs(60));
    // A sixth: enough for KILL, and what is left allows three renewals.
    let fence_margin = flags.kube_fence_margin.unwrap_or(fence_after / 6);
    if fenced && (fence_after < FENCE_MIN || fence_margin > fence_after / 2) {
        return Err(
            "--kube-fence-after must be at least 3s, and --kube-fence-margin at most half \
                    of it: else a session cannot be renewed in time"
                .into(),
        );
    }
    if flags.kube_rooms_annotation > ANNOTATION_MAX {
        return Err(
            "--kube-rooms-annotation is more than a pod may carry: set at most 128KiB".into(),
        );
    }
    if matches!(flags.peer_addr, Listen::Unix(_)) {
        return Err("--peer-addr is where other pods connect to: write HOST:PORT".into());
    }
    let target = flags
        .kube_target_rooms
        .unwrap_or((maxrooms * 4 / 5).max(usize::from(maxrooms > 0)));
    Ok(Some(Cluster {
        pod_name: needed(&flags.pod_name, "--pod-name", "the pod's name")?,
        pod_namespace: needed(&flags.pod_namespace, "--pod-namespace", "its namespace")?,
        pod_uid: needed(&flags.pod_uid, "--pod-uid", "the pod's uid")?,
        pod_ip: flags.pod_ip,
        fleet: flags.kube_fleet.clone(),
        claims,
        route,
        placement: flags.kube_placement.unwrap_or(Placement::Spread),
        target_rooms: target.min(maxrooms),
        takeover_delay: flags.kube_takeover_delay,
        fence_after,
        fence_margin,
        rooms_annotation: flags.kube_rooms_annotation,
        peer_addr: flags.peer_addr.clone(),
        peer_secret_file: flags.peer_secret_file.clone(),
        route_timeout: flags.route_timeout,
    }))
}

/// A fleet's flags outside a fleet would silently do nothing.
fn refuse_without_kube(flags: &Flags, maxrooms: usize) -> Result<Option<Cluster>, String> {
    if maxrooms == 0 {
        return Err(
            "--maxrooms 0 makes a gateway to other pods: add --kube, or set at least 1".into(),
        );
    }
    let given = [
        (flags.kube_claims.is_some(), "--kube-claims"),
        (flags.kube_route.is_some(), "--kube-route"),
        (flags.kube_placement.is_some(), "--kube-placement"),
        (flags.kube_target_rooms.is_some(), "--kube-target-rooms"),
        (flags.kube_fence_after.is_some(), "--kube-fence-after"),
        (flags.kube_fence_margin.is_some(), "--kube-fence-margin"),
        (flags.peer_secret_file.is_some(), "--peer-secret-file"),
    ];
    match given.into_iter().find(|(given, _)| *given) {
        Some((_, flag)) => Err(format!(
            "{flag} does nothing without --kube: add that, or leave it out"
        )),
        None => Ok(None),
    }
}
