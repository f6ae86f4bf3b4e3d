//! The flags of TLS, and what they come to: `Flags` -> [`Tls`], pure.

use std::path::PathBuf;

use clap::Args;

use super::config::Listen;
use super::values;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
#[group(skip)] // groups are named after their struct, and another has this name
pub(super) struct Flags {
    /// Speak TLS, with this certificate chain (PEM; repeatable)
    ///
    /// For the TCP addresses of --addr; unix sockets and --admin-addr stay plain. The server's own certificate
    /// comes first in the file. Of several, a client gets the one for the host it asks for, or else the first.
    /// Files that change are read again, as on SIGHUP, and connections that are there stay.
    #[arg(long, value_name = "FILE", value_delimiter = ',', value_parser = values::file)]
    pub tls_cert: Vec<PathBuf>,

    /// The certificate's private key (PEM: PKCS#8, PKCS#1 or SEC1; repeatable)
    #[arg(long, value_name = "FILE", value_delimiter = ',', value_parser = values::file)]
    pub tls_key: Vec<PathBuf>,

    /// Let in only clients with a certificate of these authorities (PEM)
    ///
    /// The program finds whose it is in SSL_CLIENT_S_DN and its siblings, join messages in #SSL_CLIENT_S_DN.
    #[arg(long, value_name = "FILE", value_parser = values::file)]
    pub tls_client_ca: Option<PathBuf>,

    /// Listen here too, and send plain HTTP to https
    ///
    /// 308, with path and query, for hosts that a certificate is for.
    #[arg(long, value_name = "HOST:PORT", value_parser = values::listen)]
    pub redirect_addr: Option<Listen>,
}

/// TLS on the public TCP addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chains and their keys; at least one pair.
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// The authorities of clients' certificates; none = clients need none.
    pub client_ca: Option<PathBuf>,
    /// Where plain HTTP is sent to https; a TCP address.
    pub redirect: Option<Listen>,
}

/// What the flags come to: nothing without `--tls-cert`.
pub(super) fn validate(flags: &Flags, addr: &[Listen]) -> Result<Option<Tls>, String> {
    if flags.tls_cert.len() != flags.tls_key.len() {
        return Err("--tls-cert and --tls-key come in pairs: give each certificate its key".into());
    }
    if flags.tls_cert.is_empty() {
        // Plain HTTP where somebody asked for more must not go unnoticed.
        let given = [
            (flags.tls_client_ca.is_some(), "--tls-client-ca"),
            (flags.redirect_addr.is_some(), "--redirect-addr"),
        ];
        return match given.into_iter().find(|(given, _)| *given) {
            Some((_, flag)) => Err(format!(
                "{flag} needs TLS: add --tls-cert and --tls-key, or leave it out"
            )),
            None => Ok(None),
        };
    }
    if !addr.is_empty() && !addr.iter().any(|addr| matches!(addr, Listen::Tcp(_))) {
        return Err(
            "--tls-cert is for TCP addresses, and every --addr is a unix socket: add one of TCP, \
             or leave it out"
                .into(),
        );
    }
    match &flags.redirect_addr {
        Some(Listen::Unix(_)) => {
            return Err(
                "--redirect-addr is where browsers come without TLS: write HOST:PORT".into(),
            );
        }
        Some(redirect) if addr.contains(redirect) && !redirect.to_string().ends_with(":0") => {
            return Err(format!(
                "{} is named by --addr and --redirect-addr: name each address once",
                super::shown(redirect.to_string().as_ref())
            ));
        }
        _ => {}
    }
    let pairs = flags
        .tls_cert
        .iter()
        .cloned()
        .zip(flags.tls_key.iter().cloned());
    Ok(Some(Tls {
        pairs: pairs.collect(),
        client_ca: flags.tls_client_ca.clone(),
        redirect: flags.redirect_addr.clone(),
    }))
}

/// An entry of `--origin` that lets in pages which anybody on their way could have written.
pub(super) fn warn_of_origins(flags: &Flags, origins: &[String]) -> Option<String> {
    let open = |entry: &&String| !matches!(entry.as_str(), "*" | "null") && !entry.contains("://");
    let entry = origins
        .iter()
        .find(open)
        .filter(|_| !flags.tls_cert.is_empty())?;
    let entry = super::shown(entry.as_ref());
    Some(format!(
        "--origin {entry} lets in pages that came without TLS too: write https://{entry}"
    ))
}
