//! A fleet as people install it: by the real helm and kubectl, with the manifests of charts/ and
//! deploy/ as they are, in a namespace that enforces Pod Security "restricted". Images are stood in for
//! by programs: whatever they run in a room says who it is before everything that it repeats.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, GroupVersionKind, ListParams};
use kube::discovery::pinned_kind;
use serde_json::json;

use crate::stage::{ControlPlane, Kubelet, eventually};
use crate::yard::Yard;

/// A tool of `.ci/charts`: named by the variable of its name in capitals, or in the cache. Without
/// it what needs it is skipped and says so, except in CI.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    if let Some(given) = std::env::var_os(name.to_uppercase()) {
        return Some(PathBuf::from(given));
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache
        .or(home)
        .unwrap_or_default()
        .join("scalesocket/charts");
    let places = [cache.join("bin"), cache.join("venv/bin")];
    let found = places.map(|place| place.join(name));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        let missing = format!("{name} is not in {}: run .ci/charts", cache.display());
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        eprintln!("{missing}; what needs it is skipped");
    }
    found
}

pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Where a release is installed, and the tools for it.
pub(crate) struct Grounds {
    pub(crate) yard: Yard,
    helm: PathBuf,
    kubectl: PathBuf,
}

/// A namespace of its own. `None` where a tool or the control plane is not to be had.
pub(crate) async fn grounds(what: &str) -> Option<Grounds> {
    let (helm, kubectl) = (tool("helm")?, tool("kubectl")?);
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace(what).await;
    let grounds = named(plane, namespace, helm, kubectl).await;
    grounds
        .yard
        .apply(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": grounds.yard.namespace,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }))
        .await;
    Some(grounds)
}

/// A namespace that the manifests themselves name and make.
pub(crate) async fn grounds_named(namespace: &str) -> Option<Grounds> {
    let (helm, kubectl) = (tool("helm")?, tool("kubectl")?);
    let plane = ControlPlane::shared().await?;
    Some(named(plane, namespace.to_owned(), helm, kubectl).await)
}

async fn named(
    plane: std::sync::Arc<ControlPlane>,
    namespace: String,
    helm: PathBuf,
    kubectl: PathBuf,
) -> Grounds {
    let mark = format!("{namespace}-{}-release", std::process::id());
    // The variable is for the census: the manifests are not to be changed for it.
    let program = plane.directory().join(format!("{mark}.sh"));
    let text = format!(
        "#!/bin/sh\nexport FLEET={mark}\nexec sh -c 'while read -r line; do echo \"$UNIQUE_ID $line\"; done'\n"
    );
    std::fs::write(&program, text).expect("a file is written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("our own");
    let program = program.to_str().expect("a path in UTF-8");
    let programs = [
        ("scalesocket", env!("CARGO_BIN_EXE_scalesocket")),
        ("sh", "/bin/sh"),
        ("cat", program),
        ("game", program),
    ];
    let kubelet = Kubelet::start(&plane, &namespace, &["a", "b"], &programs).await;
    Grounds {
        yard: Yard {
            client: plane.client(),
            plane,
            namespace,
            kubelet,
            mark,
        },
        helm,
        kubectl,
    }
}

impl Grounds {
    /// Runs helm for the namespace, and gives what it says.
    pub(crate) async fn helm(&self, words: &[&str]) -> String {
        let done = self.run(&self.helm, words).await;
        done.unwrap_or_else(|refusal| panic!("{words:?}: {refusal}"))
    }

    /// Runs kubectl for the namespace, and gives what it says.
    pub(crate) async fn kubectl(&self, words: &[&str]) -> String {
        let done = self.run(&self.kubectl, words).await;
        done.unwrap_or_else(|refusal| panic!("{words:?}: {refusal}"))
    }

    /// Asks once for the end of a pod, as the drain of a node does. (The client library would ask
    /// again and again.)
    pub(crate) async fn evict(&self, pod: &str) -> Result<String, String> {
        let namespace = &self.yard.namespace;
        let file = self
            .yard
            .plane
            .directory()
            .join(format!("evict-{pod}.json"));
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        });
        std::fs::write(&file, eviction.to_string()).expect("a file is written");
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
        let words = ["create", "--raw", &path, "-f", &file.display().to_string()];
        self.run(&self.kubectl, &words).await
    }

    /// As the administrator; what is said, or what is complained of.
    async fn run(&self, program: &Path, words: &[&str]) -> Result<String, String> {
        let plane = &self.yard.plane;
        // Nothing of the user's is read or written.
        let home = plane
            .directory()
            .join(format!("home-{}", self.yard.namespace));
        std::fs::create_dir_all(&home).expect("a directory");
        let mut command = Command::new(program);
        command
            .arg("--namespace")
            .arg(&self.yard.namespace)
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("KUBECONFIG", plane.kubeconfig_of_administrator())
            .stdin(Stdio::null());
        let done = tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("no panic")
            .expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match done.status.success() {
            true => Ok(text(&done.stdout)),
            false => Err(text(&done.stdout) + &text(&done.stderr)),
        }
    }

    /// The doors behind a Service's port, once there are as many as this.
    pub(crate) async fn doors(&self, service: &str, count: usize) -> Vec<Ipv4Addr> {
        eventually(&format!("{count} doors behind {service}"), async || {
            let open = self.yard.kubelet.service(service, 80).await;
            let doors = open.into_iter().map(|address| match address.ip() {
                std::net::IpAddr::V4(ip) if address.port() == 9000 => ip,
                _ => panic!("{service} leads to {address}"),
            });
            let doors: Vec<_> = doors.collect();
            (doors.len() == count).then_some(doors)
        })
        .await
    }

    /// Names of the pods that are there, those on their way out too.
    pub(crate) async fn pods(&self) -> Vec<String> {
        let listed = self.yard.pods().list(&ListParams::default()).await;
        let pods: Vec<Pod> = listed.map(|list| list.items).unwrap_or_default();
        pods.iter().map(ResourceExt::name_any).collect()
    }

    /// Waits until every pod that stays says that it is occupied.
    pub(crate) async fn all_occupied(&self) {
        eventually("all pods are occupied", async || {
            let listed = self.yard.pods().list(&ListParams::default()).await.ok()?;
            let mut stay = listed
                .items
                .iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let label = |pod: &Pod| pod.labels().get("scalesocket.dev/occupied").cloned();
            stay.all(|pod| label(pod).as_deref() == Some("true"))
                .then_some(())
        })
        .await;
    }

    /// What is left of a kind in the namespace.
    pub(crate) async fn left(&self, version: &str, kind: &str) -> Vec<DynamicObject> {
        let client = &self.yard.client;
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = pinned_kind(client, &kind).await.expect("it is known");
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &self.yard.namespace, &resource);
        let listed = api.list(&ListParams::default()).await;
        listed.expect("the API answers").items
    }

    /// Waits until nothing of the fleet is left, also of what its pods have made.
    pub(crate) async fn is_empty(&self) {
        let kinds = [
            ("v1", "Pod"),
            ("v1", "Secret"),
            ("v1", "Service"),
            ("apps/v1", "Deployment"),
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "ReplicaSet"),
            ("coordination.k8s.io/v1", "Lease"),
            ("rbac.authorization.k8s.io/v1", "Role"),
            ("rbac.authorization.k8s.io/v1", "RoleBinding"),
            ("policy/v1", "PodDisruptionBudget"),
            ("networking.k8s.io/v1", "NetworkPolicy"),
        ];
        for (version, kind) in kinds {
            eventually(&format!("no {kind} is left"), async || {
                self.left(version, kind).await.is_empty().then_some(())
            })
            .await;
        }
    }
}
