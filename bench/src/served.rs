//! A server under test, whoever made it: how it is started, where it listens, which processes'
//! time is its own, and that it is gone with this value.
//!
//! The programs it serves are never counted. Ours is the server and its warden; the others are the
//! one process that has the sockets.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::proc;
use crate::server::{Server, ends_with_us, this_program};

/// How long a peer may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The server of this checkout.
    Ours,
    /// The last release of the project that it replaces.
    Predecessor,
    /// One process of the program for each connection.
    Websocketd,
    /// Its own publish/subscribe, the publisher in the same process.
    UWebSockets,
    /// The work that nobody can leave out, and nothing else.
    Floor(&'static str),
}

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Ours => "scalesocket",
            Who::Predecessor => "scalesocket 0.2.4",
            Who::Websocketd => "websocketd",
            Who::UWebSockets => "µWebSockets",
            Who::Floor(what) => what,
        }
    }

    /// Whether somebody else made it.
    pub(crate) fn is_peer(self) -> bool {
        self.directory().is_some()
    }

    /// Its directory among the installed peers.
    pub(crate) fn directory(self) -> Option<&'static str> {
        match self {
            Who::Ours | Who::Floor(_) => None,
            Who::Predecessor => Some("predecessor"),
            Who::Websocketd => Some("websocketd"),
            Who::UWebSockets => Some("uwebsockets"),
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    counted: Vec<u32>,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Ours(Server),
    Other(Group),
}

/// A process that leads a group of its own, which ends with this value.
#[derive(Debug)]
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // The programs it serves too. It may be gone already.
        let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

impl Served {
    /// Ours: `flags`, then the program and its arguments.
    pub(crate) fn ours(binary: &Path, flags: &[&str], program: &[&str]) -> Result<Self> {
        let server = Server::start(binary, &words(flags, program))?;
        let mut counted = vec![server.pid()];
        let below = proc::descendants(server.pid()).into_iter();
        counted.extend(below.filter(|(_, name)| name == "ss-warden").map(|of| of.0));
        Ok(Served {
            addr: server.addr,
            counted,
            process: Process::Ours(server),
        })
    }

    /// A scalesocket of any version that is told a port and waited for by connecting to it: the
    /// predecessor does not say which it took.
    pub(crate) fn told_a_port(binary: &Path, flags: &[&str], program: &[&str]) -> Result<Self> {
        let addr = free_address()?;
        let mut command = Command::new(binary);
        command.args(["--addr", &addr.to_string()]);
        command.args(words(flags, program));
        Served::at(command, addr)
    }

    /// websocketd, likewise.
    pub(crate) fn websocketd(binary: &Path, flags: &[&str], program: &[&str]) -> Result<Self> {
        let addr = free_address()?;
        let mut command = Command::new(binary);
        command.args(["--address=127.0.0.1", "--loglevel=fatal"]);
        command.arg(format!("--port={}", addr.port()));
        command.args(flags).args(program);
        Served::at(command, addr)
    }

    /// One of the floors, which are children of this program.
    pub(crate) fn floor(words: &[&str]) -> Result<Self> {
        let mut command = Command::new(this_program()?);
        command.arg("child").args(words);
        Served::says_port(command)
    }

    /// A program that says on its stdout which port it has.
    pub(crate) fn says_port(mut command: Command) -> Result<Self> {
        let mut group = start(command.stdout(Stdio::piped()))?;
        let stdout = group.0.stdout.take().context("stdout of a peer")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port: u16 = line.trim().parse().context("a port")?;
        Ok(Served::of(group, SocketAddr::from(([127, 0, 0, 1], port))))
    }

    /// A program that was told where to listen.
    fn at(mut command: Command, addr: SocketAddr) -> Result<Self> {
        let group = start(command.stdout(Stdio::null()))?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = TcpStream::connect(addr) {
            if Instant::now() > deadline {
                bail!("{command:?} does not listen: {error}");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(Served::of(group, addr))
    }

    fn of(group: Group, addr: SocketAddr) -> Self {
        Served {
            addr,
            counted: vec![group.0.id()],
            process: Process::Other(group),
        }
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.counted.iter().map(|pid| proc::cpu(*pid)).sum()
    }

    /// Private memory, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        self.counted.iter().map(|pid| proc::memory(*pid)).sum()
    }

    /// The process that has the sockets.
    pub(crate) fn pid(&self) -> u32 {
        match &self.process {
            Process::Ours(server) => server.pid(),
            Process::Other(group) => group.0.id(),
        }
    }

    /// Waits until no program that it served is left; the last ones otherwise.
    pub(crate) fn wait_childless(&self, within: Duration) -> Vec<(u32, String)> {
        match &self.process {
            Process::Ours(server) => server.wait_childless(within),
            Process::Other(group) => {
                let deadline = Instant::now() + within;
                loop {
                    let left = proc::descendants(group.0.id());
                    if left.is_empty() || Instant::now() > deadline {
                        return left;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    /// Ends ours in good order, which it must; the others as they are.
    pub(crate) fn stop(self) -> Result<()> {
        match self.process {
            Process::Ours(server) => server.stop(),
            Process::Other(_) => Ok(()),
        }
    }
}

/// Both scalesockets: options, then the program, then what is behind `--` for it.
fn words<'a>(flags: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
    let mut words = flags.to_vec();
    if let [name, arguments @ ..] = program {
        words.push(name);
        if !arguments.is_empty() {
            words.push("--");
            words.extend(arguments);
        }
    }
    words
}

fn start(command: &mut Command) -> Result<Group> {
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    ends_with_us(command);
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    Ok(Group(child))
}

/// Nobody listens there a moment ago: peers cannot take a listener, nor tell what port they chose.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_is_given_stands_behind_two_dashes() {
        let flags = ["--binary"];
        assert_eq!(words(&flags, &["cat"]), ["--binary", "cat"]);
        assert_eq!(words(&[], &["sh", "-c", "x"]), ["sh", "--", "-c", "x"]);
    }

    #[test]
    fn a_floor_says_where_it_is_and_goes_with_its_value() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 4711; exec sleep 60"]);
        let served = Served::says_port(command).unwrap();
        assert_eq!(served.addr.port(), 4711);
        let pid = served.pid();
        assert!(proc::cpu(pid).is_ok());
        drop(served);
        assert!(proc::cpu(pid).is_err());
    }
}
