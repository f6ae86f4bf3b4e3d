//! The front's part of the composition root: who stands before the rooms, cut from the configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use tracing::warn;

use super::{Config, ROOM_DESCRIPTORS, SPARE_DESCRIPTORS, fleet};
use crate::cli::{Listen, Proxy};
use crate::http::{Connections, Hosts, Limits, TrustedProxies};
use crate::metrics::Metrics;

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

/// How long the head of a request may be.
pub(super) fn head(config: &Config) -> Limits {
    Limits {
        bytes: config.front.max_header_size,
        headers: config.front.max_headers,
    }
}

/// Clients at once that open descriptors allow: rooms have theirs first, but no more than half of all.
pub(super) fn most_clients(config: &Config, descriptors: u64) -> usize {
    let for_clients = descriptors
        .saturating_sub(SPARE_DESCRIPTORS + for_rooms(config))
        .max(descriptors / 2);
    clamped(for_clients / fleet::descriptors_per_client(config))
}

/// Connections at once, as they allow: those that are no clients may take up to half of what is left
/// for rooms. So neither do they keep clients out where there are few, nor do they stop rooms.
fn most_connections(config: &Config, descriptors: u64) -> usize {
    let each = fleet::descriptors_per_client(config);
    let clients = most_clients(config, descriptors);
    let left = descriptors
        .saturating_sub(SPARE_DESCRIPTORS)
        .saturating_sub(clients as u64 * each);
    clients.saturating_add(clamped(left / 2 / each))
}

fn for_rooms(config: &Config) -> u64 {
    let recorded = u64::from(config.develop.record.is_some());
    (ROOM_DESCRIPTORS + recorded).saturating_mul(config.maxrooms as u64)
}

fn clamped(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX).max(1)
}

/// How many may be connected, and how many of one address.
pub(super) fn connections(
    config: &Config,
    metrics: &Metrics,
    descriptors: u64,
) -> Arc<Connections> {
    let front = &config.front;
    let most = front.max_connections;
    if let Some(most) =
        most.filter(|most| *most as u64 > descriptors.saturating_sub(SPARE_DESCRIPTORS))
    {
        warn!(
            most,
            descriptors,
            "--max-connections is more than there are descriptors for: raise the limit of open files"
        );
    }
    let most = most.unwrap_or_else(|| most_connections(config, descriptors));
    Connections::new(most, front.max_connections_per_address, metrics.clone())
}
