//! What proxies say of the client whose request they pass on: `Forwarded` (RFC 7239) and its elder
//! siblings `X-Forwarded-*`.
//!
//! Here it is only read. Each proxy adds to the right, so what stands left was said by whoever came
//! before, and in the end by the client, who may say anything: what is believed is [`super::proxies`]'.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use super::origin::parse_authority;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Why nothing can be made of what the headers say; for people.
pub(super) type Malformed = &'static str;

/// Who connected to a proxy, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// From that address and, where it is said, port.
    At(IpAddr, Option<u16>),
    /// `unknown`, a name that means something to the proxy alone (RFC 7239 section 6.3), or nothing
    /// that can be read.
    Hidden,
}

/// What one proxy says of the request that it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) node: Node,
    /// Whether it came over TLS.
    pub(super) https: Option<bool>,
    /// The host, and its port if it is not the scheme's own.
    pub(super) host: Option<String>,
    /// The port that was connected to.
    pub(super) port: Option<u16>,
}

impl Hop {
    pub(super) const NONE: Hop = Hop {
        node: Node::Hidden,
        https: None,
        host: None,
        port: None,
    };
}

/// The hops of `Forwarded`, the client's first; none without that header.
pub(super) fn forwarded(headers: &HeaderMap) -> Result<Option<Vec<Hop>>, Malformed> {
    const MALFORMED: Malformed = "the header Forwarded breaks the grammar of RFC 7239";
    let mut hops = Vec::new();
    for value in headers.get_all(FORWARDED) {
        // Each by itself: a quote that one proxy leaves open must not swallow what the next one says.
        let text = value.to_str().map_err(|_| MALFORMED)?;
        elements(text, &mut hops).ok_or(MALFORMED)?;
    }
    let is_there = headers.contains_key(FORWARDED);
    let hops = hops.into_iter().map(hop).collect::<Result<Vec<_>, _>>()?;
    Ok(is_there.then_some(hops))
}

/// The pairs of one element of `Forwarded`, names in lower case.
type Pairs = Vec<(String, String)>;

fn hop(pairs: Pairs) -> Result<Hop, Malformed> {
    let mut hop = Hop::NONE;
    let mut seen = BTreeSet::new();
    for (name, value) in pairs {
        match name.as_str() {
            "for" => hop.node = node(&value),
            "proto" => hop.https = is_https(&value),
            "host" => hop.host = Some(host(&value)?),
            _ => {}
        }
        // RFC 7239 section 4: none may stand twice.
        if !seen.insert(name) {
            return Err("a parameter of the header Forwarded stands twice");
        }
    }
    Ok(hop)
}

/// Elements with commas between, of pairs with semicolons between; none if that breaks the grammar.
fn elements(mut rest: &str, found: &mut Vec<Pairs>) -> Option<()> {
    let mut pairs = Pairs::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let next = rest.chars().next();
        match next {
            Some(';') => rest = rest.get(1..)?,
            Some(',') | None => {
                if !pairs.is_empty() {
                    found.push(std::mem::take(&mut pairs));
                }
                match next {
                    Some(_) => rest = rest.get(1..)?,
                    None => return Some(()),
                }
            }
            Some(_) => {
                let (name, after) = rest.split_once('=')?;
                if name.is_empty() || !name.bytes().all(is_token) {
                    return None;
                }
                let (value, after) = value(after)?;
                pairs.push((name.to_ascii_lowercase(), value));
                rest = after.trim_start_matches([' ', '\t']);
                if !(rest.is_empty() || rest.starts_with([';', ','])) {
                    return None;
                }
            }
        }
    }
}

/// A token or a quoted string (RFC 9110 section 5.6), and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Addresses belong into quotes, but not every proxy knows.
        let is_part = |c: char| c.is_ascii() && (is_token(c as u8) || matches!(c, ':' | '[' | ']'));
        let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, quoted.get(at + 1..)?)),
            (_, '\\') => value.push(chars.next()?.1),
            (_, other) => value.push(other),
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What `X-Forwarded-*` say. Hops are made of it one at a time: a host that stands beside each of ten
/// thousand addresses would be as many copies.
pub(super) struct XForwarded<'a> {
    addresses: Vec<&'a str>,
    protos: Vec<&'a str>,
    hosts: Vec<&'a str>,
    ports: Vec<&'a str>,
}

