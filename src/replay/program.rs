//! One life of a program, lived again: fed by one thread, read by another, and compared as it speaks.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use parking_lot::{Condvar, Mutex};

use super::Totals;
use super::compare::{Cutter, Difference, Message, Side};
use super::group::{Current, Group};
use super::recording::{Given, Life, Said, Step};
use crate::child::Exit;
use crate::cli::{Pace, Replay};
use crate::record::line::Framing;

/// The variable by which a program knows that chance comes from its recording.
const REPLAYED: &str = "SCALESOCKET_REPLAY";
/// Reads that may wait to be compared.
const AHEAD: usize = 64;
/// Between two looks whether the program has ended, of which nobody is told.
const GLANCE: Duration = Duration::from_millis(5);

/// What happens to the program, for whoever compares.
enum Heard {
    /// It printed this.
    Bytes(Vec<u8>),
    /// It prints no more.
    End,
    /// It was given all there is, or takes no more.
    Fed,
}

/// How far the program has come, for whoever feeds it.
#[derive(Debug, Default)]
struct Progress {
    /// As [`Cutter::progress`], and whether nothing more is to be given.
    state: Mutex<(usize, bool)>,
    news: Condvar,
}

/// Runs the program through `life`; the first difference, if there is one.
pub(super) fn replay(
    options: &Replay,
    current: &Current,
    framing: &Framing,
    life: &Life,
    totals: &mut Totals,
) -> anyhow::Result<Option<Difference>> {
    let mut group = start(options, current, life)?;
    let (stdin, stdout) = (group.child.stdin.take(), group.child.stdout.take());
    let stdin = stdin.context("the program has no stdin")?;
    let mut stdout = stdout.context("the program has no stdout")?;
    let (say, heard) = sync_channel(AHEAD);
    let fed = say.clone();
    thread::spawn(move || read(&mut stdout, &say));
    let progress = Arc::new(Progress::default());
    let began = Instant::now();
    let result = thread::scope(|scope| {
        scope.spawn(|| feed(stdin, fed, &life.steps, options.pace, began, &progress));
        let mut comparison = Comparison {
            options,
            life,
            cutter: Cutter::new(framing),
            same: 0,
            began,
            last: began,
            is_fed: false,
            difference: None,
        };
        let result = comparison.run(&heard, &mut group.child, &progress);
        totals.messages += comparison.same;
        // Also wakes the feeder, perhaps from a write.
        progress.state.lock().1 = true;
        progress.news.notify_all();
        drop((heard, group));
        result
    });
    let given = life.steps.iter().map(|step| match &step.what {
        Given::Bytes(bytes) => bytes.len(),
        Given::Told(_) | Given::End => 0,
    });
    totals.bytes += given.sum::<usize>();
    result
}

fn start(options: &Replay, current: &Current, life: &Life) -> anyhow::Result<Group> {
    let mut command = Command::new(&options.program);
    command.args(&options.args).envs(&life.env);
    command.env(REPLAYED, "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    current.start(&mut command).map_err(|error| {
        let program = crate::cli::shown(&options.program);
        match error.kind() {
            ErrorKind::NotFound => {
                anyhow!("cannot start `{program}`: it is not found, or its interpreter is not")
            }
            _ => anyhow!("cannot start `{program}`: {error}"),
        }
    })
}

/// Hands over what is printed; nothing more comes when the sender is gone.
fn read(stdout: &mut impl Read, say: &SyncSender<Heard>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stdout.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                let bytes = buffer.get(..read).unwrap_or_default().to_vec();
                if say.send(Heard::Bytes(bytes)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // Nobody hears it who has heard enough.
    let _ = say.send(Heard::End);
}

/// Gives the program its input, each step behind what it had said before, and in its time.
fn feed(
    stdin: ChildStdin,
    fed: SyncSender<Heard>,
    steps: &[Step],
    pace: Pace,
    began: Instant,
    progress: &Progress,
) {
    let mut stdin = Some(stdin);
    for step in steps {
        let mut state = progress.state.lock();
        if let Pace::Times(speed) = pace {
            let due = began + seconds(step.at / speed);
            while !state.1 && !progress.news.wait_until(&mut state, due).timed_out() {}
        }
        while state.0 < step.after && !state.1 {
            progress.news.wait(&mut state);
        }
        if state.1 {
            return;
        }
        drop(state);
        match (&step.what, &mut stdin) {
            // A program that takes no more is one that is compared to its end.
            (Given::Bytes(bytes) | Given::Told(bytes), Some(open)) => {
                if open.write_all(bytes).is_err() {
                    break;
                }
            }
            (Given::Bytes(_) | Given::Told(_), None) => {}
            (Given::End, open) => *open = None,
        }
    }
    let _ = fed.send(Heard::Fed);
    // Its input stays open until all is compared, unless it ended in the recording.
    let mut state = progress.state.lock();
    while !state.1 {
        progress.news.wait(&mut state);
    }
}

/// A number of a file as a time; what is none is no time at all.
fn seconds(seconds: f64) -> Duration {
    let most = 365.0 * 86_400.0;
    Duration::try_from_secs_f64(seconds.clamp(0.0, most)).unwrap_or_default()
}

struct Comparison<'a> {
    options: &'a Replay,
    life: &'a Life,
    cutter: Cutter,
    /// So many messages were the same.
    same: usize,
    began: Instant,
    /// When the program last said something.
    last: Instant,
    /// Whether it was given all there is.
    is_fed: bool,
    difference: Option<Difference>,
}

