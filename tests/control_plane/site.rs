//! Where a test of the stage happens: a namespace of its own with its kubelet, what is in it, and
//! how its pods are waited for.
#![allow(unreachable_pub)] // the border is the crate's

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::stage::{ControlPlane, Kubelet, eventually};

/// A namespace with its kubelet; a test has one of its own.
pub struct Site {
    pub plane: Arc<ControlPlane>,
    pub namespace: String,
    pub kubelet: Kubelet,
    pub client: Client,
}

/// `None` where there is no control plane to be had.
pub async fn site(what: &str) -> Option<Site> {
    let plane = ControlPlane::shared().await?;
    Some(site_of(plane, what).await)
}

pub async fn site_of(plane: Arc<ControlPlane>, what: &str) -> Site {
    let namespace = plane.namespace(what).await;
    let programs = [
        ("scalesocket", env!("CARGO_BIN_EXE_scalesocket")),
        ("sh", "/bin/sh"),
    ];
    let kubelet = Kubelet::start(&plane, &namespace, &["a", "b"], &programs).await;
    Site {
        client: plane.client(),
        plane,
        namespace,
        kubelet,
    }
}

impl Site {
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn apply(&self, object: &Value) {
        self.plane.apply(&self.namespace, object).await;
    }

    /// All pods that are not on their way out.
    pub async fn living(&self) -> Vec<Pod> {
        let listed = self.pods().list(&ListParams::default()).await;
        let pods = listed.expect("the API answers").items.into_iter();
        pods.filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect()
    }

    pub async fn available(&self, name: &str, replicas: i32) {
        eventually("the deployment is available and up to date", async || {
            let deployment = self.deployments().get(name).await.ok()?;
            let generation = deployment.metadata.generation;
            let status = deployment.status?;
            let count = |field: Option<i32>| field.unwrap_or(0) == replicas;
            (status.observed_generation == generation
                && count(status.available_replicas)
                && count(status.updated_replicas)
                && count(status.replicas))
            .then_some(())
        })
        .await;
    }

    pub async fn ready(&self, name: &str) -> Pod {
        self.pod(name, "is ready", is_ready).await
    }

    /// Waits for a pod to be as it should be.
    pub async fn pod(&self, name: &str, what: &str, holds: impl Fn(&Pod) -> bool) -> Pod {
        eventually(&format!("{name} {what}"), async || {
            self.pods().get(name).await.ok().filter(&holds)
        })
        .await
    }

    pub async fn gone(&self, name: &str) {
        eventually(&format!("{name} is gone"), async || {
            let found = self.pods().get_opt(name).await.ok()?;
            found.is_none().then_some(())
        })
        .await;
    }
}

pub fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

pub fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .and_then(|all| all.first())
        .map_or(0, |first| first.restart_count)
}

pub fn last_state(pod: &Pod) -> Option<ContainerState> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.last_state.clone()
}

/// Whether a process is there and no zombie: who is orphaned is reaped by the machine's own init.
pub fn runs(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The server as a chart would start it, told of its pod by the Downward API.
pub fn server() -> Value {
    json!({
        "name": "server",
        "image": "scalesocket",
        "args": ["--addr=0.0.0.0:9000", "cat"],
        "ports": [{"name": "http", "containerPort": 9000}],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "livenessProbe": {"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 1},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
    })
}

/// A pod of one container that runs a script.
pub fn script(name: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"colour": "red"}},
        "spec": {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 20,
            "containers": [{"name": "main", "image": "none", "command": ["sh", "-c", text]}],
        },
    })
}

pub fn deployment(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "fleet"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "fleet"}},
            "template": {
                "metadata": {"labels": {"app": "fleet"}},
                "spec": {"containers": [server()], "terminationGracePeriodSeconds": 5},
            },
        },
    })
}

/// A client with the kubeconfig of the pod's programs, on their way to the API.
pub async fn client_of_pod(site: &Site, pod: &Pod) -> Client {
    let path = site
        .kubelet
        .kubeconfig(&pod.name_any())
        .expect("it has one");
    let parsed = kube::config::Kubeconfig::read_from(path).expect("a kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(parsed, &options)
        .await
        .expect("a config");
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}
