//! The routes: websocket requests first, then the reserved paths, files, and 426 for the rest.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::json;

use super::answer::{Denied, json_response};
use super::{Door, Readiness, Side, api, join, seen};

/// The routes of one kind of listener.
pub(super) fn router(side: Side, door: &Arc<Door>) -> Router {
    let mut router = Router::new();
    for path in ["/health", "/healthz", "/livez"] {
        router = router.route(path, get(health));
    }
    for path in ["/ready", "/readyz"] {
        router = router.route(path, get(ready));
    }
    let options = &door.options;
    let operator = side == Side::Admin || !options.admin;
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
        router = api::routes(router);
    }
    if side == Side::Admin {
        router = router.route("/drain", post(drain));
    }
    router = match side {
        Side::Public => router.fallback(elsewhere),
        Side::Admin => router.fallback(async || super::answer::not_found("no such endpoint")),
    };
    if side == Side::Public {
        // A layer, not a route: a websocket request never means an endpoint.
        router = router.layer(middleware::from_fn_with_state(
            Arc::clone(door),
            sockets_first,
        ));
    }
    let headers = middleware::from_fn_with_state(Arc::clone(door), add_headers);
    router.layer(headers).with_state(Arc::clone(door))
}

async fn sockets_first(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if join::is_upgrade(request.headers()) {
        join::join(door, request).await
    } else {
        next.run(request).await
    }
}

async fn add_headers(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in &door.options.headers {
        response.headers_mut().append(name, value.clone());
    }
    response
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
    if let Some(files) = &door.options.files
        && let Some(response) = files.serve(request).await
    {
        return response;
    }
    Denied::NotWebsocket.into_response()
}
