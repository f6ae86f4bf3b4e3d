//! The front's part of the composition root: who stands before the rooms, cut from the configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Config;
use crate::cli::{Listen, Proxy};
use crate::http::{Hosts, TrustedProxies};

/// Whose word is taken of who a client is.
pub(super) fn proxies(config: &Config) -> TrustedProxies {
    let trusted = &config.front.trusted_proxy;
    let networks = trusted.iter().flat_map(|proxy| match proxy {
        Proxy::Network(address, length) => vec![(*address, *length)],
        Proxy::Loopback => vec![
            (IpAddr::from(Ipv4Addr::LOCALHOST), 8),
            (IpAddr::from(Ipv6Addr::LOCALHOST), 128),
        ],
        Proxy::Unix => Vec::new(),
    });
    TrustedProxies::new(networks.collect(), trusted.contains(&Proxy::Unix))
}

/// The names that it goes by: those it was told, and those it listens at.
pub(super) fn hosts(config: &Config) -> Hosts {
    let listens = config.addr.iter().chain(&config.admin_addr);
    let listens = listens.filter_map(|listen| match listen {
        Listen::Tcp(address) => address.rsplit_once(':').map(|(host, _)| host.to_owned()),
        Listen::Unix(_) => None,
    });
    Hosts::new(config.front.host.iter().cloned().chain(listens))
}
