//! A control plane of our own: etcd on a socket file, the API server on a loopback address that
//! nobody else uses, and the controllers that the fleet's promises rest on. Authorization is RBAC,
//! admission is what a cluster has by default, tokens of service accounts are real. It has no nodes
//! and no scheduler ([`super::Kubelet`] is both), and no endpoints: the API refuses those with
//! loopback addresses, which are all that pods have here.

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::sync::OnceCell;

use super::certificates::{Certificates, SERVER_NAME};
use super::objects::eventually;
use super::process::Process;
use super::{addresses, assets};

/// The API server is alone on its address.
const PORT: u16 = 6443;
/// The administrator of one control plane, on loopback, that lives as long as a test.
const ADMINISTRATOR: &str = "administrator-of-the-tests";
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,\
     garbage-collector-controller,namespace-controller,serviceaccount-controller,\
     disruption-controller,pod-garbage-collector-controller,job-controller,\
     root-ca-certificate-publisher-controller";
/// What a killed test process cannot do any more: its control plane's directory goes, once nobody
/// writes to it any longer.
const SWEEPER: &str =
    r#"cat; n=0; until rm -rf -- "$1" || [ $n = 100 ]; do n=$((n+1)); sleep 0.1; done"#;

/// etcd, kube-apiserver and kube-controller-manager. Dropped, they are killed.
pub struct ControlPlane {
    api: Mutex<Option<Process>>,
    controllers: Option<Process>,
    etcd: Option<Process>,
    assets: PathBuf,
    directory: PathBuf,
    address: IpAddr,
    certificates: Certificates,
    namespaces: AtomicU32,
    sweeper: Child,
}

impl ControlPlane {
    /// The one that all tests of a crate share, each in a namespace of its own; it ends with the
    /// test process. `None` where there are no programs to start. Who stops the API server starts a
    /// control plane of their own instead.
    pub async fn shared() -> Option<Arc<ControlPlane>> {
        static SHARED: OnceCell<Arc<ControlPlane>> = OnceCell::const_new();
        available().await?;
        Some(SHARED.get_or_init(ControlPlane::launch).await.clone())
    }

    /// One of its own, ready to be asked. `None` where there are no programs to start.
    pub async fn start() -> Option<Arc<ControlPlane>> {
        available().await?;
        Some(ControlPlane::launch().await)
    }

