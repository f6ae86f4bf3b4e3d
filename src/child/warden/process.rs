//! The warden's own process: one thread, one socket, one loop.
//!
//! It hears requests, starts programs, watches for deaths, and writes answers when the socket
//! takes them. EOF means that the server is gone, however it went: then everything that is left
//! beneath the warden is killed, and the warden ends last.
#![allow(unsafe_code)] // signal(2) and close_range(2)

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
    unistd::{dup2_stdin, setsid},
};

use super::{
    NAME,
    confined::Confined,
    rooms::Rooms,
    spawn::{Failed, Spawner},
};
use crate::child::{
    cgroup::Division,
    clock,
    fdpass::{self, Brought},
    nofile, tree,
    wire::{Answer, Request, Step},
};

/// Requests served before the loop looks at deaths again: a start may take a millisecond.
const REQUESTS_PER_TURN: usize = 8;

/// How long the loop sleeps at most while there is a deadline.
const AWAKE: Duration = Duration::from_secs(1);

/// Is the warden, when this process was started as one; none when it is anything else.
///
/// The first line of `main`, before threads, runtimes and flags.
pub fn run_if_warden() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    if args.next()? != NAME {
        return None;
    }
    let soft_nofile = args.next()?.to_str()?.parse().ok()?;
    let division = match (args.next(), args.next()) {
        (Some(directory), Some(controllers)) => Some(Division::from_words(
            directory.into(),
            controllers.to_str()?,
        )),
        _ => None,
    };
    Some(
        match Process::begin(soft_nofile, division).and_then(Process::run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the warden failed: {error}");
                tree::end_all(|_| false, Duration::MAX);
                ExitCode::FAILURE
            }
        },
    )
}

struct Process {
    socket: UnixStream,
    deaths: UnixStream,
    spawner: Spawner,
    /// Where rooms have cgroups.
    division: Option<Division>,
    rooms: Rooms,
    /// Bytes heard that are not a whole request yet.
    heard: BytesMut,
    /// Descriptors that came before the end of their request; none where some were lost.
    stdios: VecDeque<Option<fdpass::Stdio>>,
    /// Until when rooms may live, by [`clock`].
    until: u64,
    /// Whether that time came.
    expired: bool,
    /// Answers the socket did not take yet; bounded by the requests they answer.
    unsent: VecDeque<u8>,
}

impl Process {
    /// Becomes a process that nothing but the end of the server ends.
    fn begin(soft_nofile: u64, division: Option<Division>) -> io::Result<Process> {
        // What a careless parent left open would reach every child of every room.
        #[cfg(target_os = "linux")]
        // SAFETY: this is the first thing the process does: nothing here owns a descriptor yet.
        unsafe {
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0)
        };
        let spawner = Spawner::new(soft_nofile)?; // before anything else opens a descriptor
        // A descriptor watches each leader; programs get the limit they would have had.
        let _as_it_is = nofile::raise_nofile();
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        socket.set_nonblocking(true)?;
        let null = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        dup2_stdin(&null)?;

        let _already_leader = setsid();
        #[cfg(target_os = "linux")]
        {
            nix::sys::prctl::set_child_subreaper(true)?;
            nix::sys::prctl::set_name(c"ss-warden")?;
        }
        // What a careless parent ignored would be ignored by every program too. Numbers that cannot
        // be changed are passed over.
        for inherited in 1..=64 {
            // SAFETY: the default disposition runs no code of ours. What the standard library has
            // set for a full stack only says so.
            unsafe { libc::signal(inherited, libc::SIG_DFL) };
        }
        for ours in [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
            Signal::SIGPIPE,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
        ] {
            // SAFETY: ignoring runs no code.
            unsafe { signal(ours, SigHandler::SigIgn) }?;
        }
        let (deaths, waker) = UnixStream::pair()?;
        deaths.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(libc::SIGCHLD, waker)?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;

