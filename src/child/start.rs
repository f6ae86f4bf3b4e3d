//! Starting the program of a room, and every reason why that may fail.
//!
//! A start that fails after the program ran ends it by the ladder before the error is given: who
//! hears of the failure may start the next one at once.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    sync::Arc,
    time::Duration,
};

use nix::errno::Errno;
use tokio::{
    net::unix::pipe,
    time::{Instant, sleep, timeout},
};
use tracing::debug;

use super::{
    Child, Exit, Gauge, Input, Life, NoPort, Output, PortLease, Size, Spec, Stderr, Terminal,
    Transport, Warden, attach, env, fdpass,
    guard::Guard,
    program,
    sources::Sources,
    warden::MARKER,
    wire::{Launch, Step},
};

/// Between two tries to start a program that is being written.
const AGAIN: Duration = Duration::from_millis(200);

/// Why a program could not be started; reads on from `cannot start: `.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such program.
    #[error("{program}: not found")]
    NotFound {
        /// As it was typed.
        program: String,
    },
    /// It is there, and the system does not execute it.
    #[error("{program}: {}", describe(error))]
    Refused {
        /// As it was typed.
        program: String,
        /// The system's reason.
        error: io::Error,
    },
    /// What it is to be before it begins is not granted by the system.
    #[error("{flag}: {}", words(error))]
    Confined {
        /// What asked for it.
        flag: &'static str,
        /// The system's reason.
        error: io::Error,
    },
    /// The system has no terminal for it.
    #[error("no pseudo-terminal: {}", words(.0))]
    NoTerminal(io::Error),
    /// No descriptors, processes or memory are left.
    #[error("out of resources: {}", describe(.0))]
    Exhausted(io::Error),
    /// Every port is taken.
    #[error(transparent)]
    NoPort(#[from] NoPort),
    /// Nobody could be reached in time.
    #[error(
        "nothing accepted connections at {addr} within {within:?}: {}",
        describe(error)
    )]
    AttachTimeout {
        /// Where we tried.
        addr: String,
        /// For how long.
        within: Duration,
        /// How the last try failed.
        error: io::Error,
    },
    /// It ended before it could be reached.
    #[error("ended before it accepted connections ({0})")]
    ExitedBeforeAttach(Exit),
    /// It is not known to run in the time that a start may take.
    #[error("not started within {0:?}")]
    Timeout(Duration),
    /// The process that starts all others is gone; the server is about to end.
    #[error("the server is ending")]
    Warden,
}

impl StartError {
    /// The status of a shell that could not start a program.
    pub fn shell_status(&self) -> u8 {
        match self {
            StartError::NotFound { .. } => 127,
            _ => 126,
        }
    }
}

/// Why a file that is there is not executed.
fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "its interpreter is not found".to_owned(),
        _ => words(error),
    }
}

/// The system's words for an error, without its number.
fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => Errno::from_raw(errno).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// A process that runs.
struct Started {
    pid: Option<u32>,
    gauge: Option<Arc<Gauge>>,
    life: Life,
}

/// Starts the program of each room; clones start the same.
#[derive(Debug, Clone)]
pub struct Starter {
    spec: Spec,
    warden: Option<Warden>,
    sources: Option<Arc<Sources>>,
}

impl Starter {
    /// `warden` may be none with [`Transport::Connect`] only: every start would fail.
    pub fn new(spec: Spec, warden: Option<Warden>) -> Starter {
        Starter {
            spec,
            warden,
            sources: None,
        }
    }

    /// From now on a program that is being written is waited for.
    pub fn watching(self, sources: Option<Arc<Sources>>) -> Starter {
        Starter { sources, ..self }
    }

    /// What is started.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// A port for the programs of one room, where they need one.
    pub fn lease(&self) -> Result<Option<PortLease>, NoPort> {
        match &self.spec.transport {
            Transport::Tcp(ports) => ports.lease().map(Some),
            Transport::Stdio | Transport::Terminal(_) | Transport::Connect(_) => Ok(None),
        }
    }

    /// Starts a program for one room, with the room's own environment.
    ///
    /// Dropping the future kills what it has started. The environment should have `UNIQUE_ID`,
    /// by which daemons of the room are known; it gets one if not.
    /// `port` is the room's, from [`Starter::lease`]; without one a TCP child leases its own.
    pub async fn start(
        &self,
        env: Vec<(OsString, OsString)>,
        port: Option<&PortLease>,
    ) -> Result<Child, StartError> {
        let Some(sources) = &self.sources else {
            return self.start_now(env, port).await;
        };
        let deadline = Instant::now() + self.spec.start_timeout;
        loop {
            let version = sources.settled(deadline).await;
            let error = match self.start_now(env.clone(), port).await {
                Ok(child) => return Ok(Child { version, ..child }),
                Err(error) => error,
            };
            // One that is not there or cannot be executed may be on its way.
            let passes = matches!(
                error,
                StartError::NotFound { .. } | StartError::Refused { .. }
            );
            if !passes || Instant::now() >= deadline {
                return Err(error);
            }
            debug!(%error, "the program is waited for");
            sleep(AGAIN).await;
        }
    }

