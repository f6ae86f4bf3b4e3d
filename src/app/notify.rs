//! What the service manager is told, in the way of sd_notify(3): that clients may come, what is served,
//! and that the server ends and how long that may take. With systemd that is `Type=notify`. Without
//! `NOTIFY_SOCKET` in the environment nobody is told anything; nothing here can fail the server.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::http::Readiness;

/// Where systemd, and what does as it does, says that it listens.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// A service manager that listens.
#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl ServiceManager {
    /// The one that started this process, if it wants to be told.
    pub(super) fn from_env() -> Option<ServiceManager> {
        let name = std::env::var_os(VARIABLE).filter(|name| !name.is_empty())?;
        match ServiceManager::at(&name) {
            Ok(manager) => Some(manager),
            Err(error) => {
                warn!(%error, socket = ?name, "the service manager cannot be told anything");
                None
            }
        }
    }

    fn at(name: &OsString) -> io::Result<ServiceManager> {
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read its mail must not hold up the server.
        socket.set_nonblocking(true)?;
        Ok(ServiceManager {
            socket,
            address: address(name)?,
        })
    }

    fn tell(&self, message: &str) {
        if let Err(error) = self.socket.send_to_addr(message.as_bytes(), &self.address) {
            warn!(%error, "the service manager was not told");
        }
    }

    /// Tells what becomes of the server until it drains or `closing`; to be run as a task. `serving`
    /// is what people read of a server that is well, `end` how long its end may take at the most.
    pub(super) async fn follow(
        self,
        mut ready: watch::Receiver<Readiness>,
        serving: String,
        end: Duration,
        closing: CancellationToken,
    ) {
        let mut told = false;
        loop {
            match *ready.borrow_and_update() {
                Readiness::Ready if !told => {
                    told = true;
                    self.tell(&format!("READY=1\nSTATUS={serving}"));
                }
                Readiness::Draining => {
                    // So that no TimeoutStopSec= needs to know the drain timeout.
                    self.tell(&format!(
                        "STOPPING=1\nSTATUS=Draining: rooms may end\nEXTEND_TIMEOUT_USEC={}",
                        end.as_micros()
                    ));
                    return;
                }
                _ => {}
            }
            tokio::select! {
                // A drain that comes together with the end is told.
                biased;
                changed = ready.changed() => if changed.is_err() { return },
                () = closing.cancelled() => return,
            }
        }
    }
}

/// A path, or behind `@` a name in Linux's abstract namespace.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes().split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        Some((b'/', _)) => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "neither a path nor an abstract name",
        )),
    }
}