        let unsent = Answer::Ready.encode().into();
        Ok(Process {
            socket,
            deaths,
            spawner,
            division,
            rooms: Rooms::default(),
            heard: BytesMut::new(),
            stdios: VecDeque::new(),
            until: u64::MAX,
            expired: false,
            unsent,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut more = false;
        while let Some(waiting) = self.turn(more)? {
            more = waiting;
        }
        // The server is gone. Nothing it started outlives it; stubborn kernels are waited for.
        self.rooms.kill_leaders();
        tree::end_all(|_| false, Duration::MAX);
        self.rooms.leave();
        Ok(())
    }

    /// One turn of the loop: none at EOF, else whether whole requests still wait.
    fn turn(&mut self, more: bool) -> io::Result<Option<bool>> {
        let wait = if more {
            Some(Duration::ZERO)
        } else {
            let turn = self.rooms.next_turn(Instant::now());
            [turn, self.deadline()].into_iter().flatten().min()
        };
        let mut wanted = PollFlags::POLLIN;
        if !self.unsent.is_empty() {
            wanted |= PollFlags::POLLOUT;
        }
        let watch = self.rooms.fd().unwrap_or(self.deaths.as_fd());
        let mut fds = [
            PollFd::new(self.socket.as_fd(), wanted),
            PollFd::new(self.deaths.as_fd(), PollFlags::POLLIN),
            PollFd::new(watch, PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout(wait)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !self.hear()? {
            return Ok(None);
        }
        // Before any start, and again after: a deadline is no matter of turns.
        self.keep_deadline();
        let mut more = true;
        for _ in 0..REQUESTS_PER_TURN {
            let Some(request) = Request::take(&mut self.heard)? else {
                more = false;
                break;
            };
            self.serve(request)?;
        }
        self.keep_deadline();
        if drain(&self.deaths)? {
            self.rooms.somebody_died();
        }
        self.rooms.turn(Instant::now());
        for answer in self.rooms.answers.drain(..) {
            self.unsent.extend(answer.encode());
        }
        self.flush()?;
        Ok(Some(more))
    }

    /// Reads what the server said; false at EOF.
    fn hear(&mut self) -> io::Result<bool> {
        let mut buf = [0; 16 << 10];
        loop {
            match fdpass::receive(self.socket.as_fd(), &mut buf) {
                Ok((0, _)) => return Ok(false),
                Ok((read, brought)) => {
                    self.heard
                        .extend_from_slice(buf.get(..read).unwrap_or_default());
                    match brought {
                        Brought::Nothing => {}
                        Brought::Stdio(stdio) => self.stdios.push_back(Some(stdio)),
                        Brought::Lost => self.stdios.push_back(None),
                    }
                    // Not more than one start ahead: descriptors in flight are ours to hold.
                    if self.stdios.len() >= REQUESTS_PER_TURN {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// How long until the deadline may have to be kept. The system's waits do not count the time
    /// in which the machine sleeps, but the deadline does.
    fn deadline(&self) -> Option<Duration> {
        let left = (self.until != u64::MAX && !self.expired)
            .then(|| self.until.saturating_sub(clock::now()));
        left.map(|left| Duration::from_nanos(left).min(AWAKE))
    }

    fn keep_deadline(&mut self) {
        if !self.expired && clock::now() >= self.until {
            self.expired = true;
            self.rooms.kill_all(Instant::now());
        }
    }

    fn serve(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Start { id, launch } => {
                let marker = launch.env.iter().find(|(name, _)| name == super::MARKER);
                let marker = marker.map(|(_, value)| value.as_bytes().to_vec());
                // Descriptors travel with the first byte of their request: they are here.
                let stdio = self.stdios.pop_front().ok_or(io::ErrorKind::InvalidData)?;
                let confined = Confined::new(self.division.as_ref(), id, &launch.cage);
                let (part, kept) = (confined.part(), confined.kept());
                let failed = |errno| Failed {
                    errno,
                    step: Step::Exec,
                };
                let started = match stdio {
                    _ if self.expired || clock::now() >= self.until => Err(failed(libc::ECANCELED)),
                    Some(stdio) => self.spawner.spawn(*launch, stdio, part, kept),
                    None => Err(failed(libc::EMFILE)),
                };
                match started {
                    Ok(spawned) => self.rooms.started(id, spawned, marker, confined),
                    Err(Failed { errno, step }) => {
                        self.rooms.left(confined);
                        self.rooms.answers.push(Answer::Failed { id, errno, step });
                    }
                }
            }
            Request::Stop { id, signal, grace } => {
                self.rooms.stop(id, signal, Instant::now() + grace);
            }
            Request::Kill { id } => self.rooms.kill(id, Instant::now()),
            Request::Until { at } => {
                self.until = at;
                self.expired = false;
            }
        }
        Ok(())
    }

    /// Writes what the socket takes, and never waits for it.
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.write(self.unsent.as_slices().0) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nobody is there to hear it: the EOF that comes next says what to do.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.unsent.clear(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Empties the pipe that SIGCHLD writes to; whether there was anything.
fn drain(mut deaths: &UnixStream) -> io::Result<bool> {
    let mut any = false;
    loop {
        match deaths.read(&mut [0; 256]) {
            Ok(0) => return Ok(any),
            Ok(_) => any = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(any),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Rounded up: a turn that comes too early would only come again.
fn timeout(wait: Option<Duration>) -> PollTimeout {
    let Some(wait) = wait else {
        return PollTimeout::NONE;
    };
    let millis = wait.as_nanos().div_ceil(1_000_000).min(60_000);
    PollTimeout::try_from(millis as i32).unwrap_or(PollTimeout::MAX)
}
