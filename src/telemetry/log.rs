//! The way of a log line to its reader: a bounded buffer, and a thread that empties it.
//!
//! Logging never waits and never fails. What does not fit, and what a write that fails (disk full,
//! reader gone) could not put down, is counted, and reported once lines can be written again.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for a slow reader of the log; a terminal that is stopped holds this much.
const LOG_BYTES: usize = 1 << 20;

/// Memory that the buffers keep when there is little to log.
const IDLE_BYTES: usize = 16 << 10;

/// How long the end of the server waits for its last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to let a reader catch up that shares a non-blocking stderr with us.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(10);

/// Keeps nothing alive; dropping it at the end of `main` waits until the last lines are written,
/// for at most a second.
#[must_use = "lines logged just before the end may be lost without it"]
pub struct Flush(Log);

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.wait_written(FLUSH_TIMEOUT);
    }
}

/// The end of the log that events are written to; it never blocks and never fails.
#[derive(Clone)]
pub(super) struct Log(Arc<Pending>);

/// Lines on their way to the thread that writes them.
#[derive(Default)]
struct Pending {
    lines: Mutex<Lines>,
    /// There is something to write.
    filled: Condvar,
    /// All there was has been written.
    drained: Condvar,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Lines that did not fit since the last report.
    lost: u64,
    /// The thread holds a batch that is not written yet.
    writing: bool,
}

impl Log {
    pub(super) fn start(
        out: impl Write + Send + 'static,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Log> {
        let pending = Arc::<Pending>::default();
        let reader = pending.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || reader.write_to(out, report))?;
        Ok(Log(pending))
    }

    pub(super) fn flush_at_end(&self) -> Flush {
        Flush(self.clone())
    }

    /// Waits until all that was logged before is written, or for that long.
    pub(super) fn wait_written(&self, timeout: Duration) {
        let mut lines = self.0.lines.lock();
        let unwritten = |lines: &mut Lines| lines.writing || !lines.bytes.is_empty();
        self.0
            .drained
            .wait_while_for(&mut lines, unwritten, timeout);
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

impl Write for Log {
    /// Takes one whole line, or counts it as lost.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lines.lock();
        if lines.bytes.len() + line.len() <= LOG_BYTES {
            lines.bytes.extend_from_slice(line);
        } else {
            lines.lost += 1;
        }
        drop(lines);
        self.0.filled.notify_one();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pending {
    /// The thread's life: takes all there is and writes it at once.
    fn write_to(&self, mut out: impl Write, report: impl Fn(u64)) -> ! {
        let mut batch = Vec::new();
        // Lost and not reported yet.
        let mut owed = 0;
        loop {
            owed += {
                let mut lines = self.lines.lock();
                lines.writing = false;
                if lines.bytes.is_empty() {
                    self.drained.notify_all();
                }
                while lines.bytes.is_empty() {
                    self.filled.wait(&mut lines);
                }
                std::mem::swap(&mut lines.bytes, &mut batch);
                lines.writing = true;
                std::mem::take(&mut lines.lost)
            };
            let unwritten = write_all(&mut out, &batch);
            batch.clear();
            batch.shrink_to(IDLE_BYTES);
            owed += unwritten;
            // A report is a line too: while lines fail, each would make the next.
            if owed > 0 && unwritten == 0 {
                report(std::mem::take(&mut owed)); // it logs, so nothing is locked here
            }
        }
    }
}

/// Writes what can be written, and says how many lines could not be. Only here, on a thread of its
/// own, is it right to wait.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> u64 {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => break,
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A child that inherited our stderr made it non-blocking, for us as well.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(WOULD_BLOCK_PAUSE);
            }
            Err(_) => break,
        }
    }
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    pub(in crate::telemetry) const DEADLINE: Duration = Duration::from_secs(10);

    /// An output that hands what is written to a test.
    pub(in crate::telemetry) struct Heard(pub(in crate::telemetry) Sender<Vec<u8>>);

    impl Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_fails_loses_its_lines_and_says_how_many_when_it_works_again() {
        /// A disk that is full, then a reader that is gone, then a good one again.
        struct Failing(u32, Heard);
        impl Write for Failing {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Err(io::ErrorKind::StorageFull.into()),
                    2 => Err(io::ErrorKind::BrokenPipe.into()),
                    3 => Ok(0),
                    4 => Err(io::ErrorKind::Interrupted.into()),
                    5 => Err(io::ErrorKind::WouldBlock.into()),
                    _ => self.1.write(&bytes[..1]), // a short write is not the end of a line
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let (sender, heard) = channel();
        let (reporter, reports) = channel();
        let report = move |lines| reporter.send(lines).unwrap();
        let mut log = Log::start(Failing(0, Heard(sender)), report).unwrap();
        for n in 1..=5 {
            log.write_all(format!("line {n}\n").as_bytes()).unwrap();
            log.wait_written(DEADLINE);
        }
        let text = String::from_utf8(heard.try_iter().flatten().collect()).unwrap();
        assert!(text == "line 4\nline 5\n", "{text:?}");
        assert_eq!(reports.try_iter().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_reader_that_stops_delays_nobody_and_is_told_what_it_missed() {
        /// Writes nothing until it is let go.
        struct Stuck(Option<Receiver<()>>, Heard);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if let Some(gate) = self.0.take() {
                    let _ = gate.recv_timeout(DEADLINE);
                }
                self.1.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        const LINE: &[u8; 1024] = &{
            let mut line = [b'x'; 1024];
            line[1023] = b'\n';
            line
        };
        let (go, gate) = channel();
        let (sender, heard) = channel();
        let (reporter, reports) = channel();
        let report = move |lines| reporter.send(lines).unwrap();
        let mut log = Log::start(Stuck(Some(gate), Heard(sender)), report).unwrap();
        let all = 4 * LOG_BYTES / LINE.len();
        for _ in 0..all {
            log.write_all(LINE).unwrap();
        }
        drop(log.flush_at_end()); // nor is the end of the server delayed for ever
        go.send(()).unwrap();
        log.wait_written(DEADLINE);
        let missed = reports.try_iter().sum::<u64>() as usize;
        let written = heard.try_iter().map(|bytes| bytes.len()).sum::<usize>() / LINE.len();
        // The buffer, and at most as much again in the hands of the stuck thread.
        assert!(
            (LOG_BYTES..=2 * LOG_BYTES).contains(&(written * LINE.len())),
            "{written}"
        );
        assert_eq!(written + missed, all);
    }
}
