//! Who may come in: the server's clients and those of one address are counted, a share is held by
//! each and given back on drop. It also tells when a crowd has left.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::place::Newcomer;
use super::rooms::Refusal;

/// Fewer than so many are no crowd.
const CROWD: usize = 1000;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Admission {
    most: usize,
    most_per_address: Option<usize>,
    clients: AtomicUsize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    /// The most clients there were since a crowd last left.
    peak: AtomicUsize,
    ebb: Notify,
}

/// A client's share of the limits; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    /// Where it counts too; boxed, because it seldom does.
    address: Option<Box<IpAddr>>,
}

impl Admission {
    /// At most so many clients, and so many of one address.
    pub(super) fn new(most: usize, most_per_address: Option<usize>) -> Self {
        Admission {
            most,
            most_per_address,
            clients: AtomicUsize::new(0),
            addresses: Mutex::default(),
            peak: AtomicUsize::new(0),
            ebb: Notify::new(),
        }
    }

    /// One more, if there may be.
    pub(super) fn admit(self: &Arc<Self>, newcomer: &Newcomer) -> Result<Admitted, Refusal> {
        let before = self
            .clients
            .fetch_update(Relaxed, Relaxed, |now| (now < self.most).then_some(now + 1))
            .map_err(|_| Refusal::ServerFull)?;
        self.peak.fetch_max(before + 1, Relaxed);
        let mut admitted = Admitted {
            admission: Arc::clone(self),
            address: None,
        };
        // Who was passed on counts where it came in.
        let most = self.most_per_address.filter(|_| !newcomer.passed_on);
        if let (Some(most), Some(address)) = (most, newcomer.address.map(household)) {
            let mut addresses = self.addresses.lock();
            let count = addresses.entry(address).or_default();
            if *count >= most {
                return Err(Refusal::PerAddress);
            }
            *count += 1;
            admitted.address = Some(Box::new(address));
        }
        Ok(admitted)
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> usize {
        self.clients.load(Relaxed)
    }

    /// Waits until a crowd has left: until at most half of the most clients that there were are
    /// left. From then on it is counted anew.
    pub(super) async fn ebb(&self) {
        self.ebb.notified().await;
        self.peak.store(self.clients(), Relaxed);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let admission = &self.admission;
        if let Some(address) = self.address.take() {
            let mut addresses = admission.addresses.lock();
            if let Some(count) = addresses.get_mut(&*address) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&*address);
                }
            }
        }
        let left = admission.clients.fetch_sub(1, Relaxed) - 1;
        let peak = admission.peak.load(Relaxed);
        if peak >= CROWD && left <= peak / 2 {
            admission.ebb.notify_one();
        }
    }
}

/// What counts as one address: of IPv6 the first 64 bits, which one subscriber has at the least
/// (RFC 6177), and any program of theirs the rest.
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn from(address: impl Into<IpAddr>) -> Newcomer {
        Newcomer {
            address: Some(address.into()),
            ..Newcomer::default()
        }
    }

    #[test]
    fn shares_are_bounded_and_given_back() {
        let admission = Arc::new(Admission::new(3, Some(2)));
        let (here, there) = (from([10, 0, 0, 1]), from([10, 0, 0, 2]));
        let first = admission.admit(&here).expect("the first");
        let second = admission.admit(&here).expect("the second");
        assert_eq!(admission.admit(&here).err(), Some(Refusal::PerAddress));
        assert_eq!(admission.clients(), 2, "who was refused has no share");
        let third = admission.admit(&there).expect("of another address");
        assert_eq!(admission.admit(&there).err(), Some(Refusal::ServerFull));
        drop(first);
        let again = admission.admit(&here).expect("one has left");
        drop((second, third, again));
        assert_eq!(admission.clients(), 0);
        assert!(admission.addresses.lock().is_empty());
    }

    #[test]
    fn one_subscriber_is_one_address() {
        let admission = Arc::new(Admission::new(9, Some(1)));
        let subscriber = |last: u16| from([0x2001, 0xdb8, 0, 1, last, 0, 0, last]);
        let one = admission.admit(&subscriber(1)).expect("the first");
        assert_eq!(
            admission.admit(&subscriber(2)).err(),
            Some(Refusal::PerAddress)
        );
        let other = admission.admit(&from([0x2001, 0xdb8, 0, 2, 1, 0, 0, 1]));
        assert!(other.is_ok());
        drop((one, other));
        assert!(admission.addresses.lock().is_empty());
    }

    #[test]
    fn a_crowd_that_leaves_is_noticed_once() {
        let admission = Arc::new(Admission::new(usize::MAX, None));
        let few: Vec<_> = (1..CROWD).map(|_| admission.admit(&from([1; 4]))).collect();
        drop(few);
        assert!(admission.ebb().now_or_never().is_none(), "it was no crowd");
        let mut crowd: Vec<_> = (0..CROWD).map(|_| admission.admit(&from([1; 4]))).collect();
        crowd.truncate(CROWD / 2 + 1);
        assert!(admission.ebb().now_or_never().is_none(), "most are there");
        crowd.pop();
        assert!(admission.ebb().now_or_never().is_some());
        crowd.clear();
        assert!(admission.ebb().now_or_never().is_none(), "told before");
    }
}
