//! The keys in force: read from a file, and again whenever that changes.
//!
//! Each token is worth one look at the file's state, so that a key that was taken back is out of force at once. A file
//! that is gone or makes no sense leaves the last good keys in force, with one line in the log for
//! each time it changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::keys::{self, Key};

/// Longest file that can be meant.
const FILE_MAX: u64 = 256 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Keyring {
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    keys: Arc<[Key]>,
    /// Of which state of the file.
    mark: Option<Mark>,
}

/// Device, inode, length, and when it and its inode were changed: a mounted secret is a link that is turned to another
/// file, and a copy may keep the old one's times.
type Mark = (u64, u64, u64, (i64, i64), (i64, i64));

impl Keyring {
    /// Reads the file for the first time.
    ///
    /// # Errors
    ///
    /// One sentence for the user: no such file, or no key in it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let mark = mark(path);
        let keys = read(path)?;
        Ok(Keyring {
            path: path.to_owned(),
            read: Mutex::new(Read { keys, mark }),
        })
    }

    /// The keys as they are now.
    pub(super) fn current(&self) -> Arc<[Key]> {
        let mut last = self.read.lock();
        let mark = mark(&self.path);
        if mark != last.mark {
            self.renew(&mut last, mark);
        }
        Arc::clone(&last.keys)
    }

    /// Reads the file, whether it has changed or not.
    pub(super) fn reload(&self) {
        self.renew(&mut self.read.lock(), mark(&self.path));
    }

    fn reread(&self) -> anyhow::Result<Arc<[Key]>> {
        // A pipe may be given at the start, but clients do not wait for somebody to write to one.
        if std::fs::metadata(&self.path).is_ok_and(|file| !file.is_file()) {
            bail!("{} is no longer a file", self.path.display());
        }
        read(&self.path)
    }

    fn renew(&self, last: &mut Read, mark: Option<Mark>) {
        last.mark = mark;
        match self.reread() {
            Ok(keys) => {
                info!(path = %self.path.display(), keys = keys.len(), "keys of tokens read again");
                last.keys = keys;
            }
            Err(error) => warn!(
                error = format!("{error:#}"),
                "the keys of tokens stay as they were"
            ),
        }
    }
}

fn mark(path: &Path) -> Option<Mark> {
    let file = std::fs::metadata(path).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.len(),
        (file.mtime(), file.mtime_nsec()),
        (file.ctime(), file.ctime_nsec()),
    ))
}

fn read(path: &Path) -> anyhow::Result<Arc<[Key]>> {
    let shown = path.display();
    let unread = || format!("cannot read the keys of tokens in {shown}");
    let length = std::fs::metadata(path).with_context(unread)?.len();
    if length > FILE_MAX {
        bail!("{shown} is too long to be a file of keys");
    }
    let bytes = std::fs::read(path).with_context(unread)?;
    let keys = keys::parse(&bytes).with_context(|| format!("{shown} is no file of keys"))?;
    Ok(keys.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "the first secret, 32 bytes or more";
    const SECOND: &str = r#"{"keys":[
        {"kty":"oct","kid":"a","k":"dGhlIGZpcnN0IHNlY3JldCwgMzIgYnl0ZXMgb3IgbW9yZQ"},
        {"kty":"oct","kid":"b","k":"YW5vdGhlciBzZWNyZXQgdGhhdCBpcyBsb25nIGVub3VnaA"}
    ]}"#;

    #[test]
    fn a_link_that_is_turned_to_another_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("one"), FIRST).unwrap();
        std::fs::write(at("two"), SECOND).unwrap();
        std::os::unix::fs::symlink(at("one"), at("keys")).unwrap();
        let keyring = Keyring::open(&at("keys")).unwrap();
        assert_eq!(keyring.current().len(), 1);
        // As the kubelet does it: the new link takes the place of the old in one step.
        std::os::unix::fs::symlink(at("two"), at("next")).unwrap();
        std::fs::rename(at("next"), at("keys")).unwrap();
        assert_eq!(keyring.current().len(), 2);
    }

    #[test]
    fn a_file_that_breaks_leaves_the_last_keys_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, SECOND).unwrap();
        let keyring = Keyring::open(&path).unwrap();
        for broken in ["", "short", "{", "{\"keys\":[]}"] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(keyring.current().len(), 2, "{broken}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(keyring.current().len(), 2);
        keyring.reload();
        assert_eq!(keyring.current().len(), 2);
        std::fs::write(&path, FIRST).unwrap();
        assert_eq!(keyring.current().len(), 1);
    }

    #[test]
    fn nobody_waits_for_what_takes_the_place_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, SECOND).unwrap();
        let keyring = Keyring::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(keyring.current().len(), 2);
        keyring.reload();
        assert_eq!(keyring.current().len(), 2);
    }

    #[test]
    fn no_key_gets_into_a_log_or_a_complaint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, FIRST).unwrap();
        let shown = format!("{:?}", Keyring::open(&path).unwrap());
        assert!(!shown.contains("first"), "{shown}");
        for text in [
            "hush-hush",
            r#"{"keys":[{"kty":"oct","k":"YSBzZWNyZXQ","d":1}]}"#,
            r#"{"keys":"secret"}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Keyring::open(&path).unwrap_err());
            assert!(
                !error.contains("hush") && !error.contains("YSBz"),
                "{error}"
            );
        }
    }
}
