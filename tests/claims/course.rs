//! A course of events drawn from a number: three pods, clients that want a few rooms again and
//! again, and a fault about every six seconds. Afterwards everything is healed, and each room must
//! be reached through each pod.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scalesocket::cluster::names;
use scalesocket::room::RoomName;
use tokio::time::{Instant, sleep_until, timeout};

use crate::double::{Double, Line, Loss, Odds, Resource};
use crate::fleet::{Fleet, Mode, room};
use crate::ledger::Lives;
use crate::process::{LeftOut, Pod, Process};

/// How many pods are wanted.
const PODS: usize = 3;
/// The rooms that clients want: few, so that they meet.
const ROOMS: usize = 5;
/// How long faults come.
const TROUBLE: Duration = Duration::from_secs(150);
/// How long a pod may take to end before its kubelet kills it.
const GRACE: Duration = Duration::from_secs(20);
/// How long after the healing nothing of the old may be left.
const SETTLED: Duration = Duration::from_secs(200);

/// What came of a course.
pub(crate) struct Outcome {
    /// Every event.
    pub(crate) course: Vec<String>,
    /// Those that must not be.
    pub(crate) wrong: Vec<String>,
    /// How many children there were.
    pub(crate) born: u64,
}

/// What is going to happen.
enum Act {
    /// The next fault.
    Trouble,
    Thaw(Process),
    Heal(Pod),
    Calm(Pod),
    OutageOver,
    /// The container of a pod begins again.
    Restart(usize),
    /// A pod object of a lost node is removed by an administrator.
    Remove(usize),
    /// A look at a pod that is on its way out, and when its patience ends.
    Leave(Process, Instant),
}

/// A wish for one pod, as a ReplicaSet has.
struct Replica {
    pod: Pod,
    /// None between two containers, and on a lost node.
    process: Option<Process>,
}

struct Course<'a> {
    fleet: &'a Fleet,
    mode: Mode,
    rng: StdRng,
    replicas: Vec<Replica>,
    acts: BTreeMap<(Instant, u64), Act>,
    counted: u64,
}

/// Takes the course of that number.
pub(crate) async fn take(seed: u64, mode: Mode, left_out: LeftOut) -> Outcome {
    let fleet = Fleet::new(seed, mode, left_out, Lives::Various);
    let rng = StdRng::seed_from_u64(seed ^ 0xfa017);
    let mut course = Course {
        fleet: &fleet,
        mode,
        rng,
        replicas: Vec::new(),
        acts: BTreeMap::new(),
        counted: 0,
    };
    for _ in 0..PODS {
        let replica = course.new_replica();
        course.replicas.push(replica);
    }
    let wishes = StdRng::seed_from_u64(seed ^ 0xc11e47);
    tokio::select! {
        biased;
        () = course.trouble() => {}
        () = clients(&fleet, wishes) => {}
    }
    course.heal().await;
    course.check().await;
    let (course, wrong) = fleet.ledger.read();
    let born = fleet.ledger.born();
    Outcome {
        course,
        wrong,
        born,
    }
}

/// Clients that come and want a room, for ever.
async fn clients(fleet: &Fleet, mut rng: StdRng) {
    let mut visits = FuturesUnordered::new();
    loop {
        let next = Instant::now() + Duration::from_millis(rng.random_range(50..800));
        tokio::select! {
            biased;
            Some(_) = visits.next() => continue,
            () = sleep_until(next) => {}
        }
        let processes = fleet.processes();
        if processes.is_empty() {
            continue;
        }
        let process = processes[rng.random_range(0..processes.len())].clone();
        let room = wanted(rng.random_range(0..ROOMS));
        visits.push(timeout(Duration::from_secs(12), async move {
            fleet.visit(&process, &room).await
        }));
    }
}

fn wanted(number: usize) -> RoomName {
    room(&format!("room-{number}"))
}