    async fn start_now(
        &self,
        env: Vec<(OsString, OsString)>,
        port: Option<&PortLease>,
    ) -> Result<Child, StartError> {
        match &self.spec.transport {
            Transport::Stdio => self.over_stdio(env).await,
            Transport::Terminal(size) => self.in_terminal(*size, env).await,
            Transport::Tcp(ports) => {
                let lease = port.cloned().map_or_else(|| ports.lease(), Ok)?;
                self.over_tcp(lease, env).await
            }
            Transport::Connect(addr) => self.connect(addr).await,
        }
    }

    async fn over_stdio(&self, env: Vec<(OsString, OsString)>) -> Result<Child, StartError> {
        let (stdin, ours_in) = io::pipe().map_err(StartError::Exhausted)?;
        let (ours_out, stdout) = io::pipe().map_err(StartError::Exhausted)?;
        let (stderr, ours_err) = self.stderr()?;
        let input = pipe::Sender::from_owned_fd(ours_in.into()).map_err(StartError::Exhausted)?;
        let output =
            pipe::Receiver::from_owned_fd(ours_out.into()).map_err(StartError::Exhausted)?;

        let (stdin, stdout) = (OwnedFd::from(stdin), OwnedFd::from(stdout));
        self.give(&stdin);
        self.give(&stdout);
        let started = self.launch(env, [stdin, stdout, stderr], None).await?;
        let Started {
            pid,
            gauge,
            mut life,
        } = started;
        if let Some(delay) = self.spec.attach_delay {
            // One that ends meanwhile is started all the same: what it printed is to be heard.
            let _ended = timeout(delay, life.exited()).await;
        }
        let (input, output) = (Input::pipe(input), Output::pipe(output));
        Ok(Child {
            pid,
            input,
            output,
            stderr: ours_err,
            terminal: None,
            gauge,
            life,
            version: 0,
        })
    }

    async fn in_terminal(
        &self,
        size: Size,
        env: Vec<(OsString, OsString)>,
    ) -> Result<Child, StartError> {
        let (terminal, theirs) = Terminal::open(size).map_err(StartError::NoTerminal)?;
        self.give_terminal(&theirs);
        let copy = || theirs.try_clone().map_err(StartError::Exhausted);
        let stdio = [copy()?, copy()?, theirs];
        let Started {
            pid,
            gauge,
            mut life,
        } = self.launch(env, stdio, None).await?;
        if let Some(delay) = self.spec.attach_delay {
            let _ended = timeout(delay, life.exited()).await;
        }
        let terminal = Arc::new(terminal);
        Ok(Child {
            pid,
            input: Input::terminal(Arc::clone(&terminal)),
            output: Output::terminal(Arc::clone(&terminal)),
            stderr: None,
            terminal: Some(terminal),
            gauge,
            life,
            version: 0,
        })
    }

    async fn over_tcp(
        &self,
        lease: PortLease,
        mut env: Vec<(OsString, OsString)>,
    ) -> Result<Child, StartError> {
        let port = lease.port();
        env.push(("PORT".into(), port.to_string().into()));
        let (stderr, ours_err) = self.stderr()?;
        let stdout = stderr.try_clone().map_err(StartError::Exhausted)?;
        let stdio = [null()?, stdout, stderr];
        let Started {
            pid,
            gauge,
            mut life,
        } = self.launch(env, stdio, Some(lease)).await?;

        let within = self.spec.start_timeout;
        let delay = self.spec.attach_delay.unwrap_or_default();
        let attached = async {
            tokio::time::sleep(delay).await;
            attach::local(port, within).await
        };
        let failed = tokio::select! {
            biased; // a child that both accepted and ended did accept
            attached = attached => match attached {
                Ok(stream) => {
                    let (output, input) = stream.into_split();
                    let (input, output) = (Input::tcp(input), Output::tcp(output));
                    let terminal = None;
                    return Ok(Child { pid, input, output, stderr: ours_err, terminal, gauge, life, version: 0 });
                }
                Err(error) => {
                    let addr = format!("127.0.0.1:{port}");
                    StartError::AttachTimeout { addr, within, error }
                }
            },
            exit = life.exited() => StartError::ExitedBeforeAttach(exit),
        };
        life.stop();
        life.gone().await;
        Err(failed)
    }

    async fn connect(&self, addr: &str) -> Result<Child, StartError> {
        tokio::time::sleep(self.spec.attach_delay.unwrap_or_default()).await;
        let within = self.spec.start_timeout;
        let stream =
            attach::remote(addr, within)
                .await
                .map_err(|error| StartError::AttachTimeout {
                    addr: addr.to_owned(),
                    within,
                    error,
                })?;
        let (output, input) = stream.into_split();
        Ok(Child {
            pid: None,
            input: Input::tcp(input),
            output: Output::tcp(output),
            stderr: None,
            terminal: None,
            gauge: None,
            life: Life::connection(),
            version: 0,
        })
    }