impl Comparison<'_> {
    fn run(
        &mut self,
        heard: &Receiver<Heard>,
        child: &mut Child,
        progress: &Progress,
    ) -> anyhow::Result<Option<Difference>> {
        loop {
            // How it ended by itself counts; that the server ended it does not, nor what it would
            // have said then.
            if self.is_fed && self.has_said_all() && self.exit().is_none() {
                return Ok(None);
            }
            let wait = self.deadline().saturating_duration_since(Instant::now());
            match heard.recv_timeout(wait) {
                Ok(Heard::Bytes(bytes)) => {
                    self.last = Instant::now();
                    self.take(|cutter, sink| cutter.feed(&bytes, sink));
                }
                Ok(Heard::Fed) => self.is_fed = true,
                Err(RecvTimeoutError::Timeout) => return Ok(self.silent()),
                Ok(Heard::End) | Err(RecvTimeoutError::Disconnected) => {
                    self.take(|cutter, sink| cutter.finish(sink));
                    if self.difference.is_some() {
                        return Ok(self.difference.take());
                    }
                    return self.ended(child);
                }
            }
            if self.difference.is_some() {
                return Ok(self.difference.take());
            }
            progress.state.lock().0 = self.cutter.progress();
            progress.news.notify_all();
        }
    }

    /// Compares what comes out of the cutter.
    fn take(&mut self, cut: impl FnOnce(&mut Cutter, &mut dyn FnMut(Message))) {
        let Comparison {
            options,
            life,
            cutter,
            same,
            difference,
            ..
        } = self;
        let by_itself = own_exit(life).is_some();
        cut(cutter, &mut |came| {
            if difference.is_some() {
                return;
            }
            match life.messages.get(*same) {
                Some(said) if said.message.is(&came, options.json) => *same += 1,
                Some(said) => {
                    *difference = Some(Difference::Message {
                        number: *same + 1,
                        at: Some(said.at),
                        recorded: Side::Message(said.message.clone()),
                        came: Side::Message(came),
                    });
                }
                None if by_itself => {
                    *difference = Some(Difference::Message {
                        number: *same + 1,
                        at: None,
                        recorded: Side::Nothing("the program had ended".into()),
                        came: Side::Message(came),
                    });
                }
                None => {}
            }
        });
    }

    fn has_said_all(&self) -> bool {
        self.same >= self.life.messages.len()
    }

    /// How the program ended by itself, in the recording.
    fn exit(&self) -> Option<&str> {
        own_exit(self.life)
    }

    /// Until when something is to come.
    fn deadline(&self) -> Instant {
        let messages = &self.life.messages;
        let last_step = self.life.steps.last().map_or(0.0, |step| step.at);
        let at = match messages.get(self.same) {
            Some(said) => said.at,
            None => messages.last().map_or(0.0, |said| said.at).max(last_step),
        };
        let due = match self.options.pace {
            Pace::Times(speed) => self.began + seconds(at / speed),
            // It may need as long as it did.
            Pace::AsAnswered => {
                let before = self.same.checked_sub(1).and_then(|at| messages.get(at));
                self.last + seconds(at - before.map_or(0.0, |said| said.at))
            }
        };
        due.max(self.last) + self.options.timeout
    }

    /// It should have said more, or ended.
    fn silent(&mut self) -> Option<Difference> {
        let within = self.options.timeout;
        // The begin of a message is more than none.
        self.take(|cutter, sink| cutter.finish(sink));
        if self.difference.is_some() {
            return self.difference.take();
        }
        if let Some(said) = self.life.messages.get(self.same) {
            return Some(self.missing(said, format!("silent for {within:?} more")));
        }
        // What it does not read it did not need.
        let recorded = self.exit()?.to_owned();
        let came = format!("it still runs, after {within:?} more");
        Some(Difference::Exit { recorded, came })
    }

    fn missing(&self, said: &Said, why: String) -> Difference {
        Difference::Message {
            number: self.same + 1,
            at: Some(said.at),
            recorded: Side::Message(said.message.clone()),
            came: Side::Nothing(why),
        }
    }

    /// It prints nothing more.
    fn ended(&self, child: &mut Child) -> anyhow::Result<Option<Difference>> {
        let deadline = Instant::now() + self.options.timeout;
        let status = loop {
            match child.try_wait()? {
                None if Instant::now() < deadline => thread::sleep(GLANCE),
                status => break status,
            }
        };
        let came = match status {
            Some(status) => exit(status).to_string(),
            None => "its output ended, and it still runs".to_owned(),
        };
        if let Some(said) = self.life.messages.get(self.same) {
            return Ok(Some(self.missing(said, format!("the program: {came}"))));
        }
        let input_ended = self.life.steps.iter().any(|step| step.what == Given::End);
        let recorded = match self.exit() {
            Some(exit) if exit == came => return Ok(None),
            Some(exit) => exit,
            // Nobody knows whether it would have.
            None if self.life.exit.is_some() || input_ended || status.is_none() => return Ok(None),
            None => "it went on running",
        };
        Ok(Some(Difference::Exit {
            recorded: recorded.to_owned(),
            came,
        }))
    }
}

/// How a program ended by itself: by none of the signals that somebody sends.
fn own_exit(life: &Life) -> Option<&str> {
    const SENT: [&str; 5] = ["HUP", "INT", "QUIT", "KILL", "TERM"];
    let exit = life.exit.as_deref()?;
    let signal = exit.strip_prefix("signal ");
    let is_own = exit.starts_with("exit ") || signal.is_some_and(|name| !SENT.contains(&name));
    is_own.then_some(exit)
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}
