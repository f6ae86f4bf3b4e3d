//! Where a fleet runs: a namespace with its kubelet, the fleet's role and secret, its Deployments,
//! and the addresses of its pods.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::people::get;
use crate::stage::{ControlPlane, Kubelet, eventually};

/// The program of each room: it says who it is before everything it repeats.
const PROGRAM: &str = r#"while read -r line; do echo "$UNIQUE_ID $line"; done"#;

/// A namespace with a fleet; a test has one of its own.
pub(crate) struct Yard {
    pub(crate) plane: Arc<ControlPlane>,
    pub(crate) namespace: String,
    pub(crate) kubelet: Kubelet,
    pub(crate) client: Client,
    /// In the environment of its rooms' programs, and of no other's on the machine.
    pub(crate) mark: String,
}

/// What pods of a fleet are started with.
#[derive(Clone)]
pub(crate) struct Crew {
    /// The Deployment's name.
    pub(crate) name: &'static str,
    pub(crate) replicas: i32,
    pub(crate) flags: Vec<String>,
    /// What runs in each room; nothing where a flag names a program that runs already.
    pub(crate) program: &'static [&'static str],
    /// Seconds of `--drain-timeout`; the grace is longer.
    pub(crate) drain: u32,
    /// Goes up when the pods are to be replaced.
    pub(crate) revision: u32,
}

/// Pods of the fleet with these flags.
pub(crate) fn crew(replicas: i32, flags: &str) -> Crew {
    Crew {
        name: "fleet",
        replicas,
        flags: flags.split_whitespace().map(str::to_owned).collect(),
        program: &["sh", "-c", PROGRAM],
        drain: 2,
        revision: 1,
    }
}

/// Gateways with these flags.
pub(crate) fn gateways(replicas: i32, flags: &str) -> Crew {
    Crew {
        name: "gateway",
        ..crew(replicas, &format!("--maxrooms=0 {flags}"))
    }
}

/// `None` where there is no control plane to be had.
pub(crate) async fn yard(what: &str) -> Option<Yard> {
    Some(yard_on(ControlPlane::shared().await?, what).await)
}

/// On a control plane of its own, which the test may stop.
pub(crate) async fn yard_alone(what: &str) -> Option<Yard> {
    Some(yard_on(ControlPlane::start().await?, what).await)
}

async fn yard_on(plane: Arc<ControlPlane>, what: &str) -> Yard {
    let namespace = plane.namespace(what).await;
    // What is measured is the server as it ships, which is built without what tests add.
    let given = std::env::var("SCALESOCKET_BIN");
    let server = given
        .as_deref()
        .unwrap_or(env!("CARGO_BIN_EXE_scalesocket"));
    let programs = [("scalesocket", server), ("sh", "/bin/sh")];
    let kubelet = Kubelet::start(&plane, &namespace, &["a", "b"], &programs).await;
    // Namespaces of different control planes may be called the same.
    static YARDS: AtomicU32 = AtomicU32::new(0);
    let number = YARDS.fetch_add(1, Ordering::Relaxed);
    let yard = Yard {
        mark: format!("{namespace}-{}-{number}", std::process::id()),
        client: plane.client(),
        plane,
        namespace,
        kubelet,
    };
    yard.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "fleet"},
        "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "patch", "list", "watch"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
             "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
        ],
    }))
    .await;
    yard.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "fleet"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "fleet"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": yard.namespace}],
    }))
    .await;
    yard.apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "peers"},
        "stringData": {"secrets": "a secret that the pods of this fleet share\n"},
    }))
    .await;
    yard
}

impl Crew {
    fn object(&self, namespace: &str, mark: &str) -> Value {
        let mut args = vec![
            "--kube".to_owned(),
            format!("--kube-fleet={namespace}"),
            "--addr=0.0.0.0:9000".to_owned(),
            "--admin-addr=0.0.0.0:9090".to_owned(),
            "--peer-addr=0.0.0.0:7900".to_owned(),
            "--peer-secret-file=/etc/peers/secrets".to_owned(),
            "--passenv=PATH,FLEET".to_owned(),
            format!("--drain-timeout={}", self.drain),
            // People here read only when they have asked something.
            "--ping=0".to_owned(),
            "--stop-eof=1".to_owned(),
            "--stop-grace=1".to_owned(),
            "-v".to_owned(),
        ];
        args.extend(self.flags.iter().cloned());
        if !self.program.is_empty() {
            args.push("--".to_owned());
            args.extend(self.program.iter().map(|word| (*word).to_owned()));
        }
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.name},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": self.name}},
                "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {
                    "metadata": {
                        "labels": {"app": self.name, "scalesocket.dev/fleet": namespace},
                        "annotations": {"revision": self.revision.to_string()},
                    },
                    "spec": {
                        "terminationGracePeriodSeconds": self.drain + 8,
                        "enableServiceLinks": false,
                        "volumes": [{"name": "peers", "secret": {"secretName": "peers"}}],
                        "containers": [{
                            "name": "server", "image": "scalesocket", "args": args,
                            "env": [
                                field("POD_NAME", "metadata.name"),
                                field("POD_NAMESPACE", "metadata.namespace"),
                                field("POD_UID", "metadata.uid"),
                                field("POD_IP", "status.podIP"),
                                {"name": "FLEET", "value": mark},
                            ],
                            "ports": [{"name": "admin", "containerPort": 9090}],
                            "volumeMounts": [{"name": "peers", "mountPath": "/etc/peers", "readOnly": true}],
                            "readinessProbe": {"httpGet": {"path": "/ready", "port": "admin"}, "periodSeconds": 1},
                            "livenessProbe": {"httpGet": {"path": "/health", "port": "admin"}, "periodSeconds": 5},
                        }],
                    },
                },
            },
        })
    }
}

