//! Read from `/etc/passwd` and `/etc/group`; where these are missing there is nobody. Lines that are
//! no entries are passed over, as the C library does.

use std::{collections::BTreeSet, fs, io};

use super::{Key, User};

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// An error is the system's reason.
pub(in crate::child::cage) fn user(key: Key<'_>) -> Result<Option<User>, String> {
    Ok(user_in(&read(USERS)?, key))
}

/// A group's number.
pub(in crate::child::cage) fn group(name: &str) -> Result<Option<u32>, String> {
    Ok(group_in(&read(GROUPS)?, name))
}

/// The groups that a login of that user has, `gid` among them.
pub(in crate::child::cage) fn groups_of(name: &str, gid: u32) -> Result<Vec<u32>, String> {
    Ok(groups_in(&read(GROUPS)?, name, gid))
}

fn read(path: &str) -> Result<String, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

fn user_in(users: &str, key: Key<'_>) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = fields.nth(1)?;
        let found = match key {
            Key::Name(wanted) => name == wanted,
            Key::Number(wanted) => uid == wanted,
        };
        (found && !name.is_empty()).then(|| User {
            name: name.to_owned(),
            uid,
            gid,
            home: home.into(),
        })
    })
}

/// Name, number and members of each group.
fn groups(groups: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = fields.next()?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn group_in(text: &str, wanted: &str) -> Option<u32> {
    let found = groups(text).find(|(name, _, _)| *name == wanted);
    found.map(|(_, gid, _)| gid)
}

fn groups_in(text: &str, user: &str, gid: u32) -> Vec<u32> {
    let member = |members: &str| members.split(',').any(|member| member.trim() == user);
    let further = groups(text).filter(|(_, _, members)| member(members));
    let further: BTreeSet<u32> = further.map(|(_, gid, _)| gid).collect();
    let further = further.into_iter().filter(|further| *further != gid);
    std::iter::once(gid).chain(further).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME_USERS: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # a comment\n\
        +::::::\n\
        broken:x:1\n\
        game:x:1000:1001:A Game,,,:/srv/game:/bin/false\r\n\
        twin:x:1000:7::/:\n";
    const SOME_GROUPS: &str = "root:x:0:\nplayers:x:7:ann,game\naudio:x:29:game\n\
        games:x:1001:game\nbroken:x\nodd:x:many:game\nlast:x:8";

    #[test]
    fn users_are_found_by_name_and_by_number_and_the_first_is_taken() {
        let game = User {
            name: "game".into(),
            uid: 1000,
            gid: 1001,
            home: "/srv/game".into(),
        };
        assert_eq!(user_in(SOME_USERS, Key::Name("game")), Some(game.clone()));
        assert_eq!(user_in(SOME_USERS, Key::Number(1000)), Some(game));
        for nobody in ["", "+", "broken", "# a comment", "gam", "nobody"] {
            assert_eq!(user_in(SOME_USERS, Key::Name(nobody)), None, "{nobody}");
        }
        assert_eq!(user_in(SOME_USERS, Key::Number(1)), None);
        assert_eq!(user_in("", Key::Number(0)), None);
    }

    #[test]
    fn groups_are_those_that_name_the_user_and_its_own() {
        assert_eq!(group_in(SOME_GROUPS, "players"), Some(7));
        assert_eq!(group_in(SOME_GROUPS, "last"), Some(8));
        for none in ["", "broken", "odd", "player"] {
            assert_eq!(group_in(SOME_GROUPS, none), None, "{none}");
        }
        assert_eq!(groups_in(SOME_GROUPS, "game", 1001), [1001, 7, 29]);
        assert_eq!(groups_in(SOME_GROUPS, "ann", 5), [5, 7]);
        assert_eq!(groups_in(SOME_GROUPS, "an", 5), [5]);
    }

    #[test]
    fn what_this_systems_files_say_is_what_it_says_itself() {
        let root = user(Key::Number(0)).unwrap();
        let Some(root) = root else { return };
        assert_eq!(user(Key::Name(&root.name)).unwrap().unwrap().uid, 0);
        #[cfg(not(target_feature = "crt-static"))]
        assert_eq!(super::super::user(Key::Number(0)).unwrap(), Some(root));
    }
}
