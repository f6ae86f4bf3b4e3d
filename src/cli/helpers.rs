//! The helpers that stand in for `cp` and `curl` in images without a shell: `install` and `probe`.
//! Their command lines only; what they do is done elsewhere.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};

use super::config::Listen;
use super::{Command, complaint, connect, manual, replay, values};

const HEALTH: &str = "/health";

/// Copy this program into a directory, for images that have no cp
#[derive(Debug, Parser)]
#[command(
    name = "install",
    bin_name = "scalesocket install",
    disable_version_flag = true,
    max_term_width = 100
)]
struct InstallCli {
    /// The directory that gets a file `scalesocket`; it must exist
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Ask a server for its health: exit 0 when it answers 200, 1 otherwise
#[derive(Debug, Parser)]
#[command(
    name = "probe",
    bin_name = "scalesocket probe",
    disable_version_flag = true,
    max_term_width = 100
)]
struct ProbeCli {
    /// http://HOST:PORT[/PATH], https:// where TLS is spoken (any certificate will do), or unix:/path of a socket;
    /// /health without a path
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:9000/health", value_parser = target)]
    url: Url,

    /// Ask the server that is this process, where its command line says that it listens
    ///
    /// For checks of containers, in which it is process 1: whatever flags it was given. Over TLS where it speaks
    /// that; a server that wants a certificate and has neither --admin-addr nor a unix socket is well
    /// when it asks for one.
    #[arg(long, value_name = "PID", conflicts_with = "url", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// How long connecting and answering may take together
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::span)]
    timeout: Duration,
}

/// Where to ask, whether over TLS, and for what.
#[derive(Debug, Clone)]
struct Url {
    target: Listen,
    secure: bool,
    path: String,
}

fn target(text: &str) -> Result<Url, String> {
    if text.starts_with("unix:") {
        return Ok(Url {
            target: values::listen(text)?,
            secure: false,
            path: HEALTH.to_owned(),
        });
    }
    let help = "write http://HOST:PORT/PATH, like http://127.0.0.1:9000/health";
    let plain = text.strip_prefix("http://");
    let secure = plain.is_none();
    let rest = plain.or(text.strip_prefix("https://")).ok_or(help)?;
    let (host, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, HEALTH),
    };
    let path = if path == "/" { HEALTH } else { path };
    // SECURITY: the path becomes a line of a request.
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("write the path percent-encoded, without spaces".into());
    }
    let bracketed = host.ends_with(']');
    let host = match host.contains(':') && !bracketed {
        true => host.to_owned(),
        false => format!("{host}:{}", if secure { 443 } else { 80 }),
    };
    Ok(Url {
        target: Listen::Tcp(values::peer(&host)?),
        secure,
        path: path.to_owned(),
    })
}

/// The definitions of all helpers, in the order of the reference.
pub(super) fn all() -> impl Iterator<Item = clap::Command> {
    [
        connect::connect(),
        replay::replay(),
        install(),
        probe(),
        manual::completions(),
        manual::man(),
    ]
    .into_iter()
}

/// The definitions of `install`.
pub(super) fn install() -> clap::Command {
    InstallCli::command()
}

/// The definitions of `probe`.
pub(super) fn probe() -> clap::Command {
    ProbeCli::command()
}

pub(super) fn to_install(found: &ArgMatches) -> Result<Command, String> {
    let cli =
        InstallCli::from_arg_matches(found).map_err(|error| complaint::sentence(&error, &[]))?;
    match cli.dir {
        Some(dir) if dir.as_os_str() != OsStr::new("") => Ok(Command::Install { dir }),
        _ => Err(
            "name the directory to copy to, as in `scalesocket install /shared` (a program \
                  called install is served as `scalesocket -- install`)"
                .into(),
        ),
    }
}

pub(super) fn to_probe(found: &ArgMatches) -> Result<Command, String> {
    let cli =
        ProbeCli::from_arg_matches(found).map_err(|error| complaint::sentence(&error, &[]))?;
    if let Some(pid) = cli.pid {
        return Ok(Command::ProbeProcess {
            pid,
            timeout: cli.timeout,
        });
    }
    Ok(Command::Probe {
        target: cli.url.target,
        secure: cli.url.secure,
        path: cli.url.path,
        timeout: cli.timeout,
    })
}
