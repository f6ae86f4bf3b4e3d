//! One watch: the lines of JSON a client hears, in the order of the changes, each when its time has
//! come and the line is open. It ends at its timeout, breaks when told to, goes silent with a frozen
//! or silently cut line, and says 410 when it wants what is forgotten.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::Frame;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::changes::Changes;
use super::faults::{Line, Loss, within};
use super::request::ApiRequest;
use super::resource::Resource;
use super::selector::Selector;
use super::server::{Broken, DEAD_AFTER, Server, State};
use super::status::Refusal;
use super::store::Change;

/// How long a watch lasts that does not say.
const TIMEOUT: u64 = 1_800;

/// A watch that has begun.
pub struct Watch {
    server: Arc<Server>,
    client: String,
    changes: Changes,
    resource: Resource,
    selector: Selector,
    /// The version of the last change heard, or passed over.
    heard: u64,
    waiting: VecDeque<Value>,
    /// The next change, and when it may be heard.
    lagging: Option<(u64, Instant)>,
    bookmark: Option<Instant>,
    end: Instant,
    silent_since: Option<Instant>,
    breaks: u64,
    over: bool,
}

enum Next {
    Event(Value),
    End,
    Break,
    Wait(Instant),
}

impl Watch {
    /// Begins a watch; its selectors and its version were found to be in order.
    pub fn begin(
        server: Arc<Server>,
        client: &str,
        request: &ApiRequest,
    ) -> Result<Watch, Refusal> {
        let now = Instant::now();
        let selector = request.selector()?;
        let resource = request.resource;
        let from = request.version()?.filter(|version| *version > 0);
        let mut waiting = VecDeque::new();
        let (heard, breaks, bookmarks) = server.look(|state| {
            let store = &state.store;
            let heard = match from {
                Some(from) => from,
                None => {
                    let added = store.list(resource, &selector);
                    waiting.extend(added.iter().map(|it| event("ADDED", it)));
                    store.version()
                }
            };
            let bookmarks = state.bookmarks;
            (heard, state.conditions(client).watch_breaks, bookmarks)
        });
        let lasts = Duration::from_secs(request.timeout().unwrap_or(TIMEOUT));
        Ok(Watch {
            changes: server.changes(),
            client: client.to_owned(),
            server,
            resource,
            selector,
            heard,
            waiting,
            lagging: None,
            bookmark: request.wants_bookmarks().then_some(now + bookmarks),
            end: now + lasts,
            silent_since: None,
            breaks,
            over: false,
        })
    }

    /// The body of the answer.
    pub fn into_frames(self) -> impl Stream<Item = Result<Frame<Bytes>, Broken>> + Send {
        futures_util::stream::unfold(self, |mut watch| async move {
            let item = watch.next().await?;
            Some((item, watch))
        })
    }

    async fn next(&mut self) -> Option<Result<Frame<Bytes>, Broken>> {
        if self.over {
            return None;
        }
        loop {
            self.changes.catch_up();
            let server = self.server.clone();
            let wait = match server.look(|state| self.step(state, Instant::now())) {
                Next::Event(event) => {
                    self.over = event["type"] == "ERROR";
                    let mut line = event.to_string();
                    line.push('\n');
                    return Some(Ok(Frame::data(line.into())));
                }
                Next::End => return None,
                Next::Break => {
                    self.over = true;
                    return Some(Err(Broken));
                }
                Next::Wait(until) => until,
            };
            tokio::select! {
                biased;
                changed = self.changes.changed() => if changed.is_err() { return None },
                () = sleep_until(wait) => {}
            }
        }
    }

    fn step(&mut self, state: &mut State, now: Instant) -> Next {
        if state.conditions(&self.client).watch_breaks != self.breaks {
            return Next::Break;
        }
        match state.line(&self.client) {
            Line::Open => self.silent_since = None,
            Line::Cut(Loss::Break) | Line::Answers(_) => return Next::Break,
            Line::Frozen | Line::Cut(Loss::Hang) => {
                let since = *self.silent_since.get_or_insert(now);
                return match now >= since + DEAD_AFTER {
                    true => Next::Break,
                    false => Next::Wait(since + DEAD_AFTER),
                };
            }
        }
        if let Some(event) = self.waiting.pop_front() {
            return Next::Event(event);
        }
        if self.heard < state.store.forgotten() {
            let refusal = Refusal::expired(self.heard, state.store.forgotten());
            return Next::Event(json!({"type": "ERROR", "object": refusal.body()}));
        }
        let mut wait = self.end;
        while let Some(change) = state.store.change_after(self.heard) {
            let Some(event) = self.seen_from_here(change) else {
                self.heard = change.version;
                continue;
            };
            let (version, at) = (change.version, change.at);
            let due = match self.lagging {
                Some((of, due)) if of == version => due,
                _ => at + self.lag(state),
            };
            self.lagging = Some((version, due));
            if due <= now {
                self.heard = version;
                return Next::Event(event);
            }
            wait = wait.min(due);
            break;
        }
        if now >= self.end {
            return Next::End;
        }
        if let Some(at) = self.bookmark {
            // A bookmark says that all before it was heard, so it waits for what lags.
            if at <= now && self.lagging.is_none_or(|(of, _)| of <= self.heard) {
                self.bookmark = Some(now + state.bookmarks);
                return Next::Event(self.bookmark_at(self.heard));
            }
            wait = if at > now { wait.min(at) } else { wait };
        }
        Next::Wait(wait)
    }

    fn lag(&self, state: &mut State) -> Duration {
        let range = state.conditions(&self.client).watch_lag.clone();
        within(range.as_ref(), &mut state.rng)
    }

    /// What a change is to somebody who only sees what the selector takes.
    fn seen_from_here(&self, change: &Change) -> Option<Value> {
        if change.resource != self.resource {
            return None;
        }
        let before = change
            .before
            .as_ref()
            .filter(|before| self.selector.takes(before));
        let after = (!change.gone && self.selector.takes(&change.after)).then_some(&change.after);
        match (before, after) {
            (None, None) => None,
            (None, Some(after)) => Some(event("ADDED", after)),
            (Some(_), Some(after)) => Some(event("MODIFIED", after)),
            (Some(before), None) => {
                // As it was when it was last seen, with the version at which it left the view.
                let mut gone = event("DELETED", before);
                gone["object"]["metadata"]["resourceVersion"] = change.version.to_string().into();
                Some(gone)
            }
        }
    }

    fn bookmark_at(&self, version: u64) -> Value {
        json!({
            "type": "BOOKMARK",
            "object": {
                "kind": self.resource.kind(),
                "apiVersion": self.resource.api_version(),
                "metadata": {"resourceVersion": version.to_string(), "creationTimestamp": null},
                "spec": {},
            },
        })
    }
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}