/// The lists of `X-Forwarded-*`; none without any of them.
pub(super) fn x_forwarded(headers: &HeaderMap) -> Result<Option<XForwarded<'_>>, Malformed> {
    let names = [FOR, PROTO, HOST, PORT];
    if !names.iter().any(|name| headers.contains_key(name)) {
        return Ok(None);
    }
    let [addresses, protos, hosts, ports] = names.map(|name| list(headers, &name));
    Ok(Some(XForwarded {
        addresses: addresses?,
        protos: protos?,
        hosts: hosts?,
        ports: ports?,
    }))
}

impl XForwarded<'_> {
    /// Of every hop, the client's first; at least one.
    pub(super) fn nodes(&self) -> impl DoubleEndedIterator<Item = Node> + ExactSizeIterator {
        (0..self.addresses.len().max(1)).map(|index| self.node(index))
    }

    fn node(&self, index: usize) -> Node {
        let address = self.addresses.get(index);
        address.map_or(Node::Hidden, |text| node(text))
    }

    /// One hop, all of it.
    ///
    /// Lists that are shorter than that of the addresses were not kept by every proxy: then their first
    /// entry is the one of the proxy that the client came to.
    pub(super) fn hop(&self, index: usize) -> Result<Hop, Malformed> {
        // Counted from the right, where the nearest proxy is.
        let from_right = self.addresses.len().max(1).saturating_sub(index + 1);
        let of = |list: &[&'_ str]| {
            let entry = list.iter().rev().nth(from_right).or(list.first());
            entry.map(|entry| (*entry).to_owned())
        };
        Ok(Hop {
            node: self.node(index),
            https: of(&self.protos).and_then(|proto| is_https(&proto)),
            host: of(&self.hosts).map(|text| host(&text)).transpose()?,
            port: of(&self.ports).map(|text| port(&text)).transpose()?,
        })
    }
}

/// The entries of all headers of that name. One that is empty is still an entry: who left it so said
/// nothing, and the others must not move.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Vec<&'a str>, Malformed> {
    let mut entries = Vec::new();
    for value in headers.get_all(name) {
        let text = value
            .to_str()
            .map_err(|_| "what X-Forwarded-* say is not ASCII")?;
        entries.extend(text.split(',').map(str::trim));
    }
    Ok(entries)
}

/// An address with or without its port, IPv6 with or without brackets.
fn node(text: &str) -> Node {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Node::At(address.ip().to_canonical(), Some(address.port()));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    // A port of `_name` means something to the proxy alone; the address before it is one all the same.
    let hidden_port = text.rsplit_once(":_").map(|(address, _)| address);
    let address = match (bare, hidden_port) {
        (Some(bare), _) => bare.parse(),
        (None, Some(address)) => address.trim_matches(['[', ']']).parse(),
        (None, None) => text.parse::<IpAddr>(),
    };
    address.map_or(Node::Hidden, |address| {
        Node::At(address.to_canonical(), None)
    })
}

