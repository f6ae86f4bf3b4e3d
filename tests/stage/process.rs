//! Local processes that end with the test process, however it ends. The kernel kills a child when
//! the *thread* that started it ends, so one thread that never ends starts all of them. A process
//! is waited for by a thread of its own, and signalled only while it is not reaped, so that no
//! signal meets a stranger with its number.
#![allow(unsafe_code)] // pre_exec: one system call between fork and exec

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::sync::{Arc, LazyLock, Mutex, mpsc};

use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::watch;

use super::processes::processes_marked;

type Job = Box<dyn FnOnce() + Send>;

static STARTER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (jobs, queue) = mpsc::channel::<Job>();
    std::thread::Builder::new()
        .name("starter".to_owned())
        .spawn(move || queue.into_iter().for_each(|job| job()))
        .expect("a thread");
    Mutex::new(jobs)
});

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// As a container runtime gives it: 128 and the signal's number for one that was killed.
    pub code: i32,
    pub signal: Option<i32>,
}

/// One process and, when it has a mark, all that it starts. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    mark: Option<String>,
    exit: watch::Receiver<Option<Exit>>,
    reaped: Arc<Mutex<bool>>,
}

impl Process {
    /// `mark` is a text in the environment that the process hands to all its descendants; by it
    /// they are found, whatever session they live in.
    pub fn start(mut command: Command, mark: Option<String>) -> io::Result<Process> {
        let own = std::process::id();
        command.process_group(0); // an interrupt at the terminal is for the test process alone
        // SAFETY: two system calls and a comparison; no memory is touched.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                if std::os::unix::process::parent_id() != own {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH)); // it died before we asked
                }
                Ok(())
            });
        }
        let (answer, started) = mpsc::channel();
        let job: Job = Box::new(move || {
            let _ = answer.send(command.spawn());
        });
        STARTER
            .lock()
            .expect("no job panics while it is queued")
            .send(job)
            .map_err(|_| io::Error::other("the starter has ended"))?;
        let child = started
            .recv()
            .map_err(|_| io::Error::other("the starter has ended"))??;

        let pid = child.id() as i32;
        let reaped = Arc::new(Mutex::new(false));
        let (ended, exit) = watch::channel(None);
        let flag = reaped.clone();
        std::thread::Builder::new()
            .name(format!("waiter-{pid}"))
            .spawn(move || wait(child, &flag, &ended))?;
        Ok(Process {
            pid,
            mark,
            exit,
            reaped,
        })
    }

    pub fn id(&self) -> i32 {
        self.pid
    }

    /// Waits for its end; whoever it started may still be there.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(seen) => seen.expect("it was waited for"),
            Err(_) => Exit {
                code: 255,
                signal: None,
            },
        }
    }

    pub fn running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    pub fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().expect("held for a moment only");
        if !*reaped {
            // An error says that it is gone.
            let _ = nix::sys::signal::kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// To the process and all that it started.
    pub fn signal_all(&self, signal: Signal) {
        self.signal(signal);
        for other in self.descendants() {
            let _ = nix::sys::signal::kill(Pid::from_raw(other), signal);
        }
    }

    fn descendants(&self) -> Vec<i32> {
        let mark = self.mark.as_deref();
        let marked = mark.map(processes_marked).unwrap_or_default();
        let others = marked.into_iter().filter(|other| other.state != 'Z');
        others
            .map(|other| other.pid)
            .filter(|pid| *pid != self.pid)
            .collect()
    }

    /// KILL to the process and all that it started, until none is left, as the end of a container
    /// ends all that is in it.
    pub fn end(&self) {
        self.signal(Signal::SIGKILL);
        loop {
            let others = self.descendants();
            if others.is_empty() && !self.running() {
                return;
            }
            for other in others {
                let _ = nix::sys::signal::kill(Pid::from_raw(other), Signal::SIGKILL);
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs in a thread of its own until the process has ended.
fn wait(mut child: Child, reaped: &Mutex<bool>, ended: &watch::Sender<Option<Exit>>) {
    let pid = Pid::from_raw(child.id() as i32);
    // It stays a zombie, and its number its own, until the flag is held.
    while let Err(nix::errno::Errno::EINTR) =
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
    {}
    let mut reaped = reaped.lock().expect("held for a moment only");
    let status = child.wait();
    *reaped = true;
    drop(reaped);
    let signal = status.as_ref().ok().and_then(ExitStatusExt::signal);
    let code = status.ok().and_then(|status| status.code());
    ended.send_replace(Some(Exit {
        code: code.unwrap_or_else(|| signal.map_or(255, |signal| 128 + signal)),
        signal,
    }));
}
