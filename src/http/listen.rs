//! Where we listen: TCP addresses, unix sockets, and sockets that were handed to us.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

/// Connections that the kernel keeps for us while we are busy: the most Linux allows by default.
const BACKLOG: i32 = 4096;

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a unix socket; the file is removed with it.
    Unix(UnixListener, Option<SocketFile>),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(tcp) => match tcp.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("tcp"),
            },
            Listener::Unix(unix, _) => {
                let address = unix.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                write!(f, "unix:{}", path.unwrap_or(Path::new("")).display())
            }
        }
    }
}

impl Listener {
    /// The TCP address, if it is one.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(tcp) => tcp.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }
}

/// The file of a unix socket that we made; it goes when we stop listening.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Listens on every address that `address` (`host:port`) means.
pub async fn bind_tcp(address: &str) -> anyhow::Result<Vec<Listener>> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .with_context(|| {
            format!("cannot listen on {address}: write an address of this machine, or 0.0.0.0 for all of them")
        })?
        .collect();
    let mut listeners: Vec<Listener> = Vec::new();
    for address in addresses {
        // Of `localhost:0`, the second address takes the port of the first.
        let port = listeners
            .first()
            .and_then(Listener::tcp_address)
            .map(|first| first.port());
        let address = SocketAddr::new(address.ip(), port.unwrap_or(address.port()));
        match listen(address) {
            Ok(listener) => listeners.push(Listener::Tcp(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                bail!("cannot listen on {address}: the port is in use; choose another with --addr")
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => bail!(
                "cannot listen on {address}: this user may not take that port; choose one from 1024 on, or let \
                 systemd hand it over (docs/deploy.md)"
            ),
            // A host name may have an address of a family that this machine does not have.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => continue,
            Err(error) => return Err(error).context(format!("cannot listen on {address}")),
        }
    }
    if listeners.is_empty() {
        bail!(
            "cannot listen on {address}: it is not an address of this machine; write one of its own, or 0.0.0.0 for all"
        );
    }
    Ok(listeners)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG as u32)
}

/// Listens on a unix socket at `path`; a socket that nobody listens on any more is replaced.
pub fn bind_unix(path: &Path, mode: u32) -> anyhow::Result<Listener> {
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            bail!(
                "cannot listen on unix:{}: a file is in the way",
                path.display()
            );
        }
        // Only a refusal says that nobody listens: who may not connect, or finds the queue full,
        // must not take the place of a living program.
        match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            _ => bail!(
                "cannot listen on unix:{}: another program listens on it",
                path.display()
            ),
        }
        std::fs::remove_file(path)
            .with_context(|| format!("cannot replace the stale socket {}", path.display()))?;
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot listen on unix:{}", path.display()))?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    Ok(Listener::Unix(listener, Some(file)))
}

/// The sockets that a service manager handed to this process (`LISTEN_FDS`, sd_listen_fds(3)).
pub fn inherited() -> anyhow::Result<Vec<Listener>> {
    let mut handed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..handed.len() {
        if let Ok(Some(tcp)) = handed.take_tcp_listener(index) {
            tcp.set_nonblocking(true)?;
            listeners.push(Listener::Tcp(TcpListener::from_std(tcp)?));
        } else if let Ok(Some(unix)) = handed.take_unix_listener(index) {
            unix.set_nonblocking(true)?;
            listeners.push(Listener::Unix(UnixListener::from_std(unix)?, None));
        } else {
            bail!("inherited descriptor {index} of LISTEN_FDS is no stream socket that listens");
        }
    }
    Ok(listeners)
}
