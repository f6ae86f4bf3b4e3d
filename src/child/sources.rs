//! The files that a program is made of, and whether they change (`--watch`).
//!
//! They are looked at, not listened to: a look costs a `stat` each, works on every file system and
//! sees a file that was replaced as well as one that was written. A change counts once two looks
//! some time apart see the same and nothing that was named is missing, because editors replace
//! files and compilers write for seconds.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep},
};

/// So long nothing is written before what is there is believed to be whole.
const QUIET: Duration = Duration::from_millis(300);
/// Between two looks while something is being written, or is missing.
const SOON: Duration = Duration::from_millis(100);
/// Most files of all directories together; what is beyond is not looked at.
const MOST: usize = 10_000;
/// So long rooms may wait for a pause before somebody is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// Directories that hold nothing that somebody writes by hand.
const PASSED_OVER: [&str; 2] = ["__pycache__", "node_modules"];
/// How the names of recordings (`--record`) end, which may lie among what is watched.
const RECORDING: &[u8] = b".room.jsonl";

/// See the module's documentation.
#[derive(Debug)]
pub struct Sources {
    paths: Arc<[PathBuf]>,
    state: Mutex<State>,
    changes: watch::Sender<Change>,
}

/// What has changed last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Counts the changes, from 1.
    pub version: u64,
    /// The first of the files that are others now.
    pub file: PathBuf,
    /// How many they are.
    pub files: usize,
}

/// Why new rooms wait, for longer than writing a file takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldUp {
    /// This is not there.
    Missing(PathBuf),
    /// This, or others, are written again and again.
    Restless(PathBuf),
}

#[derive(Debug)]
struct State {
    /// What runs in new rooms.
    current: Look,
    /// What was seen last, and since when it is so.
    seen: Look,
    since: Instant,
    /// Since when something is being written, or is missing.
    unsettled: Option<Instant>,
}

/// What one look saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Look {
    files: BTreeMap<PathBuf, Stamp>,
    /// Something that was named, and is not there.
    missing: Option<PathBuf>,
    /// Whether there is more than is looked at.
    is_cut: bool,
}

/// What is another when a file is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    /// Of the rights, too.
    changed: (i64, i64),
}

impl Sources {
    /// What is at these paths now; each must be there.
    pub fn new(paths: Vec<PathBuf>) -> io::Result<Sources> {
        for path in &paths {
            fs::metadata(path)?;
        }
        let now = look(&paths);
        Ok(Sources {
            paths: paths.into(),
            state: Mutex::new(State {
                seen: now.clone(),
                current: now,
                since: Instant::now(),
                unsettled: None,
            }),
            changes: watch::Sender::new(Change::default()),
        })
    }

    /// What changes from now on.
    pub fn changes(&self) -> watch::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Looks; `None` while something is being written, else the version that is there.
    pub async fn look(&self) -> Option<u64> {
        // Held while looking: a later look is not overtaken by an earlier one.
        let mut state = self.state.lock().await;
        let paths = Arc::clone(&self.paths);
        let seen = tokio::task::spawn_blocking(move || look(&paths)).await;
        let now = Instant::now();
        if let Ok(seen) = seen
            && seen != state.seen
        {
            state.seen = seen;
            state.since = now;
        }
        if state.seen != state.current {
            if state.seen.missing.is_some() || now.duration_since(state.since) < QUIET {
                state.unsettled.get_or_insert(now);
                return None;
            }
            let (file, files) = difference(&state.current, &state.seen);
            state.current = state.seen.clone();
            self.changes.send_modify(|change| {
                *change = Change {
                    version: change.version + 1,
                    file,
                    files,
                }
            });
        }
        state.unsettled = None;
        Some(self.changes.borrow().version)
    }

    /// Why rooms have been waiting, if they have for a while.
    pub async fn hold_up(&self) -> Option<HoldUp> {
        let state = self.state.lock().await;
        state.unsettled.filter(|since| since.elapsed() > PATIENCE)?;
        Some(match &state.seen.missing {
            Some(path) => HoldUp::Missing(path.clone()),
            None => HoldUp::Restless(difference(&state.current, &state.seen).0),
        })
    }

    /// How many files are looked at, if there are more.
    pub async fn is_cut(&self) -> Option<usize> {
        self.state.lock().await.current.is_cut.then_some(MOST)
    }

    /// Waits until nothing is being written, but not beyond `deadline`: the version that is there.
    pub(super) async fn settled(&self, deadline: Instant) -> u64 {
        loop {
            if let Some(version) = self.look().await {
                return version;
            }
            if Instant::now() >= deadline {
                return self.changes.borrow().version;
            }
            sleep(SOON).await;
        }
    }

    /// How long until the next look, when nobody asks for one.
    pub fn pause(&self, settled: bool) -> Duration {
        match settled {
            true => Duration::from_secs(1),
            false => SOON,
        }
    }
}

fn look(paths: &[PathBuf]) -> Look {
    let mut seen = Look::default();
    for path in paths {
        match fs::metadata(path) {
            Ok(data) if data.is_dir() => below(path, &mut seen),
            Ok(data) => seen.note(path, &data),
            Err(_) => seen.missing = Some(path.clone()),
        }
    }
    seen
}

