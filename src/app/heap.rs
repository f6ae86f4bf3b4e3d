//! The heap is kept small: threads share it, and what a crowd of clients leaves behind in the
//! allocator is given back to the system.
//!
//! The allocator keeps what is freed for whoever comes next, in pages that other allocations may
//! still touch; a server that had ten thousand clients an hour ago would look as if it had them.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::room::Rooms;

/// How long after a crowd has left its rooms and tasks are gone too.
const SETTLE: Duration = Duration::from_secs(1);

/// Threads that share a part of the heap: what is small each keeps to itself anyway, and a backlog
/// whose batches come from several parts costs the most that each of them ever held.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SHARERS: usize = 4;

/// Lets threads share the heap; before there are any. What the environment says goes first.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)] // the allocator is the C library's
pub fn share_heap() {
    let tuned = std::env::var_os("GLIBC_TUNABLES").unwrap_or_default();
    let tuned = tuned.to_string_lossy().contains("malloc.arena_max");
    if tuned || std::env::var_os("MALLOC_ARENA_MAX").is_some() {
        return;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = i32::try_from(threads.div_ceil(SHARERS)).unwrap_or(i32::MAX);
    // SAFETY: mallopt(3) sets a number of the allocator; `main` calls this before it starts the
    // first thread. If the parameter is not known, all is as it was.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
}

/// Other allocators have their own ways.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share_heap() {}

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
