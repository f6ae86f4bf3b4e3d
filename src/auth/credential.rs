//! Where a token is in a request, and how it is taken out so that nobody behind the door sees it.
//!
//! The places, in the order in which they count: `Authorization: Bearer`, a subprotocol
//! `bearer.<token>`, the parameter `token` of the query, and a cookie, if one was named: what somebody
//! says on purpose comes before what a browser adds by itself. All places are emptied, whichever counts.

use http::header::{AUTHORIZATION, COOKIE, HOST, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

/// What a subprotocol begins with that is a token.
const OFFER: &str = "bearer.";
/// Shortest text that is looked for in other headers: shorter ones are in many by chance.
const TOKEN_MIN: usize = 16;
/// The parameter of the query.
const PARAMETER: &[u8] = b"token";

/// Takes every token off a request; the one that counts.
pub(super) fn take(parts: &mut Parts, cookie: Option<&str>) -> Option<String> {
    let authorization = authorization(&mut parts.headers);
    let offered = offered(&mut parts.headers);
    let parameter = parameter(&mut parts.uri);
    let cookie = cookie.and_then(|name| named_cookie(&mut parts.headers, name));
    let tokens = [authorization, offered, parameter, cookie];
    for token in tokens.iter().flatten() {
        forget(&mut parts.headers, token);
    }
    tokens.into_iter().flatten().next()
}

/// Takes off other headers that repeat a token, as `Referer` does that of a page's own address.
fn forget(headers: &mut HeaderMap, token: &str) {
    if token.len() < TOKEN_MIN {
        return;
    }
    let finder = memchr::memmem::Finder::new(token);
    let repeats = |(name, value): (&HeaderName, &HeaderValue)| {
        // The handshake itself needs these.
        let needed = name == HOST || name.as_str().starts_with("sec-websocket-");
        (!needed && finder.find(value.as_bytes()).is_some()).then(|| name.clone())
    };
    let names: Vec<HeaderName> = headers.iter().filter_map(repeats).collect();
    for name in names {
        headers.remove(name);
    }
}

/// The header is for us alone, whatever is in it (RFC 3875 section 4.1.18).
fn authorization(headers: &mut HeaderMap) -> Option<String> {
    let token = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let bearer = scheme.eq_ignore_ascii_case("bearer");
        bearer.then(|| token.trim().to_owned())
    });
    headers.remove(AUTHORIZATION);
    token
}

/// Offered subprotocols that are tokens, and the others put back.
fn offered(headers: &mut HeaderMap) -> Option<String> {
    let mut token = None;
    filter(headers, &SEC_WEBSOCKET_PROTOCOL, ',', ", ", |offer| {
        let Some((prefix, rest)) = offer.split_at_checked(OFFER.len()) else {
            return true;
        };
        let is_token = prefix.eq_ignore_ascii_case(OFFER);
        if is_token {
            token.get_or_insert_with(|| rest.to_owned());
        }
        !is_token
    });
    token
}

fn named_cookie(headers: &mut HeaderMap, name: &str) -> Option<String> {
    let mut token = None;
    filter(headers, &COOKIE, ';', "; ", |pair| {
        let Some((key, value)) = pair.split_once('=') else {
            return true;
        };
        let is_token = key.trim_end() == name;
        if is_token {
            let value = value.trim();
            let bare = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            token.get_or_insert_with(|| bare.unwrap_or(value).to_owned());
        }
        !is_token
    });
    token
}

/// Keeps those entries of a header's list that `keep` wants. A header that loses none stays as it was.
fn filter(
    headers: &mut HeaderMap,
    name: &HeaderName,
    separator: char,
    join: &str,
    mut keep: impl FnMut(&str) -> bool,
) {
    let mut kept: Vec<HeaderValue> = Vec::new();
    let mut changed = false;
    for value in headers.get_all(name) {
        // SECURITY: bytes that are no text may stand beside a token: they are replaced for the
        // look, and a header that loses a token is put together from what was looked at.
        let text = String::from_utf8_lossy(value.as_bytes());
        let all: Vec<&str> = text.split(separator).map(str::trim).collect();
        let left: Vec<&str> = all.iter().copied().filter(|entry| keep(entry)).collect();
        if left.len() == all.len() {
            kept.push(value.clone());
            continue;
        }
        changed = true;
        if !left.is_empty() {
            kept.extend(HeaderValue::from_bytes(left.join(join).as_bytes()));
        }
    }
    if changed {
        headers.remove(name);
        for value in kept {
            headers.append(name.clone(), value);
        }
    }
}

