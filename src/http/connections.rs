//! How many connections are open, in all and of one address: from the moment they are accepted to the
//! end of their websocket, whatever they are used for.
//!
//! A connection holds a share, and dropping it gives that back; it says nothing of who may join a room,
//! which the rooms decide. A proxy's connection counts for whom its present request names, and for
//! nobody between two requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::away::Porch;
use crate::metrics::Metrics;
use crate::room::household;
use crate::ws::lease::{Lease, Lessor, Terms};

/// Why there is no room for another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowded {
    /// There are as many as there may be.
    Server,
    /// Its address has as many as it may.
    Address,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    most_per_address: Option<usize>,
    count: Arc<Count>,
    /// For those that count for no address.
    terms: Terms,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    pub(super) porch: Porch,
}

/// How many there are.
#[derive(Debug)]
struct Count {
    open: AtomicUsize,
    metrics: Metrics,
}

/// A connection's share of the limits; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Share {
    lease: Lease,
    /// None where addresses have no limit.
    named: Option<Arc<Named>>,
}

/// Whom a connection counts for, if for anybody.
#[derive(Debug)]
pub(super) struct Named {
    connections: Arc<Connections>,
    address: Mutex<Option<IpAddr>>,
}

impl Connections {
    /// At most so many, and so many of one address.
    pub fn new(most: usize, most_per_address: Option<usize>, metrics: Metrics) -> Arc<Self> {
        let count = Arc::new(Count {
            open: AtomicUsize::new(0),
            metrics,
        });
        Arc::new(Connections {
            most,
            most_per_address,
            terms: Terms::new(Arc::clone(&count)),
            count,
            addresses: Mutex::default(),
            porch: Porch::new(),
        })
    }

    /// One more, of that address, if there may be. None: of nobody's, until somebody is named.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Share, Crowded> {
        let Count { open, metrics } = &*self.count;
        open.fetch_update(Relaxed, Relaxed, |now| (now < self.most).then_some(now + 1))
            .map_err(|_| Crowded::Server)?;
        metrics.connected();
        if self.most_per_address.is_none() {
            let lease = self.terms.lease();
            return Ok(Share { lease, named: None });
        }
        let named = Arc::new(Named {
            connections: Arc::clone(self),
            address: Mutex::default(),
        });
        let share = Share {
            lease: Terms::new(Arc::clone(&named)).lease(),
            named: Some(Arc::clone(&named)),
        };
        named.counts_for(address)?;
        Ok(share)
    }

    /// Whether there was room for one more of that address, which it takes.
    fn add(&self, address: IpAddr) -> bool {
        let most = self.most_per_address.unwrap_or(usize::MAX);
        let mut addresses = self.addresses.lock();
        let count = addresses.entry(address).or_default();
        let may = *count < most;
        *count += usize::from(may);
        may
    }

    fn remove(&self, address: IpAddr) {
        let mut addresses = self.addresses.lock();
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }
}

impl Share {
    /// For whoever learns from a request whose connection it is.
    pub(super) fn named(&self) -> Option<Arc<Named>> {
        self.named.clone()
    }

    /// What is left of it once all is known.
    pub(super) fn into_lease(self) -> Lease {
        self.lease
    }
}

impl Lessor for Arc<Count> {
    fn released(&self) {
        self.open.fetch_sub(1, Relaxed);
        self.metrics.disconnected();
    }
}

impl Lessor for Arc<Named> {
    fn released(&self) {
        self.connections.count.released();
    }
}

impl Named {
    /// From now on the connection counts for this address; where that has enough, for nobody.
    pub(super) fn counts_for(&self, address: Option<IpAddr>) -> Result<(), Crowded> {
        let address = address.map(household);
        let mut now = self.address.lock();
        if *now == address {
            return Ok(());
        }
        if let Some(before) = now.take() {
            self.connections.remove(before);
        }
        match address {
            Some(address) if !self.connections.add(address) => Err(Crowded::Address),
            address => {
                *now = address;
                Ok(())
            }
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(address) = self.address.get_mut().take() {
            self.connections.remove(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, most_per_address: Option<usize>) -> Arc<Connections> {
        Connections::new(most, most_per_address, Metrics::new(0).unwrap())
    }

    fn of(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    impl Connections {
        fn is_empty(&self) -> bool {
            self.count.open.load(Relaxed) == 0 && self.addresses.lock().is_empty()
        }
    }

    #[test]
    fn shares_are_bounded_and_given_back() {
        let connections = connections(3, Some(2));
        let first = connections.enter(of("192.0.2.1")).unwrap();
        let second = connections.enter(of("::ffff:192.0.2.1")).unwrap();
        let refused = connections.enter(of("192.0.2.1")).err();
        assert_eq!(refused, Some(Crowded::Address));
        assert_eq!(
            connections.count.open.load(Relaxed),
            2,
            "who is refused has none"
        );
        let third = connections.enter(None).unwrap();
        let refused = connections.enter(of("192.0.2.2")).err();
        assert_eq!(refused, Some(Crowded::Server));
        drop(first);
        let again = connections.enter(of("192.0.2.1")).unwrap();
        drop((second, third, again));
        assert!(connections.is_empty());
    }

    #[test]
    fn of_ipv6_the_first_half_counts() {
        let connections = connections(usize::MAX, Some(1));
        let _one = connections.enter(of("2001:db8::1")).unwrap();
        for (address, may) in [
            ("2001:db8::2", false),
            ("2001:db8::ffff:ffff:ffff:ffff", false),
            ("2001:db8:0:1::1", true),
            ("2001:db9::1", true),
        ] {
            assert_eq!(connections.enter(of(address)).is_ok(), may, "{address}");
        }
    }

    #[test]
    fn a_connection_counts_for_one_address_at_a_time() {
        let connections = connections(usize::MAX, Some(1));
        let proxy = connections.enter(None).unwrap();
        let named = proxy.named().unwrap();
        assert_eq!(named.counts_for(of("192.0.2.1")), Ok(()));
        assert_eq!(
            named.counts_for(of("192.0.2.1")),
            Ok(()),
            "it has it already"
        );
        assert!(connections.enter(of("192.0.2.1")).is_err());
        assert_eq!(named.counts_for(of("192.0.2.2")), Ok(()));
        let other = connections.enter(of("192.0.2.1")).unwrap();
        assert_eq!(named.counts_for(of("192.0.2.1")), Err(Crowded::Address));
        let second = connections.enter(of("192.0.2.2"));
        assert!(second.is_ok(), "who was refused counts for nobody");
        drop((other, second));
        assert_eq!(named.counts_for(of("192.0.2.1")), Ok(()));
        drop(proxy);
        assert_eq!(connections.count.open.load(Relaxed), 0);
        drop(named);
        assert!(connections.is_empty());
    }

    #[test]
    fn without_a_limit_of_addresses_nothing_is_kept_of_them() {
        let connections = connections(1, None);
        let share = connections.enter(of("192.0.2.1")).unwrap();
        assert!(share.named().is_none());
        assert!(connections.addresses.lock().is_empty());
    }
}
