//! What a connection holds of somebody's limits for as long as its socket is open, in one word: an idle
//! connection's task has no second one to spare.

use std::fmt;
use std::sync::Arc;

/// Somebody who is told when a connection is over.
pub trait Lessor: fmt::Debug + Send + Sync {
    /// One of those that had a lease is over.
    fn released(&self);
}

/// What a lessor gives leases by; a box, because a pointer to a trait's object takes two words.
#[derive(Debug, Clone)]
pub struct Terms(Arc<Box<dyn Lessor>>);

impl Terms {
    /// Of that lessor.
    pub fn new(lessor: impl Lessor + 'static) -> Self {
        Terms(Arc::new(Box::new(lessor)))
    }

    /// One more lease, of which the lessor hears once it is over.
    pub fn lease(&self) -> Lease {
        Lease(Terms::clone(self))
    }
}

/// See the module's documentation; dropping it tells the lessor.
#[derive(Debug)]
pub struct Lease(Terms);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.0.released();
    }
}
