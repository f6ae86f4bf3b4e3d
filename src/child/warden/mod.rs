//! The warden: a small process of ours that starts, watches and ends every child.
//!
//! It has one thread and little memory, so that forking is cheap and safe there; it adopts every
//! process that a child leaves behind; and it outlives the server by as long as it takes to kill
//! them all. The server only ever talks to it: this file is the server's end of that talk, the
//! others are the warden's.

mod process;
mod rooms;
mod spawn;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream as StdStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use nix::{sys::socket, unistd};
use parking_lot::Mutex;
use tokio::{
    io::Interest,
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{
    Exit, PortLease, fdpass, tree,
    wire::{Answer, Launch, Request},
};
pub use process::run_if_warden;

/// The warden's name, by which it knows itself and `ps` shows it.
const NAME: &str = "ss-warden";
/// The variable whose value no other start of a room has.
pub(super) const MARKER: &str = "UNIQUE_ID";
/// How long the warden may take to begin, and to end.
const PATIENCE: Duration = Duration::from_secs(5);
const END_WITHIN: Duration = Duration::from_millis(1800);

/// The wardens of this process that are not reaped, whom nobody may reap or kill by accident.
static WARDENS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Held by who kills children and then reaps them: between the two nobody else may reap.
static REAPING: Mutex<()> = Mutex::new(());

/// How to start a [`Warden`].
#[derive(Debug, Clone)]
pub struct Options {
    /// A program whose first act is [`run_if_warden`]: ours.
    pub program: PathBuf,
    /// The soft descriptor limit that children get; none leaves ours.
    pub soft_nofile: Option<u64>,
    /// Whether this process has no other children that anybody waits for: then those it adopts,
    /// as PID 1 must, are reaped.
    pub reap: bool,
}

impl Default for Options {
    fn default() -> Self {
        // The link still leads to us after the file was replaced by a newer one.
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().unwrap_or_default()
        };
        Options {
            program,
            soft_nofile: None,
            reap: true,
        }
    }
}

/// The server's side of the warden. Dropping the last clone ends it and all it started.
#[derive(Debug, Clone)]
pub struct Warden {
    link: Arc<Link>,
    _end: Arc<End>,
}

