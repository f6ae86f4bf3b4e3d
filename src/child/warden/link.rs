//! The server's end of the socket to its warden: what was asked, and how far each room has come.
//!
//! One task sends, another one hears; neither waits for the other. When the warden is gone, by our
//! wish or not, the hearing task sees to it that nothing the warden left behind lives, and only
//! then says so.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    io,
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use nix::{
    sys::socket::{Shutdown, shutdown},
    unistd,
};
use parking_lot::Mutex;
use tokio::{
    io::Interest,
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
};

use super::END_WITHIN;
use crate::child::{
    Exit, PortLease,
    cgroup::Division,
    fdpass, tree,
    usage::{Stray, Strays},
    wire::{Answer, Launch, Request, Step},
};

/// The wardens of this process that are not reaped, whom nobody may reap or kill by accident.
pub(super) static WARDENS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Held by who kills children and then reaps them: between the two nobody else may reap.
static REAPING: Mutex<()> = Mutex::new(());

/// The socket, and what is under way on it.
#[derive(Debug)]
pub(in crate::child) struct Link {
    socket: UnixStream,
    pub(super) pid: i32,
    /// Where rooms have cgroups.
    pub(in crate::child) division: Option<Division>,
    state: Mutex<State>,
    strays: Strays,
    /// Something was put into the outbox, or it was closed.
    filled: Notify,
    next_id: AtomicU64,
    /// Whether we asked for the end.
    pub(super) asked: AtomicBool,
    /// The warden is gone, reaped, and nothing it left behind lives.
    ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// Requests to be sent. Bounded by the rooms: a room asks for a start, a stop and a kill once.
    outbox: VecDeque<Outgoing>,
    rooms: HashMap<u64, Place>,
}

#[derive(Debug)]
struct Outgoing {
    frame: Vec<u8>,
    stdio: Option<fdpass::Stdio>,
}

#[derive(Debug)]
struct Place {
    progress: watch::Sender<Progress>,
    /// Held until nothing is left that could listen on it.
    _port: Option<PortLease>,
}

/// How far one room's program has come.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::child) struct Progress {
    /// Its process id, or why it does not run.
    pub(in crate::child) started: Option<Result<u32, (i32, Step)>>,
    /// How the leader ended.
    pub(in crate::child) exit: Option<Exit>,
    /// Nothing of it is left.
    pub(in crate::child) gone: bool,
}

impl Link {
    /// A link to the warden `pid` over a socket that does not block.
    pub(super) fn new(socket: UnixStream, pid: i32, division: Option<Division>) -> Arc<Link> {
        Arc::new(Link {
            socket,
            pid,
            division,
            strays: Strays::default(),
            state: Mutex::default(),
            filled: Notify::new(),
            next_id: AtomicU64::new(1),
            asked: AtomicBool::new(false),
            ended: watch::Sender::new(false),
        })
    }

