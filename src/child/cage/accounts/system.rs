//! Asked of the C library, which knows directories on the network too.

#[cfg(not(target_vendor = "apple"))]
use std::ffi::CString;

use nix::unistd::{self, Gid, Group, Uid};

use super::{Key, User};

/// An error is the system's reason.
pub(in crate::child::cage) fn user(key: Key<'_>) -> Result<Option<User>, String> {
    let found = match key {
        Key::Name(name) => unistd::User::from_name(name),
        Key::Number(uid) => unistd::User::from_uid(Uid::from_raw(uid)),
    };
    let found = found.map_err(|error| error.desc().to_owned())?;
    Ok(found.map(|user| User {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        home: user.dir,
    }))
}

/// A group's number.
pub(in crate::child::cage) fn group(name: &str) -> Result<Option<u32>, String> {
    let found = Group::from_name(name).map_err(|error| error.desc().to_owned())?;
    Ok(found.map(|group| group.gid.as_raw()))
}

/// The groups that a login of that user has, `gid` among them.
#[cfg(not(target_vendor = "apple"))]
pub(in crate::child::cage) fn groups_of(name: &str, gid: u32) -> Result<Vec<u32>, String> {
    let name = CString::new(name).map_err(|_| "it holds a NUL".to_owned())?;
    let groups = unistd::getgrouplist(&name, Gid::from_raw(gid));
    let groups = groups.map_err(|error| error.desc().to_owned())?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(target_vendor = "apple")]
pub(in crate::child::cage) fn groups_of(_: &str, gid: u32) -> Result<Vec<u32>, String> {
    Ok(vec![gid])
}
