//! The real binary as a process, on addresses it chose itself and told in its log. Dropping it ends
//! it as SIGINT does, and fails the test when a process stays behind, when the server does not end,
//! or when anything in it panicked.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::diary::{Diary, Page};
use super::door::Door;
use super::http::{self, Answer};
use super::processes::{self, Process, processes_marked};
use super::{Address, PATIENCE, Person, Socket};

/// How often `/proc` is asked again: it tells nobody when it changes.
pub(super) const GLANCE: Duration = Duration::from_millis(5);

pub struct Server {
    pid: Pid,
    mark: String,
    diary: Diary,
    logged: watch::Receiver<()>,
    exit: watch::Receiver<Option<ExitStatus>>,
    people: AtomicU64,
    trust: Option<Arc<ClientConfig>>,
}

impl Server {
    pub fn new(
        pid: Pid,
        mark: String,
        diary: Diary,
        logged: watch::Receiver<()>,
        exit: watch::Receiver<Option<ExitStatus>>,
    ) -> Server {
        Server {
            pid,
            mark,
            diary,
            logged,
            exit,
            people: AtomicU64::new(0),
            trust: None,
        }
    }

    /// From now on people speak TLS, and this is whom they trust and who they are.
    pub fn trusted(mut self, trust: ClientConfig) -> Server {
        self.trust = Some(Arc::new(trust));
        self
    }

    /// Whom people trust, if they speak TLS at that address.
    pub fn trust(&self, address: &Address) -> Option<Arc<ClientConfig>> {
        let trust = self.trust.clone()?;
        let secure = !self.addresses(Some("redirect")).contains(address)
            && !self.addresses(Some("admin")).contains(address);
        secure.then_some(trust)
    }

    /// A page of the diary for one more person.
    pub fn page(&self, path: &str) -> Page {
        let number = self.people.fetch_add(1, Ordering::Relaxed) + 1;
        self.diary.person(format!("person {number} in {path}"))
    }

    /// Waits for a line of the log that contains this, and returns it.
    pub async fn logged(&self, part: &str) -> Value {
        self.logged_where(part, &|line| line.contains(part)).await
    }

    /// Waits for a line of the log for which this holds.
    pub async fn logged_where(&self, what: &str, is_it: &dyn Fn(&str) -> bool) -> Value {
        self.logged_in(PATIENCE, what, is_it).await
    }

    /// Waits for such a line so long: for what the server itself waits to say.
    pub async fn logged_in(
        &self,
        patience: Duration,
        what: &str,
        is_it: &dyn Fn(&str) -> bool,
    ) -> Value {
        let mut news = self.logged.clone();
        let wait = async {
            loop {
                news.mark_unchanged();
                if let Some((_, line)) = self.diary.find(0, is_it) {
                    return Some(line);
                }
                if news.changed().await.is_err() {
                    // The log has ended; its last line came before that.
                    return self.diary.find(0, is_it).map(|(_, line)| line);
                }
            }
        };
        match timeout(patience, wait).await {
            Ok(Some(line)) => serde_json::from_str(&line).unwrap_or(Value::String(line)),
            Ok(None) => self.diary.fail(&format!("the log ended without {what}")),
            Err(_) => self.diary.fail(&format!("the log does not say {what}")),
        }
    }

    /// Waits until no room lives; needs `--stats`. Whoever was let in is in a room that this sees,
    /// although its program may not have started yet.
    pub async fn has_no_rooms(&self) {
        self.waits_for_json("/stats", |stats| stats["rooms_live"] == 0)
            .await;
    }

    /// The log up to now, line by line.
    pub fn log(&self) -> Vec<String> {
        self.diary.log()
    }

    /// Lines of the log that are warnings or errors.
    pub fn complaints(&self) -> Vec<String> {
        let is_one = |line: &String| line.contains(r#""WARN""#) || line.contains(r#""ERROR""#);
        self.log().into_iter().filter(is_one).collect()
    }

    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        self.diary.fail(what)
    }

    /// Where it listens, in the order of the log; `role` is `admin` or nothing.
    pub fn addresses(&self, role: Option<&str>) -> Vec<Address> {
        // Everybody who comes in asks, and logs are long: somebody who has connected and still
        // reads one may find that the server waits no longer for the request.
        let lines = self.diary.lines_with(r#""message":"listening""#);
        let events = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|event| event["message"] == "listening")
            .filter(|event| match role {
                Some(role) => event["listener"] == role,
                None => event["listener"] == "public",
            })
            .filter_map(|event| Address::parse(event["addr"].as_str()?))
            .collect()
    }

    pub fn address(&self) -> Address {
        match self.addresses(None).into_iter().next() {
            Some(address) => address,
            None => self.fail("the log names no address"),
        }
    }

    /// A person in a room.
    pub async fn join(&self, path: &str) -> Person {
        self.door(path).join().await
    }

