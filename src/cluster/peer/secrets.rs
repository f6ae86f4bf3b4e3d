//! The secrets that the pods of a fleet share: read from a file, and again whenever that changes.
//!
//! There are one or two: the first signs, all are believed, so that a new one can be given to pod after pod. A file that is
//! gone or makes no sense leaves the last good secrets in force, with one line in the log.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail};
use hmac::{Hmac, KeyInit};
use parking_lot::Mutex;
use sha2::Sha256;
use tracing::{info, warn};

/// Shortest secret, in bytes.
const SHORTEST: usize = 16;
/// Most secrets: the one of today and the one of yesterday, or of tomorrow.
const MOST: usize = 2;
/// Longest file that can be meant.
const FILE_MAX: u64 = 4096;

/// One secret, ready to sign.
#[derive(Clone)]
pub(super) struct Secret(Hmac<Sha256>);

impl Secret {
    fn new(bytes: &[u8]) -> anyhow::Result<Self> {
        // HMAC takes keys of any length (RFC 2104): the error is the type's, not ours.
        Ok(Secret(Hmac::new_from_slice(bytes)?))
    }

    /// A signature to be made with it.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        self.0.clone()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Secrets {
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    secrets: Arc<[Secret]>,
    /// Of which state of the file.
    mark: Option<Mark>,
}

/// What changes when the file does: a mounted secret is a link that is turned to another file.
type Mark = (u64, u64, u64, Option<SystemTime>);

impl Secrets {
    /// Reads the file for the first time.
    ///
    /// # Errors
    ///
    /// One sentence for the user: no such file, no secret, too many, too short.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let mark = mark(path);
        let secrets = read(path)?;
        Ok(Secrets {
            path: path.to_owned(),
            read: Mutex::new(Read { secrets, mark }),
        })
    }

    /// The secrets as they are now: one look at the file's state, which a handshake can bear.
    pub(super) fn current(&self) -> Arc<[Secret]> {
        let mut last = self.read.lock();
        let mark = mark(&self.path);
        if mark != last.mark {
            last.mark = mark;
            match read(&self.path) {
                Ok(secrets) => {
                    info!(path = %self.path.display(), secrets = secrets.len(), "peer secrets changed");
                    last.secrets = secrets;
                }
                Err(error) => warn!(%error, "the peer secrets stay as they were"),
            }
        }
        Arc::clone(&last.secrets)
    }
}

fn mark(path: &Path) -> Option<Mark> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.len(), file.modified().ok()))
}

fn read(path: &Path) -> anyhow::Result<Arc<[Secret]>> {
    let shown = path.display();
    let length = std::fs::metadata(path)
        .with_context(|| format!("cannot read the peer secrets in {shown}"))?
        .len();
    if length > FILE_MAX {
        bail!("{shown} is too long to be a file of peer secrets");
    }
    let bytes =
        std::fs::read(path).with_context(|| format!("cannot read the peer secrets in {shown}"))?;
    let lines: Vec<&[u8]> = bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .collect();
    match lines.as_slice() {
        [] => bail!("{shown} holds no peer secret: put one of {SHORTEST} bytes or more on a line"),
        [_, _, _, ..] => {
            bail!("{shown} holds more than {MOST} peer secrets: one signs, one more is valid")
        }
        lines if lines.iter().any(|line| line.len() < SHORTEST) => {
            bail!("a peer secret in {shown} is shorter than {SHORTEST} bytes")
        }
        lines => lines.iter().map(|line| Secret::new(line)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use hmac::Mac;

    use super::*;

    fn tag(secrets: &Secrets) -> Vec<Vec<u8>> {
        let sign = |secret: &Secret| secret.mac().finalize().into_bytes().to_vec();
        secrets.current().iter().map(sign).collect()
    }

    #[test]
    fn a_link_that_is_turned_to_another_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("one"), "the first secret of all\n").unwrap();
        std::fs::write(
            at("two"),
            "another secret, the new\nthe first secret of all\n",
        )
        .unwrap();
        std::os::unix::fs::symlink(at("one"), at("secret")).unwrap();
        let secrets = Secrets::open(&at("secret")).unwrap();
        let before = tag(&secrets);
        assert_eq!(before.len(), 1);
        // As the kubelet does it: the new link takes the place of the old in one step.
        std::os::unix::fs::symlink(at("two"), at("next")).unwrap();
        std::fs::rename(at("next"), at("secret")).unwrap();
        let after = tag(&secrets);
        assert_eq!(after.len(), 2);
        assert_eq!(after[1], before[0]);
    }

    #[test]
    fn a_file_that_breaks_leaves_the_last_secrets_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "the first secret of all").unwrap();
        let secrets = Secrets::open(&path).unwrap();
        let before = tag(&secrets);
        std::fs::write(&path, "short").unwrap();
        assert_eq!(tag(&secrets), before);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(tag(&secrets), before);
        std::fs::write(&path, "a secret that is good again\n").unwrap();
        assert_ne!(tag(&secrets), before);
    }

    #[test]
    fn what_is_no_secret_is_refused_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let says = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Secrets::open(&path).unwrap_err().to_string()
        };
        assert!(says("\n \n").contains("holds no peer secret"));
        assert!(says("only fifteen by").contains("shorter than 16 bytes"));
        let three = "a secret of the fleet\n".repeat(3);
        assert!(says(&three).contains("more than 2"));
        assert!(says(&"x".repeat(5000)).contains("too long"));
        std::fs::remove_file(&path).unwrap();
        let missing = Secrets::open(&path).unwrap_err().to_string();
        assert!(
            missing.contains("cannot read the peer secrets"),
            "{missing}"
        );
    }

    #[test]
    fn no_secret_gets_into_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "the first secret of all").unwrap();
        let shown = format!("{:?}", Secrets::open(&path).unwrap());
        assert!(!shown.contains("first"), "{shown}");
    }
}
