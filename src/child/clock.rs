//! A clock that the server and its warden share, and that goes on while the machine sleeps.

#[cfg(feature = "kube")]
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The time since the machine was started, in which it may have slept.
#[cfg(feature = "kube")]
pub fn since_boot() -> Duration {
    Duration::from_nanos(now())
}

/// Nanoseconds since the machine was started. On Linux the time in which it was suspended counts
/// (CLOCK_BOOTTIME, clock_gettime(2)): others do not wait for us to wake up.
pub(super) fn now() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::CLOCK_MONOTONIC;
    // It cannot fail on a clock that the system has.
    let time = clock_gettime(clock).map_or(0, |time| {
        u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000
            + u64::try_from(time.tv_nsec()).unwrap_or(0)
    });
    time.min(u64::MAX - 1)
}
