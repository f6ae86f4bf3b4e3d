//! A point in time in eight bytes, the same within an `Option`: half of the runtime's own, of which
//! an idle connection would hold four. It counts nanoseconds from the first one ever asked for.

use std::num::NonZeroU64;
use std::ops::Add;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(NonZeroU64);

impl Moment {
    /// This one.
    pub(super) fn now() -> Self {
        Instant::now().into()
    }

    /// The runtime's name for it.
    pub(super) fn instant(self) -> Instant {
        *BEGIN + Duration::from_nanos(self.0.get() - 1)
    }
}

impl From<Instant> for Moment {
    fn from(instant: Instant) -> Self {
        let since = instant.saturating_duration_since(*BEGIN).as_nanos();
        // 584 years are enough, and a token may be good for longer.
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        Moment(NonZeroU64::MIN.saturating_add(since))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates: a time-out that never ends is written as a very long one.
    fn add(self, duration: Duration) -> Moment {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_instant_it_was() {
        let first = Moment::now();
        let later = first + Duration::from_secs(3);
        assert!(later > first);
        assert_eq!(later.instant() - first.instant(), Duration::from_secs(3));
        assert_eq!(Moment::from(later.instant()), later);
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }

    #[test]
    fn for_ever_is_no_overflow() {
        let never = Moment::now() + Duration::MAX;
        assert!(never > Moment::now() + Duration::from_secs(1 << 30));
        let far = Instant::now() + Duration::from_nanos(u64::MAX) + Duration::from_secs(1);
        assert_eq!(Moment::from(far), never);
    }
}
