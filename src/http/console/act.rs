//! What operators do with a room: speak to its program or to its clients, kick one, end it. Only with
//! `--console=write`, else 403. Bodies are JSON and say so, which no form of another page can.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::frame::Kind;
use crate::http::Door;
use crate::http::answer::{json_response, not_found};
use crate::room::{Close, Room, Undone};

/// Clients that one message may be for.
const IDS: usize = 1000;

/// Something to say: text, or bytes in hexadecimal digits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Speech {
    text: Option<String>,
    hex: Option<String>,
    /// Who hears it; none: everybody.
    to: Option<Vec<u32>>,
}

impl Speech {
    fn message(&self) -> Option<(Kind, Vec<u8>)> {
        match (&self.text, &self.hex) {
            (Some(text), None) => Some((Kind::Text, text.as_bytes().to_vec())),
            (None, Some(hex)) => Some((Kind::Binary, bytes(hex)?)),
            _ => None,
        }
    }
}

/// Bytes of hexadecimal digits, with spaces between bytes or without.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let mut digits = Vec::new();
    for character in hex.chars().filter(|c| !c.is_ascii_whitespace()) {
        digits.push(u8::try_from(character.to_digit(16)?).ok()?);
    }
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Whom to kick, and what it is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kick {
    client: u32,
    #[serde(default)]
    reason: String,
}

type Body<T> = Result<Json<T>, JsonRejection>;

fn wrong(message: &str) -> Response {
    let body = json!({ "error": "bad_request", "message": message });
    json_response(StatusCode::BAD_REQUEST, &body)
}

/// The body, if it is what is understood here.
fn read<T>(body: Body<T>) -> Result<T, Box<Response>> {
    match body {
        Ok(Json(body)) => Ok(body),
        Err(rejection) => {
            let error = json!({ "error": "bad_request", "message": rejection.body_text() });
            Err(Box::new(json_response(rejection.status(), &error)))
        }
    }
}

fn outcome(result: Result<(), Undone>) -> Response {
    let (status, label, message) = match result {
        Ok(()) => return json_response(StatusCode::OK, &json!({ "status": "done" })),
        Err(undone @ Undone::NoClient) => (StatusCode::NOT_FOUND, "no_client", undone),
        Err(undone @ Undone::Ending) => (StatusCode::CONFLICT, "ending", undone),
        Err(undone @ Undone::Full) => (StatusCode::SERVICE_UNAVAILABLE, "full", undone),
        Err(undone @ Undone::TooLong) => (StatusCode::PAYLOAD_TOO_LARGE, "too_long", undone),
    };
    let body = json!({ "error": label, "message": message.to_string() });
    json_response(status, &body)
}

const NO_MESSAGE: &str = "give either text, or hex with two digits for each byte";

fn find(door: &Door, name: &str) -> Result<Arc<Room>, Box<Response>> {
    let room = super::find(door, name);
    room.ok_or_else(|| Box::new(not_found("no such room")))
}

pub(super) async fn input(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    body: Body<Speech>,
) -> Response {
    let (room, speech) = match (find(&door, &name), read(body)) {
        (Ok(room), Ok(speech)) => (room, speech),
        (Err(response), _) | (_, Err(response)) => return *response,
    };
    match speech.message() {
        Some(_) if speech.to.is_some() => wrong("the program is the only one who reads its input"),
        Some((kind, payload)) => outcome(door.rooms.give_input(&room, kind, &payload).await),
        None => wrong(NO_MESSAGE),
    }
}

pub(super) async fn say(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    body: Body<Speech>,
) -> Response {
    let (room, mut speech) = match (find(&door, &name), read(body)) {
        (Ok(room), Ok(speech)) => (room, speech),
        (Err(response), _) | (_, Err(response)) => return *response,
    };
    if let Some(ids) = &mut speech.to {
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() || ids.len() > IDS {
            return wrong("name from 1 to 1000 clients, or leave `to` out for everybody");
        }
    }
    match speech.message() {
        Some((kind, payload)) => outcome(room.say(speech.to.as_deref(), kind, &payload).await),
        None => wrong(NO_MESSAGE),
    }
}

pub(super) async fn kick(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    body: Body<Kick>,
) -> Response {
    match (find(&door, &name), read(body)) {
        (Ok(room), Ok(kick)) => {
            let reason = match kick.reason.trim() {
                "" => "kicked by an operator",
                reason => reason,
            };
            outcome(room.kick(kick.client, Close::KICKED, reason))
        }
        (Err(response), _) | (_, Err(response)) => *response,
    }
}

/// Nothing is to be said of an end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {}

pub(super) async fn end(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    body: Body<End>,
) -> Response {
    match (find(&door, &name), read(body)) {
        (Ok(room), Ok(End {})) => {
            room.end();
            json_response(StatusCode::ACCEPTED, &json!({ "status": "ending" }))
        }
        (Err(response), _) | (_, Err(response)) => *response,
    }
}

/// Of a console that only looks.
pub(super) async fn refused() -> Response {
    let message = "this console only looks: start the server with --console=write to act";
    let body = json!({ "error": "read_only", "message": message });
    json_response(StatusCode::FORBIDDEN, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_bytes_and_what_is_no_byte_is_refused() {
        assert_eq!(bytes("00 fF10\n"), Some(vec![0, 255, 16]));
        assert_eq!(bytes(""), Some(Vec::new()));
        for bad in ["0", "0g", "é0", "123"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
