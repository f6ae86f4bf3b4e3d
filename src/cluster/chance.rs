//! Chance: numbers that no two requests share, and times that no two pods keep in step.
//!
//! One generator per thread, seeded by the system. A test that has one thread may seed it, so that
//! it takes the same course each time.

use std::cell::RefCell;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

thread_local! {
    static GENERATOR: RefCell<StdRng> = RefCell::new(rand::make_rng());
}

/// From now on this thread draws what this seed gives. For tests.
#[doc(hidden)]
pub fn seed(seed: u64) {
    GENERATOR.set(StdRng::seed_from_u64(seed));
}

/// A number that nobody else has.
pub(super) fn unique() -> u128 {
    GENERATOR.with_borrow_mut(|generator| generator.random())
}

/// That long, give or take a fifth.
pub(super) fn jittered(time: Duration) -> Duration {
    let factor = GENERATOR.with_borrow_mut(|generator| generator.random_range(0.8..=1.2));
    time.mul_f64(factor)
}
