//! The guard's part of the composition root: who clients are asked to be, cut from the
//! configuration, and keys that are read again when the server is told to.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Config;
use crate::auth::{Guard, Service, ServiceOptions, TokenOptions, Tokens};
use crate::cli;

/// Who is asked who clients are; none: nobody.
pub(super) fn guard(config: &Config) -> anyhow::Result<Option<Arc<Guard>>> {
    let guard = match config.identity.clone() {
        None => return Ok(None),
        Some(cli::Identity::Token {
            file,
            cookie,
            audiences,
            issuers,
            leeway,
        }) => Guard::Tokens(Tokens::open(TokenOptions {
            file,
            cookie,
            audiences,
            issuers,
            leeway,
        })?),
        Some(cli::Identity::Service {
            url,
            forward,
            user_header,
            copy,
            timeout,
        }) => Guard::Service(Box::new(Service::new(ServiceOptions {
            url,
            forward,
            user_header,
            copy,
            timeout,
        })?)),
    };
    Ok(Some(Arc::new(guard)))
}

/// Reads the guard's files again at every SIGHUP, until `closing`.
pub(super) async fn reload(guard: Option<Arc<Guard>>, closing: CancellationToken) {
    let Some(guard) = guard else { return };
    // Beside the one of `stop`, which says what else the signal means.
    let mut hang_up = match signal(SignalKind::hangup()) {
        Ok(hang_up) => hang_up,
        Err(error) => {
            warn!(%error, "SIGHUP does not read keys again; a change of their file does");
            return;
        }
    };
    while closing
        .run_until_cancelled(hang_up.recv())
        .await
        .flatten()
        .is_some()
    {
        guard.reload();
    }
}
