//! A stand-in for the kubelet and the scheduler, for the pods of one namespace: it binds them to
//! its nodes, runs their containers as local processes, probes them, tells their status and ends
//! them as the API asks. It does those acts and no more: no images, no isolation, no resources, no
//! hooks but `preStop.sleep`, no probes but `httpGet`; a pod that asks for another fails its test.
//!
//! What a pod's file system and network would be is made up for in the texts that its program gets:
//! see [`environment`] and [`service`]. An entrypoint is a file of one of the pod's volumes, or is found
//! by its file name among the given programs.

mod container;
mod environment;
mod forwarder;
mod guest;
mod probe;
mod service;
mod status;
mod volumes;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use forwarder::Cut;
use guest::Guest;

use super::ControlPlane;

/// Between two tries of what the API did not do.
const AGAIN: Duration = Duration::from_millis(200);

/// The nodes of one namespace and what runs on them. Dropped, it kills all of it.
pub struct Kubelet {
    house: Arc<House>,
    /// Ended by its drop.
    tasks: JoinSet<()>,
}

/// What all pods of one kubelet share.
struct House {
    plane: Arc<ControlPlane>,
    client: Client,
    namespace: String,
    programs: Vec<(String, PathBuf)>,
    directory: PathBuf,
    /// By its name in tests; whether we act for it.
    nodes: BTreeMap<String, watch::Sender<bool>>,
    /// By uid.
    guests: Mutex<HashMap<String, Arc<Guest>>>,
}

impl Kubelet {
    /// Starts to act for some nodes, which only this namespace's pods are bound to. `programs` are
    /// what containers may run, by file name; the first is the entrypoint of images.
    pub async fn start(
        plane: &Arc<ControlPlane>,
        namespace: &str,
        nodes: &[&str],
        programs: &[(&str, &str)],
    ) -> Kubelet {
        let client = plane.client();
        let directory = plane.path(namespace);
        std::fs::create_dir_all(&directory).expect("a directory");
        for node in nodes {
            register(&client, namespace, node).await;
        }
        let named = |(name, path): &(&str, &str)| ((*name).to_owned(), PathBuf::from(path));
        let acting = |node: &&str| ((*node).to_owned(), watch::channel(true).0);
        let house = Arc::new(House {
            plane: plane.clone(),
            client,
            namespace: namespace.to_owned(),
            programs: programs.iter().map(named).collect(),
            directory,
            nodes: nodes.iter().map(acting).collect(),
            guests: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_house(house.clone()));
        Kubelet { house, tasks }
    }

    /// KILL to the pod's main container and all in it, as by the kernel's out-of-memory killer.
    pub fn kill(&self, pod: &str) {
        self.house.process(pod, |process| process.end());
    }

    /// Stops all processes of the pod where they are.
    pub fn freeze(&self, pod: &str) {
        self.house
            .process(pod, |process| process.signal_all(Signal::SIGSTOP));
    }

    pub fn thaw(&self, pod: &str) {
        self.house
            .process(pod, |process| process.signal_all(Signal::SIGCONT));
    }

    /// The number of the main container's process.
    pub fn process_id(&self, pod: &str) -> Option<i32> {
        self.house
            .guest(pod)?
            .main_process()
            .map(|process| process.id())
    }

    pub fn address(&self, pod: &str) -> Option<Ipv4Addr> {
        self.house.guest(pod).map(|guest| guest.address)
    }

    /// Where clients of a Service's port come out, as a cluster would lead them.
    pub async fn service(&self, name: &str, port: i32) -> Vec<SocketAddr> {
        let house = &self.house;
        let open = service::endpoints(&house.client, &house.namespace, name, port).await;
        open.unwrap_or_default()
    }

    /// The kubeconfig that the pod's programs are given, by way of its own forwarder.
    pub fn kubeconfig(&self, pod: &str) -> Option<PathBuf> {
        let guest = self.house.guest(pod)?;
        Some(guest.directory.join("kubeconfig")).filter(|path| path.exists())
    }

    /// Cuts the pod's traffic with the API; the process runs on.
    pub fn partition(&self, pod: &str, cut: Cut) {
        self.house.existing(pod).forwarder.cut(cut);
    }

    pub fn heal(&self, pod: &str) {
        self.house.existing(pod).forwarder.heal();
    }

    /// Acts no longer for a node: its processes run on, and nothing is told of them or done to them.
    pub fn lose_node(&self, node: &str) {
        self.house.nodes[node].send_replace(false);
    }

    pub fn find_node(&self, node: &str) {
        self.house.nodes[node].send_replace(true);
    }

    /// The name of the Node object: nodes are not namespaced, and tests share a control plane.
    pub fn node_name(&self, node: &str) -> String {
        node_name(&self.house.namespace, node)
    }

    /// What the pod's containers said, all of them, restarted or not.
    pub fn logs(&self, pod: &str) -> String {
        let said = std::fs::read(self.house.directory.join(format!("{pod}.log")));
        String::from_utf8_lossy(&said.unwrap_or_default()).into_owned()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.tasks.abort_all();
        // Taken out, because guests hold the house that holds them.
        let guests: Vec<_> = self.house.guests().drain().collect();
        for (_, guest) in guests {
            guest.close();
        }
        if std::thread::panicking() {
            for entry in std::fs::read_dir(&self.house.directory)
                .into_iter()
                .flatten()
                .flatten()
            {
                if entry.path().extension().is_some_and(|end| end == "log") {
                    let said = super::plane::tail(&entry.path(), 60);
                    eprintln!("--- {}\n{said}", entry.path().display());
                }
            }
        }
    }
}

impl House {
    fn guests(&self) -> MutexGuard<'_, HashMap<String, Arc<Guest>>> {
        // Also while a test panics: its processes must end.
        self.guests
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The newest pod of that name.
    fn guest(&self, name: &str) -> Option<Arc<Guest>> {
        let guests = self.guests();
        let named = guests.values().filter(|guest| guest.name == name);
        named.max_by_key(|guest| guest.arrived).cloned()
    }

