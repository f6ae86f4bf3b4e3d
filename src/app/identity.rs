//! The guard's part of the composition root: who clients are asked to be, cut from the
//! configuration, and keys that are read again when the server is told to.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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

/// Reads the guard's files again whenever that is asked for, until `closing`.
pub(super) async fn reload(
    guard: Option<Arc<Guard>>,
    mut asked: watch::Receiver<u64>,
    closing: CancellationToken,
) {
    let Some(guard) = guard else { return };
    while let Some(Ok(())) = closing.run_until_cancelled(asked.changed()).await {
        guard.reload();
    }
}
