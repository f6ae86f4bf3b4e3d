//! Users and groups of this system, by name and by number.
//!
//! A binary with its C library linked in must not ask that library: it loads the modules that
//! nsswitch.conf(5) names, which are made for another one, and dies of it for a name that is in no
//! file. So such a binary reads passwd(5) and group(5) itself; any other asks whom the system asks.

use std::path::PathBuf;

#[cfg_attr(not(target_feature = "crt-static"), allow(dead_code))] // but tried in every build
mod files;
#[cfg(not(target_feature = "crt-static"))]
mod system;

#[cfg(target_feature = "crt-static")]
pub(super) use files::{group, groups_of, user};
#[cfg(not(target_feature = "crt-static"))]
pub(super) use system::{group, groups_of, user};

/// What a user or group is called by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key<'a> {
    Name(&'a str),
    Number(u32),
}

/// An entry of passwd(5), as far as it concerns a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: PathBuf,
}
