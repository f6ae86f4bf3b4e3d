//! One pod from its binding to its end: volumes, init containers, sidecars, main containers, and
//! when the API wants it gone, or has no such pod any more, the end of them all in the right order.
//! Nothing is done to it or told of it while its node is lost.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use k8s_openapi::api::authentication::v1::BoundObjectReference;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::addresses;
use super::super::process::Process;
use super::container::{self, Restart, State};
use super::forwarder::Forwarder;
use super::{AGAIN, House, environment, status, volumes};

/// As the API defaults it.
const GRACE: Duration = Duration::from_secs(30);

/// What a container is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before those behind it start.
    Init,
    /// An init container that stays.
    Sidecar,
    Main,
}

pub struct Guest {
    pub uid: String,
    pub name: String,
    pub node: String,
    pub address: Ipv4Addr,
    pub arrived: Instant,
    pub directory: PathBuf,
    pub forwarder: Forwarder,
    /// The pod as the API has it; `None` when it has none any more.
    pub wanted: watch::Sender<Option<Arc<Pod>>>,
    /// Init containers in their order, then the main ones.
    pub containers: Vec<(Role, Container)>,
    /// The pod as it was when it was bound.
    pod: Arc<Pod>,
    states: Mutex<States>,
    /// Sent to when a state has changed.
    changed: watch::Sender<()>,
    acting: watch::Receiver<bool>,
    house: Arc<House>,
}

struct States {
    all: Vec<State>,
    /// Nothing may start any more.
    closed: bool,
}

impl Guest {
    pub async fn new(house: Arc<House>, pod: &Pod, acting: watch::Receiver<bool>) -> Guest {
        let spec = pod.spec.clone().unwrap_or_default();
        let inits = spec.init_containers.into_iter().flatten();
        let inits = inits.map(|init| match init.restart_policy.as_deref() {
            Some("Always") => (Role::Sidecar, init),
            _ => (Role::Init, init),
        });
        let mains = spec.containers.into_iter().map(|main| (Role::Main, main));
        let containers: Vec<_> = inits.chain(mains).collect();
        let address = addresses::fresh();
        let forwarder = Forwarder::start(address, house.plane.address()).await;
        let uid = pod.uid().unwrap_or_default();
        let pod = Arc::new(pod.clone());
        Guest {
            name: pod.name_any(),
            node: spec.node_name.unwrap_or_default(),
            address,
            arrived: Instant::now(),
            directory: house.directory.join(&uid),
            uid,
            forwarder: forwarder.expect("an address of its own has a free port"),
            wanted: watch::channel(Some(pod.clone())).0,
            states: Mutex::new(States {
                all: vec![State::default(); containers.len()],
                closed: false,
            }),
            containers,
            pod,
            changed: watch::channel(()).0,
            acting,
            house,
        }
    }

    /// From its first process to its last word.
    pub async fn run(self: Arc<Self>) {
        let (stop, stopped) = watch::channel(None);
        let life = async {
            self.live(&stopped).await;
            // A pod that has run to its end stays until somebody deletes it.
            asked(&stopped).await;
        };
        tokio::select! {
            () = life => {}
            () = self.hear(&stop) => {}
            () = status::publish(&self, self.changed.subscribe()) => {}
        }
        self.acting().await;
        status::farewell(&self).await;
    }

