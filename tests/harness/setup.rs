//! A server that is yet to be started: its command line, its environment, what it runs inside of.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;
use tokio::time::timeout;

use super::command_line::arguments;
use super::diary::Diary;
use super::processes::processes_marked;
use super::server::GLANCE;
use super::{PATIENCE, Server};

/// A server with this command line, ready for people.
pub async fn serve(line: impl AsRef<str>) -> Server {
    given(line).serve().await
}

/// A server that is yet to be started.
pub fn given(line: impl AsRef<str>) -> Setup {
    Setup {
        words: arguments(line.as_ref()),
        environment: Vec::new(),
        before: None,
        socket: None,
        log: None,
    }
}

/// Runs a command line that cannot work to its end: exit code, stdout, stderr.
pub async fn fails(line: impl AsRef<str>) -> Output {
    given(line).output().await
}

/// A directory that goes away with the test.
pub fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub struct Setup {
    words: Vec<String>,
    environment: Vec<(String, String)>,
    before: Option<Vec<String>>,
    socket: Option<std::net::TcpListener>,
    log: Option<PathBuf>,
}

impl Setup {
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the server as the last argument of another program, such as `unshare`.
    pub fn inside(mut self, line: &str) -> Setup {
        self.before = Some(super::split(line));
        self
    }

    /// Hands over a listening socket as standard input, whence a shell (`inside`) moves it to
    /// descriptor 3, where service managers put it.
    pub fn inherits(mut self, socket: std::net::TcpListener) -> Setup {
        self.socket = Some(socket);
        self
    }

    /// Its log goes to this file, which is followed as it grows.
    pub fn logs_to(mut self, path: &Path) -> Setup {
        self.log = Some(path.to_owned());
        self
    }

    fn command(&self, mark: &str) -> Command {
        let binary = env!("CARGO_BIN_EXE_scalesocket");
        let mut command = match self.before.as_deref().and_then(<[String]>::split_first) {
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        // What the tests were started with must not decide what they see.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SCALESOCKET_") {
                command.env_remove(name);
            }
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/{mark}"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    pub async fn output(self) -> Output {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let mark = format!(
            "ss-run-{}-{}",
            std::process::id(),
            RUNS.fetch_add(1, Ordering::Relaxed)
        );
        let mut command = self.command(&mark);
        command.args(&self.words).stdout(Stdio::piped());
        let run = tokio::task::spawn_blocking(move || command.output());
        match timeout(PATIENCE, run).await {
            Ok(Ok(Ok(output))) => output,
            Ok(_) => panic!("{:?} could not be run", self.words),
            Err(_) => {
                for process in processes_marked(&mark) {
                    kill(Pid::from_raw(process.pid), Signal::SIGKILL).ok();
                }
                panic!("{:?} went on running", self.words)
            }
        }
    }

    /// Starts it and waits until it says that it is ready.
    pub async fn serve(self) -> Server {
        let server = self.start();
        server.logged(r#""message":"ready""#).await;
        server
    }

    /// Starts it without waiting.
    pub fn start(self) -> Server {
        static SERVERS: AtomicU64 = AtomicU64::new(0);
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let mark = format!("ss-test-{}-{number}.", std::process::id());
        let mut command = self.command(&mark);
        let has_address = self.words.iter().any(|word| word.starts_with("--addr"));
        if !has_address && self.socket.is_none() {
            command.args(["--addr", "127.0.0.1:0"]);
        }
        command.args(["--log", "json"]).args(&self.words);
        if let Some(socket) = self.socket {
            command.stdin(std::os::fd::OwnedFd::from(socket));
        }
        let file = self.log.map(|path| {
            let made = std::fs::File::create(&path).expect("a file for the log");
            command.stderr(made);
            std::fs::File::open(&path).expect("the log's file")
        });
        let mut child = command.spawn().expect("the server can be started");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        let diary = Diary::default();
        let (lines, logged) = watch::channel(());
        let pages = diary.clone();
        let (ended, exit) = watch::channel(None);
        let over = exit.clone();
        let log: Box<dyn Read + Send> = match (file, child.stderr.take()) {
            (Some(file), _) => Box::new(Followed(file, over)),
            (None, stderr) => Box::new(stderr.expect("stderr is a pipe")),
        };
        std::thread::spawn(move || {
            for line in BufReader::new(log).split(b'\n').map_while(Result::ok) {
                pages.logged(String::from_utf8_lossy(&line).into_owned());
                lines.send_replace(());
            }
        });
        std::thread::spawn(move || ended.send_replace(child.wait().ok()));
        Server::new(pid, mark, diary, logged, exit)
    }
}

/// A file that grows for as long as a process lives.
struct Followed(std::fs::File, watch::Receiver<Option<ExitStatus>>);

impl Read for Followed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let over = self.1.borrow().is_some();
            let read = self.0.read(bytes)?;
            if read > 0 || over {
                return Ok(read);
            }
            std::thread::sleep(GLANCE);
        }
    }
}
