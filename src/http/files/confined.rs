//! The tree below one directory, and nothing else of the file system.
//!
//! A path is first resolved through every link and must then lie below the root; the file is
//! opened by walking that resolved path from the root with links refused at each step, so a link
//! put in place between the check and the opening makes the open fail instead of leading out.
//! Only regular files are ever opened: a pipe or a device in the tree is as good as missing.
//!
//! Hard links and mounts inside the tree cannot be told from its own files and count as such.

use std::{
    fs::Metadata,
    future::Future,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use nix::{fcntl, sys::stat::Mode};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::fs::{Backend, File};

/// How a directory on the way is opened. A directory may be passable without being readable, for
/// which Linux has a descriptor that names a place and reads nothing.
#[cfg(target_os = "linux")]
const STEP: fcntl::OFlag = fcntl::OFlag::O_PATH
    .union(fcntl::OFlag::O_DIRECTORY)
    .union(fcntl::OFlag::O_CLOEXEC);
#[cfg(not(target_os = "linux"))]
const STEP: fcntl::OFlag = fcntl::OFlag::O_DIRECTORY.union(fcntl::OFlag::O_CLOEXEC);

/// How the file is opened. Non-blocking, because a pipe may have taken the place of the regular
/// file that was seen a moment before, and opening one waits for a writer.
const LEAF: fcntl::OFlag = fcntl::OFlag::O_NONBLOCK
    .union(fcntl::OFlag::O_NOCTTY)
    .union(fcntl::OFlag::O_NOFOLLOW)
    .union(fcntl::OFlag::O_CLOEXEC);

/// A directory tree that cannot be left.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    root: Arc<Path>,
}

impl Tree {
    /// The tree below `dir`, whose own links are resolved here, once.
    ///
    /// # Errors
    ///
    /// When `dir` does not exist, cannot be reached, or is not a directory.
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        let root = dir.canonicalize()?;
        if !root.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { root: root.into() })
    }

    /// Where the tree begins: absolute and free of links.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Resolves `path`; `NotFound` when that leads out, or to neither a file nor a directory.
    fn resolve(&self, path: &Path) -> io::Result<(PathBuf, Metadata)> {
        let real = path.canonicalize()?;
        if !real.starts_with(&self.root) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let metadata = real.symlink_metadata()?;
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((real, metadata))
    }

    /// Opens the regular file at `path`.
    fn open_file(&self, path: &Path) -> io::Result<std::fs::File> {
        let (real, seen) = self.resolve(path)?;
        if !seen.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = real
            .strip_prefix(&self.root)
            .map_err(|_| io::ErrorKind::NotFound)?;
        let (Some(dirs), Some(name)) = (below.parent(), below.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut at: OwnedFd = fcntl::open(&*self.root, STEP, Mode::empty())?;
        for dir in dirs {
            at = fcntl::openat(&at, dir, STEP | fcntl::OFlag::O_NOFOLLOW, Mode::empty())?;
        }
        let file = std::fs::File::from(fcntl::openat(&at, name, LEAF, Mode::empty())?);
        // Asked again of what is now held: the name may have changed hands since `resolve`.
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(file)
    }
}

/// An answer of the file system that takes its time.
type Pending<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Runs `ask` where waiting for a disk holds up nobody else.
async fn aside<T: Send + 'static>(
    ask: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(ask)
        .await
        .map_err(io::Error::other)?
}

impl Backend for Tree {
    type File = Opened;
    type Metadata = Metadata;
    type OpenFuture = Pending<'static, Opened>;
    type MetadataFuture = Pending<'static, Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let tree = self.clone();
        Box::pin(async move {
            let file = aside(move || tree.open_file(&path)).await?;
            Ok(Opened(tokio::fs::File::from_std(file)))
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let tree = self.clone();
        Box::pin(aside(move || Ok(tree.resolve(&path)?.1)))
    }
}

/// A regular file of the tree.
#[derive(Debug)]
pub(super) struct Opened(tokio::fs::File);

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.0).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.0).poll_complete(cx)
    }
}

impl File for Opened {
    type Metadata = Metadata;
    type MetadataFuture<'a> = Pending<'a, Metadata>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        Box::pin(self.0.metadata())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn only_a_directory_is_a_tree() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        assert!(Tree::new(dir.path()).is_ok());
        let file = Tree::new(&dir.path().join("file")).unwrap_err();
        assert_eq!(file.kind(), io::ErrorKind::NotADirectory);
        let missing = Tree::new(&dir.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_that_stays_inside_is_followed_and_one_that_leads_out_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("inside-not"));
        fs::create_dir_all(inside.join("deep")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(inside.join("deep/page"), "page").unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        symlink("deep/page", inside.join("relative")).unwrap();
        symlink(inside.join("deep/page"), inside.join("absolute")).unwrap();
        symlink("../inside-not/secret", inside.join("file-out")).unwrap();
        symlink(&outside, inside.join("dir-out")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();

        let tree = Tree::new(&inside).unwrap();
        for name in ["deep/page", "relative", "absolute"] {
            let mut file = tree.open_file(&tree.root().join(name)).unwrap();
            assert_eq!(io::read_to_string(&mut file).unwrap(), "page", "{name}");
        }
        for name in [
            "file-out",
            "dir-out/secret",
            "dir-out",
            "loop",
            "../inside-not/secret",
        ] {
            let path = tree.root().join(name);
            assert!(tree.open_file(&path).is_err(), "{name}");
            assert!(tree.resolve(&path).is_err(), "{name}");
        }
    }

    #[test]
    fn a_pipe_is_as_good_as_missing_and_nobody_waits_for_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        symlink("/dev/zero", dir.path().join("zero")).unwrap();
        let tree = Tree::new(dir.path()).unwrap();
        for name in ["pipe", "zero"] {
            let path = tree.root().join(name);
            assert_eq!(
                tree.resolve(&path).unwrap_err().kind(),
                io::ErrorKind::NotFound
            );
            assert_eq!(
                tree.open_file(&path).unwrap_err().kind(),
                io::ErrorKind::NotFound
            );
        }
    }
}
