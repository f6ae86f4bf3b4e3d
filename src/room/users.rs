//! Who is in a room, of those who have proved who they are: names, each with how many connections it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Users(Mutex<BTreeMap<Arc<str>, usize>>);

impl Users {
    /// One more connection of that user.
    pub(super) fn enter(&self, user: &Arc<str>) {
        *self.0.lock().entry(Arc::clone(user)).or_default() += 1;
    }

    /// One less.
    pub(super) fn leave(&self, user: &Arc<str>) {
        let mut users = self.0.lock();
        if let Some(connections) = users.get_mut(user) {
            *connections -= 1;
            if *connections == 0 {
                users.remove(user);
            }
        }
    }

    /// The first of them by name, so many at the most.
    pub(super) fn first(&self, most: usize) -> Vec<String> {
        let users = self.0.lock();
        let names = users.keys().take(most);
        names.map(|user| user.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_in_until_the_last_connection_has_gone() {
        let (users, ann, bob) = (Users::default(), Arc::from("ann"), Arc::from("bob"));
        for user in [&bob, &ann, &ann] {
            users.enter(user);
        }
        users.leave(&ann);
        assert_eq!(users.first(9), ["ann", "bob"]);
        assert_eq!(users.first(1), ["ann"]);
        users.leave(&ann);
        users.leave(&ann);
        assert_eq!(users.first(9), ["bob"]);
    }
}