/// A pod that was seen at its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) pod: String,
    pub(crate) address: Ipv4Addr,
}

impl Yard {
    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn apply(&self, object: &Value) {
        self.plane.apply(&self.namespace, object).await;
    }

    /// Asks for this crew, and waits until it is there.
    pub(crate) async fn has(&self, crew: &Crew) -> Vec<At> {
        self.wants(crew).await;
        self.settled(crew).await
    }

    /// Asks for this crew.
    pub(crate) async fn wants(&self, crew: &Crew) {
        self.apply(&crew.object(&self.namespace, &self.mark)).await;
    }

    /// Waits until the crew is as was asked for, and no other pod of it is left.
    pub(crate) async fn settled(&self, crew: &Crew) -> Vec<At> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        eventually(&format!("{} is settled", crew.name), async || {
            let deployment = deployments.get(crew.name).await.ok()?;
            let generation = deployment.metadata.generation;
            let status = deployment.status?;
            let count = |field: Option<i32>| field.unwrap_or(0) == crew.replicas;
            let done = status.observed_generation == generation
                && count(status.available_replicas)
                && count(status.updated_replicas)
                && count(status.replicas);
            if !done {
                return None;
            }
            let all = self.listed(crew.name).await;
            (all.len() == usize::try_from(crew.replicas).ok()?).then(|| {
                let at = |pod: &Pod| self.at(&pod.name_any());
                all.iter().filter_map(at).collect()
            })
        })
        .await
    }

    /// All pods of a crew, those on their way out too.
    pub(crate) async fn listed(&self, crew: &str) -> Vec<Pod> {
        let params = ListParams::default().labels(&format!("app={crew}"));
        self.pods()
            .list(&params)
            .await
            .map(|list| list.items)
            .unwrap_or_default()
    }

    pub(crate) fn at(&self, pod: &str) -> Option<At> {
        let address = self.kubelet.address(pod)?;
        Some(At {
            pod: pod.to_owned(),
            address,
        })
    }

    /// Pods that could be a door now: there, and not on their way out.
    pub(crate) async fn doors(&self, crew: &str) -> Vec<At> {
        let pods = self.listed(crew).await;
        let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
        pods.iter()
            .filter(stays)
            .filter_map(|pod| self.at(&pod.name_any()))
            .collect()
    }

    /// Which of these pods has the fleet's one room.
    pub(crate) async fn owner_of_the_room(&self, doors: &[At]) -> At {
        for at in doors {
            if self.stats(at).await["rooms_live"] == 1 {
                return at.clone();
            }
        }
        panic!("nobody has the room");
    }

    /// The pod's uid.
    pub(crate) async fn uid(&self, pod: &str) -> String {
        self.pods()
            .get(pod)
            .await
            .expect("the pod is there")
            .uid()
            .expect("a uid")
    }

    /// Removes the pod object at once, whatever its containers do.
    pub(crate) async fn force_delete(&self, pod: &str) {
        let params = DeleteParams::default().grace_period(0);
        self.pods()
            .delete(pod, &params)
            .await
            .expect("it is deleted");
    }

    /// The names of the leases of one kind: `ss-s-` or `ss-r-`.
    pub(crate) async fn leases_of(&self, kind: &str) -> Vec<Lease> {
        let all = self
            .leases()
            .list(&ListParams::default())
            .await
            .expect("the API answers");
        all.items
            .into_iter()
            .filter(|lease| lease.name_any().starts_with(kind))
            .collect()
    }

    /// The sum of a counter of a pod over all its labels that hold these words.
    pub(crate) async fn counted(&self, at: &At, metric: &str, words: &[&str]) -> f64 {
        let (_, _, text) = get(at.address, 9090, "/metrics").await;
        text.lines()
            .filter(|line| line.starts_with(metric) && words.iter().all(|word| line.contains(word)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The pod's `/stats`.
    pub(crate) async fn stats(&self, at: &At) -> Value {
        let (_, _, body) = get(at.address, 9090, "/stats?limit=1000").await;
        // Chunked or not, the object is between the first and the last brace.
        let object = body.find('{').zip(body.rfind('}'));
        let object = object
            .and_then(|(from, to)| body.get(from..=to))
            .unwrap_or_default();
        serde_json::from_str(object).unwrap_or_else(|error| panic!("{error}: {body}"))
    }
}