    /// Asks for a start; none when the warden is gone.
    pub(in crate::child) fn launch(
        &self,
        launch: Launch,
        stdio: fdpass::Stdio,
        port: Option<PortLease>,
    ) -> Option<(u64, watch::Receiver<Progress>)> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let launch = Box::new(launch);
        let frame = Request::Start { id, launch }.encode();
        let (progress, watching) = watch::channel(Progress::default());
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        state.rooms.insert(
            id,
            Place {
                progress,
                _port: port,
            },
        );
        state.outbox.push_back(Outgoing {
            frame,
            stdio: Some(stdio),
        });
        drop(state);
        self.filled.notify_one();
        Some((id, watching))
    }

    /// Asks for the end of a room; nothing happens when it is gone already.
    pub(in crate::child) fn ask(&self, id: u64, request: &Request) {
        let mut state = self.state.lock();
        if !state.closed && state.rooms.contains_key(&id) {
            state.outbox.push_back(Outgoing {
                frame: request.encode(),
                stdio: None,
            });
            drop(state);
            self.filled.notify_one();
        }
    }

    /// The warden's process id.
    pub(in crate::child) fn warden(&self) -> i32 {
        self.pid
    }

    /// Processes that left the ones they descend from.
    pub(in crate::child) fn strays(&self) -> Arc<Vec<Stray>> {
        self.strays.of(self.pid, || {
            let state = self.state.lock();
            let leaders = state
                .rooms
                .values()
                .map(|place| place.progress.borrow().started);
            let pids = leaders.filter_map(|started| Some(started?.ok()? as i32));
            pids.collect::<HashSet<_>>()
        })
    }

    /// Tells the warden until when programs may live.
    pub(super) fn until(&self, at: u64) {
        let mut state = self.state.lock();
        if !state.closed {
            let frame = Request::Until { at }.encode();
            state.outbox.push_back(Outgoing { frame, stdio: None });
            drop(state);
            self.filled.notify_one();
        }
    }

    /// The end of all: the warden kills what lives when it reads EOF.
    pub(super) fn close(&self) {
        self.asked.store(true, Ordering::Release);
        self.state.lock().closed = true;
        self.filled.notify_one();
        let _gone = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    pub(super) async fn wait_for_end(&self) {
        let mut ended = self.ended.subscribe();
        let _never_dropped = ended.wait_for(|ended| *ended).await;
    }

    /// Sends what is in the outbox until the link is closed.
    pub(super) async fn speak(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state.lock();
                if state.closed {
                    return;
                }
                state.outbox.pop_front()
            };
            match next {
                // An error is the warden's end, which the listener sees and tells.
                Some(outgoing) => {
                    if self.send(outgoing).await.is_err() {
                        return;
                    }
                }
                None => self.filled.notified().await,
            }
        }
    }

    async fn send(&self, outgoing: Outgoing) -> io::Result<()> {
        let Outgoing { frame, mut stdio } = outgoing;
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let sent = self
                .socket
                .async_io(Interest::WRITABLE, || match &stdio {
                    Some(stdio) => fdpass::send(self.socket.as_fd(), rest, stdio),
                    None => Ok(unistd::write(&self.socket, rest)?),
                })
                .await?;
            stdio = None; // they went with the first byte; our copies close here
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Hears the warden until its end, and then sees to it that nothing is left.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut heard = BytesMut::new();
        while let Ok(true) = self.hear(&mut heard).await {}

        self.state.lock().closed = true;
        self.filled.notify_one();
        let (pid, division) = (self.pid, self.division.clone());
        let swept = tokio::task::spawn_blocking(move || {
            reap_warden(pid);
            sweep();
            if let Some(division) = division {
                division.sweep(pid);
            }
        });
        let _ = swept.await;
        let (rooms, unsent) = {
            let mut state = self.state.lock();
            (
                std::mem::take(&mut state.rooms),
                std::mem::take(&mut state.outbox),
            )
        };
        drop(unsent); // and the descriptors in it
        if cfg!(not(target_os = "linux")) && !self.asked.load(Ordering::Acquire) {
            // Nothing came to us by adoption, and nothing told the leaders to die.
            for place in rooms.values() {
                if let Some(Ok(pid)) = place.progress.borrow().started {
                    tree::signal_group(pid as i32, libc::SIGKILL);
                }
            }
        }
        for place in rooms.into_values() {
            place.leave(None);
        }
        self.ended.send_replace(true);
    }

    /// Reads once, and passes on what was told; false at EOF.
    async fn hear(&self, heard: &mut BytesMut) -> io::Result<bool> {
        self.socket.readable().await?;
        match self.socket.try_read_buf(heard) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
        while let Some(answer) = Answer::take(heard)? {
            self.note(answer);
        }
        Ok(true)
    }

    fn note(&self, answer: Answer) {
        let mut state = self.state.lock();
        match answer {
            Answer::Ready => {}
            Answer::Started { id, pid } => {
                if let Some(place) = state.rooms.get(&id) {
                    place
                        .progress
                        .send_modify(|progress| progress.started = Some(Ok(pid)));
                }
            }
            Answer::Exited { id, exit } => {
                if let Some(place) = state.rooms.get(&id) {
                    place
                        .progress
                        .send_modify(|progress| progress.exit = Some(exit));
                }
            }
            Answer::Failed { id, errno, step } => {
                if let Some(place) = state.rooms.remove(&id) {
                    place
                        .progress
                        .send_modify(|progress| progress.started = Some(Err((errno, step))));
                    place.leave(None);
                }
            }
            Answer::Gone { id, exit } => {
                if let Some(place) = state.rooms.remove(&id) {
                    place.leave(Some(exit));
                }
            }
        }
    }
}

impl Place {
    /// Gives the port back, and then says that all is gone: who hears it may lease the port.
    fn leave(self, exit: Option<Exit>) {
        let Place { progress, _port } = self;
        drop(_port);
        progress.send_modify(|progress| {
            let lost = Exit::Signal(libc::SIGKILL); // what the system sent to the leader
            progress.exit = progress.exit.or(exit).or(Some(lost));
            progress.gone = true;
        });
    }
}

/// Reaps a warden that has ended or is about to.
pub(super) fn reap_warden(pid: i32) {
    while tree::reap(pid).is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    WARDENS.lock().remove(&pid);
}

/// Ends what a dead warden left: it came to us, the next subreaper. Its processes live in sessions
/// of their own, by which they are told from children that somebody else here waits for.
fn sweep() {
    let own = tree::session(std::process::id() as i32);
    let _alone = REAPING.lock();
    let spared = |pid: i32| tree::session(pid) == own || WARDENS.lock().contains(&pid);
    tree::end_all(spared, END_WITHIN);
}

/// Reaps children that nobody waits for: as PID 1 those of strangers, else those that a warden
/// left to us when it died.
pub(super) async fn reap_strangers(link: Arc<Link>) {
    let Ok(mut deaths) = signal(SignalKind::child()) else {
        return;
    };
    let mut ended = link.ended.subscribe();
    loop {
        // Before the first wait too: somebody may have died before we listened. Who has the lock
        // reaps.
        if let Some(_alone) = REAPING.try_lock() {
            for pid in tree::children().unwrap_or_default() {
                if !WARDENS.lock().contains(&pid) {
                    tree::reap(pid);
                }
            }
        }
        tokio::select! {
            heard = deaths.recv() => if heard.is_none() { return },
            _ = ended.wait_for(|ended| *ended) => return,
        }
    }
}