    async fn launch() -> Arc<ControlPlane> {
        let assets = available().await.expect("asked before").to_owned();
        // Left to the sweeper, which outlives us: nobody drops what is shared.
        let directory = tempfile::Builder::new()
            .prefix("stage-")
            .tempdir()
            .expect("a directory")
            .keep();
        let sweeper = Command::new("sh")
            .args(["-c", SWEEPER, "sh"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let address = IpAddr::from(addresses::fresh());
        let plane = ControlPlane {
            api: Mutex::new(None),
            controllers: None,
            etcd: None,
            assets,
            certificates: Certificates::make(&directory, address),
            directory,
            address,
            namespaces: AtomicU32::new(0),
            sweeper,
        };
        Arc::new(plane.bring_up().await)
    }

    async fn bring_up(mut self) -> ControlPlane {
        let path = |name: &str| self.path(name).display().to_string();
        std::fs::write(
            self.path("tokens.csv"),
            format!("{ADMINISTRATOR},administrator,administrator,system:masters\n"),
        )
        .expect("a file is written");
        let controllers = self.kubeconfig(&self.server(), "default", ADMINISTRATOR);
        std::fs::write(self.path("controllers.json"), controllers).expect("a file is written");

        let etcd = [
            format!("--data-dir={}", path("etcd")),
            format!("--listen-client-urls=unix://{}", path("etcd.sock")),
            format!("--listen-peer-urls=unix://{}", path("peer.sock")),
            // Told to nobody: it has no peers, and its one client knows the socket.
            "--advertise-client-urls=http://127.0.0.1:1".to_owned(),
            "--initial-advertise-peer-urls=http://127.0.0.1:1".to_owned(),
            "--initial-cluster=stage=http://127.0.0.1:1".to_owned(),
            "--name=stage".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        let manager = [
            format!("--kubeconfig={}", path("controllers.json")),
            format!("--controllers={CONTROLLERS}"),
            format!("--root-ca-file={}", self.certificates.authority.display()),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
            "--concurrent-gc-syncs=20".to_owned(),
        ];
        self.etcd = Some(self.program("etcd", &etcd));
        self.start_api().await;
        self.controllers = Some(self.program("kube-controller-manager", &manager));
        // The controllers are at work when one of them has done something.
        self.service_account("default").await;
        self
    }

    /// Starts the API server, also again: at the same address, over the same etcd. Returns when it
    /// is ready.
    pub async fn start_api(&self) {
        let certificates = &self.certificates;
        let arguments = [
            format!("--etcd-servers=unix://{}", self.path("etcd.sock").display()),
            format!("--bind-address={}", self.address),
            format!("--advertise-address={}", self.address),
            format!("--secure-port={PORT}"),
            format!("--tls-cert-file={}", certificates.server.display()),
            format!(
                "--tls-private-key-file={}",
                certificates.server_key.display()
            ),
            format!("--token-auth-file={}", self.path("tokens.csv").display()),
            "--authorization-mode=RBAC".to_owned(),
            format!("--service-account-issuer=https://{SERVER_NAME}"),
            format!(
                "--service-account-key-file={}",
                certificates.tokens_public.display()
            ),
            format!(
                "--service-account-signing-key-file={}",
                certificates.tokens_key.display()
            ),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            // It would publish a loopback address as an endpoint, which it refuses itself.
            "--endpoint-reconciler-type=none".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        let process = self.program("kube-apiserver", &arguments);
        *self.api.lock().expect("held for a moment only") = Some(process);
        let client = self.client();
        eventually("the API server is ready", async || {
            let running = self
                .api
                .lock()
                .expect("held for a moment only")
                .as_ref()
                .is_some_and(Process::running);
            assert!(
                running,
                "the API server has ended:\n{}",
                self.log("kube-apiserver")
            );
            let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
            client.request_text(request).await.ok().map(drop)
        })
        .await;
    }

    /// Kills the API server: connections are reset, and refused until [`Self::start_api`].
    pub fn stop_api(&self) {
        *self.api.lock().expect("held for a moment only") = None;
    }

    /// Stops the API server without closing anything: requests get no answer.
    pub fn freeze_api(&self) {
        self.signal_api(Signal::SIGSTOP);
    }

    pub fn thaw_api(&self) {
        self.signal_api(Signal::SIGCONT);
    }

    fn signal_api(&self, signal: Signal) {
        let api = self.api.lock().expect("held for a moment only");
        api.as_ref().expect("the API server runs").signal(signal);
    }

    /// A client of the administrator. It lives on the runtime of the test that asks.
    pub fn client(&self) -> Client {
        let text = self.kubeconfig(&self.server(), "default", ADMINISTRATOR);
        client(&text)
    }

    /// A client of a service account, with its rights and no others.
    pub async fn client_of(&self, namespace: &str, service_account: &str) -> Client {
        let token = self
            .token(namespace, service_account, None)
            .await
            .expect("a token");
        client(&self.kubeconfig(&self.server(), namespace, &token))
    }

    /// Writes a kubeconfig with a token of the service account, valid for an hour.
    pub async fn kubeconfig_for(&self, namespace: &str, service_account: &str) -> PathBuf {
        let token = self
            .token(namespace, service_account, None)
            .await
            .expect("a token");
        let path = self.path(&format!("{namespace}-{service_account}.kubeconfig"));
        let text = self.kubeconfig(&self.server(), namespace, &token);
        std::fs::write(&path, text).expect("a file is written");
        path
    }

    /// A kubeconfig of the administrator, for kubectl and helm.
    pub fn kubeconfig_of_administrator(&self) -> PathBuf {
        self.path("controllers.json")
    }

    /// A token of the service account; bound to a pod it ends with the pod's object.
    pub(super) async fn token(
        &self,
        namespace: &str,
        service_account: &str,
        pod: Option<BoundObjectReference>,
    ) -> kube::Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(3600),
                bound_object_ref: pod,
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(service_account, &PostParams::default(), &request)
            .await?;
        Ok(answer
            .status
            .and_then(|status| status.token)
            .unwrap_or_default())
    }

    /// The text of a kubeconfig whose server may be a forwarder's address.
    pub(super) fn kubeconfig(&self, server: &str, namespace: &str, token: &str) -> String {
        use base64::Engine;
        let authority =
            base64::engine::general_purpose::STANDARD.encode(&self.certificates.authority_pem);
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stage",
            "clusters": [{"name": "stage", "cluster": {
                "server": server,
                "tls-server-name": SERVER_NAME,
                "certificate-authority-data": authority,
            }}],
            "contexts": [{"name": "stage", "context": {
                "cluster": "stage", "user": "stage", "namespace": namespace,
            }}],
            "users": [{"name": "stage", "user": {"token": token}}],
        })
        .to_string()
    }

    /// Where the API server listens.
    pub(super) fn address(&self) -> std::net::SocketAddr {
        (self.address, PORT).into()
    }

    fn server(&self) -> String {
        format!("https://{}", self.address())
    }

    /// Makes a namespace that nobody else has, and waits for its default service account, without
    /// which no pod is admitted.
    pub async fn namespace(&self, what: &str) -> String {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("{what}-{number}");
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
        Api::all(self.client())
            .create(&PostParams::default(), &namespace)
            .await
            .expect("the namespace is made");
        self.service_account(&name).await;
        name
    }

    async fn service_account(&self, namespace: &str) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        eventually("the namespace has its service account", async || {
            accounts.get("default").await.ok()
        })
        .await;
    }

    /// The numbers of its processes.
    pub fn process_ids(&self) -> Vec<i32> {
        let api = self.api.lock().expect("held for a moment only");
        let all = [&self.etcd, &*api, &self.controllers];
        all.into_iter().flatten().map(Process::id).collect()
    }

    /// Where all its files are; gone with it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn program(&self, name: &str, arguments: &[String]) -> Process {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .expect("a log");
        let mut command = Command::new(self.assets.join(name));
        command
            .args(arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        Process::start(command, None).expect("the program starts")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What one of the three programs said, its last lines.
    pub fn log(&self, program: &str) -> String {
        tail(&self.path(&format!("{program}.log")), 40)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Those who ask before those who answer, or they spend their end complaining.
        self.controllers = None;
        if let Ok(mut api) = self.api.lock() {
            *api = None;
        }
        self.etcd = None;
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
    }
}

async fn available() -> Option<&'static Path> {
    tokio::task::spawn_blocking(assets)
        .await
        .expect("the build went well")
}

fn client(kubeconfig: &str) -> Client {
    let parsed = Kubeconfig::from_yaml(kubeconfig).expect("our own text");
    let config = futures_util::FutureExt::now_or_never(Config::from_custom_kubeconfig(
        parsed,
        &KubeConfigOptions::default(),
    ))
    .expect("nothing in it is waited for")
    .expect("a valid kubeconfig");
    Client::try_from(config).expect("a client")
}

/// The last lines of a log.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
