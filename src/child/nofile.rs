//! The limit of open descriptors: ours is raised, a child's is what it would have had without us.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises our soft limit of open descriptors to the hard one.
///
/// Returns the soft limit before, which children get back, and the one now in force.
pub fn raise_nofile() -> io::Result<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // macOS calls the hard limit infinite and refuses more than OPEN_MAX.
    let wanted = if cfg!(target_os = "macos") {
        hard.min(10_240).max(soft)
    } else {
        hard
    };
    if wanted <= soft || setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_err() {
        return Ok((soft, soft));
    }
    Ok((soft, wanted))
}

/// Sets the soft limit, never above the hard one.
pub(super) fn set_soft_nofile(soft: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?)
}
