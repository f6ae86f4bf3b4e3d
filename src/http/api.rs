//! `/api/...`: what lobby pages read. The list and the room are 0.2.4's; events are ours.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::Door;
use super::answer::{Denied, json_response, not_found};
use crate::auth::{Identity, Rejection};
use crate::room::{Room, RoomEvent};
use crate::stop::Stage;

/// Listeners of events at the most.
const LISTENERS: usize = 64;
/// How often a silent stream of events shows that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Adds the routes.
pub(super) fn routes(router: Router<Arc<Door>>) -> Router<Arc<Door>> {
    let listeners = Arc::new(AtomicUsize::new(0));
    let events = move |State(door): State<Arc<Door>>, asker: Asker| {
        let listeners = Arc::clone(&listeners);
        async move { events(&door, asker, listeners) }
    };
    router
        .route("/api/rooms", get(list))
        .route("/api/rooms/", get(list))
        .route("/api/events", get(events))
        .route("/api/{room}", get(room))
        .route("/api/{room}/", get(room))
        .route("/api/{room}/{key}", get(key))
}

fn seen(room: &Room) -> Value {
    json!({
        "name": room.name().as_str(),
        "connections": room.connections(),
        "metadata": room.metadata(),
    })
}

/// Who asks, where that has to be proved.
type Asker = Option<Extension<Arc<Identity>>>;

/// Whether somebody may know of a room: who may enter it, and all where nobody is asked.
fn may_see(asker: &Asker, room: &str) -> bool {
    let identity = asker.as_ref().map(|Extension(identity)| identity);
    identity.is_none_or(|identity| identity.may_enter(room))
}

async fn list(State(door): State<Arc<Door>>, asker: Asker) -> Response {
    let rooms = door.rooms.list();
    let theirs = rooms
        .iter()
        .filter(|room| may_see(&asker, room.name().as_str()));
    let rooms: Vec<Value> = theirs.map(|room| seen(room)).collect();
    json_response(StatusCode::OK, &rooms)
}

async fn room(State(door): State<Arc<Door>>, asker: Asker, Path(name): Path<String>) -> Response {
    if !may_see(&asker, &name) {
        return Denied::Auth(Rejection::OtherRoom).into_response();
    }
    match door.rooms.get(&name) {
        Some(room) => json_response(StatusCode::OK, &seen(&room)),
        None => not_found("no such room"),
    }
}

async fn key(
    State(door): State<Arc<Door>>,
    asker: Asker,
    Path((name, key)): Path<(String, String)>,
) -> Response {
    if !may_see(&asker, &name) {
        return Denied::Auth(Rejection::OtherRoom).into_response();
    }
    let Some(room) = door.rooms.get(&name) else {
        return not_found("no such room");
    };
    match seen(&room).get(&key) {
        Some(value) => json_response(StatusCode::OK, value),
        None => not_found("no such key"),
    }
}

/// Server-sent events: `started`, `changed` and `ended`, each with the room as its data. A
/// listener that misses some is told with `missed` and reads the list again.
fn events(door: &Arc<Door>, asker: Asker, listeners: Arc<AtomicUsize>) -> Response {
    let taken = listeners.fetch_update(Relaxed, Relaxed, |n| (n < LISTENERS).then_some(n + 1));
    if taken.is_err() {
        let body = json!({ "error": "too_many_listeners", "message": "64 already listen" });
        return json_response(StatusCode::SERVICE_UNAVAILABLE, &body);
    }
    let listening = Listening(listeners);
    let ends = asker.as_ref().and_then(|identity| identity.ends());
    let state = (door.rooms.events(), Arc::clone(door), asker, listening);
    let events = stream::unfold(
        state,
        move |(mut receiver, door, asker, listening)| async move {
            let event = loop {
                let event = tokio::select! {
                    event = receiver.recv() => event,
                    _ = door.stop.at_least(Stage::Drain) => return None,
                    () = over(ends) => return None,
                };
                let hidden = event
                    .as_ref()
                    .is_ok_and(|event| !may_see(&asker, event.room().as_str()));
                if !hidden {
                    break told(&door, event)?;
                }
            };
            Some((
                Ok::<_, Infallible>(event),
                (receiver, door, asker, listening),
            ))
        },
    );
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE))
        .into_response()
}

/// When what somebody has proved is over.
async fn over(ends: Option<std::time::Instant>) {
    match ends {
        Some(ends) => tokio::time::sleep_until(ends.into()).await,
        None => std::future::pending().await,
    }
}

fn told(door: &Door, event: Result<RoomEvent, RecvError>) -> Option<Event> {
    let (kind, data) = match event {
        Ok(RoomEvent::Started(name)) => ("started", json!({ "name": name.as_str() })),
        Ok(RoomEvent::Changed(name)) => match door.rooms.get(name.as_str()) {
            Some(room) => ("changed", seen(&room)),
            None => ("changed", json!({ "name": name.as_str() })),
        },
        Ok(RoomEvent::Ended(name, reason)) => {
            ("ended", json!({ "name": name.as_str(), "reason": reason }))
        }
        Err(RecvError::Lagged(missed)) => ("missed", json!({ "events": missed })),
        Err(RecvError::Closed) => return None,
    };
    Some(Event::default().event(kind).data(data.to_string()))
}

/// One listener of events.
struct Listening(Arc<AtomicUsize>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
