//! The thread that writes recordings: their files, and how much they may hold.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use tracing::{debug, info};

use super::line::{Line, What};
use super::queue::{Entry, Event};
use super::{Options, Shared};

/// How the names of recordings end. Only such files are ever removed.
pub(super) const SUFFIX: &str = ".room.jsonl";
/// Longest part of a file's name that is the room's: names of files may have 255 bytes.
const NAME: usize = 120;
/// What may stand in a file's name as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
/// Kept free in each recording for the line that says why it ends.
const LAST_LINE: u64 = 256;
/// What a file counts for beside its bytes: so that many small ones are bounded, too.
const EACH: u64 = 4 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    most: u64,
    most_together: u64,
    open: HashMap<u64, Open>,
    /// Those that are over, the oldest first.
    over: VecDeque<(PathBuf, u64)>,
    together: u64,
    /// The last program whose digest was asked for.
    digest: Option<(PathBuf, Stamp, String)>,
    line: Vec<u8>,
}

/// What is another when a file is another.
type Stamp = (u64, u64, i64, i64);

/// A recording that is being written.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    /// None once it takes no more.
    file: Option<File>,
    /// [`EACH`] once there is a file.
    counted: u64,
    bytes: u64,
    over: Arc<AtomicBool>,
    room: String,
}

/// Why nothing more is written to a recording.
enum Stop {
    /// It, or all together, have reached their limit.
    Full(&'static str),
    Failed(io::Error),
}

impl Writer {
    /// Makes the directory, and finds what is in it already.
    pub(super) fn new(options: &Options) -> io::Result<Writer> {
        // SECURITY: what people said is in there.
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&options.dir)?;
        access(&options.dir, AccessFlags::W_OK | AccessFlags::X_OK)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&options.dir)? {
            let entry = entry?;
            let ours = entry.file_name().to_string_lossy().ends_with(SUFFIX);
            if let Ok(data) = entry.metadata()
                && ours
                && data.is_file()
            {
                found.push((data.mtime(), entry.path(), data.len() + EACH));
            }
        }
        found.sort();
        let over: VecDeque<_> = found
            .into_iter()
            .map(|(_, path, bytes)| (path, bytes))
            .collect();
        Ok(Writer {
            dir: options.dir.clone(),
            most: options.most,
            most_together: options.most_together,
            open: HashMap::new(),
            together: over.iter().map(|(_, bytes)| bytes).sum(),
            over,
            digest: None,
            line: Vec::new(),
        })
    }

    /// Writes until nothing more comes.
    pub(super) fn run(mut self, shared: &Shared) {
        while let Some(entry) = shared.queue.next() {
            let cost = entry.cost();
            let Entry {
                recording,
                at,
                event,
            } = entry;
            let stop = self.event(recording, at, event);
            if let Err(stop) = stop {
                self.stop(recording, at, stop, shared);
            }
            shared.queue.written(cost);
        }
    }

    fn event(&mut self, id: u64, at: Duration, event: Event) -> Result<(), Stop> {
        let what = match event {
            Event::Open(head, unique, over) => {
                let path = self.dir.join(file_name(&head.room, &unique));
                let open = Open {
                    path: path.clone(),
                    file: None,
                    counted: 0,
                    bytes: 0,
                    over,
                    room: head.room.clone(),
                };
                let open = self.open.entry(id).or_insert(open);
                // Never one that is there, nor where a link leads to.
                let mut how = OpenOptions::new();
                how.write(true).create_new(true).mode(0o600);
                let file = how.open(path).map_err(Stop::Failed)?;
                // For others that record here. Where files cannot be locked there are none.
                let _ = file.try_lock();
                open.file = Some(file);
                open.counted = EACH;
                self.together += EACH;
                What::Recording(*head)
            }
            Event::Start(mut start) => {
                start.sha256 = self.digest(Path::new(&start.program));
                What::Start(*start)
            }
            Event::In(bytes) => What::given(bytes),
            Event::Back(bytes) => What::Back(bytes),
            Event::Eof => What::Eof(true),
            Event::Out(bytes) => What::printed(bytes),
            Event::Err(bytes) => What::Err(String::from_utf8_lossy(&bytes).into_owned()),
            Event::Join(client) => What::Join(client),
            Event::Leave(client) => What::Leave(client),
            Event::Stop => What::Stop(true),
            Event::Exit(exit) => What::Exit(exit),
            Event::End(end) => What::End(end),
            Event::Cut(why) => {
                let written = self.write(id, at, What::Cut(why.to_owned()), 0);
                self.shut(id);
                return written;
            }
            Event::Close => {
                if let Some(open) = self.open.remove(&id).filter(|open| open.counted > 0) {
                    self.over.push_back((open.path, open.counted + open.bytes));
                }
                return Ok(());
            }
        };
        self.write(id, at, what, LAST_LINE)
    }

    fn write(&mut self, id: u64, at: Duration, what: What, spare: u64) -> Result<(), Stop> {
        let Some(open) = self.open.get_mut(&id) else {
            return Ok(());
        };
        let Some(file) = &mut open.file else {
            return Ok(());
        };
        self.line.clear();
        Line::new(at, what).write(&mut self.line);
        let bytes = self.line.len() as u64;
        if open.bytes + bytes + spare > self.most && spare > 0 {
            return Err(Stop::Full("it has reached --record-max"));
        }
        if self.together + bytes > self.most_together && spare > 0 {
            make_way(
                &mut self.over,
                &mut self.together,
                self.most_together - bytes.min(self.most_together),
            )?;
        }
        file.write_all(&self.line).map_err(Stop::Failed)?;
        open.bytes += bytes;
        self.together += bytes;
        // A buffer for one large event is not kept for the small ones.
        self.line.shrink_to(1 << 20);
        Ok(())
    }

    /// Nothing more is written to it.
    fn stop(&mut self, id: u64, at: Duration, stop: Stop, shared: &Shared) {
        match stop {
            Stop::Full(why) => {
                // If even that fails, the file ends without it.
                let _ = self.write(id, at, What::Cut(why.to_owned()), 0);
                if let Some(open) = self.open.get(&id) {
                    info!(room = %open.room, file = %open.path.display(), %why, "the recording ends; the room goes on");
                }
                shared.metrics.recording_cut();
            }
            Stop::Failed(error) => shared.lost(&error),
        }
        self.shut(id);
    }

    fn shut(&mut self, id: u64) {
        if let Some(open) = self.open.get_mut(&id) {
            open.over.store(true, Relaxed);
            open.file = None;
        }
    }

    /// Of the program; remembered, because all rooms run the same.
    fn digest(&mut self, program: &Path) -> Option<String> {
        let data = fs::metadata(program).ok().filter(fs::Metadata::is_file)?;
        let stamp = (data.ino(), data.len(), data.mtime(), data.mtime_nsec());
        if let Some((path, known, digest)) = &self.digest
            && (path.as_path(), *known) == (program, stamp)
        {
            return Some(digest.clone());
        }
        let mut file = File::open(program).ok()?;
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = file.read(&mut buffer).ok()?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            context.update(bytes);
        }
        let digest = context.finish();
        let digest: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        self.digest = Some((program.to_path_buf(), stamp, digest.clone()));
        Some(digest)
    }
}