    /// Has the warden start the program, and waits until it runs.
    async fn launch(
        &self,
        room_env: Vec<(OsString, OsString)>,
        stdio: fdpass::Stdio,
        port: Option<PortLease>,
    ) -> Result<Started, StartError> {
        let spec = &self.spec;
        let path = program::find(&spec.program)?.into_os_string();
        let mut env = spec.env.clone();
        env.extend_from_slice(spec.cage.env());
        env.retain(|(name, _)| name != MARKER); // that of the room we may run in ourselves
        if !room_env.iter().any(|(name, _)| name == MARKER) {
            env.push((MARKER.into(), env::unique_id().into()));
        }
        env.extend(room_env);
        let marker = env.iter().rev().find(|(name, _)| name == MARKER);
        let marker = marker.map(|(_, value)| value.clone().into_vec());
        let name = spec.program.clone().into_os_string();
        let launch = Launch {
            path,
            name,
            args: spec.args.clone(),
            env,
            cage: spec.cage.clone(),
            terminal: matches!(spec.transport, Transport::Terminal(_)),
        };

        let link = self.warden.as_ref().ok_or(StartError::Warden)?.link();
        let place = link.launch(launch, stdio, port).ok_or(StartError::Warden)?;
        let (id, _) = place;
        let mut life = Life::process(link.clone(), place, spec.stop_signal, spec.stop_grace);
        let pid = match timeout(spec.start_timeout, life.started()).await {
            Ok(Ok(pid)) => pid,
            Ok(Err((errno, step))) => return Err(self.failed(errno, step)),
            Err(_) => return Err(StartError::Timeout(spec.start_timeout)),
        };
        let division = link.division.as_ref();
        let part = division.map(|division| division.part(link.warden(), id));
        let gauge = pid.map(|leader| {
            let marker = marker.unwrap_or_default();
            Arc::new(Gauge::new(link.clone(), leader, marker, part.clone()))
        });
        let guard = gauge
            .clone()
            .and_then(|gauge| Guard::new(&spec.cage.limits, part.as_deref(), gauge));
        life.watch(guard);
        Ok(Started { pid, gauge, life })
    }

    fn failed(&self, errno: i32, step: Step) -> StartError {
        let error = io::Error::from_raw_os_error(errno);
        let flag = match step {
            Step::Exec => None,
            Step::Identity => Some("--user"),
            Step::Directory => Some("--chdir"),
            Step::Limits => Some("--nice and --limit flags"),
            Step::Terminal => Some("--pty"),
        };
        match (errno, flag) {
            (libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE, _) => {
                StartError::Exhausted(error)
            }
            (libc::ESRCH, _) => StartError::Warden,
            (_, Some(flag)) => StartError::Confined { flag, error },
            (_, None) => StartError::Refused {
                program: self.spec.program.display().to_string(),
                error,
            },
        }
    }

    /// A pipe of ours becomes the program's own, so that it can open `/dev/stdout` as it likes.
    fn give(&self, pipe: &OwnedFd) {
        use nix::unistd::{Gid, Uid, fchown};

        let Some(who) = &self.spec.cage.identity else {
            return;
        };
        let (uid, gid) = (who.uid.map(Uid::from_raw), Gid::from_raw(who.gid));
        // Where it cannot be given away it is used all the same.
        let _ = fchown(pipe.as_fd(), uid, Some(gid));
    }

    /// A terminal becomes the program's own, as that of a login does; who else may write to it
    /// (its group and mode) is the system's choice.
    fn give_terminal(&self, terminal: &OwnedFd) {
        use nix::unistd::{Uid, fchown};

        if let Some(uid) = self.spec.cage.identity.as_ref().and_then(|who| who.uid) {
            let _ = fchown(terminal.as_fd(), Some(Uid::from_raw(uid)), None);
        }
    }

    /// The child's end of its standard error, and ours if we read it.
    fn stderr(&self) -> Result<(OwnedFd, Option<pipe::Receiver>), StartError> {
        match self.spec.stderr {
            Stderr::Pipe => {
                let (ours, theirs) = io::pipe().map_err(StartError::Exhausted)?;
                // Unprivileged users have few pages for pipes: about 340 rooms' worth of three
                // default ones. A log line needs no 64 KiB.
                #[cfg(target_os = "linux")]
                let _smaller = nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096));
                let ours =
                    pipe::Receiver::from_owned_fd(ours.into()).map_err(StartError::Exhausted)?;
                let theirs = OwnedFd::from(theirs);
                self.give(&theirs);
                Ok((theirs, Some(ours)))
            }
            Stderr::Inherit => {
                let ours = io::stderr().as_fd().try_clone_to_owned();
                Ok((ours.map_err(StartError::Exhausted)?, None))
            }
            Stderr::Drop => Ok((null()?, None)),
        }
    }
}

fn null() -> Result<OwnedFd, StartError> {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null");
    Ok(null.map_err(StartError::Exhausted)?.into())
}
