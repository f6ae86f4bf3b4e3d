//! The path below which everything is: `--base-path`.

use http::Uri;
use http::uri::PathAndQuery;

/// Where a request belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Below the path; this is what remains.
    Below(Uri),
    /// At the path itself, whose pages need a slash behind it: there, from where the client is.
    Slash(String),
    /// Not here.
    Outside,
}

/// Takes `base` (empty, or `/` and no slash at its end) off a request's path.
pub(super) fn place(base: &str, uri: &Uri, is_socket: bool) -> Place {
    if base.is_empty() {
        return Place::Below(uri.clone());
    }
    let Some(rest) = uri.path().strip_prefix(base) else {
        return Place::Outside;
    };
    let query = uri.query().map(|query| format!("?{query}"));
    let query = query.unwrap_or_default();
    let rest = match rest {
        "" if is_socket => "/",
        "" => {
            let last = base.rsplit('/').next().unwrap_or_default();
            // Relative, as a proxy may have taken something off before us.
            return Place::Slash(format!("./{last}/{query}"));
        }
        rest if rest.starts_with('/') => rest,
        _ => return Place::Outside,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(format!("{rest}{query}")).ok();
    Uri::from_parts(parts).map_or(Place::Outside, Place::Below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_loses_the_path_and_nothing_else() {
        let below = |uri: &str| Place::Below(uri.parse().unwrap());
        let slash = |target: &str| Place::Slash(target.to_owned());
        for (base, uri, is_socket, expected) in [
            ("", "/x?y", false, below("/x?y")),
            ("/games", "/games/x?y=%20", false, below("/x?y=%20")),
            ("/games", "/games/", false, below("/")),
            ("/games", "/games//x", false, below("//x")),
            ("/games", "http://a:1/games/x", false, below("http://a:1/x")),
            ("/a/b", "/a/b/c", true, below("/c")),
            ("/games", "/games", true, below("/")),
            ("/games", "/games", false, slash("./games/")),
            ("/a/b", "/a/b?q", false, slash("./b/?q")),
            ("/games", "/gamesx", false, Place::Outside),
            ("/games", "/", false, Place::Outside),
            ("/games", "/x/games/", false, Place::Outside),
            ("/games", "*", false, Place::Outside),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(place(base, &uri, is_socket), expected, "{base} {uri}");
        }
    }
}
