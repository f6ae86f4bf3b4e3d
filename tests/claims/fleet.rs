//! A fleet on the double: pods, the processes in them, and clients that go from one to the other
//! as they are told.

use std::time::Duration;

use parking_lot::Mutex;
use scalesocket::cluster::{Fence, chance, names};
use scalesocket::room::{RoomName, Unclaimed};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::double::{Double, Resource};
use crate::ledger::{Ledger, Lives, ProcessId};
use crate::process::{FLEET, LeftOut, Pod, Process, Said};

/// The times of a fenced fleet: short, so that minutes see many fences.
pub(crate) const FENCE: Fence = Fence {
    after: Duration::from_secs(15),
    margin: Duration::from_secs(3),
};

/// Whether sessions are fenced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// `--kube-claims pod`
    Pod,
    /// `--kube-claims fenced`
    Fenced,
}

/// See the module's documentation.
pub(crate) struct Fleet {
    pub(crate) double: Double,
    pub(crate) ledger: Ledger,
    mode: Mode,
    left_out: LeftOut,
    lives: Lives,
    pods: Mutex<u8>,
    /// Every process that ever was.
    processes: Mutex<Vec<Process>>,
}

impl Fleet {
    /// An empty fleet; all chance on this thread comes from the seed.
    pub(crate) fn new(seed: u64, mode: Mode, left_out: LeftOut, lives: Lives) -> Self {
        chance::seed(seed);
        Fleet {
            double: Double::new(seed),
            ledger: Ledger::new(seed),
            mode,
            left_out,
            lives,
            pods: Mutex::new(0),
            processes: Mutex::default(),
        }
    }

    /// One with that many pods that are up, whose rooms live until they are killed.
    pub(crate) async fn of(pods: usize, mode: Mode) -> (Self, Vec<Process>) {
        let fleet = Fleet::new(1, mode, LeftOut::Nothing, Lives::For(3_600_000));
        let processes = fleet.grow(pods).await;
        (fleet, processes)
    }

    /// More pods, which are up.
    pub(crate) async fn grow(&self, pods: usize) -> Vec<Process> {
        let processes: Vec<_> = (0..pods).map(|_| self.start(&self.create_pod())).collect();
        for process in &processes {
            process.is_up().await;
        }
        processes
    }

    /// A pod of a new name.
    pub(crate) fn create_pod(&self) -> Pod {
        let mut pods = self.pods.lock();
        *pods += 1;
        let (name, number) = (format!("games-{pods}"), *pods);
        let uid = self
            .double
            .create_pod(&name, &format!("10.0.0.{number}"), "set-1");
        Pod { name, uid, number }
    }

    /// Starts a server in that pod, for the first time or again.
    pub(crate) fn start(&self, pod: &Pod) -> Process {
        let mut processes = self.processes.lock();
        let id = processes.len() as ProcessId;
        let fence = (self.mode == Mode::Fenced).then_some(FENCE);
        let (double, ledger) = (&self.double, &self.ledger);
        let process = Process::start(id, pod, double, ledger, fence, self.left_out, self.lives);
        processes.push(process.clone());
        process
    }

    /// A pod's kubelet says that its containers have ended.
    pub(crate) fn tell_terminated(&self, pod: &Pod) {
        let ended = json!({"status": {"containerStatuses": [{
            "name": "game", "ready": false, "restartCount": 0, "image": "game", "imageID": "game",
            "state": {"terminated": {"exitCode": 0}},
        }]}});
        if self.double.get(Resource::Pods, &pod.name).is_some() {
            self.double.merge(Resource::Pods, &pod.name, &ended);
        }
    }

    /// The processes that are not over.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let processes = self.processes.lock();
        let lives = |process: &&Process| !process.has_ended();
        processes.iter().filter(lives).cloned().collect()
    }

    /// A client asks a process for a room and goes where it is sent; the process that serves it.
    pub(crate) async fn visit(&self, first: &Process, room: &RoomName) -> Result<ProcessId, Said> {
        let mut process = first.clone();
        let mut hops = 0;
        loop {
            let said = process.ask(room).await;
            let owner = match said {
                Said::Served => return Ok(process.id),
                Said::Elsewhere(owner) if hops < 3 => owner,
                other => return Err(other),
            };
            let processes = self.processes();
            let is_it = |it: &Process| {
                it.standing().session == Some(owner.session)
                    && owner.endpoint.ip().to_string() == format!("10.0.0.{}", it.pod.number)
            };
            let Some(next) = processes.into_iter().find(is_it) else {
                return Err(said);
            };
            process = next;
            hops += 1;
        }
    }

    /// A client that tries again until the room lives; how long that took, if it came to that.
    pub(crate) async fn reach(&self, first: &Process, room: &RoomName) -> Option<Duration> {
        const PATIENCE: Duration = Duration::from_secs(200);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.visit(first, room).await.is_ok() {
                return Some(begun.elapsed());
            }
            sleep(Duration::from_millis(500)).await;
        }
        None
    }

    /// Nothing happened that must not.
    pub(crate) fn all_is_well(&self) {
        let (course, wrong) = self.ledger.read();
        assert!(
            wrong.is_empty(),
            "{}\n{}",
            course.join("\n"),
            wrong.join("\n")
        );
    }
}

/// The name of a room.
pub(crate) fn room(name: &str) -> RoomName {
    RoomName::parse(name).expect("a name of a room")
}

/// The name of its claim's object.
pub(crate) fn claim_of(name: &str) -> String {
    names::claim(FLEET, &room(name))
}

/// Whether it was not known whose the room is.
pub(crate) fn is_unavailable<T>(answer: &Result<T, Said>) -> bool {
    matches!(answer, Err(Said::No(Unclaimed::Unavailable)))
}
