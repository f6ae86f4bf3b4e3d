//! The beginning of a connection where proxies say in the PROXY protocol whom they pass on.
//!
//! Only a trusted proxy is listened to, and nobody comes in without such a header: one that is left out
//! is one that a client could write itself. What fails is closed without a word, counted, and told once
//! in a while.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::proxy_protocol::{self, Failure, Header};
use super::{Door, Ends};

/// How often one listener complains of connections without a good header; the counter has them all.
const COMPLAINT: Duration = Duration::from_secs(60);

/// What one listener remembers of connections that brought no good header.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    complained: Mutex<Option<Instant>>,
}

impl Introductions {
    /// Reads who has come, within `time`; none: the connection is over.
    pub(super) async fn hear<S>(
        &self,
        stream: &mut S,
        ends: Ends,
        time: Duration,
        door: &Door,
        stop: &CancellationToken,
    ) -> Option<Ends>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let peer = ends.remote.map(|remote| remote.ip());
        // SECURITY: asked before anything is read, since a header says whatever its sender likes.
        if !door.options.proxies.trusts(peer) {
            let why = "it comes from nobody whom --trusted-proxy names";
            self.refuse(door, peer, "untrusted", &why);
            return None;
        }
        let read = tokio::select! {
            read = tokio::time::timeout(time, proxy_protocol::read(stream)) => read,
            () = stop.cancelled() => return None,
        };
        match read {
            Ok(Ok(Some(header))) => return Some(introduced(ends, header)),
            // Whoever looks whether the port is open.
            Ok(Ok(None)) => {}
            Ok(Err(Failure::Lost(error))) => debug!(%error, "connection lost before its header"),
            Ok(Err(failure @ Failure::Malformed(_))) => {
                self.refuse(door, peer, "malformed", &failure);
            }
            Ok(Err(failure @ Failure::Truncated)) => {
                self.refuse(door, peer, "truncated", &failure);
            }
            Err(elapsed) => self.refuse(door, peer, "timeout", &elapsed),
        }
        None
    }

    fn refuse(
        &self,
        door: &Door,
        peer: Option<IpAddr>,
        reason: &'static str,
        error: &dyn std::fmt::Display,
    ) {
        door.metrics.proxy_protocol_failed(reason);
        let mut complained = self.complained.lock();
        let lately = complained.is_some_and(|then| then.elapsed() < COMPLAINT);
        if lately {
            debug!(reason, %error, ?peer, "connection without a good PROXY header");
        } else {
            *complained = Some(Instant::now());
            warn!(reason, %error, ?peer, "connection without a good PROXY header; no more is said of others for a minute");
        }
    }
}

/// The ends of a connection, once a trusted proxy has said whose it is.
fn introduced(ends: Ends, header: Header) -> Ends {
    match header {
        Header::Own => ends,
        Header::Unnamed => Ends {
            unnamed: true,
            ..ends
        },
        Header::Named { remote, local } => Ends {
            remote: Some(remote),
            local: Some(local),
            ..ends
        },
    }
}
