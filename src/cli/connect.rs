//! The command line of `scalesocket connect`.

use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Uri};

use super::{Command, complaint, values};

/// Where to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// `ws://` or `wss://`, with a host.
    pub url: Uri,
    /// Headers of the handshake, by name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Subprotocols that are offered.
    pub subprotocols: Vec<String>,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// Messages as they are, byte by byte.
    pub raw: bool,
    /// How long to listen on once the input, being no terminal, has ended.
    pub wait: Duration,
}

/// Talk with a room, line by line: to try one, or in a pipe
#[derive(Debug, Parser)]
#[command(
    name = "connect",
    bin_name = "scalesocket connect",
    disable_version_flag = true,
    max_term_width = 100
)]
struct ConnectCli {
    /// ws://HOST:PORT/ROOM, or wss:// over TLS; http:// and https:// mean the same
    #[arg(value_name = "URL", value_parser = url)]
    url: Option<Uri>,

    /// Messages as they are: no colours, binary ones byte by byte
    #[arg(long)]
    raw: bool,

    /// Send this header with the handshake (repeatable)
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,

    /// Offer these subprotocols
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::subprotocol)]
    subprotocol: Vec<String>,

    /// Take any certificate
    #[arg(long)]
    insecure: bool,

    /// How long to listen once piped input has ended, from the last message on
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = values::duration)]
    wait: Duration,
}

fn url(text: &str) -> Result<Uri, String> {
    let help = "write ws://HOST:PORT/ROOM, like ws://127.0.0.1:9000/lobby";
    let whole = match text.contains("://") {
        true => text.to_owned(),
        false => format!("ws://{text}"),
    };
    let mut parts = whole.parse::<Uri>().map_err(|_| help)?.into_parts();
    let scheme = parts.scheme.as_ref().map(Scheme::as_str);
    let scheme = match scheme {
        Some("ws" | "http") => "ws",
        Some("wss" | "https") => "wss",
        _ => return Err(help.into()),
    };
    parts.scheme = Some(scheme.parse().map_err(|_| help)?);
    let url = Uri::from_parts(parts).map_err(|_| help)?;
    let host = url.host().filter(|host| !host.is_empty()).ok_or(help)?;
    // What is no port is left out of `port_u16`, as if there were none.
    let authority = url.authority().map_or("", |authority| authority.as_str());
    match authority.ends_with(host) || url.port_u16().is_some() {
        true => Ok(url),
        false => Err(help.into()),
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let help = "write NAME: VALUE, like 'Authorization: Bearer ey...'";
    let (name, value) = text.split_once(':').ok_or(help)?;
    let name = name.trim().parse::<HeaderName>().map_err(|_| help)?;
    let value = value.trim().parse::<HeaderValue>().map_err(|_| help)?;
    Ok((name, value))
}

/// The definitions of `connect`.
pub(super) fn connect() -> clap::Command {
    ConnectCli::command()
}

pub(super) fn to_connect(found: &ArgMatches) -> Result<Command, String> {
    let cli =
        ConnectCli::from_arg_matches(found).map_err(|error| complaint::sentence(&error, &[]))?;
    let url = cli.url.ok_or(
        "name the room, as in `scalesocket connect ws://127.0.0.1:9000/lobby` (a program called \
         connect is served as `scalesocket -- connect`)",
    )?;
    Ok(Command::Connect(Connect {
        url,
        headers: cli.header,
        subprotocols: cli.subprotocol,
        insecure: cli.insecure,
        raw: cli.raw,
        wait: cli.wait,
    }))
}
