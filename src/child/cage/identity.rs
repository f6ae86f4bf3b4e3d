//! As whom a program runs: names of users and groups become numbers, and the right to change to
//! them is checked.
//!
//! The groups are the user's own, as a login would have them; of the server's groups none is left.

use std::ffi::{CString, OsString};

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};

/// Numbers of capabilities(7).
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
pub(super) const CAP_SYS_NICE: u32 = 23;

/// A user and groups as numbers, and what the program is told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user; none stays the server's.
    pub uid: Option<u32>,
    /// The group.
    pub gid: u32,
    /// All further groups.
    pub groups: Vec<u32>,
    /// `HOME`, `USER` and `LOGNAME`; empty where the user stays.
    pub env: Vec<(OsString, OsString)>,
}

impl Identity {
    /// Whether it is a user of the program's own, and not the server's.
    pub(super) fn is_other_user(&self) -> bool {
        self.uid.is_some_and(|uid| uid != geteuid().as_raw())
    }
}

/// `user` is `NAME|UID[:GROUP]`; `group` wins over its group.
pub(super) fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>, String> {
    let (user, own_group) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        Some((user, group)) => (Some(user), Some(group).filter(|group| !group.is_empty())),
        None => (None, None),
    };
    let group = match (group, own_group) {
        (Some(name), _) => Some(group_number("--group", name)?),
        (None, Some(name)) => Some(group_number("--user", name)?),
        (None, None) => None,
    };
    let identity = match (user, group) {
        (None, None) => return Ok(None),
        (None, Some(gid)) => Identity {
            uid: None,
            gid,
            groups: vec![gid],
            env: Vec::new(),
        },
        (Some(user), gid) => of_user(user, gid)?,
    };
    let flag = if user.is_some() { "--user" } else { "--group" };
    let same_user = identity.uid.is_none_or(|uid| uid == geteuid().as_raw());
    let allowed = (same_user || may(CAP_SETUID)) && may(CAP_SETGID);
    let as_we_are = same_user && identity.gid == getegid().as_raw();
    match (allowed, as_we_are) {
        (true, _) => Ok(Some(identity)),
        // Nothing to change, nor could the other groups be.
        (false, true) => Ok(None),
        (false, false) => Err(format!(
            "{flag} needs the right to become somebody else: start the server as root, or leave \
             {flag} out"
        )),
    }
}

fn of_user(name: &str, group: Option<u32>) -> Result<Identity, String> {
    let failed = |error: nix::Error| format!("--user {name} cannot be looked up: {}", error.desc());
    let number = number(name);
    let found = match number {
        Some(uid) => User::from_uid(Uid::from_raw(uid)),
        None => User::from_name(name),
    };
    match (found.map_err(failed)?, number, group) {
        (Some(user), _, group) => {
            let gid = group.unwrap_or(user.gid.as_raw());
            Ok(Identity {
                uid: Some(user.uid.as_raw()),
                gid,
                groups: groups_of(&user.name, gid)?,
                env: vec![
                    ("HOME".into(), user.dir.into_os_string()),
                    ("USER".into(), user.name.clone().into()),
                    ("LOGNAME".into(), user.name.into()),
                ],
            })
        }
        (None, Some(uid), Some(gid)) => Ok(Identity {
            uid: Some(uid),
            gid,
            groups: vec![gid],
            env: vec![
                ("HOME".into(), "/".into()),
                ("USER".into(), uid.to_string().into()),
                ("LOGNAME".into(), uid.to_string().into()),
            ],
        }),
        (None, Some(uid), None) => Err(format!(
            "--user {name} has no entry among the users and so no group: write --user {uid}:GROUP"
        )),
        (None, None, _) => Err(format!(
            "--user {name} is not known here: name a user of this system, or its number"
        )),
    }
}

/// The groups that a login of that user has.
#[cfg(not(target_vendor = "apple"))]
fn groups_of(name: &str, gid: u32) -> Result<Vec<u32>, String> {
    let wrong = |why: &str| format!("the groups of --user {name} cannot be looked up: {why}");
    let name = CString::new(name).map_err(|_| wrong("it holds a NUL"))?;
    let groups = nix::unistd::getgrouplist(&name, Gid::from_raw(gid));
    let groups = groups.map_err(|error| wrong(error.desc()))?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(target_vendor = "apple")]
fn groups_of(_: &str, gid: u32) -> Result<Vec<u32>, String> {
    Ok(vec![gid])
}

fn group_number(flag: &str, name: &str) -> Result<u32, String> {
    if let Some(gid) = number(name) {
        return Ok(gid);
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!(
            "{flag} names a group that is not known here, {name}: name one of this system, or its \
             number"
        )),
        Err(error) => Err(format!(
            "{flag} names a group that cannot be looked up, {name}: {}",
            error.desc()
        )),
    }
}

/// A number of a user or group. The last one means "no change" to the system, and is none.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten()?;
    (number != u32::MAX).then_some(number)
}

/// Whether this process has the capability.
#[cfg(target_os = "linux")]
pub(super) fn may(capability: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    match set {
        Some(set) => set >> capability & 1 == 1,
        None => geteuid().is_root(),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn may(_: u32) -> bool {
    geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_known_by_name_and_by_number() {
        if !(may(CAP_SETUID) && may(CAP_SETGID)) {
            let why = b"skipped: only root may become somebody else\n";
            std::io::Write::write_all(&mut std::io::stderr(), why).unwrap();
            return;
        }
        let root = resolve(Some("root"), None).unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (Some(0), 0));
        assert_eq!(resolve(Some("0"), None).unwrap().unwrap(), root);
        let other = resolve(Some("54321:54322"), None).unwrap().unwrap();
        assert_eq!((other.uid, other.gid), (Some(54321), 54322));
        assert_eq!(other.groups, [54322], "none of ours is left");
        assert!(other.is_other_user());
        let group = resolve(Some("54321:54322"), Some("7")).unwrap().unwrap();
        assert_eq!(group.gid, 7, "--group wins");
        let only = resolve(None, Some("7")).unwrap().unwrap();
        assert_eq!((only.uid, only.gid, only.groups), (None, 7, vec![7]));
        let alone = resolve(Some("54321"), None).unwrap_err();
        assert!(alone.contains("54321:GROUP"), "{alone}");
    }
}
