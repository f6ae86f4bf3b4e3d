//! One room, closely: its clients, its history, and its traffic as it passes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::frame::Kind;
use crate::http::Door;
use crate::http::answer::{json_response, not_found};
use crate::room::{Passed, Phase, Seen, Watch};
use crate::stop::Stage;

/// Clients that are listed: those who are furthest behind.
const CLIENTS: usize = 200;
/// Messages of the history that are listed: the newest.
const HISTORY: usize = 100;
/// Bytes of a binary message that are shown.
const HEX: usize = 1 << 10;
/// Bytes of a text in the history that are shown.
const TEXT: usize = 4 << 10;
/// How often watchers are told.
const TICK: Duration = Duration::from_millis(200);
/// How often a silent watch shows that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Those who watch at once, any room.
const WATCHERS: usize = 32;

/// A message as JSON: text as text, bytes in hexadecimal digits.
fn payload(kind: Kind, bytes: &[u8], length: usize) -> Map<String, Value> {
    let mut map = Map::new();
    let shown = match kind {
        Kind::Text => {
            // The last character may be cut.
            let shown = bytes.get(..TEXT).unwrap_or(bytes);
            map.insert("text".into(), String::from_utf8_lossy(shown).into());
            shown
        }
        Kind::Binary => {
            let shown = bytes.get(..HEX).unwrap_or(bytes);
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            map.insert("hex".into(), hex.into());
            shown
        }
    };
    map.insert("bytes".into(), length.into());
    if shown.len() < length {
        map.insert("cut".into(), true.into());
    }
    map
}

fn seen(seen: &Seen) -> Value {
    let mut map = payload(seen.kind, &seen.payload, seen.length);
    let at = seen.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    map.insert("at".into(), (at.as_millis() as u64).into());
    map.insert("way".into(), json!(seen.way));
    map.insert("whom".into(), json!(seen.whom));
    Value::Object(map)
}

pub(super) async fn details(State(door): State<Arc<Door>>, Path(name): Path<String>) -> Response {
    let Some(room) = super::find(&door, &name) else {
        return not_found("no such room");
    };
    let looked = tokio::task::spawn_blocking(move || {
        let (history, kept) = room.kept(HISTORY);
        let line =
            |(kind, bytes): &(Kind, Bytes)| Value::Object(payload(*kind, bytes, bytes.len()));
        json!({
            "name": room.name().as_str(),
            "stats": room.stats(),
            "terminal": room.has_terminal(),
            "clients": room.clients(CLIENTS),
            "history": history.iter().map(line).collect::<Vec<_>>(),
            "history_kept": kept,
            "last_stderr": room.last_stderr(),
        })
    });
    match looked.await {
        Ok(body) => json_response(StatusCode::OK, &body),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Server-sent events: `traffic`, five times a second while there is some, and at last `ended`.
pub(super) async fn watch(State(door): State<Arc<Door>>, Path(name): Path<String>) -> Response {
    let (Some(room), Some(console)) = (super::find(&door, &name), &door.options.console) else {
        return not_found("no such room");
    };
    let watchers = Arc::clone(&console.watchers);
    let taken = watchers.fetch_update(Relaxed, Relaxed, |n| (n < WATCHERS).then_some(n + 1));
    if taken.is_err() {
        let message = format!("{WATCHERS} already watch");
        let body = json!({ "error": "too_many_watchers", "message": message });
        return json_response(StatusCode::SERVICE_UNAVAILABLE, &body);
    }
    let mut following = Following {
        watch: Watch::new(room),
        shown: Passed::default(),
        told: None,
        over: false,
        _watching: Watching(watchers),
    };
    let first = following.look(true);
    let ticks = stream::unfold(
        (following, door, first),
        |(mut following, door, next)| async {
            let mut next = next;
            loop {
                if let Some(event) = next.take() {
                    return Some((Ok::<_, Infallible>(event), (following, door, None)));
                }
                if following.over {
                    return None;
                }
                tokio::select! {
                    () = tokio::time::sleep(TICK) => {}
                    _ = door.stop.at_least(Stage::End) => return None,
                }
                next = following.look(false);
            }
        },
    );
    let sse = Sse::new(ticks).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE));
    let mut response = sse.into_response();
    // nginx would gather it.
    let name = HeaderName::from_static("x-accel-buffering");
    let headers = response.headers_mut();
    headers.insert(name, HeaderValue::from_static("no"));
    response
}

/// One watcher on its way.
struct Following {
    watch: Watch,
    /// How much of each way was shown.
    shown: Passed,
    /// What was told last of how much passed.
    told: Option<Passed>,
    over: bool,
    _watching: Watching,
}

impl Following {
    /// The next event, if there is anything to tell; `always`: also that there is nothing.
    fn look(&mut self, always: bool) -> Option<Event> {
        // First: what passes between the two looks is told, and the room's end after it.
        let ended = self.watch.room().phase() == Phase::Ended;
        let (new, passed) = self.watch.look();
        for one in &new {
            let shown = match one.way {
                crate::room::Way::In => &mut self.shown.into,
                crate::room::Way::Out => &mut self.shown.out,
                crate::room::Way::Stderr => &mut self.shown.stderr,
            };
            *shown += 1;
        }
        if always || self.told != Some(passed) || !new.is_empty() {
            self.told = Some(passed);
            let new: Vec<Value> = new.iter().map(|one| seen(one)).collect();
            let data = json!({ "seen": new, "shown": self.shown, "passed": passed });
            return Some(Event::default().event("traffic").data(data.to_string()));
        }
        if ended {
            self.over = true;
            return Some(Event::default().event("ended").data("{}"));
        }
        None
    }
}

/// One of those who watch.
struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_text_and_bytes_as_digits_and_what_is_cut_says_so() {
        let shown = |kind, bytes: &[u8], length| Value::Object(payload(kind, bytes, length));
        assert_eq!(
            shown(Kind::Text, "caf\u{e9}".as_bytes(), 5),
            json!({"text": "caf\u{e9}", "bytes": 5})
        );
        assert_eq!(
            shown(Kind::Binary, &[0, 255, 16], 3),
            json!({"hex": "00ff10", "bytes": 3})
        );
        assert_eq!(
            shown(Kind::Text, b"ab", 9),
            json!({"text": "ab", "bytes": 9, "cut": true})
        );
        let long = shown(Kind::Binary, &[1; HEX + 1], HEX + 1);
        assert_eq!(long["cut"], true);
        assert_eq!(long["hex"].as_str().map(str::len), Some(2 * HEX));
    }
}
