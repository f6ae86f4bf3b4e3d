//! As whom a program runs: names of users and groups become numbers, and the right to change to
//! them is checked.
//!
//! The groups are the user's own, as a login would have them; of the server's groups none is left.

use std::ffi::OsString;

#[cfg(not(target_vendor = "apple"))]
use nix::unistd::Gid;
use nix::unistd::{getegid, geteuid};

use super::accounts::{self, Key};

/// Numbers of capabilities(7).
const CAP_KILL: u32 = 5;
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
    /// Whether the server is that user with those groups already: there is nothing to change, and
    /// it may lack the right to.
    pub held: bool,
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
            held: false,
            env: Vec::new(),
        },
        (Some(user), gid) => of_user(user, gid)?,
    };
    let flag = if user.is_some() { "--user" } else { "--group" };
    let same_user = identity.uid.is_none_or(|uid| uid == geteuid().as_raw());
    let allowed = (same_user || may(CAP_SETUID)) && may(CAP_SETGID);
    let held = same_user && identity.gid == getegid().as_raw() && same_groups(&identity);
    match (allowed, held) {
        (true, _) if !same_user && !may(CAP_KILL) => Err(format!(
            "{flag} needs the right to end what others run (CAP_KILL) too: start the server as \
             root, or leave {flag} out"
        )),
        (true, _) => Ok(Some(identity)),
        (false, true) => Ok(Some(Identity { held, ..identity })),
        (false, false) => Err(format!(
            "{flag} needs the right to become somebody else: start the server as root, or leave \
             {flag} out"
        )),
    }
}

/// Whether the groups of this process are those, its own one aside.
#[cfg(not(target_vendor = "apple"))]
fn same_groups(identity: &Identity) -> bool {
    use std::collections::BTreeSet;

    let own = getegid().as_raw();
    let further = |groups: BTreeSet<u32>| groups.into_iter().filter(|gid| *gid != own);
    let Ok(held) = nix::unistd::getgroups() else {
        return false;
    };
    let held = further(held.into_iter().map(Gid::as_raw).collect());
    held.eq(further(identity.groups.iter().copied().collect()))
}

/// There the list is not the whole truth, and no program is told it.
#[cfg(target_vendor = "apple")]
fn same_groups(_: &Identity) -> bool {
    true
}

fn of_user(name: &str, group: Option<u32>) -> Result<Identity, String> {
    let number = number(name);
    let found = accounts::user(number.map_or(Key::Name(name), Key::Number))
        .map_err(|why| format!("--user {name} cannot be looked up: {why}"))?;
    match (found, number, group) {
        (Some(user), _, group) => {
            let gid = group.unwrap_or(user.gid);
            let groups = accounts::groups_of(&user.name, gid)
                .map_err(|why| format!("the groups of --user {name} cannot be looked up: {why}"))?;
            Ok(Identity {
                uid: Some(user.uid),
                gid,
                groups,
                held: false,
                env: vec![
                    ("HOME".into(), user.home.into_os_string()),
                    ("USER".into(), user.name.clone().into()),
                    ("LOGNAME".into(), user.name.into()),
                ],
            })
        }
        (None, Some(uid), Some(gid)) => Ok(Identity {
            uid: Some(uid),
            gid,
            groups: vec![gid],
            held: false,
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

fn group_number(flag: &str, name: &str) -> Result<u32, String> {
    if let Some(gid) = number(name) {
        return Ok(gid);
    }
    match accounts::group(name) {
        Ok(Some(gid)) => Ok(gid),
        Ok(None) => Err(format!(
            "{flag} names a group that is not known here, {name}: name one of this system, or its \
             number"
        )),
        Err(why) => Err(format!(
            "{flag} names a group that cannot be looked up, {name}: {why}"
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