    /// Turns what the API wants into the grace that containers are given to end; never returns.
    async fn hear(&self, stop: &watch::Sender<Option<Duration>>) {
        let mut wanted = self.wanted.subscribe();
        loop {
            self.acting().await;
            let grace = match wanted.borrow_and_update().as_deref() {
                // Deleted by force: the program is given what its specification says.
                None => Some(self.specified_grace()),
                Some(pod) => pod.metadata.deletion_timestamp.as_ref().map(|_| {
                    let grace = pod.metadata.deletion_grace_period_seconds;
                    grace
                        .and_then(|s| u64::try_from(s).ok())
                        .map_or(GRACE, Duration::from_secs)
                }),
            };
            stop.send_if_modified(|now| std::mem::replace(now, grace) != grace);
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    /// Until all containers have ended for good.
    async fn live(self: &Arc<Self>, stopped: &watch::Receiver<Option<Duration>>) {
        let pod = &self.pod;
        while let Err(refusal) = volumes::materialise(self, pod).await {
            self.note(&refusal);
            tokio::select! {
                () = sleep(AGAIN) => {}
                () = asked(stopped) => return,
            }
        }
        let policy = match pod
            .spec
            .as_ref()
            .and_then(|spec| spec.restart_policy.as_deref())
        {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        };
        let init_policy = match policy {
            Restart::Never => Restart::Never,
            _ => Restart::OnFailure,
        };
        let (stop_sidecars, sidecars_stopped) = watch::channel(None);
        let mut sidecars = JoinSet::new();
        let mut mains = JoinSet::new();
        let mut ready_to_go = true;
        for (index, (role, _)) in self.containers.iter().enumerate() {
            let run = |policy, stop: &watch::Receiver<_>| {
                container::run(self.clone(), index, policy, stop.clone())
            };
            match role {
                Role::Sidecar => {
                    sidecars.spawn(run(Restart::Always, &sidecars_stopped));
                    let mut changed = self.changed.subscribe();
                    let started = async {
                        while !self.has_started(index) && changed.changed().await.is_ok() {}
                    };
                    tokio::select! {
                        () = started => {}
                        () = asked(stopped) => ready_to_go = false,
                    }
                }
                Role::Init => ready_to_go = run(init_policy, stopped).await,
                Role::Main => {
                    mains.spawn(run(policy, stopped));
                }
            }
            if !ready_to_go {
                break;
            }
        }
        while mains.join_next().await.is_some() {}
        let grace = stopped.borrow().unwrap_or_else(|| self.specified_grace());
        stop_sidecars.send_replace(Some(grace));
        while sidecars.join_next().await.is_some() {}
    }

    /// Waits until we act for its node.
    pub async fn acting(&self) {
        if self
            .acting
            .clone()
            .wait_for(|acting| *acting)
            .await
            .is_err()
        {
            std::future::pending::<()>().await; // the kubelet is gone
        }
    }

    pub fn specified_grace(&self) -> Duration {
        let specified = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds);
        specified
            .and_then(|s| u64::try_from(s).ok())
            .map_or(GRACE, Duration::from_secs)
    }

    fn states(&self) -> MutexGuard<'_, States> {
        // Also while a test panics: its processes must end.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn change(&self, index: usize, change: impl FnOnce(&mut State)) {
        change(&mut self.states().all[index]);
        self.changed.send_replace(());
    }

    pub fn all_states(&self) -> Vec<State> {
        self.states().all.clone()
    }

    fn has_started(&self, index: usize) -> bool {
        self.states().all[index].started
    }

    /// Whether it may still run something.
    pub fn lives(&self) -> bool {
        self.wanted.borrow().is_some() && !self.states().closed
    }

    /// The process of the first main container, while it runs.
    pub fn main_process(&self) -> Option<Arc<Process>> {
        let main = self
            .containers
            .iter()
            .position(|(role, _)| *role == Role::Main)?;
        let process = self.states().all[main].process.clone();
        process.filter(|process| process.running())
    }

    /// Kills all that runs; nothing starts any more.
    pub fn close(&self) {
        let mut states = self.states();
        states.closed = true;
        let running: Vec<_> = states
            .all
            .iter_mut()
            .filter_map(|state| state.process.take())
            .collect();
        drop(states);
        running.iter().for_each(|process| process.end());
    }

