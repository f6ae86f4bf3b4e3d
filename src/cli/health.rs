//! Where a server tells its health, from its own command line: for `scalesocket probe --pid`, which
//! asks it without being told what flags it has.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;

use super::config::{Config, DEFAULT_ADDR, Listen};
use super::{Command, parse};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Where it listens.
    pub target: Listen,
    /// Whether it speaks TLS there.
    pub secure: bool,
    /// Whether it wants a certificate of whoever asks.
    pub wants_certificate: bool,
}

/// Where the server with this command line and environment tells its health, or why nobody can know.
/// What stands before its own name, like an init of the container, is passed over.
pub fn health(
    words: &[OsString],
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Health, String> {
    let own = |word: &OsString| Path::new(word).file_name() == Some(OsStr::new("scalesocket"));
    let begin = words.iter().position(own);
    let words = begin.and_then(|at| words.get(at..)).unwrap_or_default();
    match parse(words.iter().cloned(), env) {
        Ok(Command::Serve(config)) if !words.is_empty() => of(&config),
        _ => Err("that process serves nothing: name a URL instead".into()),
    }
}

fn of(config: &Config) -> Result<Health, String> {
    let plain = |target: &Listen| Health {
        target: target.clone(),
        secure: false,
        wants_certificate: false,
    };
    // Those that never speak TLS first: they answer whatever certificates there are.
    let sockets = config.addr.iter();
    let mut unix = sockets.filter(|addr| matches!(addr, Listen::Unix(_)));
    if let Some(admin) = config.admin_addr.iter().chain(unix.next()).find_map(known) {
        return Ok(plain(&admin));
    }
    let default = [Listen::Tcp(DEFAULT_ADDR.to_owned())];
    let public = match config.addr.as_slice() {
        [] => &default,
        given => given,
    };
    let target = public
        .iter()
        .find_map(known)
        .ok_or("it listens at a port of the system's choosing: name a URL, or give it a port")?;
    let tls = config.tls.as_ref();
    Ok(Health {
        secure: tls.is_some(),
        wants_certificate: tls.is_some_and(|tls| tls.client_ca.is_some()),
        ..plain(&target)
    })
}

/// Where that can be reached from this machine, if that can be known.
fn known(listen: &Listen) -> Option<Listen> {
    let Listen::Tcp(text) = listen else {
        return Some(listen.clone());
    };
    let Ok(mut address) = text.parse::<SocketAddr>() else {
        return (!text.ends_with(":0")).then(|| listen.clone());
    };
    if address.ip().is_unspecified() {
        // Every address is this machine's own too.
        address.set_ip(match address {
            SocketAddr::V4(_) => [127, 0, 0, 1].into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    (address.port() != 0).then(|| Listen::Tcp(address.to_string()))
}
