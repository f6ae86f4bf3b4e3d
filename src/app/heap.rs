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

/// What is at least this large is mapped by itself and given back when it is freed; and so much free
/// heap is kept at the most. Left alone, both grow with whatever is freed, up to 32 and 64 MiB: one
/// long message, and the server keeps its size for good. With less, large messages cost page faults.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 4 << 20;

/// Lets threads share the heap, and keeps little of what is large; before there are any threads. What
/// the environment says goes first.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn share_heap() {
    let tunables = std::env::var_os("GLIBC_TUNABLES").unwrap_or_default();
    let tunables = tunables.to_string_lossy();
    let is_set = |tunable: &str, variable: &str| {
        tunables.contains(tunable) || std::env::var_os(variable).is_some()
    };
    if !is_set("malloc.arena_max", "MALLOC_ARENA_MAX") {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let arenas = i32::try_from(threads.div_ceil(SHARERS)).unwrap_or(i32::MAX);
        set(libc::M_ARENA_MAX, arenas);
    }
    // Either of them ends the growth of both.
    if !is_set("malloc.mmap_threshold", "MALLOC_MMAP_THRESHOLD_")
        && !is_set("malloc.trim_threshold", "MALLOC_TRIM_THRESHOLD_")
    {
        set(libc::M_MMAP_THRESHOLD, LARGE);
        set(libc::M_TRIM_THRESHOLD, LARGE);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)] // the allocator is the C library's
fn set(parameter: i32, value: i32) {
    // SAFETY: mallopt(3) sets a number of the allocator; `main` comes here before it starts the
    // first thread. If the parameter is not known, all is as it was.
    unsafe { libc::mallopt(parameter, value) };
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
            give_back().await;
        }
    };
    stop.run_until_cancelled(trims).await;
}

/// Gives what is free back to the system.
pub(super) async fn give_back() {
    // It looks at all of the heap, and takes milliseconds for a large one.
    let _ = tokio::task::spawn_blocking(trim).await;
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
