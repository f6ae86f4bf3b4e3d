//! Claims of this server that nobody holds: made by a request that was given up, after what it may
//! have made had been looked for in vain.
//!
//! Such a claim is found and replaced when its room is asked for here. But a server that is full or
//! draining asks for none, and one whose clients come and go leaves ever more of them; so they are
//! looked for in the view, and deleted. No program can be running under one: a claim is only ever
//! used by the request that made it, while its name is in use.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::sleep;
use tracing::debug;

use super::super::chance::jittered;
use super::super::view::View;
use super::{Burnt, Claims};

/// How often they are looked for. What is seen twice is no mere lag of the view.
const LOOK: Duration = Duration::from_secs(10);

/// A claim that may be one.
#[derive(Debug)]
struct Stray {
    uid: String,
    /// It was deleted: that the view still has it means nothing.
    burnt: bool,
}

impl Claims {
    /// Deletes claims that nobody holds, until this future is dropped; needs [`Claims::release`]
    /// beside it.
    pub async fn sweep(&self, view: &View) {
        let mut strays = HashMap::new();
        loop {
            sleep(jittered(LOOK)).await;
            strays = self.look_for_strays(view, strays);
        }
    }

    fn look_for_strays(
        &self,
        view: &View,
        mut before: HashMap<String, Stray>,
    ) -> HashMap<String, Stray> {
        let Some(session) = self.0.standing.borrow().session else {
            return HashMap::new();
        };
        // The view first: what it has was asked for before we look at what is in use.
        let claims = view.claims_of(session);
        // Held while they are burnt: who wants a name either is seen here, or sees it burnt.
        let used = self.0.used.lock();
        let unused = claims
            .into_iter()
            .filter(|(name, _)| !used.contains_key(name));
        let mut strays = HashMap::new();
        for (name, uid) in unused {
            let known = before.remove(&name).filter(|stray| stray.uid == uid);
            let again = known.is_some();
            let mut stray = known.unwrap_or(Stray { uid, burnt: false });
            if again && !stray.burnt {
                debug!(claim = %name, "claim that nobody holds is deleted");
                stray.burnt = true;
                self.0.burn_stray(&name, &stray.uid);
            }
            strays.insert(name, stray);
        }
        strays
    }
}

impl super::Inner {
    fn burn_stray(&self, name: &str, uid: &str) {
        let known = Burnt::Known(uid.to_owned());
        // What is on its way out already is, whatever it is.
        self.burnt.lock().entry(name.to_owned()).or_insert(known);
        self.burning.send_modify(|count| *count += 1);
    }
}
