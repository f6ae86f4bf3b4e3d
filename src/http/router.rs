//! The routes: websocket requests first, then the reserved paths, files, and 426 for the rest.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::json;

use super::answer::{Denied, endpoint_header, json_response};
use super::{Door, Ends, Readiness, Side, api, console, hosts, join, plain, seen, visitor};
use crate::room::RoomName;

/// Whether the server lives.
const HEALTH: [&str; 3] = ["/health", "/healthz", "/livez"];
/// Whether clients may come.
const READY: [&str; 2] = ["/ready", "/readyz"];

/// Whether it is a path of those that ask for the server's health, who come past every proxy.
pub(super) fn is_probe(path: &str) -> bool {
    HEALTH.contains(&path) || READY.contains(&path)
}

/// The routes of one kind of listener.
pub(super) fn router(side: Side, door: &Arc<Door>) -> Router {
    if let Side::Redirect(port) = side {
        return plain::redirects(port, door);
    }
    let mut router = Router::new();
    let options = &door.options;
    let operator = side == Side::Admin || side == Side::Public && !options.admin;
    if operator && options.metrics {
        router = router.route("/metrics", get(seen::metrics));
    }
    if operator && options.stats {
        router = router
            .route("/stats", get(seen::server))
            .route("/{room}/stats", get(seen::room))
            .route("/{room}/stats/{key}", get(seen::room_key));
    }
    if operator && options.api {
        let mut routes = api::routes(Router::new());
        if side == Side::Public && options.guard.is_some() {
            // Pages read it, as they join rooms: with the same proof.
            let guarded = middleware::from_fn_with_state(Arc::clone(door), known_only);
            routes = routes.route_layer(guarded);
        }
        router = router.merge(routes);
    }
    if let (true, Some(console)) = (operator, &options.console) {
        router = router.merge(console::routes(console, door));
    }
    if operator && door.gate.is_some() {
        router = router.route("/resolve/{room}", get(resolve));
    }
    if side == Side::Admin {
        router = router.route("/drain", post(drain));
    }
    if router.has_routes() {
        let ours = middleware::from_fn_with_state(Arc::clone(door), hosts::ours_only);
        router = router.route_layer(ours);
    }
    for path in HEALTH {
        router = router.route(path, get(health));
    }
    for path in READY {
        router = router.route(path, get(ready));
    }
    router = match side {
        Side::Public => router.fallback(elsewhere),
        Side::Admin | Side::Peer | Side::Redirect(_) => {
            router.fallback(async || super::answer::not_found("no such endpoint"))
        }
    };
    if side != Side::Admin {
        // A layer, not a route: a websocket request never means an endpoint.
        let sockets_first = move |State(door): State<Arc<Door>>, request: Request, next: Next| async move {
            match join::is_upgrade(request.headers()) {
                true => join::join(door, side, request).await,
                false => next.run(request).await,
            }
        };
        router = router.layer(middleware::from_fn_with_state(
            Arc::clone(door),
            sockets_first,
        ));
    }
    if side != Side::Peer {
        // The server that the client came to adds them.
        router = router.layer(middleware::from_fn_with_state(
            Arc::clone(door),
            add_headers,
        ));
    }
    router.with_state(Arc::clone(door))
}

/// For proxies of other people: where a room is, or where it would be opened now.
async fn resolve(State(door): State<Arc<Door>>, Path(room): Path<String>) -> Response {
    let room = match RoomName::parse(&room) {
        Ok(room) => room,
        Err(bad) => return Denied::Name(bad).into_response(),
    };
    if let Err(refusal) = door.rooms.allows(&room) {
        return Denied::Room(refusal).into_response();
    }
    let Some(endpoint) = door.gate.as_ref().and_then(|gate| gate.resolve(&room)) else {
        return Denied::NoServer.into_response();
    };
    let body = json!({ "room": room.as_str(), "endpoint": endpoint.to_string() });
    let mut response = json_response(StatusCode::OK, &body);
    response.headers_mut().extend(endpoint_header(endpoint));
    response
}

async fn add_headers(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in &door.options.headers {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// Lets those pass who prove who they are, and tells the endpoint who that is.
async fn known_only(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let ends = parts.extensions.get::<Ends>().copied().unwrap_or_default();
    if let Some(guard) = &door.options.guard {
        let address = ends.remote.map(|remote| remote.ip().to_canonical());
        match guard.admit(&mut parts, address, ends.https).await {
            Ok(identity) => drop(parts.extensions.insert(Arc::new(identity))),
            Err(rejection) => {
                let denied = Denied::Auth(rejection);
                door.metrics.refused(denied.label());
                return denied.into_response();
            }
        }
    }
    next.run(Request::from_parts(parts, body)).await
}

async fn health() -> Response {
    json_response(StatusCode::OK, &json!({ "status": "ok" }))
}

async fn ready(State(door): State<Arc<Door>>) -> Response {
    let (status, state) = match *door.ready.borrow() {
        Readiness::Ready => (StatusCode::OK, "ready"),
        Readiness::NoSession => (StatusCode::SERVICE_UNAVAILABLE, "no_session"),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    };
    json_response(status, &json!({ "status": state }))
}

async fn drain(State(door): State<Arc<Door>>) -> Response {
    door.stop.drain();
    json_response(StatusCode::ACCEPTED, &json!({ "status": "draining" }))
}

async fn elsewhere(State(door): State<Arc<Door>>, request: Request<Body>) -> Response {
    let ends = request.extensions().get::<Ends>().copied();
    let scheme = if ends.is_some_and(|ends| ends.https) {
        "wss"
    } else {
        "ws"
    };
    let is_browser = visitor::is_browser(request.headers());
    if let Some(files) = &door.options.files
        && let Some(response) = files.serve(request).await
    {
        return response;
    }
    let start = format!("{scheme}://<host>{}", door.options.base_path);
    let denied = Denied::NotWebsocket(start).into_response();
    match is_browser {
        true => visitor::show(denied),
        false => denied,
    }
}