    fn existing(&self, name: &str) -> Arc<Guest> {
        self.guest(name)
            .unwrap_or_else(|| panic!("no pod {name} was ever run here"))
    }

    fn process(&self, pod: &str, act: impl Fn(&super::process::Process)) {
        let process = self.existing(pod).main_process();
        act(&process.unwrap_or_else(|| panic!("nothing runs in {pod}")));
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn node_name(namespace: &str, node: &str) -> String {
    format!("{namespace}-{node}")
}

async fn register(client: &Client, namespace: &str, node: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    let name = node_name(namespace, node);
    let object: Node = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "stage": namespace}},
    }))
    .expect("a node");
    nodes
        .create(&PostParams::default(), &object)
        .await
        .expect("the node is registered");
    // Nobody takes it back: the controller that would doubt a silent node is not among ours.
    let status = json!({"status": {
        "capacity": {"cpu": "64", "memory": "256Gi", "pods": "1000"},
        "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "1000"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Stage"}],
    }});
    nodes
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .expect("the node is ready");
}

/// Follows the namespace's pods until the kubelet is dropped.
async fn keep_house(house: Arc<House>) {
    let mut tasks = JoinSet::new();
    let mut known: HashMap<String, Pod> = HashMap::new();
    let mut listed: HashSet<String> = HashSet::new();
    let mut pods = pin!(watcher(house.pods(), watcher::Config::default()));
    let mut tick = interval(AGAIN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            event = pods.next() => event,
            _ = tick.tick() => { // what could not be bound then may be now
                for pod in known.values() {
                    bind(&house, pod).await;
                }
                continue;
            }
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
        };
        match event {
            Some(Ok(watcher::Event::Init)) => listed.clear(),
            Some(Ok(watcher::Event::InitApply(pod))) => {
                listed.insert(pod.uid().unwrap_or_default());
                seen(&house, &mut known, &mut tasks, pod).await;
            }
            Some(Ok(watcher::Event::Apply(pod))) => {
                seen(&house, &mut known, &mut tasks, pod).await;
            }
            Some(Ok(watcher::Event::InitDone)) => {
                let gone = known.extract_if(|uid, _| !listed.contains(uid));
                gone.for_each(|(uid, _)| gone_from_api(&house, &uid));
            }
            Some(Ok(watcher::Event::Delete(pod))) => {
                let uid = pod.uid().unwrap_or_default();
                known.remove(&uid);
                gone_from_api(&house, &uid);
            }
            // The API does not answer: what runs, runs on.
            Some(Err(_)) => sleep(AGAIN).await,
            None => return,
        }
    }
}

fn gone_from_api(house: &House, uid: &str) {
    if let Some(guest) = house.guests().get(uid) {
        guest.wanted.send_replace(None);
    }
}

/// A pod is as it is now: bind it, start it, or tell its guest.
async fn seen(
    house: &Arc<House>,
    known: &mut HashMap<String, Pod>,
    tasks: &mut JoinSet<()>,
    pod: Pod,
) {
    let uid = pod.uid().unwrap_or_default();
    let guest = house.guests().get(&uid).cloned();
    if let Some(guest) = guest {
        guest.wanted.send_replace(Some(Arc::new(pod.clone())));
    } else if let Some(acting) = node_of(house, &pod) {
        let guest = Arc::new(Guest::new(house.clone(), &pod, acting).await);
        house.guests().insert(uid.clone(), guest.clone());
        tasks.spawn(guest.run());
    } else {
        bind(house, &pod).await;
    }
    known.insert(uid, pod);
}

/// Whether we act for the node that a pod is bound to; `None` if it is bound to none of ours.
fn node_of(house: &House, pod: &Pod) -> Option<watch::Receiver<bool>> {
    let bound = pod.spec.as_ref()?.node_name.as_deref()?;
    let nodes = house.nodes.iter();
    nodes
        .filter(|(name, _)| node_name(&house.namespace, name) == bound)
        .map(|(_, acting)| acting.subscribe())
        .next()
}

/// Binds a pod that waits for a node to the one with the fewest pods, if any takes it.
async fn bind(house: &House, pod: &Pod) {
    let waits = pod.spec.as_ref().is_some_and(|spec| {
        spec.node_name.is_none() && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
    });
    if !waits || pod.metadata.deletion_timestamp.is_some() {
        return;
    }
    let mut open = Vec::new();
    for (node, acting) in &house.nodes {
        let name = node_name(&house.namespace, node);
        let Ok(object) = Api::<Node>::all(house.client.clone()).get(&name).await else {
            continue;
        };
        let cordoned = object.spec.and_then(|spec| spec.unschedulable) == Some(true);
        if *acting.borrow() && !cordoned {
            let load = house
                .guests()
                .values()
                .filter(|guest| guest.node == name && guest.lives())
                .count();
            open.push((load, name));
        }
    }
    if let Some((_, node)) = open.into_iter().min() {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name_any(), "uid": pod.uid()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        // Refused if it is bound already or gone; otherwise the next tick tries again.
        let _: kube::Result<Value> = house
            .pods()
            .create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding)
            .await;
    }
}