/// Takes the parameter off the query, and leaves the others as they are written.
pub(super) fn parameter(uri: &mut Uri) -> Option<String> {
    let query = uri.query()?;
    let is_token = |pair: &&str| {
        let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
        let key: Vec<u8> = percent_decode_str(key).collect();
        // As placeholders find a parameter: whatever its case.
        key.eq_ignore_ascii_case(PARAMETER)
    };
    let (tokens, others): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_token);
    let first = tokens.first()?;
    let value = first.split_once('=').map_or("", |(_, value)| value);
    let token = percent_decode_str(value).decode_utf8_lossy().into_owned();
    let target = match others.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), others.join("&")),
    };
    *uri = with_target(uri, &target);
    Some(token)
}

fn with_target(uri: &Uri, target: &str) -> Uri {
    let mut parts = uri.clone().into_parts();
    // Made of a path and parameters that were in a good one: if it were none, nothing is better
    // than the token.
    let target = PathAndQuery::try_from(target);
    parts.path_and_query = Some(target.unwrap_or_else(|_| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_is_said_on_purpose_comes_first_and_all_is_taken() {
        let all = [
            ("authorization", "bearer one"),
            ("sec-websocket-protocol", "chat, bearer.two"),
            ("sec-websocket-protocol", "BEARER.three, v2"),
            ("cookie", "a=b; session=\"four\"; c=d"),
            ("cookie", "session=five"),
        ];
        let mut order = Vec::new();
        for skipped in [0, 1, 3, 3] {
            let uri = match order.len() {
                3 => "/x?a=1&b",
                _ => "/x?a=1&%74oken=si%78&b&TOKEN=seven",
            };
            let mut parts = request(uri, &all[skipped..]);
            order.push(take(&mut parts, Some("session")).unwrap());
            assert_eq!(parts.uri, "/x?a=1&b");
            let left = format!("{:?}", parts.headers);
            let tokens = ["one", "two", "three", "four", "five", "six", "seven"];
            assert!(!tokens.iter().any(|token| left.contains(token)), "{left}");
            assert!(left.contains("a=b; c=d"), "{left}");
        }
        assert_eq!(order, ["one", "two", "six", "four"]);
    }

    #[test]
    fn a_header_that_repeats_the_token_goes_with_it() {
        const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl";
        let page = format!("https://h/page?token={TOKEN}");
        let lines = [
            ("host", "h"),
            ("referer", &page),
            ("x-original-url", &page),
            ("x-other", "kept"),
        ];
        let mut parts = request(&format!("/x?token={TOKEN}"), &lines);
        assert_eq!(take(&mut parts, None).as_deref(), Some(TOKEN));
        let left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["host", "x-other"]);
        // What is no token takes nothing along.
        let mut parts = request("/x?token=a", &lines);
        take(&mut parts, None);
        assert_eq!(parts.headers.len(), 4);
    }

    #[test]
    fn other_cookies_stay_whatever_is_in_them() {
        let mut parts = request("/x", &[]);
        let cookies = "name=Zo\u{eb}; session=four".as_bytes();
        parts
            .headers
            .insert(COOKIE, HeaderValue::from_bytes(cookies).unwrap());
        assert_eq!(take(&mut parts, Some("session")).as_deref(), Some("four"));
        assert_eq!(parts.headers[COOKIE].as_bytes(), "name=Zo\u{eb}".as_bytes());
    }

    #[test]
    fn a_cookie_counts_only_if_it_was_named() {
        let mut parts = request("/x", &[("cookie", "session=four")]);
        assert_eq!(take(&mut parts, None), None);
        assert_eq!(parts.headers["cookie"], "session=four");
        assert_eq!(take(&mut parts, Some("sess")), None);
    }

    #[test]
    fn another_scheme_is_no_token_and_goes_no_further() {
        let mut parts = request("/x?token", &[("authorization", "Basic YTpi")]);
        assert_eq!(take(&mut parts, None).as_deref(), Some(""));
        assert!(parts.headers.is_empty());
        assert_eq!(parts.uri, "/x");
    }

    proptest! {
        #[test]
        fn no_request_holds_its_token_afterwards(
            before in "[a-z=&%;, ]{0,12}", after in "[a-z=&%;, ]{0,12}", extra in any::<Vec<u8>>(),
        ) {
            let query = format!("/x?{}&token=SECRET&{}", before.replace([' ', ';'], ""), after.replace([' ', ';'], ""));
            prop_assume!(query.parse::<Uri>().is_ok());
            let mut parts = request(&query, &[]);
            let mut cookie = format!("{before};k=SECRET;{after};").into_bytes();
            cookie.extend(extra.iter().filter(|byte| **byte > 127));
            let offers = format!("{before},bearer.SECRET,{after}");
            parts.headers.insert(COOKIE, HeaderValue::from_bytes(&cookie).unwrap());
            parts.headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(&offers).unwrap());
            prop_assert!(take(&mut parts, Some("k")).is_some());
            let bytes: Vec<u8> = parts.headers.values().flat_map(|value| value.as_bytes().to_vec()).collect();
            let left = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert!(!left.contains("SECRET"), "{}", left);
            prop_assert!(!parts.uri.to_string().contains("SECRET"));
        }
    }
}