/// All files below a directory, not through links to others.
fn below(directory: &Path, seen: &mut Look) {
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if is_passed_over(&name) {
                continue;
            }
            if seen.files.len() >= MOST {
                seen.is_cut = true;
                return;
            }
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(path),
                Ok(_) => {
                    if let Ok(data) = fs::metadata(&path)
                        && data.is_file()
                    {
                        seen.note(&path, &data);
                    }
                }
                Err(_) => {}
            }
        }
    }
}

/// What comes and goes in a directory without anybody having changed the program.
fn is_passed_over(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.starts_with(b".")
        || bytes.ends_with(b"~")
        || bytes.ends_with(RECORDING)
        || PASSED_OVER.iter().any(|known| name == *known)
}

impl Look {
    fn note(&mut self, path: &Path, data: &fs::Metadata) {
        let stamp = Stamp {
            inode: (data.dev(), data.ino()),
            bytes: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        };
        self.files.insert(path.to_path_buf(), stamp);
    }
}

/// The first file that is another, and how many are.
fn difference(old: &Look, new: &Look) -> (PathBuf, usize) {
    let there = new
        .files
        .iter()
        .filter(|(path, stamp)| old.files.get(*path) != Some(stamp));
    let gone = old
        .files
        .iter()
        .filter(|(path, _)| !new.files.contains_key(*path));
    let mut others = there.chain(gone).map(|(path, _)| path);
    let first = others.next().cloned().unwrap_or_default();
    (first, 1 + others.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn settles(sources: &Sources) -> u64 {
        sources
            .settled(Instant::now() + Duration::from_secs(20))
            .await
    }

    #[tokio::test]
    async fn a_change_counts_once_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let game = dir.path().join("game");
        fs::write(&game, "one").unwrap();
        let sources = Sources::new(vec![game.clone()]).unwrap();
        assert_eq!(sources.look().await, Some(0));
        fs::write(&game, "two, and longer").unwrap();
        assert_eq!(sources.look().await, None, "it may still be written");
        assert_eq!(settles(&sources).await, 1);
        fs::remove_file(&game).unwrap();
        assert_eq!(sources.look().await, None);
        sleep(QUIET).await;
        assert_eq!(sources.look().await, None, "what is missing comes back");
        fs::write(&game, "three").unwrap();
        assert_eq!(settles(&sources).await, 2);
        let change = sources.changes().borrow().clone();
        assert_eq!((change.file, change.files), (game, 1));
    }

    #[tokio::test]
    async fn of_a_directory_counts_what_somebody_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources::new(vec![dir.path().to_path_buf()]).unwrap();
        for other in [
            ".git/index",
            "__pycache__/game.pyc",
            "sub/game.py~",
            "rooms/x.1.room.jsonl",
        ] {
            let path = dir.path().join(other);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        assert_eq!(sources.look().await, Some(0));
        fs::write(dir.path().join("sub/rules.py"), "x").unwrap();
        assert_eq!(settles(&sources).await, 1);
        // A name of a link is followed to a file, and never to a directory that may hold this one.
        std::os::unix::fs::symlink(dir.path(), dir.path().join("sub/loop")).unwrap();
        assert_eq!(sources.look().await, Some(1));
    }

    #[tokio::test]
    async fn of_very_many_files_the_first_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MOST {
            fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        let paths = vec![dir.path().to_path_buf()];
        assert_eq!(Sources::new(paths.clone()).unwrap().is_cut().await, None);
        fs::write(dir.path().join("more"), "").unwrap();
        let sources = Sources::new(paths).unwrap();
        assert_eq!(sources.is_cut().await, Some(MOST));
        fs::write(dir.path().join("17"), "x").unwrap();
        settles(&sources).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_long_is_told_for_what() {
        let dir = tempfile::tempdir().unwrap();
        let game = dir.path().join("game");
        fs::write(&game, "0").unwrap();
        let sources = Sources::new(vec![game.clone()]).unwrap();
        assert_eq!(
            (sources.look().await, sources.hold_up().await),
            (Some(0), None)
        );
        let mut text = String::from("0");
        for _ in 0..30 {
            text.push('x');
            fs::write(&game, &text).unwrap();
            assert_eq!(sources.look().await, None);
            tokio::time::advance(SOON).await;
        }
        assert_eq!(
            sources.hold_up().await,
            Some(HoldUp::Restless(game.clone()))
        );
        fs::remove_file(&game).unwrap();
        assert_eq!(sources.look().await, None);
        assert_eq!(sources.hold_up().await, Some(HoldUp::Missing(game.clone())));
        fs::write(&game, "0").unwrap();
        assert_eq!(sources.look().await, None);
        tokio::time::advance(QUIET).await;
        assert_eq!(
            (sources.look().await, sources.hold_up().await),
            (Some(1), None)
        );
    }

    #[test]
    fn what_is_not_there_at_first_is_an_error() {
        assert!(Sources::new(vec!["/no/such/file".into()]).is_err());
    }
}
