//! Chances that come out the same again: xorshift64 from a seed.

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Seeds that are neighbours have nothing in common.
    pub(crate) fn new(seed: u64) -> Self {
        Chance(
            seed.wrapping_add(1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .max(1),
        )
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to `end`, which it is not; 0 if that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    /// One of all; the default of its kind if there is none.
    pub(crate) fn of<T: Copy + Default>(&mut self, all: &[T]) -> T {
        let index = self.below(all.len() as u64) as usize;
        all.get(index).copied().unwrap_or_default()
    }

    /// Another one, which goes its own way.
    pub(crate) fn fork(&mut self) -> Chance {
        Chance::new(self.next())
    }

    /// In another order.
    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_and_another_gives_another() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            let mut deck: Vec<u64> = (0..20).collect();
            chance.shuffle(&mut deck);
            (deck, chance.fork().below(1_000_000))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let mut deck = draw(7).0;
        deck.sort_unstable();
        assert!(deck.into_iter().eq(0..20));
        assert_eq!(Chance::new(u64::MAX).below(0), 0);
    }
}
