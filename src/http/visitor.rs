//! What a browser shows that was pointed at a room as if it were a page: what is there instead, and
//! on the machine of whoever develops it a way to try it.
//!
//! The page is the same for every room; what differs it takes from its own address, so that nothing
//! of a request is ever part of it.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use ring::digest::{SHA256, digest};

const PAGE: &str = include_str!("visitor/page.html");

/// Nothing runs on the page but what is in it (CSP Level 3, section 2.3.1).
static POLICY: LazyLock<String> = LazyLock::new(|| policy(PAGE, "ws: wss:"));

/// Whether whoever asks would rather see a page than JSON.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("text/html"))
}

/// Puts the page in the place of an answer's body; status and other headers stay.
pub(super) fn show(mut answer: Response) -> Response {
    let mut page = (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::VARY, "accept"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        ],
        PAGE,
    )
        .into_response();
    *page.status_mut() = answer.status();
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.extend(std::mem::take(page.headers_mut()));
    *page.headers_mut() = std::mem::take(headers);
    page
}

/// The policy of a page with one style and one script, both in it, that connects to these sources.
pub(super) fn policy(page: &str, connect: &str) -> String {
    let hash = |tag: &str| {
        let inside = page
            .split_once(&format!("<{tag}>"))
            .and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
        let hash = digest(&SHA256, inside.map_or("", |(inside, _)| inside).as_bytes());
        STANDARD.encode(hash)
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src {connect}; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
}