/// Removes the oldest until all together are no more than `most`.
fn make_way(
    over: &mut VecDeque<(PathBuf, u64)>,
    together: &mut u64,
    most: u64,
) -> Result<(), Stop> {
    for _ in 0..over.len() {
        if *together <= most {
            return Ok(());
        }
        let Some((oldest, bytes)) = over.pop_front() else {
            break;
        };
        match remove(&oldest) {
            Ok(()) => {
                *together = together.saturating_sub(bytes);
                info!(file = %oldest.display(), "removed the oldest recording");
            }
            Err(error) => {
                debug!(file = %oldest.display(), %error, "a recording stays");
                over.push_back((oldest, bytes));
            }
        }
    }
    match *together <= most {
        true => Ok(()),
        false => Err(Stop::Full("all together have reached --record-total")),
    }
}

/// Removes a recording, if no other server is writing it. One that is not there has made way, too.
fn remove(path: &Path) -> io::Result<()> {
    let mut how = OpenOptions::new();
    how.read(true);
    how.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let removed = how.open(path).and_then(|file| {
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        fs::remove_file(path)
    });
    removed.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

/// A name for a file that no room's name can lead out of the directory with, or give to another.
/// SECURITY: whoever joins chooses the room's name.
fn file_name(room: &str, unique: &str) -> String {
    let mut name = String::new();
    for part in percent_encode(room.as_bytes(), PLAIN) {
        if name.len() + part.len() > NAME {
            break;
        }
        name.push_str(part);
    }
    let unique = percent_encode(unique.as_bytes(), PLAIN);
    format!("{name}.{unique}{SUFFIX}")
}