impl Course<'_> {
    fn new_replica(&mut self) -> Replica {
        let pod = self.fleet.create_pod();
        self.usual(&pod);
        Replica {
            process: Some(self.fleet.start(&pod)),
            pod,
        }
    }

    /// What the lines of a pod are like on a good day.
    fn usual(&self, pod: &Pod) {
        let ms = Duration::from_millis;
        for line in pod.lines() {
            let faults = self.fleet.double.faults(&line);
            faults.latency(ms(1)..=ms(40));
            faults.watch_lag(ms(0)..=ms(400));
        }
    }

    fn after(&mut self, time: Duration, act: Act) {
        self.counted += 1;
        self.acts.insert((Instant::now() + time, self.counted), act);
    }

    fn seconds(&mut self, from: f64, to: f64) -> Duration {
        Duration::from_secs_f64(self.rng.random_range(from..to))
    }

    fn note(&self, what: &str) {
        self.fleet.ledger.note(&format!("* {what}"));
    }

    /// Faults, for as long as they come.
    async fn trouble(&mut self) {
        let end = Instant::now() + TROUBLE;
        self.after(Duration::from_secs(3), Act::Trouble);
        while let Some(((at, _), act)) = self.acts.pop_first() {
            if at > end {
                self.acts.insert((at, 0), act);
                break;
            }
            sleep_until(at).await;
            self.act(act);
        }
        sleep_until(end).await;
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Trouble => {
                self.fault();
                let next = self.seconds(2.0, 10.0);
                self.after(next, Act::Trouble);
            }
            Act::Thaw(process) => {
                self.note(&format!("process {} goes on", process.id));
                process.thaw();
            }
            Act::Heal(pod) => {
                self.note(&format!("{} is connected", pod.name));
                for line in pod.lines() {
                    self.fleet.double.faults(&line).heal();
                }
            }
            Act::Calm(pod) => {
                self.note(&format!("requests of {} arrive", pod.name));
                self.fleet.double.faults(&pod.name).odds(Odds::default());
            }
            Act::OutageOver => {
                self.note("the API is back");
                self.fleet.double.outage(Line::Open);
            }
            Act::Restart(index) => {
                let process = self.fleet.start(&self.replicas[index].pod);
                self.replicas[index].process = Some(process);
            }
            Act::Remove(index) => {
                let name = self.replicas[index].pod.name.clone();
                self.note(&format!("{name} of a lost node is removed"));
                self.fleet.double.force_delete_pod(&name);
                self.replicas[index] = self.new_replica();
            }
            Act::Leave(process, patience) => self.leave(process, patience),
        }
    }

    /// The kubelet's part in the end of a pod.
    fn leave(&mut self, process: Process, patience: Instant) {
        if !process.has_ended() && Instant::now() < patience {
            return self.after(Duration::from_millis(300), Act::Leave(process, patience));
        }
        if !process.has_ended() {
            self.note(&format!("process {} is killed by its kubelet", process.id));
            process.kill();
        }
        if self.fleet.ledger.living(process.id) > 0 {
            return self.after(Duration::from_millis(300), Act::Leave(process, patience));
        }
        self.note(&format!("{} is gone", process.pod.name));
        self.fleet.tell_terminated(&process.pod);
        self.fleet.double.force_delete_pod(&process.pod.name);
    }

    fn fault(&mut self) {
        let index = self.rng.random_range(0..self.replicas.len());
        let dice = self.rng.random_range(0..100);
        if dice < 8 {
            return self.outage();
        }
        let pod = self.replicas[index].pod.clone();
        let Some(process) = self.replicas[index].process.clone() else {
            return;
        };
        match dice {
            8..28 => self.bad_requests(&pod),
            28..45 => self.partition(&pod),
            45..60 => self.freeze(&process),
            60..74 => {
                self.note(&format!("kill -9 of process {}", process.id));
                process.kill();
                self.replicas[index].process = None;
                let again = self.seconds(0.6, 5.0);
                self.after(again, Act::Restart(index));
            }
            74..85 => {
                self.note(&format!("{} is deleted", pod.name));
                self.fleet.double.delete_pod(&pod.name);
                process.drain();
                let patience = Instant::now() + GRACE;
                self.after(Duration::from_millis(300), Act::Leave(process, patience));
                self.replicas[index] = self.new_replica();
            }
            85..92 => {
                self.note(&format!("the node of {} is lost", pod.name));
                process.kill();
                self.fleet.ledger.vanish(process.id);
                self.replicas[index].process = None;
                let removed = self.seconds(5.0, 30.0);
                self.after(removed, Act::Remove(index));
            }
            _ if self.mode == Mode::Fenced => {
                // Where its process can hear of it, where it cannot, or where it is stopped.
                match self.rng.random_range(0..3) {
                    0 => self.partition(&pod),
                    1 => self.freeze(&process),
                    _ => {}
                }
                self.note(&format!("{} is deleted by force", pod.name));
                self.fleet.double.force_delete_pod(&pod.name);
                self.replicas[index] = self.new_replica();
            }
            _ => self.bad_requests(&pod),
        }
    }

    fn outage(&mut self) {
        let line = [
            Line::Cut(Loss::Hang),
            Line::Cut(Loss::Break),
            Line::Answers(503),
            Line::Frozen,
        ][self.rng.random_range(0..4)];
        self.note(&format!("the API is away: {line:?}"));
        self.fleet.double.outage(line);
        let over = self.seconds(1.0, 25.0);
        self.after(over, Act::OutageOver);
    }

    fn bad_requests(&mut self, pod: &Pod) {
        self.note(&format!("requests of {} go wrong", pod.name));
        let some = |rng: &mut StdRng| rng.random_range(0.0..0.15);
        let odds = Odds {
            lost_request: some(&mut self.rng),
            lost_reply: some(&mut self.rng),
            late_commit: some(&mut self.rng) * 2.0,
            refused: some(&mut self.rng),
            unsure: some(&mut self.rng),
            late_by: (100, 9_000),
        };
        self.fleet.double.faults(&pod.name).odds(odds);
        let over = self.seconds(3.0, 25.0);
        self.after(over, Act::Calm(pod.clone()));
    }

    fn partition(&mut self, pod: &Pod) {
        let loss = match self.rng.random_bool(0.5) {
            true => Loss::Hang,
            false => Loss::Break,
        };
        self.note(&format!("{} is cut off: {loss:?}", pod.name));
        for line in pod.lines() {
            self.fleet.double.faults(&line).cut(loss);
        }
        let over = self.seconds(1.0, 40.0);
        self.after(over, Act::Heal(pod.clone()));
    }

    fn freeze(&mut self, process: &Process) {
        self.note(&format!("process {} is stopped", process.id));
        process.freeze();
        let over = self.seconds(0.5, 40.0);
        self.after(over, Act::Thaw(process.clone()));
    }

    /// All that is under way comes to its end, and no fault is left.
    async fn heal(&mut self) {
        self.note("no fault from here on");
        self.fleet.double.outage(Line::Open);
        for process in self.fleet.processes() {
            process.thaw();
            for line in process.pod.lines() {
                self.fleet.double.faults(&line).calm();
            }
        }
        while let Some(((at, _), act)) = self.acts.pop_first() {
            if matches!(act, Act::Trouble) {
                continue;
            }
            sleep_until(at).await;
            self.act(act);
        }
        for replica in &self.replicas {
            for line in replica.pod.lines() {
                self.fleet.double.faults(&line).calm();
            }
        }
    }

    /// What must hold now.
    async fn check(&mut self) {
        let fleet = self.fleet;
        let wrong = |what: String| fleet.ledger.wrong(&what);
        let healed = Instant::now();
        let mut visits = FuturesUnordered::new();
        for number in 0..ROOMS {
            for replica in &self.replicas {
                let Some(process) = replica.process.clone() else {
                    wrong(format!("{} has no process", replica.pod.name));
                    continue;
                };
                visits.push(async move {
                    let reached = fleet.reach(&process, &wanted(number)).await;
                    (number, process.id, reached)
                });
            }
        }
        while let Some((number, process, reached)) = visits.next().await {
            if reached.is_none() {
                wrong(format!("room-{number} is not reached by process {process}"));
            }
        }
        drop(visits);
        // Whose pod is gone knows it, and nothing of it is left.
        let wanted = |process: &Process| {
            let is_it = |one: &Process| one.id == process.id;
            self.replicas
                .iter()
                .any(|it| it.process.as_ref().is_some_and(is_it))
        };
        for process in self.fleet.processes().iter().filter(|it| !wanted(it)) {
            let left = SETTLED.saturating_sub(healed.elapsed());
            if timeout(left, process.ended()).await.is_err() {
                wrong(format!("process {} lives on without its pod", process.id));
            }
        }
        let wanted: BTreeSet<String> = self
            .replicas
            .iter()
            .map(|replica| names::session(&replica.pod.uid))
            .collect();
        let sessions = |double: &Double| -> BTreeSet<String> {
            let leases = double.names(Resource::Leases).into_iter();
            let is_session = |name: &String| name.starts_with(names::SESSION_PREFIX);
            leases.filter(is_session).collect()
        };
        let only_those = fleet.double.until(|double| sessions(double) == wanted);
        let left = SETTLED.saturating_sub(healed.elapsed());
        if timeout(left, only_those).await.is_err() {
            let there = sessions(&fleet.double);
            wrong(format!("the sessions are {there:?} instead of {wanted:?}"));
        }
    }
}
