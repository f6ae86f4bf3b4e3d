//! What a crowd of clients leaves behind in the allocator is given back to the system.
//!
//! The allocator keeps what is freed for whoever comes next, in pages that other allocations may
//! still touch; a server that had ten thousand clients an hour ago would look as if it had them.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::room::Rooms;

/// How long after a crowd has left its rooms and tasks are gone too.
const SETTLE: Duration = Duration::from_secs(1);

/// Trims the heap each time that a crowd has left, until `stop`.
pub(super) async fn keep_small(rooms: Rooms, stop: CancellationToken) {
    let trims = async {
        loop {
            rooms.ebb().await;
            tokio::time::sleep(SETTLE).await;
            rooms.shrink();
            // It looks at all of the heap, and takes milliseconds for a large one.
            let _ = tokio::task::spawn_blocking(trim).await;
        }
    };
    stop.run_until_cancelled(trims).await;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)] // the allocator is the C library's
fn trim() {
    // SAFETY: malloc_trim(3) is thread-safe and touches nothing but free memory.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back what they do by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
