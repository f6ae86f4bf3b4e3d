//! Recordings of rooms (`--record`): what went in and out of each, with times, for `replay`.
//!
//! A room hands over copies of what passes; a thread of its own writes them, a file for each life
//! of a room, a line for each event. A disk that is slow, full or broken never costs a room more
//! than its recording: what does not fit into the queue ends that, and is said and counted.

pub mod line;
mod queue;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{debug, warn};

use crate::metrics::Metrics;
use line::{End, Framing, Head, Start, Transport};
use queue::{Entry, Event, Queue};
use writer::Writer;

/// How long the rest may take to be written when the server ends.
const LAST_LINES: Duration = Duration::from_secs(3);

/// Where to, and how much.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory, which is made if it is not there.
    pub dir: PathBuf,
    /// Most bytes of one recording.
    pub most: u64,
    /// Most bytes of all of them: the oldest make way.
    pub most_together: u64,
    /// What programs talk over: told in each recording, as is the next.
    pub transport: Transport,
    /// How programs mark what they print.
    pub framing: Framing,
}

/// Records rooms; clones share the thread that writes.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Queue,
    transport: Transport,
    framing: Framing,
    metrics: Metrics,
    rooms: AtomicU64,
    /// Whether somebody was told that a recording ended early.
    complained: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Ready to record.
    pub fn new(options: Options, metrics: Metrics) -> io::Result<Recorder> {
        let writer = Writer::new(&options)?;
        let recorder = Recorder(Arc::new(Shared {
            queue: Queue::default(),
            transport: options.transport,
            framing: options.framing,
            metrics,
            rooms: AtomicU64::new(0),
            complained: AtomicBool::new(false),
            thread: Mutex::default(),
        }));
        let shared = Arc::clone(&recorder.0);
        let thread = std::thread::Builder::new().name("ss-recorder".into());
        let thread = thread.spawn(move || writer.run(&shared))?;
        *recorder.0.thread.lock() = Some(thread);
        Ok(recorder)
    }

    /// The recording of a room that opens; `unique` tells it from all others of that name.
    pub fn room(&self, name: &str, unique: &str) -> Recording {
        let recording = Recording {
            shared: Arc::clone(&self.0),
            id: self.0.rooms.fetch_add(1, Relaxed),
            began: Instant::now(),
            over: Arc::default(),
        };
        let head = Head::new(name, self.0.transport, self.0.framing.clone());
        let open = Event::Open(
            Box::new(head),
            unique.to_owned(),
            Arc::clone(&recording.over),
        );
        recording.put_in_any_case(open);
        recording
    }

    /// Waits for what was handed over to be written, not for ever.
    pub async fn finish(&self) {
        let Some(thread) = self.0.thread.lock().take() else {
            return;
        };
        self.0.queue.close();
        let written = tokio::task::spawn_blocking(move || thread.join());
        if tokio::time::timeout(LAST_LINES, written).await.is_err() {
            warn!("the disk is slow: the last lines of recordings are lost");
        }
    }
}

impl Shared {
    /// A recording ends early, because of a fault.
    fn lost(&self, why: &dyn std::fmt::Display) {
        self.metrics.recording_cut();
        if self.complained.swap(true, Relaxed) {
            debug!(%why, "a recording was cut short");
        } else {
            warn!(%why, "a recording was cut short; rooms are not concerned, and further ones are counted only");
        }
    }
}

/// The recording of one life of a room; dropping it ends it.
#[derive(Debug)]
pub struct Recording {
    shared: Arc<Shared>,
    id: u64,
    began: Instant,
    /// Whether it takes no more.
    over: Arc<AtomicBool>,
}

impl Recording {
    /// A child runs.
    pub fn started(&self, start: Start) {
        self.put(Event::Start(Box::new(start)));
    }

    /// The child is about to be given this.
    pub fn given(&self, bytes: &[u8]) {
        self.put_bytes(bytes, Event::In);
    }

    /// So many bytes, the last that it was given, the child has not read.
    pub fn taken_back(&self, bytes: usize) {
        if bytes > 0 {
            self.put(Event::Back(bytes as u64));
        }
    }

    /// The child is told that nothing more comes.
    pub fn ended_input(&self) {
        self.put(Event::Eof);
    }

    /// The child has printed this.
    pub fn printed(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.put_bytes(bytes, Event::Out);
        }
    }

    /// And this line to stderr.
    pub fn whispered(&self, line: &[u8]) {
        self.put_bytes(line, Event::Err);
    }

    /// A client came in.
    pub fn joined(&self, client: u32) {
        self.put(Event::Join(client));
    }

    /// A client left.
    pub fn left(&self, client: u32) {
        self.put(Event::Leave(client));
    }

    /// The child is about to be ended by signals.
    pub fn stopped(&self) {
        self.put(Event::Stop);
    }

    /// A child and all it started are gone.
    pub fn exited(&self, exit: String) {
        self.put(Event::Exit(exit));
    }

    /// The room is over.
    pub fn ended(&self, end: End) {
        self.put(Event::End(end));
    }

    fn put_bytes(&self, bytes: &[u8], event: impl FnOnce(Vec<u8>) -> Event) {
        if !self.over.load(Relaxed) {
            self.put(event(bytes.to_vec()));
        }
    }

    fn put(&self, event: Event) {
        if self.over.load(Relaxed) {
            return;
        }
        if self.shared.queue.put(self.entry(event)).is_err() && !self.over.swap(true, Relaxed) {
            const WHY: &str = "the disk is slower than the room";
            self.shared.lost(&WHY);
            self.put_in_any_case(Event::Cut(WHY));
        }
    }

    fn put_in_any_case(&self, event: Event) {
        self.shared.queue.put_in_any_case(self.entry(event));
    }

    fn entry(&self, event: Event) -> Entry {
        Entry {
            recording: self.id,
            at: self.began.elapsed(),
            event,
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.put_in_any_case(Event::Close);
    }
}

#[cfg(test)]
mod tests;
