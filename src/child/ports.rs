//! The ports that children listen on in TCP mode.
//!
//! A port is leased to one child and comes back when the lease is dropped, which its holder does
//! when the child is gone. Ports go round, so that one just returned is taken last: the
//! connections of its former child may still be in TIME_WAIT.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
};

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};

/// A pool of ports; its clones are the same pool.
#[derive(Debug, Clone)]
pub struct Ports(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    range: RangeInclusive<u16>,
    leases: Mutex<Leases>,
}

#[derive(Debug)]
struct Leases {
    out: BTreeSet<u16>,
    next: u16,
}

/// Every port of the range is leased, or taken by a program that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no free port")]
pub struct NoPort;

impl Ports {
    /// A pool of these ports; an empty range is a pool that never has one.
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let next = *range.start();
        let leases = Mutex::new(Leases {
            out: BTreeSet::new(),
            next,
        });
        Ports(Arc::new(Pool { range, leases }))
    }

    /// How many ports are not leased. Others on this machine may have taken some of them.
    pub fn available(&self) -> usize {
        self.0.range.len() - self.0.leases.lock().out.len()
    }

    /// Leases the next port that is free.
    pub fn lease(&self) -> Result<PortLease, NoPort> {
        let (first, last) = (*self.0.range.start(), *self.0.range.end());
        let mut leases = self.0.leases.lock();
        let next = leases.next;
        // A port with connections in TIME_WAIT is refused to programs that do not ask for
        // SO_REUSEADDR, so it is the second choice.
        for reuse in [false, true] {
            let free = (next..=last)
                .chain(first..next)
                .find(|port| !leases.out.contains(port) && is_free(*port, reuse));
            if let Some(port) = free {
                leases.out.insert(port);
                leases.next = if port == last { first } else { port + 1 };
                let pool = Arc::clone(&self.0);
                return Ok(PortLease(Arc::new(Lease { port, pool })));
            }
        }
        Err(NoPort)
    }
}

/// Whether a program could bind this port, on the loopback address or on all.
fn is_free(port: u16, reuse: bool) -> bool {
    [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST]
        .into_iter()
        .all(|ip| {
            Socket::new(Domain::IPV4, Type::STREAM, None).is_ok_and(|socket| {
                socket.set_reuse_address(reuse).is_ok()
                    && socket.bind(&SocketAddr::from((ip, port)).into()).is_ok()
            })
        })
}

/// A port that nobody else gets until this and all its clones are dropped.
#[derive(Debug, Clone)]
pub struct PortLease(Arc<Lease>);

#[derive(Debug)]
struct Lease {
    port: u16,
    pool: Arc<Pool>,
}

impl PortLease {
    /// The port.
    pub fn port(&self) -> u16 {
        self.0.port
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.leases.lock().out.remove(&self.port);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Ranges are one test's at a time: what is free for two would be taken from one.
    static RANGES: Mutex<()> = Mutex::new(());

    /// A range of `n` ports of which all were free a moment ago.
    fn free_range(n: u16) -> RangeInclusive<u16> {
        let mut first = 20_000 + (std::process::id() % 10_000) as u16;
        while !(first..first + n).all(|port| is_free(port, false)) {
            first += n;
        }
        first..=first + n - 1
    }

    #[test]
    fn a_port_is_leased_once_and_returns_when_dropped() {
        let _mine = RANGES.lock();
        let range = free_range(2);
        let ports = Ports::new(range.clone());
        let one = ports.lease().unwrap();
        let two = ports.lease().unwrap();
        assert_eq!([one.port(), two.port()], [*range.start(), *range.end()]);
        assert_eq!(ports.available(), 0);
        assert_eq!(ports.lease().unwrap_err(), NoPort);
        drop(two);
        assert_eq!(ports.available(), 1);
        assert_eq!(ports.lease().unwrap().port(), *range.end());
    }

    #[test]
    fn the_port_that_came_back_last_is_taken_last() {
        let _mine = RANGES.lock();
        let range = free_range(3);
        let ports = Ports::new(range.clone());
        let taken: Vec<u16> = (0..4).map(|_| ports.lease().unwrap().port()).collect();
        let first = *range.start();
        assert_eq!(taken, [first, first + 1, first + 2, first]);
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_passed_over() {
        let squatter = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = squatter.local_addr().unwrap().port();
        let ports = Ports::new(port..=port);
        assert_eq!(ports.lease().unwrap_err(), NoPort);
        drop(squatter);
        assert_eq!(ports.lease().unwrap().port(), port);
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges)]
    fn an_empty_range_and_the_last_port_are_no_panic() {
        assert!(Ports::new(9..=8).lease().is_err());
        let _maybe = Ports::new(u16::MAX..=u16::MAX).lease();
    }
}
