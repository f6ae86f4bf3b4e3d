//! The warden: a small process of ours that starts, watches and ends every child.
//!
//! It has one thread and little memory, so that forking is cheap and safe there; it adopts every
//! process that a child leaves behind; and it outlives the server by as long as it takes to kill
//! them all. The server only ever talks to it: [`Warden`] and the link are the server's end of that
//! talk, the other files here are the warden's.

mod confined;
mod link;
mod process;
mod rooms;
mod spawn;
mod watch;

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as StdStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{net::UnixStream, time::timeout};
use tokio_util::task::TaskTracker;

use super::{cgroup::Division, clock, tree, wire::Answer};
pub(super) use link::{Link, Progress};
use link::{WARDENS, reap_strangers, reap_warden};
pub use process::run_if_warden;

/// The warden's name, by which it knows itself and `ps` shows it.
const NAME: &str = "ss-warden";
/// The variable whose value no other start of a room has.
pub(super) const MARKER: &str = "UNIQUE_ID";
/// How long the warden may take to begin, and to end.
const PATIENCE: Duration = Duration::from_secs(5);
const END_WITHIN: Duration = Duration::from_millis(1800);

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
    /// Our own cgroup, if it is divided: then each room gets a part.
    pub division: Option<Division>,
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
            division: None,
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
            .args(options.division.iter().flat_map(Division::words))
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
        let link = Link::new(UnixStream::from_std(ours)?, pid, options.division.clone());
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

    /// Every program is killed at that time, and none is started from then on, unless a later
    /// time is told before; none is for ever. The warden keeps it alone: it holds although this
    /// process is stopped, or too busy.
    pub fn may_live_until(&self, deadline: Option<Instant>) {
        self.link.until(match deadline {
            Some(deadline) => {
                // The warden's clock first: a process that is stopped between the two looks gives
                // its programs less time, and never more.
                let now = clock::now();
                let left = deadline.saturating_duration_since(Instant::now());
                now.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
            }
            None => u64::MAX,
        });
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
