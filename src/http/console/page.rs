//! The console's page: one document with its style and its script in it, put together once.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;

use crate::http::visitor::policy;

/// The document, with a place for each of the two.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let script = [
        include_str!("page/state.js"),
        include_str!("page/overview.js"),
        include_str!("page/room.js"),
        include_str!("page/main.js"),
    ];
    include_str!("page/page.html")
        .replace("/*style*/", include_str!("page/style.css"))
        .replace("/*script*/", &script.concat())
});

/// Nothing runs on the page but what is in it, and it asks nobody but servers of ours; joining a room is a
/// websocket to another port, which no policy can name before it is known.
static POLICY: LazyLock<String> = LazyLock::new(|| policy(&PAGE, "'self' ws: wss:"));

pub(super) async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
    ];
    (headers, PAGE.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_asks_nobody_for_more() {
        assert!(!PAGE.contains("/*script*/") && !PAGE.contains("/*style*/"));
        // A second such tag would be one that the policy does not know.
        for tag in ["<script", "</script", "<style", "</style"] {
            assert_eq!(PAGE.matches(tag).count(), 1, "{tag}");
        }
        // What would be a request to somebody else, or what the policy refuses.
        for asking in [
            "src=",
            "href=\"http",
            "@import",
            "url(",
            " style=",
            "innerHTML",
            "onclick=",
        ] {
            assert!(!PAGE.contains(asking), "{asking}");
        }
    }
}
