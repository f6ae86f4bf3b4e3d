//! A double of the Kubernetes API, inside the test's own process: Leases and Pods of one namespace,
//! served to real `kube::Client`s with the real server's semantics, and with faults on demand. It
//! runs on tokio's clock alone and draws all chance from one seed, so that a test with paused time
//! and a current-thread runtime takes the same course each time.
//!
//! ```ignore
//! let double = Double::new(seed);
//! let leases: Api<Lease> = Api::default_namespaced(double.client("pod-a"));
//! double.faults("pod-a").next(Verb::Create, Fault::LostReply(Loss::Hang));
//! ```

// Every crate of tests that mounts the double uses a part of it, and `pub` is its border with them.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod changes;
mod faults;
mod merge;
mod metadata;
mod owners;
mod request;
mod resource;
mod selector;
mod server;
mod service;
mod status;
mod store;
mod watch;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

pub use changes::{Changes, Wake};
pub use faults::{Fault, Faults, Line, Loss, Odds};
pub use metadata::ANNOTATIONS_LIMIT;
pub use resource::{Resource, Verb};
pub use server::Call;

use selector::Selector;
use server::Server;
use service::Connection;
use store::{Deletion, text};

/// The one namespace.
pub const NAMESPACE: &str = "arcade";

/// A cluster's API in this process. Clones are the same cluster; it ends with the last of them.
#[derive(Clone)]
pub struct Double {
    server: Arc<Server>,
    _end: Arc<End>,
}

struct End(Arc<Server>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Double {
    /// An empty namespace; all chance comes from the seed. Needs a runtime around it.
    pub fn new(seed: u64) -> Double {
        let server = Server::start(seed, NAMESPACE);
        Double {
            _end: Arc::new(End(server.clone())),
            server,
        }
    }

    /// A client with a name of its own, by which faults and counts know it.
    pub fn client(&self, name: &str) -> kube::Client {
        kube::Client::new(Connection::new(self.server.clone(), name), NAMESPACE)
    }

    /// What befalls a client.
    pub fn faults(&self, client: &str) -> Faults {
        Faults::new(self.server.clone(), client)
    }

    /// The line of everybody: an outage, until it is [`Line::Open`] again.
    pub fn outage(&self, line: Line) {
        self.server.change(|state| state.outage = line);
    }

    /// How long an object may lie around after its last owner is gone.
    pub fn garbage_delay(&self, delay: RangeInclusive<Duration>) {
        self.server.change(|state| state.garbage_delay = delay);
    }

    /// How often watches that asked for bookmarks get one; once a minute otherwise.
    pub fn bookmarks_every(&self, time: Duration) {
        self.server.change(|state| state.bookmarks = time);
    }

    /// How many changes the server remembers for watches; 1,000 otherwise.
    pub fn remembers(&self, changes: usize) {
        self.server.change(|state| state.store.set_window(changes));
    }

    /// Forgets the history: watches that have not heard all of it get 410.
    pub fn forget_history(&self) {
        self.server.change(|state| state.store.forget());
    }

    /// The newest resourceVersion.
    pub fn version(&self) -> u64 {
        self.server.look(|state| state.store.version())
    }

    /// Puts an object there as it is (`apiVersion`, `kind` and `metadata.name` needed) and gives
    /// its uid.
    pub fn create(&self, object: Value) -> String {
        let word = |field: &str| object[field].as_str().unwrap_or_default();
        let resource = Resource::of(word("apiVersion"), word("kind")).expect("a Lease or a Pod");
        self.server.change(|state| {
            let uid = state.uuid();
            state
                .store
                .create(resource, object, uid.clone(), Instant::now())
                .unwrap_or_else(|refusal| panic!("{}", refusal.body()));
            uid
        })
    }

    /// A pod that runs on a node, is Ready and belongs to a ReplicaSet (`owner` is its uid); gives
    /// the pod's uid.
    pub fn create_pod(&self, name: &str, ip: &str, owner: &str) -> String {
        self.create(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": {"scalesocket.dev/fleet": "scalesocket"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "games",
                    "uid": owner,
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
            "spec": {"nodeName": "node-1", "containers": [{"name": "game", "image": "game"}]},
            "status": {
                "phase": "Running",
                "podIP": ip,
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{
                    "name": "game", "ready": true, "restartCount": 0, "image": "game",
                    "imageID": "game", "state": {"running": {}},
                }],
            },
        }))
    }

    /// Begins to end a pod: it has a deletionTimestamp from now on, and stays until
    /// [`Double::force_delete_pod`], which is what its kubelet would do.
    pub fn delete_pod(&self, name: &str) {
        self.delete(Resource::Pods, name, None);
    }

    /// Removes a pod at once, whatever still runs there.
    pub fn force_delete_pod(&self, name: &str) {
        self.delete(Resource::Pods, name, Some(0));
    }

    /// Removes a Lease.
    pub fn delete_lease(&self, name: &str) {
        self.delete(Resource::Leases, name, None);
    }

    fn delete(&self, resource: Resource, name: &str, grace: Option<u64>) {
        let deletion = Deletion {
            grace,
            ..Deletion::default()
        };
        // Refused: it was gone before, which is all this wants.
        let _ = self.server.change(|state| {
            let store = &mut state.store;
            store.delete(resource, name, &deletion, Instant::now())
        });
    }

    /// Merges into an object as its kubelet or another controller would, status and all.
    pub fn merge(&self, resource: Resource, name: &str, patch: &Value) {
        self.server.change(|state| {
            let store = &mut state.store;
            store
                .force(resource, name, patch, Instant::now())
                .unwrap_or_else(|refusal| panic!("{}", refusal.body()))
        });
    }

    /// An owner of a kind the double does not hold is gone: what only it owned is garbage.
    pub fn owner_departed(&self, uid: &str) {
        self.server.change(|state| state.store.owner_departed(uid));
    }

    /// One object as it is now.
    pub fn get(&self, resource: Resource, name: &str) -> Option<Value> {
        self.server
            .look(|state| state.store.get(resource, name).ok())
            .map(|object| Value::clone(&object))
    }

    /// All objects of a kind, in the order of their names.
    pub fn objects(&self, resource: Resource) -> Vec<Value> {
        self.server
            .look(|state| state.store.list(resource, &Selector::default()))
            .into_iter()
            .map(|object| Value::clone(&object))
            .collect()
    }

    /// Their names.
    pub fn names(&self, resource: Resource) -> Vec<String> {
        let name = |object: &Value| text(object, "name").to_owned();
        self.objects(resource).iter().map(name).collect()
    }

    /// Every request that arrived, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.server.look(|state| state.calls.clone())
    }

    /// How many requests of a client arrived.
    pub fn count(&self, client: &str, verb: Verb, resource: Resource) -> usize {
        let is =
            |call: &&Call| call.client == client && call.verb == verb && call.resource == resource;
        self.server
            .look(|state| state.calls.iter().filter(is).count())
    }

    /// Waits until something about the objects or the faults is as it should be. It looks again
    /// after every change, and never gives up: the test owns the deadline.
    pub async fn until(&self, holds: impl Fn(&Double) -> bool) {
        let mut changes = self.server.changes();
        loop {
            changes.catch_up();
            if holds(self) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}
