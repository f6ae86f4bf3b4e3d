//! How many distinct addresses were in a room: exact while few, a sketch once there are many.
//!
//! Up to [`EXACT`] addresses are remembered as they are. One more, and all of them move into a
//! HyperLogLog sketch of 16 KiB whose count is off by 0.8 % (one standard deviation); a room's
//! memory is bounded whatever the world sends. A sketch never forgets, so the count never falls.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Addresses that are counted exactly.
const EXACT: usize = 10_000;

/// Bits of the hash that choose a register.
const REGISTER_BITS: u32 = 14;

const REGISTERS: usize = 1 << REGISTER_BITS;

/// Bits of the hash that are left for a register's rank.
const RANK_BITS: usize = 64 - REGISTER_BITS as usize;

/// Counts distinct client addresses.
#[derive(Default)]
pub struct Unique(Seen);

impl std::fmt::Debug for Unique {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Unique").field(&self.count()).finish()
    }
}

enum Seen {
    Exact(HashSet<IpAddr>),
    Sketch(Sketch),
}

impl Default for Seen {
    fn default() -> Seen {
        Seen::Exact(HashSet::new())
    }
}

impl Unique {
    /// An address was seen, perhaps not for the first time. An IPv4 client of a dual-stack
    /// listener is the same client as over IPv4.
    pub fn insert(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        match &mut self.0 {
            Seen::Exact(addresses) => {
                addresses.insert(address);
                if addresses.len() > EXACT {
                    self.0 = Seen::Sketch(Sketch::of(addresses));
                }
            }
            Seen::Sketch(sketch) => sketch.insert(address),
        }
    }

    /// How many different addresses were seen.
    pub fn count(&self) -> u64 {
        match &self.0 {
            Seen::Exact(addresses) => addresses.len() as u64,
            // There were more than the exact ones, whatever the estimate says.
            Seen::Sketch(sketch) => sketch.estimate().max(EXACT as u64 + 1),
        }
    }
}

/// HyperLogLog: each register keeps the highest rank (position of the first set bit) among the
/// hashes that chose it. Hashes are keyed, so that nobody can pick addresses that fool it.
struct Sketch {
    registers: Box<[u8]>,
    key: RandomState,
}

impl Sketch {
    fn of(addresses: &HashSet<IpAddr>) -> Sketch {
        let registers = vec![0; REGISTERS].into_boxed_slice();
        let mut sketch = Sketch {
            registers,
            key: RandomState::new(),
        };
        for address in addresses {
            sketch.insert(*address);
        }
        sketch
    }

    fn insert(&mut self, address: IpAddr) {
        let hash = self.key.hash_one(address);
        let register = (hash >> RANK_BITS) as usize;
        let rank = (hash << REGISTER_BITS)
            .leading_zeros()
            .min(RANK_BITS as u32) as u8
            + 1;
        if let Some(highest) = self.registers.get_mut(register) {
            *highest = rank.max(*highest);
        }
    }

    /// The improved raw estimator of O. Ertl, "New cardinality estimation algorithms for
    /// HyperLogLog sketches" (2017), algorithm 6: unlike the first paper's it needs neither bias
    /// tables nor a switch to linear counting, which is worst just where our exact set ends.
    fn estimate(&self) -> u64 {
        let mut ranks = [0u32; RANK_BITS + 2];
        for rank in &self.registers {
            if let Some(count) = ranks.get_mut(usize::from(*rank)) {
                *count += 1;
            }
        }
        let m = REGISTERS as f64;
        let [untouched, inner @ .., saturated] = &ranks;
        let mut z = m * tau(1.0 - f64::from(*saturated) / m);
        for count in inner.iter().rev() {
            z = 0.5 * (z + f64::from(*count));
        }
        z += m * sigma(f64::from(*untouched) / m);
        (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as u64
    }
}

/// Weight of the registers that nothing has chosen yet; `x` is their share.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// Weight of the registers that are full; `x` is the share of the others.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v4(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    #[test]
    fn few_addresses_are_counted_exactly_and_once() {
        let mut unique = Unique::default();
        assert_eq!(unique.count(), 0);
        for n in 0..EXACT as u32 {
            unique.insert(v4(n));
            unique.insert(v4(n / 2));
            assert_eq!(unique.count(), u64::from(n) + 1);
        }
    }

    #[test]
    fn an_ipv4_client_is_the_same_over_a_dual_stack_listener() {
        let mut unique = Unique::default();
        unique.insert(Ipv4Addr::LOCALHOST.into());
        unique.insert(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into());
        assert_eq!(unique.count(), 1);
        unique.insert(Ipv6Addr::LOCALHOST.into());
        assert_eq!(unique.count(), 2);
    }

    #[test]
    fn many_addresses_are_counted_closely_and_the_count_never_falls() {
        let mut unique = Unique::default();
        let mut before = 0;
        for n in 0..300_000u32 {
            unique.insert(v4(n));
            if n % 5_000 == 0 && n > EXACT as u32 {
                let (count, truth) = (unique.count(), f64::from(n) + 1.0);
                assert!(count >= before, "{count} after {before}");
                // Six standard deviations: a right sketch fails once in a billion runs.
                let error = (count as f64 - truth).abs() / truth;
                assert!(error < 0.05, "{count} for {truth}");
                before = count;
            }
        }
    }

    #[test]
    fn the_exact_set_is_carried_over_into_the_sketch() {
        let mut unique = Unique::default();
        for n in 0..=EXACT as u32 {
            unique.insert(v4(n));
        }
        assert!(matches!(unique.0, Seen::Sketch(_)));
        let carried = unique.count();
        for n in 0..=EXACT as u32 {
            unique.insert(v4(n)); // all known: nothing may change
        }
        assert_eq!(unique.count(), carried);
        assert!(
            carried > EXACT as u64 && carried < EXACT as u64 * 105 / 100,
            "{carried}"
        );
    }

    #[test]
    fn a_sketch_holds_at_both_ends() {
        let empty = Sketch::of(&HashSet::new());
        assert_eq!(empty.estimate(), 0);
        let mut full = empty;
        full.registers.fill(RANK_BITS as u8 + 1);
        assert_eq!(full.estimate(), u64::MAX);
    }
}
