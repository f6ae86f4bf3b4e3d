//! The server under test: the release binary on a port of its own, ended with this value.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proc;

/// How long the server may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(15);
/// Warnings and errors of the log that are kept.
const COMPLAINTS: usize = 20;

/// What the log of a server says of which a part has failed.
const PANIC: &str = "panicked";

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    complaints: Arc<Mutex<Vec<String>>>,
    log: Option<JoinHandle<()>>,
}

/// The program that children are made of: this one.
pub(crate) fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("the path of this program")
}

impl Server {
    /// Starts `binary`; `words` are its options, the program and its arguments.
    pub(crate) fn start<S: AsRef<OsStr>>(binary: &Path, words: &[S]) -> Result<Self> {
        let mut command = Command::new(binary);
        command
            .args(["--addr", "127.0.0.1:0"])
            .args(words)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        ends_with_us(&mut command);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let stderr = child.stderr.take().context("stderr of the server")?;
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let (sender, receiver) = channel();
        let log = {
            let complaints = Arc::clone(&complaints);
            std::thread::spawn(move || read_log(stderr, &sender, &complaints))
        };
        // From here on dropping it ends it.
        let mut server = Server {
            child,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            complaints,
            log: Some(log),
        };
        server.addr = hear_address(&receiver).with_context(|| {
            let said = server.complaints().join("\n");
            format!("the server does not listen: {said}")
        })?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Warnings, errors and whatever is no log line, as far as they were kept.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What it said of panics.
    pub(crate) fn panics(&self) -> Vec<String> {
        let mut said = self.complaints();
        said.retain(|line| line.contains(PANIC));
        said
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid() as i32), signal)?)
    }

    /// Processes below the server but for the one that starts all others.
    pub(crate) fn children(&self) -> Vec<(u32, String)> {
        let mut found = proc::descendants(self.pid());
        found.retain(|(_, name)| name != "ss-warden" && name != "scalesocket" && name != "exe");
        found
    }

    /// Waits until no child is left; the last ones otherwise.
    pub(crate) fn wait_childless(&self, within: Duration) -> Vec<(u32, String)> {
        let deadline = Instant::now() + within;
        loop {
            let left = self.children();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server in good order.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.pid() as i32);
        kill(pid, Signal::SIGINT)?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => bail!("the server does not end"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        if !status.success() {
            bail!("the server ended with {status}: {:?}", self.complaints());
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Its warden ends what it started.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}

fn read_log(stderr: ChildStderr, address: &Sender<String>, complaints: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if let Some((_, behind)) = line.split_once("listening addr=") {
            let word = behind.split_whitespace().next().unwrap_or_default();
            // Only the first is waited for.
            let _ = address.send(word.to_owned());
        }
        if !line.contains(" INFO ") {
            let mut kept = complaints.lock().unwrap_or_else(PoisonError::into_inner);
            // Those are never too many.
            if kept.len() < COMPLAINTS || line.contains(PANIC) {
                kept.push(line);
            }
        }
    }
}

fn hear_address(receiver: &Receiver<String>) -> Result<SocketAddr> {
    Ok(receiver.recv_timeout(PATIENCE)?.parse()?)
}

/// A program that is started so ends when this one is killed: nothing is left behind.
#[allow(unsafe_code)] // the only way to run something between fork and exec
pub(crate) fn ends_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let die = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?);
    // SAFETY: prctl(2) is a plain system call; nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(die) };
}
