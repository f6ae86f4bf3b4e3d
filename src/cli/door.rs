//! The flags of the door: who stands before it, and what they come to, pure.

use std::net::IpAddr;

use clap::Args;

use super::values;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Proxies")]
#[group(skip)] // groups are named after their struct, and another has this name
pub(super) struct Flags {
    /// Believe proxies at these addresses who the client is
    ///
    /// What they say in Forwarded, or in X-Forwarded-For, -Proto, -Host and -Port, takes the place of their own
    /// address, of scheme, host and port: for the program, limits, --same-origin and --auth-url. The right-most
    /// address that is not trusted is the client's. A proxy must remove those of the headers that it does
    /// not set. unix: whoever comes through a unix socket.
    #[arg(long, value_name = "CIDR|loopback|unix", value_delimiter = ',', value_parser = values::proxy)]
    pub trusted_proxy: Vec<Proxy>,

    /// Proxies say in the PROXY protocol whom they pass on
    ///
    /// Each connection at --addr and --redirect-addr begins with such a header, of version 1 or 2, before TLS and
    /// HTTP, and only from --trusted-proxy: anybody else is closed. What it names is the client. Its Forwarded and
    /// X-Forwarded-* count if that address is trusted too. --admin-addr has no such headers.
    #[arg(long)]
    pub proxy_protocol: bool,

    /// Everything is below this path, like /games
    ///
    /// Rooms are at /games/ROOM then, and nothing is anywhere else but /health and /ready, which are at both
    /// places. --admin-addr has its pages without it.
    #[arg(long, value_name = "PATH", value_parser = values::base_path)]
    pub base_path: Option<String>,

    /// Names of this server, for those who read /metrics, /stats and /api
    ///
    /// These, and all that --admin-addr serves, answer only when asked for an address, a name without a dot or below
    /// .localhost, .internal, .svc or .cluster.local, a name in --addr, --origin or a certificate, or one of
    /// these: else 421. Pages of other origins need --origin.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::host)]
    pub host: Vec<String>,

    /// Most connections at once, whatever for [default: what the descriptor limit allows]
    ///
    /// From their acceptance to the end of their websocket: handshakes, plain HTTP and those who say nothing too.
    /// Beyond, 503 at once (an alert under TLS). --admin-addr and --peer-addr are exempt.
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Who may come in")]
    pub max_connections: Option<usize>,

    /// Most connections from one address [default: no limit]
    ///
    /// Of IPv6 the first 64 bits are one address. A --trusted-proxy counts for the client that its request names,
    /// and else not. Beyond, 429 at once (an alert under TLS).
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Who may come in")]
    pub max_connections_per_address: Option<usize>,

    /// Longest head of a request: its first line and its headers
    ///
    /// From 1KiB to 64KiB. Longer is 431, or 414 if the first line alone is.
    #[arg(long, value_name = "SIZE", value_parser = values::head_size, default_value = "32KiB",
          help_heading = "HTTP")]
    pub max_header_size: usize,

    /// Most headers of a request
    ///
    /// From 1 to 1000. More is 431.
    #[arg(long, value_name = "N", value_parser = values::headers, default_value = "100", help_heading = "HTTP")]
    pub max_headers: usize,
}

/// A proxy that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// At an address whose first so many bits are these.
    Network(IpAddr, u8),
    /// On this machine.
    Loopback,
    /// At the other end of a unix socket.
    Unix,
}

/// What stands before the rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// Proxies that are believed.
    pub trusted_proxy: Vec<Proxy>,
    /// Connections of clients begin with a header of the PROXY protocol; some proxy is trusted then.
    pub proxy_protocol: bool,
    /// The path below which everything is, without a slash at its end; empty = none.
    pub base_path: String,
    /// Names that are this server's.
    pub host: Vec<String>,
    /// Connections at once; none: what descriptors allow.
    pub max_connections: Option<usize>,
    /// Connections of one address at once.
    pub max_connections_per_address: Option<usize>,
    /// Bytes of the head of a request.
    pub max_header_size: usize,
    /// Headers of a request.
    pub max_headers: usize,
}

/// What the flags come to.
pub(super) fn validate(flags: &Flags) -> Result<Front, String> {
    if flags.proxy_protocol && flags.trusted_proxy.is_empty() {
        return Err(
            "--proxy-protocol needs --trusted-proxy: say at which addresses the proxies are".into(),
        );
    }
    Ok(Front {
        trusted_proxy: flags.trusted_proxy.clone(),
        proxy_protocol: flags.proxy_protocol,
        base_path: flags.base_path.clone().unwrap_or_default(),
        host: flags.host.clone(),
        max_connections: flags.max_connections,
        max_connections_per_address: flags.max_connections_per_address,
        max_header_size: flags.max_header_size,
        max_headers: flags.max_headers,
    })
}