    /// Starts one container's program.
    pub async fn start(&self, index: usize) -> Result<Arc<Process>, environment::Refusal> {
        let (_, container) = &self.containers[index];
        let mounts = volumes::mounts(self, container);
        let told = environment::invocation(self, &self.pod, container, &mounts).await?;
        let kubeconfig = self.kubeconfig().await.map_err(|error| error.to_string())?;
        let starts = self.all_states()[index].starts;
        let run = format!("{}-{starts}", container.name);
        let programs = self.programs(&run).map_err(|error| error.to_string())?;

        let mut words = told.words.into_iter();
        let first = match &container.command {
            Some(command) if !command.is_empty() => words.next(),
            _ => self.house.programs.first().map(|(name, _)| name.clone()),
        };
        let first = first.ok_or("there is nothing to run")?;
        let name = first.rsplit('/').next().unwrap_or(&first);
        // What an init container has put into a volume is what runs.
        let own = PathBuf::from(&first);
        let own = Some(own).filter(|path| path.starts_with(&self.directory) && path.is_file());
        let known = self.house.programs.iter().find(|(known, _)| known == name);
        let known = own.or_else(|| known.map(|(_, path)| path.clone()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = format!("{}:{}", programs.display(), path.to_string_lossy());
        let log = self.log().map_err(|error| error.to_string())?;
        let mut command = Command::new(known.unwrap_or_else(|| PathBuf::from(&first)));
        command
            .args(words)
            .current_dir(told.directory.map_or(self.directory.clone(), PathBuf::from))
            .env_clear()
            .env("HOME", &self.directory)
            .env("HOSTNAME", &self.name)
            .env("KUBECONFIG", kubeconfig)
            .env("PATH", path)
            .envs(told.variables)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log);
        // The directory is in the PATH of all that it starts, and of no other run: by it they are found.
        let mark = Some(programs.display().to_string());
        let mut states = self.states();
        if states.closed {
            return Err("the kubelet ends".to_owned());
        }
        let process = Process::start(command, mark).map_err(|error| format!("{first}: {error}"))?;
        let process = Arc::new(process);
        states.all[index].process = Some(process.clone());
        Ok(process)
    }

    /// A directory with the given programs by their names, on the `PATH` of one run of a container.
    fn programs(&self, run: &str) -> io::Result<PathBuf> {
        let directory = self.directory.join("bin").join(run).join("of"); // no mark begins another
        fs::create_dir_all(&directory)?;
        for (name, path) in &self.house.programs {
            match std::os::unix::fs::symlink(path, directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(directory)
    }

    /// Writes the kubeconfig of the pod's service account, by way of its own forwarder.
    async fn kubeconfig(&self) -> kube::Result<PathBuf> {
        let path = self.directory.join("kubeconfig");
        let house = &self.house;
        let spec = self.pod.spec.as_ref();
        let account = spec
            .and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or("default");
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
        };
        // Once for the pod's life: a container is restarted also while the API is down.
        if !path.exists() {
            let token = house
                .plane
                .token(&house.namespace, account, Some(bound))
                .await?;
            let server = format!("https://{}", self.forwarder.address);
            let text = house.plane.kubeconfig(&server, &house.namespace, &token);
            fs::create_dir_all(&self.directory).expect("a directory");
            fs::write(&path, text).expect("a file is written");
        }
        Ok(path)
    }

    fn log(&self) -> io::Result<fs::File> {
        fs::create_dir_all(&self.directory)?;
        let path = self.house.directory.join(format!("{}.log", self.name));
        fs::File::options().create(true).append(true).open(path)
    }

    /// Puts a word of the kubelet's own into the pod's log.
    pub fn note(&self, text: &str) {
        use io::Write;
        if let Ok(mut log) = self.log() {
            let _ = writeln!(log, "[kubelet] {text}");
        }
    }

    /// What a claim of volume space holds; it outlives the pod.
    pub fn claimed(&self, claim: &str) -> PathBuf {
        self.house.directory.join("claims").join(claim)
    }

    pub fn api(&self) -> (Client, &str) {
        (self.house.client.clone(), &self.house.namespace)
    }

    pub fn pods(&self) -> kube::Api<Pod> {
        self.house.pods()
    }
}

/// Waits until the pod is asked to end.
async fn asked(stopped: &watch::Receiver<Option<Duration>>) {
    let _ = stopped.clone().wait_for(Option::is_some).await;
}
