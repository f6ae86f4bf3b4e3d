//! Ends the sessions of servers that cannot run anything any more, so that their rooms can.
//!
//! A pod whose object is gone has no containers, or the cluster's administrator said so by forcing
//! its deletion. A fenced fleet does not take that word: there it must have been seen that the
//! containers ended, or the session was not renewed for its whole lease and more, so that its rooms
//! were killed. That a pod has failed, is not ready or does not answer proves nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::api::{Answer, Api, Deleted, Failure};
use super::chance::jittered;
use super::session::Standing;
use super::view::{Session, View};
use super::{Takeover, names};

/// How often sessions are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Between two tries to end the same session.
const AGAIN: Duration = Duration::from_secs(3);

/// See the module's documentation.
#[derive(Debug)]
pub struct Heirs {
    api: Api,
    view: View,
    takeover: Takeover,
    delay: Duration,
    standing: watch::Receiver<Standing>,
}

/// Why a session may be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Its pod object is gone, and that is enough.
    NoPod,
    /// Its lease has run out.
    Lapsed,
}

impl Heirs {
    /// `delay` is how long a pod object must be gone; `standing` tells which session is our own.
    pub fn new(
        api: Api,
        view: View,
        takeover: Takeover,
        delay: Duration,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        Heirs {
            api,
            view,
            takeover,
            delay,
            standing,
        }
    }

    /// Looks after the sessions of others until this future is dropped.
    pub async fn run(&self) {
        let mut tried: HashMap<u128, Instant> = HashMap::new();
        loop {
            sleep(jittered(LOOK)).await;
            // Who has no standing judges nobody.
            let ours = match self.standing.borrow().holds() {
                Some(ours) if self.view.is_synced() => ours,
                _ => continue,
            };
            let sessions = self.view.sessions();
            tried.retain(|id, _| sessions.iter().any(|session| session.id == *id));
            for session in sessions.iter().filter(|session| session.id != ours) {
                let early = |at: &Instant| at.elapsed() < AGAIN;
                if tried.get(&session.id).is_some_and(early) {
                    continue;
                }
                let Some(cause) = self.cause(session) else {
                    continue;
                };
                tried.insert(session.id, Instant::now());
                match self.end(session, cause).await {
                    Ok(true) => info!(pod = %session.pod, ?cause, "session of a lost pod ended"),
                    Ok(false) => {}
                    Err(error) => debug!(pod = %session.pod, %error, "session not ended yet"),
                }
            }
        }
    }

    /// What is known here that speaks for the end of a session.
    fn cause(&self, session: &Arc<Session>) -> Option<Cause> {
        let gone = self.view.pod_gone(&session.pod, &session.pod_uid);
        // Whose containers were seen to end has nothing that could run.
        if gone.is_some_and(|gone| gone.terminated) {
            return Some(Cause::NoPod);
        }
        let waited = |delay| gone.is_some_and(|gone| gone.since.elapsed() >= delay);
        let (fence, lease) = match (self.takeover, session.lease) {
            (Takeover::Fenced(fence), Some(lease)) => (fence, lease.max(fence.after)),
            // While a fleet goes from one mode to the other there are sessions of both. One that is
            // never renewed is left by nothing but the end of its pod, whoever looks; one that is
            // may be of a pod that was deleted by force and lives until its fence.
            (_, None) => return waited(self.delay).then_some(Cause::NoPod),
            (Takeover::Pod, Some(lease)) => {
                return waited(self.delay.max(lease)).then_some(Cause::NoPod);
            }
        };
        // The object of a pod that runs on, cut off, may have been deleted by force: here only the
        // time says that its rooms are dead.
        // Only time in which we would have seen a renewal counts: when the API server was away,
        // nobody could renew, and the others are given the time to.
        let seen = session.seen.max(self.view.steady()?);
        (seen.elapsed() >= lease + fence.margin).then_some(Cause::Lapsed)
    }

    /// Ends it if the API server agrees; whether we were the one.
    async fn end(&self, session: &Session, cause: Cause) -> Answer<bool> {
        let version = match cause {
            Cause::NoPod => match self.api.pod(&session.pod).await {
                Err(Failure::NotFound) => None,
                Ok(pod) if pod.uid().as_deref() != Some(session.pod_uid.as_str()) => None,
                Ok(_) => return Ok(false),
                Err(failure) => return Err(failure),
            },
            // A renewal on its way wins: it changes the version.
            Cause::Lapsed => Some(session.version.as_str()),
        };
        let uid = names::uid_text(session.id);
        let deleted = self.api.delete(&session.name, &uid, version).await?;
        Ok(deleted == Deleted::Now)
    }
}
