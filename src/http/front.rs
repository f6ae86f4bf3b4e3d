//! What happens to a request before it finds its route: whom it came from is settled first.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, LOCATION};
use http::{HeaderValue, Request, StatusCode};
use tower::ServiceExt;

use super::answer::Denied;
use super::base_path::{Place, place};
use super::connections::Named;
use super::router::is_probe;
use super::{Door, Ends, Side, join};
use crate::auth::Target;

/// Answers a request that came through a listener of that side; `named` is for a proxy's connection,
/// which counts for whom the request names.
pub(super) async fn receive(
    door: Arc<Door>,
    side: Side,
    router: Router,
    mut request: Request<Body>,
    named: Option<Arc<Named>>,
) -> Result<Response, Infallible> {
    if side == Side::Public {
        let ends = request.extensions().get::<Ends>().copied();
        let mut ends = ends.unwrap_or_default();
        if let Err(what) = door.options.proxies.apply(&mut ends, request.headers_mut()) {
            return Ok(deny(&door, Denied::Forwarded(what)));
        }
        request.extensions_mut().insert(ends);
        if let Some(named) = &named {
            let client = ends.remote.map(|remote| remote.ip());
            let client = client.filter(|client| !door.options.proxies.trusts(Some(*client)));
            if let Err(crowded) = named.counts_for(client) {
                return Ok(deny(&door, Denied::Crowded(crowded)));
            }
        }
        if let Some(response) = enter(&door, &mut request) {
            return Ok(with_headers(&door, response));
        }
    }
    let response = router.oneshot(request).await;
    if let (Some(named), Ok(response)) = (&named, &response)
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        // The next request may be another client's; nobody is never one too many.
        let _ = named.counts_for(None);
    }
    response
}

/// Refuses a request that nothing more is read behind.
pub(super) fn hang_up(door: &Door, denied: Denied) -> Response {
    let mut response = deny(door, denied);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

fn deny(door: &Door, denied: Denied) -> Response {
    door.metrics.refused(denied.label());
    denied.tell();
    with_headers(door, denied.into_response())
}

/// Takes the base path off, or answers what is not below it.
fn enter(door: &Door, request: &mut Request<Body>) -> Option<Response> {
    let base = &door.options.base_path;
    let is_socket = join::is_upgrade(request.headers());
    if base.is_empty() || (!is_socket && is_probe(request.uri().path())) {
        return None;
    }
    match place(base, request.uri(), is_socket) {
        Place::Below(uri) => {
            let whole = std::mem::replace(request.uri_mut(), uri);
            if door.options.guard.is_some()
                && let Some(target) = whole.into_parts().path_and_query
            {
                request.extensions_mut().insert(Target(target));
            }
            None
        }
        Place::Slash(target) => Some(match HeaderValue::try_from(target) {
            Ok(target) => (StatusCode::PERMANENT_REDIRECT, [(LOCATION, target)]).into_response(),
            Err(_) => Denied::Outside.into_response(),
        }),
        Place::Outside => {
            door.metrics.refused(Denied::Outside.label());
            Some(Denied::Outside.into_response())
        }
    }
}

/// Answers that come from no route have the headers of the others all the same.
pub(super) fn with_headers(door: &Door, mut response: Response) -> Response {
    for (name, value) in &door.options.headers {
        response.headers_mut().append(name, value.clone());
    }
    response
}
