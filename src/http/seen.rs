//! What operators see: `/metrics`, `/stats`, `/<room>/stats` and its keys.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Door;
use super::answer::{json_response, not_found};
use crate::metrics::Format;
use crate::room::Room;

/// Rooms on one page of `/stats`, unless asked for otherwise.
const PAGE: usize = 100;
/// Rooms on one page at the most.
const PAGE_MAX: usize = 1000;

pub(super) async fn metrics(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let format = Format::negotiate(accept);
    let metrics = door.metrics.clone();
    // It reads /proc for every room: not on a thread that serves sockets.
    match tokio::task::spawn_blocking(move || metrics.render(format)).await {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Which rooms of `/stats`: `?offset=100&limit=50`.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

pub(super) async fn server(State(door): State<Arc<Door>>, Query(page): Query<Page>) -> Response {
    let limit = page.limit.unwrap_or(PAGE).min(PAGE_MAX);
    let all = door.rooms.list();
    let chosen: Vec<Arc<Room>> = all.iter().skip(page.offset).take(limit).cloned().collect();
    let rooms = tokio::task::spawn_blocking(move || {
        chosen
            .iter()
            .map(|room| with_name(room))
            .collect::<Vec<Value>>()
    });
    let mut body = figures(&door);
    body["tasks"] = json!(
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    );
    body["last_ends"] = json!(door.rooms.last_ends());
    body["offset"] = json!(page.offset);
    body["rooms"] = json!(rooms.await.unwrap_or_default());
    if let Some(gate) = &door.gate {
        body["scaling"] = gate.scaling();
    }
    json_response(StatusCode::OK, &body)
}

/// The server in figures, an object, as `/stats` and the console tell them.
pub(super) fn figures(door: &Door) -> Value {
    let totals = door.metrics.total();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": door.started.elapsed().as_secs_f64(),
        "draining": door.rooms.is_draining(),
        "connections": door.rooms.clients(),
        "connections_refused": totals.connections_refused,
        "connections_closed": totals.connections_closed,
        "rooms_live": door.rooms.len(),
        "rooms_limit": door.rooms.options().max_rooms,
        "rooms_started": totals.rooms_started,
        "rooms_ended": totals.rooms_ended,
        "messages_in": totals.messages_in,
        "messages_out": totals.messages_out,
        "bytes_in": totals.bytes_in,
        "bytes_out": totals.bytes_out,
        "messages_dropped": totals.messages_dropped,
    })
}

fn with_name(room: &Room) -> Value {
    let mut stats = serde_json::to_value(room.stats()).unwrap_or_default();
    if let Value::Object(stats) = &mut stats {
        stats.insert("name".to_owned(), room.name().as_str().into());
    }
    stats
}

pub(super) async fn room(State(door): State<Arc<Door>>, Path(name): Path<String>) -> Response {
    match door.rooms.get(&name) {
        Some(room) => json_response(StatusCode::OK, &room.stats()),
        None => not_found("no such room"),
    }
}

pub(super) async fn room_key(
    State(door): State<Arc<Door>>,
    Path((name, key)): Path<(String, String)>,
) -> Response {
    let Some(room) = door.rooms.get(&name) else {
        return not_found("no such room");
    };
    let stats = serde_json::to_value(room.stats()).unwrap_or_default();
    match stats.get(&key) {
        Some(value) => json_response(StatusCode::OK, value),
        None => not_found("no such key"),
    }
}
