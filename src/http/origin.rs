//! Which web pages may connect: `--origin LIST` and `--same-origin`.
//!
//! A browser says in the `Origin` header which page opens a websocket, and applies no rule of its
//! own; without one here any page on the web can use a visitor's browser to join a room. The
//! rule is pure: headers in, a verdict out. It is no login: programs that are not browsers send
//! what they like, and those that send no origin at all are let in.

use std::str::FromStr;

/// Why an entry of `--origin` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--origin does not understand {0:?}; write an origin like https://example.com, a host like \
     example.com:8080 or *.example.com (ASCII: xn--…), null, or *"
)]
pub struct OriginError(String);

/// The origins that may connect. The default lets everybody in.
///
/// | entry | admits |
/// |---|---|
/// | `https://example.com[:PORT]` | that scheme, host and port; a missing port is the scheme's own |
/// | `example.com[:PORT]` | that host under any scheme; a missing port is any port |
/// | `*.example.com`, `https://*.example.com` | every name below, at any depth, not the name itself |
/// | `null` | pages without an origin: sandboxed frames, local files |
/// | `*` | every page, `null` too |
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginRule {
    entries: Vec<Entry>,
    same_origin: bool,
}

impl OriginRule {
    /// Reads the entries of `--origin` (each may itself be a list with commas) and adds pages
    /// from this very server if `same_origin`.
    ///
    /// # Errors
    ///
    /// The first entry that is not of a form in the table above.
    pub fn new<S: AsRef<str>>(entries: &[S], same_origin: bool) -> Result<Self, OriginError> {
        let entries = entries
            .iter()
            .flat_map(|list| list.as_ref().split(','))
            .map(str::trim)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            entries,
            same_origin,
        })
    }

    /// Whether nothing is restricted, which deserves a warning on a public address.
    #[must_use]
    pub fn allows_everyone(&self) -> bool {
        self.entries.contains(&Entry::Any) || self.entries.is_empty() && !self.same_origin
    }

    /// Whether a request with these `Origin` and `Host` values may connect; `https` says whether
    /// it reached us over TLS.
    ///
    /// The server's own origin is the host and port of `Host`. Over plain HTTP a page under
    /// `https` counts as the same too, because TLS may have ended in a proxy before us; over TLS
    /// a page under `http` does not: anybody on its way could have written it.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>, host: Option<&str>, https: bool) -> bool {
        if self.allows_everyone() {
            return true;
        }
        let Some(origin) = origin else { return true };
        if origin == "null" {
            return self.entries.contains(&Entry::Null);
        }
        let Some(page) = Page::parse(origin) else {
            return false;
        };
        self.entries.iter().any(|entry| entry.admits(&page))
            || self.same_origin && host.is_some_and(|host| page.is_from(host, https))
    }
}

impl OriginRule {
    /// Whether a page of that origin may read what is not for everybody: one that is listed, or of
    /// this very host. Here no rule at all lets nobody in.
    #[must_use]
    pub fn allows_reading(&self, origin: Option<&str>, host: Option<&str>, https: bool) -> bool {
        let strict = Self {
            entries: self.entries.clone(),
            same_origin: true,
        };
        strict.allows(origin, host, https)
    }

    /// Whether a page of that origin may do what operators do: `*` and `null` are about rooms, and
    /// name nobody.
    #[must_use]
    pub fn allows_operating(&self, origin: Option<&str>, host: Option<&str>, https: bool) -> bool {
        let named = |entry: &&Entry| matches!(entry, Entry::Page { .. });
        let strict = Self {
            entries: self.entries.iter().filter(named).cloned().collect(),
            same_origin: true,
        };
        strict.allows(origin, host, https)
    }

    /// Whether an entry names this host, which is then one of ours.
    pub(super) fn names(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Page { host, .. } => host.admits(name),
            Entry::Any | Entry::Null => false,
        })
    }
}

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Any,
    Null,
    Page {
        scheme: Option<String>,
        host: Host,
        port: Option<u16>,
    },
}

/// The host part of an entry, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Is(String),
    /// Ends with this, which begins with a dot.
    Below(String),
}

impl FromStr for Entry {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let error = || OriginError(text.to_owned());
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme, authority)) => (Some(parse_scheme(scheme).ok_or_else(error)?), authority),
            None => (None, text),
        };
        let (below, authority) = match authority.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, authority),
        };
        let (host, port) = parse_authority(authority).ok_or_else(error)?;
        let port = port.or_else(|| scheme.as_deref().and_then(default_port));
        let host = match below {
            true if host.starts_with('[') => return Err(error()),
            true => Host::Below(format!(".{host}")),
            false => Host::Is(host),
        };
        Ok(Self::Page { scheme, host, port })
    }
}

