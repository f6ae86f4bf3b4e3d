//! The public door without a listener, and what it reads before a request is one, for what brings its
//! bytes itself: `fuzz/`. Hidden and no part of the interface.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::router::router;
use super::serve::{Entry, HEADER_TIME, Who, http};
use super::{Door, Ends, Side, TrustedProxies};

pub use super::proxy_protocol::{Header, Malformed, Parsed, parse as parse_proxy_header};

/// What the headers of a request come to that came over this connection: who is believed to have come.
///
/// # Errors
///
/// A trusted proxy says what it cannot mean.
pub fn believe(
    proxies: &TrustedProxies,
    ends: &mut Ends,
    headers: &mut HeaderMap,
) -> Result<(), Malformed> {
    proxies.apply(ends, headers)
}

/// What answers on any stream as a server does on a connection.
pub struct Bare {
    router: Router,
    door: Arc<Door>,
}

impl fmt::Debug for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bare").finish_non_exhaustive()
    }
}

impl Bare {
    /// The routes of the public listener.
    pub fn new(door: &Arc<Door>) -> Self {
        Bare {
            router: router(Side::Public, door),
            door: Arc::clone(door),
        }
    }

    /// Answers all requests that come over this stream. A handshake is answered to its end; there is
    /// no socket below it to speak on afterwards.
    pub async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let entry = Entry {
            router: self.router.clone(),
            side: Side::Public,
            door: Arc::clone(&self.door),
            limits: self.door.options.head,
            stop: CancellationToken::new(),
        };
        http(stream, Who::default(), HEADER_TIME, entry).await;
    }
}
