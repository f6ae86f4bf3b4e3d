//! What a fleet does about what its members left behind: claims that nobody holds, and sessions of
//! another mode. The real parts of a member run against the double of the API; time is paused.

#[path = "double/mod.rs"]
mod double;

use std::time::Duration;

use double::{Double, Fault, NAMESPACE, Resource, Verb};
use scalesocket::cluster::api::Api;
use scalesocket::cluster::claims::Claims;
use scalesocket::cluster::session::{Session, Standing};
use scalesocket::cluster::takeover::Heirs;
use scalesocket::cluster::view::View;
use scalesocket::cluster::{Fence, Identity, Takeover, names};
use scalesocket::metrics::FleetMetrics;
use scalesocket::room::{Ownership, RoomName};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longer than anything here takes, by the paused clock.
const PATIENCE: Duration = Duration::from_secs(600);
const FLEET: &str = "scalesocket";
const FENCE: Fence = Fence {
    after: Duration::from_secs(15),
    margin: Duration::from_secs(3),
};

/// The session of a pod as it is in the API: its number.
fn put_session(double: &Double, pod: &str, pod_uid: &str, lease: Option<u32>) -> u128 {
    let uid = double.create(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": names::session(pod_uid),
            "labels": {"scalesocket.dev/fleet": FLEET},
            "annotations": {
                "scalesocket.dev/endpoint": "10.0.0.1:7900",
                "scalesocket.dev/state": "ready",
                "scalesocket.dev/limit": "100",
            },
        },
        "spec": {"holderIdentity": format!("{pod}/1"), "leaseDurationSeconds": lease},
    }));
    names::uid(&uid).expect("a uid")
}

/// A member that has a session, and no more of it than a test needs.
struct Member {
    double: Double,
    api: Api,
    view: View,
    claims: Claims,
    stop: CancellationToken,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Member {
    async fn new(double: &Double) -> Member {
        let pod_uid = double.create_pod("games-1", "10.0.0.1", "set-1");
        let session = put_session(double, "games-1", &pod_uid, None);
        let metrics = FleetMetrics::default();
        let api = Api::new(double.client("games-1"), NAMESPACE, metrics.clone());
        let identity = Identity {
            pod: "games-1".to_owned(),
            namespace: NAMESPACE.to_owned(),
            uid: pod_uid,
            fleet: FLEET.to_owned(),
        };
        let standing = Session::none();
        standing.send_replace(Standing {
            session: Some(session),
            epoch: 0,
            open: true,
            valid_until: None,
        });
        let endpoint = "10.0.0.1:7900".to_owned();
        let claims = Claims::new(api.clone(), identity, endpoint, standing, metrics);
        let member = Member {
            double: double.clone(),
            api,
            view: View::new(FLEET),
            claims,
            stop: CancellationToken::new(),
        };
        let (view, claims) = (member.view.clone(), member.claims.clone());
        let watches = double.client("games-1 watch");
        member.runs(async move {
            let leases = kube::Api::default_namespaced(watches.clone());
            let pods = kube::Api::default_namespaced(watches);
            tokio::join!(
                view.run(leases, pods),
                claims.release(),
                claims.sweep(&view)
            );
        });
        let mut changes = member.view.changes();
        while !member.view.is_synced() {
            changes.changed().await.expect("the view is here");
        }
        member
    }

    fn runs(&self, life: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        TaskTracker::new().spawn(async move {
            stop.run_until_cancelled(life).await;
        });
    }

    /// Whether the object of that name is gone before the test's patience is.
    async fn ends(&self, lease: &str) -> bool {
        let gone = |double: &Double| double.get(Resource::Leases, lease).is_none();
        timeout(PATIENCE, self.double.until(gone)).await.is_ok()
    }
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).expect("a room's name")
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_made_after_everybody_had_given_up_is_deleted() {
    let double = Double::new(1);
    let member = Member::new(&double).await;
    let late = Fault::LateCommit(Duration::from_secs(60));
    double.faults("games-1").next(Verb::Create, late);
    let lobby = room("lobby");
    let impatient = Duration::from_millis(100);
    let given_up = timeout(impatient, member.claims.claim(&lobby)).await;
    assert!(given_up.is_err(), "the client is gone before the answer");
    // Nobody asks for the room again, as where the server is full, or drains.
    let name = names::claim(FLEET, &lobby);
    let made = |double: &Double| double.get(Resource::Leases, &name).is_some();
    timeout(PATIENCE, double.until(made)).await.expect("made");
    assert!(member.ends(&name).await, "and nobody holds it");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_held_is_never_taken_for_a_stray() {
    let double = Double::new(1);
    let member = Member::new(&double).await;
    let lobby = room("lobby");
    let claim = member.claims.claim(&lobby).await.expect("claimed");
    let name = names::claim(FLEET, &lobby);
    assert!(!member.ends(&name).await, "it is held");
    drop(claim);
    assert!(member.ends(&name).await, "it was given back");
    let deleted = double.count("games-1", Verb::Delete, Resource::Leases);
    assert_eq!(deleted, 1, "once");
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_a_session_that_cannot_be_asked_for_is_in_nobodys_way() {
    let double = Double::new(1);
    let member = Member::new(&double).await;
    for owner in ["ss-s-a b", "somebody", "ss-s-\u{7f}", "ss-s-x?y"] {
        let name = names::claim(FLEET, &room("lobby"));
        double.create(json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": name,
                "labels": {"scalesocket.dev/fleet": FLEET},
                "ownerReferences": [{
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": owner,
                    "uid": "0b7f5a0e-5a3b-4c9d-8e21-00c0ffee0001",
                }],
            },
            "spec": {"holderIdentity": "somebody/1"},
        }));
        let claim = member.claims.claim(&room("lobby")).await;
        assert!(claim.is_ok(), "{owner:?}: {claim:?}");
        drop(claim);
        assert!(member.ends(&name).await, "{owner:?}");
    }
}

/// Who looks after a session that is, or is not, renewed, in a fleet of that mode.
async fn inherited(takeover: Takeover, lease: Option<u32>, pod_is_there: bool) -> bool {
    let double = Double::new(1);
    let member = Member::new(&double).await;
    let lost = double.create_pod("games-2", "10.0.0.2", "set-1");
    put_session(&double, "games-2", &lost, lease);
    if !pod_is_there {
        double.force_delete_pod("games-2");
    }
    let heirs = Heirs::new(
        member.api.clone(),
        member.view.clone(),
        takeover,
        Duration::from_secs(5),
        member.claims.standing().subscribe(),
    );
    member.runs(async move { heirs.run().await });
    member.ends(&names::session(&lost)).await
}

#[tokio::test(start_paused = true)]
async fn after_a_change_of_modes_no_session_is_left_for_ever() {
    let fenced = Takeover::Fenced(FENCE);
    assert!(inherited(fenced, None, false).await, "of mode pod");
    assert!(
        inherited(Takeover::Pod, Some(15), false).await,
        "of mode fenced"
    );
    // Nothing says that the rooms of these are dead.
    assert!(!inherited(fenced, None, true).await);
    assert!(!inherited(Takeover::Pod, Some(15), true).await);
}