/// Websockets have schemes of their own, which some proxies name.
fn is_https(proto: &str) -> Option<bool> {
    let is = |names: [&str; 2]| names.iter().any(|name| proto.eq_ignore_ascii_case(name));
    match (is(["https", "wss"]), is(["http", "ws"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

fn port(text: &str) -> Result<u16, Malformed> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or("X-Forwarded-Port is no port")
}

fn host(text: &str) -> Result<String, Malformed> {
    match parse_authority(text) {
        Some(_) => Ok(text.to_ascii_lowercase()),
        None => Err("what a proxy says of the host is no host"),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    fn nodes(line: &str) -> Vec<Node> {
        let hops = forwarded(&headers(&[("forwarded", line)])).unwrap();
        hops.unwrap().into_iter().map(|hop| hop.node).collect()
    }

    fn x_hops(lines: &[(&'static str, &str)]) -> Result<Vec<Hop>, Malformed> {
        let headers = headers(lines);
        let said = x_forwarded(&headers)?.unwrap();
        (0..said.nodes().len()).map(|hop| said.hop(hop)).collect()
    }

    fn at(text: &str) -> Node {
        match text.parse::<SocketAddr>() {
            Ok(address) => Node::At(address.ip(), Some(address.port())),
            Err(_) => Node::At(text.parse().unwrap(), None),
        }
    }

    #[test]
    fn every_form_of_node_is_read() {
        for (line, expected) in [
            ("for=192.0.2.1", vec![at("192.0.2.1")]),
            (r#"For="192.0.2.1:47011""#, vec![at("192.0.2.1:47011")]),
            (r#"for="[2001:db8::1]""#, vec![at("2001:db8::1")]),
            (r#"for="[2001:db8::1]:80""#, vec![at("[2001:db8::1]:80")]),
            (r#"for="[::ffff:192.0.2.1]""#, vec![at("192.0.2.1")]),
            (r#"for="192.0.2.1:_port""#, vec![at("192.0.2.1")]),
            (r#"for="[2001:db8::1]:_p""#, vec![at("2001:db8::1")]),
            ("for=unknown", vec![Node::Hidden]),
            ("for=_gazonk, for=_x", vec![Node::Hidden; 2]),
            ("by=10.0.0.1;proto=http", vec![Node::Hidden]),
            (r#"for="\1\9\2.0.2.1""#, vec![at("192.0.2.1")]),
            (
                r#"for=192.0.2.1;by="a, b;c=\"d\"",for=192.0.2.2 ; proto=https"#,
                vec![at("192.0.2.1"), at("192.0.2.2")],
            ),
            (", ,for=192.0.2.1,;", vec![at("192.0.2.1")]),
            ("", vec![]),
        ] {
            assert_eq!(nodes(line), expected, "{line}");
        }
    }

    #[test]
    fn a_hop_may_say_scheme_and_host() {
        let line = r#"for=192.0.2.1;PROTO=HTTPS;host="Play.example:8443""#;
        let hops = forwarded(&headers(&[("forwarded", line)])).unwrap();
        let expected = Hop {
            node: at("192.0.2.1"),
            https: Some(true),
            host: Some("play.example:8443".into()),
            port: None,
        };
        assert_eq!(hops, Some(vec![expected]));
        assert_eq!(forwarded(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn what_breaks_the_grammar_is_refused_whole() {
        for line in [
            r#"for="192.0.2.1"#,
            r#"for="192.0.2.1, for=192.0.2.2"#,
            r#"for="a"b, for=192.0.2.2"#,
            "for",
            "for=",
            "=x",
            "for=192.0.2.1 for=192.0.2.2",
            "for=192.0.2.1;for=192.0.2.2",
            "for=192.0.2.1;host=a/b",
            r#"host="a@b""#,
            "f(or)=x",
            "for=ä",
        ] {
            let mut map = HeaderMap::new();
            map.insert(FORWARDED, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            assert!(forwarded(&map).is_err(), "{line}");
        }
        // One that leaves a quote open takes nothing of the next one with it, nor is it passed over.
        let lines = [
            ("forwarded", r#"for="10.0.0.1"#),
            ("forwarded", "for=192.0.2.2"),
        ];
        assert!(forwarded(&headers(&lines)).is_err());
    }

    #[test]
    fn lists_of_x_forwarded_are_read_from_the_right() {
        let lines = [
            ("x-forwarded-for", "garbage, 192.0.2.1:5"),
            ("x-forwarded-for", "2001:db8::7"),
            ("x-forwarded-proto", "http, wss, http"),
            ("x-forwarded-host", "play.example"),
            ("x-forwarded-port", "8443,80"),
        ];
        let hops = x_hops(&lines).unwrap();
        let seen: Vec<_> = hops
            .iter()
            .map(|hop| (hop.node, hop.https, hop.port))
            .collect();
        let expected = [
            (Node::Hidden, Some(false), Some(8443)),
            (at("192.0.2.1:5"), Some(true), Some(8443)),
            (at("2001:db8::7"), Some(false), Some(80)),
        ];
        assert_eq!(seen, expected);
        assert!(
            hops.iter()
                .all(|hop| hop.host.as_deref() == Some("play.example"))
        );
        let alone = x_hops(&[("x-forwarded-proto", "https")]).unwrap();
        assert_eq!((alone.len(), alone[0].https), (1, Some(true)));
        for bad in [
            ("x-forwarded-port", "no"),
            ("x-forwarded-port", "0"),
            ("x-forwarded-port", "+80"),
            ("x-forwarded-host", "a b"),
        ] {
            assert!(x_hops(&[bad]).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_was_quoted_is_read_back(
            text in "[ -~]{0,60}",
            name in "[ -~]{0,20}",
        ) {
            let line = headers(&[
                ("forwarded", text.as_str()),
                ("x-forwarded-for", text.as_str()),
            ]);
            let _ = forwarded(&line);
            let _ = x_hops(&[("x-forwarded-for", &text), ("x-forwarded-port", &text)]);
            let quoted = name.replace('\\', r"\\").replace('"', r#"\""#);
            let mut found = Vec::new();
            elements(&format!("by=\"{quoted}\";for=192.0.2.1"), &mut found).unwrap();
            prop_assert_eq!(&found[0][0].1, &name);
        }
    }
}