impl Entry {
    fn admits(&self, page: &Page) -> bool {
        match self {
            Self::Any => true,
            Self::Null => false,
            Self::Page { scheme, host, port } => {
                // With a scheme a missing port is its default, already filled in where there is
                // one; without a scheme it is left open.
                let port_fits = match scheme {
                    Some(_) => page.port == *port,
                    None => port.is_none() || page.port == *port,
                };
                port_fits
                    && scheme.as_ref().is_none_or(|scheme| *scheme == page.scheme)
                    && host.admits(&page.host)
            }
        }
    }
}

impl Host {
    fn admits(&self, host: &str) -> bool {
        match self {
            Self::Is(name) => host == name,
            Self::Below(suffix) => host
                .strip_suffix(suffix.as_str())
                .is_some_and(|n| !n.is_empty()),
        }
    }
}

/// The origin of a page (RFC 6454, section 6.2), its port never missing where the scheme has one.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Page {
    fn parse(origin: &str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let scheme = parse_scheme(scheme)?;
        let (host, port) = parse_authority(authority)?;
        let port = port.or_else(|| default_port(&scheme));
        Some(Self { scheme, host, port })
    }

    fn is_from(&self, host: &str, https: bool) -> bool {
        let scheme_fits = self.scheme == "https" || self.scheme == "http" && !https;
        let Some((name, port)) = parse_authority(host) else {
            return false;
        };
        scheme_fits && name == self.host && port.or_else(|| default_port(&self.scheme)) == self.port
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// RFC 3986, 3.1, in lower case.
fn parse_scheme(text: &str) -> Option<String> {
    let is_scheme = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then(|| text.to_ascii_lowercase())
}

/// `host[:port]`, the host in lower case, an IPv6 address in its brackets. No user, path or
/// wildcard: an origin has none, and a lenient reader is how `example.com@evil` gets in.
pub(super) fn parse_authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.rfind(']') {
        Some(end) => {
            let (host, rest) = text.split_at_checked(end + 1)?;
            host.strip_prefix('[')?
                .strip_suffix(']')?
                .parse::<std::net::Ipv6Addr>()
                .ok()?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':')?)),
            }
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if host.is_empty() || !host.chars().all(is_name) {
                return None;
            }
            (host, port)
        }
    };
    let port = match port {
        // `+80` would parse as a number.
        Some(port) if !port.bytes().all(|b| b.is_ascii_digit()) => return None,
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    Some((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(list: &str) -> OriginRule {
        OriginRule::new(&[list], false).unwrap()
    }

    fn admits(list: &str, origin: &str) -> bool {
        rule(list).allows(Some(origin), Some("irrelevant"), false)
    }

    #[test]
    fn without_a_rule_everybody_comes_in() {
        let rule = OriginRule::default();
        assert!(rule.allows_everyone());
        for origin in [
            None,
            Some("null"),
            Some("https://evil.example"),
            Some("\u{7f}garbage"),
        ] {
            assert!(rule.allows(origin, None, false), "{origin:?}");
        }
    }

    #[test]
    fn a_program_that_is_no_browser_says_no_origin_and_comes_in() {
        assert!(rule("https://example.com").allows(None, None, true));
        assert!(
            OriginRule::new::<&str>(&[], true)
                .unwrap()
                .allows(None, Some("x"), true)
        );
    }

    #[test]
    fn each_form_of_entry_admits_what_it_says() {
        for (list, origin, expected) in [
            ("https://example.com", "https://example.com", true),
            ("https://example.com", "https://EXAMPLE.com:443", true),
            ("https://example.com:443", "https://example.com", true),
            ("https://example.com", "https://example.com:8443", false),
            ("https://example.com", "http://example.com", false),
            (
                "https://example.com",
                "https://example.com.evil.example",
                false,
            ),
            (
                "https://example.com",
                "https://example.com@evil.example",
                false,
            ),
            (
                "https://example.com",
                "https://evil.example#https://example.com",
                false,
            ),
            (
                "https://example.com",
                "https://example.com https://evil.example",
                false,
            ),
            ("https://example.com", "https://notexample.com", false),
            ("example.com", "http://example.com", true),
            ("example.com", "https://example.com:8443", true),
            ("example.com", "https://www.example.com", false),
            ("example.com:8080", "http://example.com:8080", true),
            ("example.com:8080", "http://example.com", false),
            ("example.com:443", "https://example.com", true),
            ("*.example.com", "https://a.b.example.com", true),
            ("*.example.com", "https://example.com", false),
            ("*.example.com", "https://badexample.com", false),
            ("*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "http://a.example.com", false),
            ("[::1]:3000", "http://[::1]:3000", true),
            ("[::1]", "http://[::1]:3000", true),
            ("http://[::1]", "http://[::1]", true),
            ("app://bundle", "app://bundle", true),
            ("app://bundle", "app://bundle:1", false),
            ("null", "null", true),
            ("null", "https://example.com", false),
            ("example.com", "null", false),
            ("*", "null", true),
            ("*", "https://anywhere.example", true),
            ("a.example, b.example", "http://b.example", true),
        ] {
            assert_eq!(admits(list, origin), expected, "{list} and {origin}");
        }
    }

    #[test]
    fn the_same_origin_is_the_host_that_was_asked() {
        let rule = OriginRule::new::<&str>(&[], true).unwrap();
        assert!(!rule.allows_everyone());
        for (origin, host, https, expected) in [
            ("http://example.com", "example.com", false, true),
            ("http://example.com", "example.com:80", false, true),
            ("http://example.com:9000", "EXAMPLE.com:9000", false, true),
            ("http://example.com:9000", "example.com", false, false),
            ("http://example.com", "example.com:9000", false, false),
            ("https://example.com", "example.com", true, true),
            ("https://example.com", "example.com", false, true), // TLS ended in a proxy
            ("https://example.com", "example.com:80", false, false),
            ("http://example.com", "example.com", true, false),
            ("http://[::1]:9000", "[::1]:9000", false, true),
            ("http://example.com", "other.example", false, false),
            ("app://example.com", "example.com", false, false),
            ("null", "null", false, false),
            ("null", "example.com", false, false),
            ("", "", false, false),
        ] {
            assert_eq!(
                rule.allows(Some(origin), Some(host), https),
                expected,
                "{origin} {host}"
            );
        }
        assert!(!rule.allows(Some("http://example.com"), None, false));
    }

    #[test]
    fn the_list_and_the_same_origin_add_up() {
        let rule = OriginRule::new(&["a.example", "b.example"], true).unwrap();
        for (origin, expected) in [
            ("http://a.example", true),
            ("http://b.example", true),
            ("http://me.example", true),
            ("http://c.example", false),
            ("null", false),
        ] {
            assert_eq!(
                rule.allows(Some(origin), Some("me.example"), false),
                expected,
                "{origin}"
            );
        }
    }

    #[test]
    fn a_bad_entry_is_refused_with_a_sentence() {
        for bad in [
            "",
            "a.example,",
            "https://",
            "https://example.com/",
            "https://example.com/path",
            "user@example.com",
            "example.com:port",
            "example.com:+80",
            "example.com:99999",
            "*.*.example.com",
            "ex*mple.com",
            "*.",
            "*.[::1]",
            "[nonsense]",
            "::1",
            "bücher.example",
            "1://example.com",
        ] {
            let error = OriginRule::new(&[bad], false).expect_err(bad).to_string();
            assert!(error.starts_with("--origin does not understand"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics_and_none_but_the_listed_host_comes_in(
            origin in "\\PC{0,40}|(https?://)?[a-c.:@/\\[\\]%*0-9 -]{0,30}",
            host in "\\PC{0,20}|[a-c.:@\\[\\]0-9]{0,20}",
            https: bool,
        ) {
            let rule = OriginRule::new(&["https://listed.example"], false).unwrap();
            prop_assert!(!rule.allows(Some(&origin), Some(&host), https));
            let same = OriginRule::new::<&str>(&[], true).unwrap();
            if same.allows(Some(&origin), Some(&host), https) {
                let (_, authority) = origin.split_once("://").unwrap();
                let name = |text: &str| text.rsplit_once(':').map_or(text, |(name, _)| name).to_lowercase();
                prop_assert!(
                    authority.to_lowercase() == host.to_lowercase() || name(authority) == name(&host)
                        || name(authority) == host.to_lowercase() || authority.to_lowercase() == name(&host)
                );
            }
        }
    }
}