    /// The way in, for people who do it differently.
    pub fn door(&self, path: &str) -> Door<'_> {
        Door::new(self, path)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[]).await
    }

    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request_at(&self.address(), method, path, headers)
            .await
    }

    /// One request on a connection of its own; the path goes out as it is written.
    pub async fn request_at(
        &self,
        address: &Address,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", address.host());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("Connection: close\r\n\r\n");
        let mut socket = self.connect(address).await;
        let exchange = http::exchange(&mut socket, request.as_bytes(), method != "HEAD");
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => self.fail(&format!("{method} {path}: {error}")),
            Err(_) => self.fail(&format!("{method} {path}: no answer in time")),
        }
    }

    /// A bare connection.
    pub async fn connect(&self, address: &Address) -> Socket {
        let connect = async {
            let socket = Socket::connect(address, None).await?;
            match self.trust(address) {
                Some(trust) => socket.secured(trust, "localhost").await,
                None => Ok(socket),
            }
        };
        match timeout(PATIENCE, connect).await {
            Ok(Ok(socket)) => socket,
            other => self.fail(&format!("cannot connect to {address:?}: {:?}", other.err())),
        }
    }

    /// Asks until the JSON at this path satisfies: for figures that follow events.
    pub async fn waits_for_json(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let answer = self.get(path).await;
            let value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if holds(&value) {
                return value;
            }
            if start.elapsed() > PATIENCE {
                self.fail(&format!("{path} stays {} {}", answer.status, answer.text()));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Asks `/metrics` until a line of it satisfies.
    pub async fn waits_for_metric(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = self.get("/metrics").await.text();
            if let Some(line) = text.lines().find(|line| holds(line)) {
                return line.to_owned();
            }
            if start.elapsed() > PATIENCE {
                self.fail(&format!("/metrics does not say {what}:\n{text}"));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    pub fn signal(&self, signal: Signal) {
        if self.exit.borrow().is_some() {
            self.fail(&format!("ended before it could be sent {signal}"));
        }
        if let Err(error) = kill(self.pid, signal) {
            self.fail(&format!("cannot be sent {signal}: {error}"));
        }
    }

    /// Waits for the end; a death by signal counts as a shell counts it.
    pub async fn ends(&self) -> i32 {
        let mut exit = self.exit.clone();
        match timeout(PATIENCE, exit.wait_for(Option::is_some)).await {
            Ok(Ok(status)) => status
                .and_then(|status| status.code().or(status.signal().map(|signal| 128 + signal)))
                .unwrap_or(-1),
            _ => self.fail("the server did not end in time"),
        }
    }

    pub async fn exits_with(&self, code: i32) {
        let given = self.ends().await;
        if given != code {
            self.fail(&format!("the server exited with {given}, not {code}"));
        }
    }

    /// Everything that belongs to this server, itself and its warden included.
    pub fn processes(&self) -> Vec<Process> {
        processes_marked(&self.mark)
    }

    /// What runs for rooms, zombies included.
    pub fn programs(&self) -> Vec<Process> {
        let ours = |p: &Process| p.pid == self.pid() || p.name == "ss-warden";
        self.processes()
            .into_iter()
            .filter(|process| !ours(process))
            .collect()
    }

    /// Waits until so many programs run. Where processes cannot be seen this claims nothing.
    pub async fn has_programs(&self, count: usize) {
        let start = Instant::now();
        while cfg!(target_os = "linux") {
            let programs = self.programs();
            if programs.len() == count {
                return;
            }
            if start.elapsed() > PATIENCE {
                self.fail(&format!("not {count} programs but {programs:?}"));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Waits until nothing of it lives, server and warden included.
    pub async fn leaves_nothing(&self, within: Duration) {
        let start = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            if start.elapsed() > within {
                self.fail(&format!("{left:?} is left after {within:?}"));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Memory that is the server's own: anonymous pages.
    pub fn memory_bytes(&self) -> u64 {
        processes::status_bytes(self.pid(), "RssAnon").unwrap_or_default()
    }

    /// The most that it has ever held.
    pub fn peak_memory_bytes(&self) -> u64 {
        processes::status_bytes(self.pid(), "VmHWM").unwrap_or_default()
    }

    pub fn descriptors(&self) -> usize {
        processes::descriptors(self.pid()).unwrap_or_default()
    }

    /// Waits until no more descriptors than so many are open.
    pub async fn has_descriptors(&self, at_most: usize) {
        let start = Instant::now();
        while self.descriptors() > at_most {
            if start.elapsed() > PATIENCE {
                self.fail(&format!(
                    "{} descriptors, more than {at_most}",
                    self.descriptors()
                ));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    fn has_ended(&self, within: Duration) -> bool {
        let start = Instant::now();
        while self.exit.borrow().is_none() && start.elapsed() < within {
            std::thread::sleep(GLANCE);
        }
        self.exit.borrow().is_some()
    }

    fn remains(&self, within: Duration) -> Vec<Process> {
        let start = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() || start.elapsed() > within {
                return left;
            }
            std::thread::sleep(GLANCE);
        }
    }

    fn destroy(&self) {
        if self.exit.borrow().is_none() {
            kill(self.pid, Signal::SIGKILL).ok();
        }
        for process in self.processes() {
            kill(Pid::from_raw(process.pid), Signal::SIGKILL).ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.destroy();
            return;
        }
        if self.exit.borrow().is_none() {
            kill(self.pid, Signal::SIGINT).ok();
        }
        let ended = self.has_ended(PATIENCE);
        let left = if ended {
            self.remains(PATIENCE / 2)
        } else {
            Vec::new()
        };
        let panicked = self.diary.find(0, &|line| line.contains("panicked at"));
        self.destroy();
        if !ended {
            self.fail("the server did not end after SIGINT");
        }
        if !left.is_empty() {
            self.fail(&format!("processes outlived the server: {left:?}"));
        }
        if let Some((_, line)) = panicked {
            self.fail(&format!("something panicked: {line}"));
        }
    }
}