/// Closes the link when the last [`Warden`] goes.
#[derive(Debug)]
struct End(Arc<Link>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The socket, and what is under way on it.
#[derive(Debug)]
pub(super) struct Link {
    socket: UnixStream,
    pid: i32,
    state: Mutex<State>,
    /// Something was put into the outbox, or it was closed.
    filled: Notify,
    next_id: AtomicU64,
    /// Whether we asked for the end.
    asked: AtomicBool,
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
pub(super) struct Progress {
    /// Its process id, or the `errno` of why it does not run.
    pub(super) started: Option<Result<u32, i32>>,
    /// How the leader ended.
    pub(super) exit: Option<Exit>,
    /// Nothing of it is left.
    pub(super) gone: bool,
}

impl Warden {
    /// Starts the warden; to be called once, inside the runtime, before any room.
    ///
    /// Blocks until it answers, some milliseconds. On Linux this process becomes a subreaper.
    pub fn start(options: &Options) -> io::Result<Warden> {
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_child_subreaper(true)?;
        let (ours, theirs) = StdStream::pair()?;
        let soft_nofile = match options.soft_nofile {
            Some(soft) => soft,
            None => nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?.0,
        };
        // No environment: our secrets are no concern of a process that needs none of them.
        let mut wardens = WARDENS.lock(); // held, lest another one's sweep takes this for a stranger
        let pid = Command::new(&options.program)
            .arg0(NAME)
            .arg(soft_nofile.to_string())
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?
            .id() as i32;
        wardens.insert(pid);
        drop(wardens);
        if let Err(error) = hear_ready(&ours) {
            tree::signal_with_group(pid, libc::SIGKILL);
            reap_warden(pid);
            return Err(error);
        }
        ours.set_nonblocking(true)?;
        let link = Arc::new(Link {
            socket: UnixStream::from_std(ours)?,
            pid,
            state: Mutex::default(),
            filled: Notify::new(),
            next_id: AtomicU64::new(1),
            asked: AtomicBool::new(false),
            ended: watch::Sender::new(false),
        });
        // The tasks end with the link, which ends when the socket does: nobody waits for them.
        let tasks = TaskTracker::new();
        tasks.spawn(Arc::clone(&link).speak());
        tasks.spawn(Arc::clone(&link).listen());
        if options.reap {
            tasks.spawn(reap_strangers(Arc::clone(&link)));
        }
        Ok(Warden {
            _end: Arc::new(End(Arc::clone(&link))),
            link,
        })
    }

    /// The warden's process id.
    pub fn pid(&self) -> u32 {
        self.link.pid as u32
    }

    /// Resolves when the warden died without being asked, and all children with it: the server
    /// cannot go on.
    pub async fn died(&self) {
        self.link.wait_for_end().await;
        if self.link.asked.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
    }

    /// Kills everything that still lives, and returns when it and the warden are gone.
    pub async fn shutdown(&self) {
        self.link.close();
        if timeout(END_WITHIN, self.link.wait_for_end()).await.is_err() {
            // Something below it does not die. The system kills its leaders with it.
            if WARDENS.lock().contains(&self.link.pid) {
                tree::signal_with_group(self.link.pid, libc::SIGKILL);
            }
            let _still = timeout(END_WITHIN, self.link.wait_for_end()).await;
        }
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Link {
    /// Asks for a start; none when the warden is gone.
    pub(super) fn launch(
        &self,
        launch: Launch,
        stdio: fdpass::Stdio,
        port: Option<PortLease>,
    ) -> Option<(u64, watch::Receiver<Progress>)> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
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
    pub(super) fn ask(&self, id: u64, request: &Request) {
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

    /// The end of all: the warden kills what lives when it reads EOF.
    fn close(&self) {
        self.asked.store(true, Ordering::Release);
        self.state.lock().closed = true;
        self.filled.notify_one();
        let _gone = socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&self.socket),
            socket::Shutdown::Write,
        );
    }

    async fn wait_for_end(&self) {
        let mut ended = self.ended.subscribe();
        let _never_dropped = ended.wait_for(|ended| *ended).await;
    }

    /// Sends what is in the outbox until the link is closed.
    async fn speak(self: Arc<Self>) {
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
    async fn listen(self: Arc<Self>) {
        let mut heard = BytesMut::new();
        while let Ok(true) = self.hear(&mut heard).await {}

        self.state.lock().closed = true;
        self.filled.notify_one();
        let pid = self.pid;
        let swept = tokio::task::spawn_blocking(move || {
            reap_warden(pid);
            sweep();
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
            Answer::Failed { id, errno } => {
                if let Some(place) = state.rooms.remove(&id) {
                    place
                        .progress
                        .send_modify(|progress| progress.started = Some(Err(errno)));
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

/// Waits for the first word of a new warden: that it is one, and not a second server.
fn hear_ready(socket: &StdStream) -> io::Result<()> {
    use std::io::Read;

    socket.set_read_timeout(Some(PATIENCE))?;
    let expected = Answer::Ready.encode();
    let mut heard = vec![0; expected.len()];
    (&*socket).read_exact(&mut heard)?;
    if heard == expected {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Reaps a warden that has ended or is about to.
fn reap_warden(pid: i32) {
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
async fn reap_strangers(link: Arc<Link>) {
    let Ok(mut deaths) = signal(SignalKind::child()) else {
        return;
    };
    let mut ended = link.ended.subscribe();
    loop {
        tokio::select! {
            heard = deaths.recv() => if heard.is_none() { return },
            _ = ended.wait_for(|ended| *ended) => return,
        }
        let Some(_alone) = REAPING.try_lock() else {
            continue;
        }; // who has it reaps
        for pid in tree::children().unwrap_or_default() {
            if !WARDENS.lock().contains(&pid) {
                tree::reap(pid);
            }
        }
    }
}
