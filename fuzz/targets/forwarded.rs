//! `Forwarded` and `X-Forwarded-*`: nobody is believed but trusted proxies, and from those follows what
//! a second reading says, which looks for the hop that counts instead of walking to it.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use scalesocket::http::bare::believe;
use scalesocket::http::{Ends, TrustedProxies};

use super::input::Input;

/// Each header line begins with one of these.
const NAMES: [(u8, &str); 6] = [
    (b'F', "forwarded"),
    (b'f', "x-forwarded-for"),
    (b'p', "x-forwarded-proto"),
    (b'h', "x-forwarded-host"),
    (b'o', "x-forwarded-port"),
    (b'H', "host"),
];

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let way = input.byte();
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("inner:9000"));
    for line in input.rest().split(|byte| *byte == b'\n') {
        let Some((first, value)) = line.split_first() else {
            continue;
        };
        let name = NAMES.iter().find(|(letter, _)| letter == first);
        if let (Some((_, name)), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let remote = match way & 7 {
        0 => None,
        1 => Some("[2001:db8::1]:5"),
        2 => Some("192.0.2.9:5"),
        3 => Some("[::ffff:10.0.0.9]:5"),
        _ => Some("10.0.0.9:5"),
    };
    let before = Ends {
        remote: remote.map(|remote| remote.parse().expect("an address")),
        local: Some("10.9.9.9:9000".parse().expect("an address")),
        https: way & 8 != 0,
        unnamed: way & 0x70 == 0x70,
    };
    let networks = [("10.0.0.0", 8), ("2001:db8::", 32)];
    let networks = networks.map(|(address, length)| (address.parse().expect("an address"), length));
    let proxies = TrustedProxies::new(networks.to_vec(), true);

    let (mut ends, mut heard) = (before, headers.clone());
    let said = believe(&proxies, &mut ends, &mut heard);
    let peer = before.remote.map(|remote| remote.ip().to_canonical());
    let expected = match peer {
        _ if before.unnamed => Ok(Believed::default()),
        Some(peer) if !trusted(peer) => Ok(Believed::default()),
        _ => believed(&headers).ok_or(()),
    };
    assert_eq!(said.is_ok(), expected.is_ok(), "{said:?} {expected:?}");
    let Ok(expected) = expected else { return };
    assert_eq!(ends.remote, expected.remote.or(before.remote));
    assert_eq!(ends.https, expected.https.unwrap_or(before.https));
    assert_eq!(ends.unnamed, before.unnamed);
    let host = |of: &HeaderMap| of.get_all(HOST).iter().cloned().collect::<Vec<_>>();
    let (port, authority) = expected.place(ends.https);
    assert_eq!(ends.local.map(|local| local.port()), port.or(Some(9000)));
    match (authority, &host(&headers)[..]) {
        (Some(authority), [_]) => assert_eq!(host(&heard), [authority.as_str()]),
        (_, hosts) => assert_eq!(host(&heard), hosts),
    }
    // What was read stays for the program to see.
    heard.remove(HOST);
    headers.remove(HOST);
    assert_eq!(heard, headers);
}

fn trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.segments()[..2] == [0x2001, 0x0db8],
    }
}

/// A host as it is written, in lower case, and what that means.
#[derive(Debug, Clone)]
struct Host {
    text: String,
    name: String,
    port: Option<u16>,
}

/// What one proxy says.
#[derive(Debug, Clone, Default)]
struct Hop {
    node: Option<SocketAddr>,
    https: Option<bool>,
    host: Option<Host>,
    port: Option<u16>,
}

/// What counts of all of it.
#[derive(Debug, Clone, Default)]
struct Believed {
    remote: Option<SocketAddr>,
    https: Option<bool>,
    host: Option<Host>,
    port: Option<u16>,
}

impl Believed {
    /// The port that the client came to, and the host with it, where either is known.
    fn place(&self, https: bool) -> (Option<u16>, Option<String>) {
        let usual = [80, 443][usize::from(https)];
        let named = self.host.as_ref().and_then(|host| host.port);
        let told = self.https.is_some() || self.host.is_some();
        let port = self.port.or(named).or(told.then_some(usual));
        let authority = self.host.as_ref().map(|host| match port {
            Some(port) if host.port.is_none() && port != usual => format!("{}:{port}", host.text),
            _ => host.text.clone(),
        });
        (port, authority)
    }
}

/// None: nothing can be made of it.
fn believed(headers: &HeaderMap) -> Option<Believed> {
    let one = deciding(forwarded(headers)?);
    let other = deciding(x_forwarded(headers)?);
    match (one, other) {
        (Some(one), Some(other)) => {
            let ip = |of: &Believed| of.remote.map(|remote| remote.ip());
            let name = |of: &Believed| of.host.clone().map(|host| host.name);
            let same =
                ip(&one) == ip(&other) && one.https == other.https && name(&one) == name(&other);
            same.then_some(one)
        }
        (one, other) => Some(one.or(other).unwrap_or_default()),
    }
}

/// The hop that tells of the client: the last that is hidden or not trusted, or else the first.
fn deciding(hops: Option<Vec<Hop>>) -> Option<Believed> {
    let hops = hops?;
    let stops = |hop: &Hop| hop.node.is_none_or(|node| !trusted(node.ip()));
    let at = hops.iter().rposition(stops).unwrap_or(0);
    let Some(hop) = hops.get(at).cloned() else {
        return Some(Believed::default());
    };
    let nearer = hops.get(at + 1).and_then(|hop| hop.node);
    Some(Believed {
        remote: hop.node.or(nearer),
        https: hop.https,
        host: hop.host,
        port: hop.port,
    })
}

/// All values of a header; none if one of them is not plain text.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> Option<Vec<&'a str>> {
    let all = headers.get_all(name).iter();
    all.map(|value| value.to_str().ok()).collect()
}

/// RFC 7239, cut at commas and semicolons outside of quotes first.
#[expect(clippy::option_option, reason = "broken, not there, there")]
fn forwarded(headers: &HeaderMap) -> Option<Option<Vec<Hop>>> {
    let mut hops = Vec::new();
    for value in values(headers, FORWARDED.as_str())? {
        for element in cut(value, b',')? {
            let mut pairs = Vec::new();
            for pair in cut(element, b';')? {
                let pair = pair.trim_matches([' ', '\t']);
                if pair.is_empty() {
                    continue;
                }
                let (name, value) = pair.split_once('=')?;
                pairs.push((token(name, "")?.to_ascii_lowercase(), unquoted(value)?));
            }
            if pairs.is_empty() {
                continue;
            }
            let mut hop = Hop::default();
            for (at, (name, value)) in pairs.iter().enumerate() {
                if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                    return None;
                }
                match &**name {
                    "for" => hop.node = node(value),
                    "proto" => hop.https = scheme(value),
                    "host" => hop.host = Some(authority(value)?),
                    _ => {}
                }
            }
            hops.push(hop);
        }
    }
    Some(headers.contains_key(FORWARDED).then_some(hops))
}

/// The parts between separators that are in no quotes; none if a quote stays open.
fn cut(text: &str, separator: u8) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

fn token<'a>(text: &'a str, more: &str) -> Option<&'a str> {
    let separators = "\"(),/:;<=>?@[\\]{} \t";
    let is_part = |c: char| c.is_ascii_graphic() && (!separators.contains(c) || more.contains(c));
    (!text.is_empty() && text.chars().all(is_part)).then_some(text)
}

fn unquoted(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else {
        return token(text, ":[]").map(str::to_owned);
    };
    let mut value = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return chars.next().is_none().then_some(value),
            '\\' => value.push(chars.next()?),
            _ => value.push(c),
        }
    }
    None
}

#[expect(clippy::option_option, reason = "broken, not there, there")]
fn x_forwarded(headers: &HeaderMap) -> Option<Option<Vec<Hop>>> {
    let list = |name: &str| -> Option<Vec<String>> {
        let all = values(headers, name)?.join(",");
        let entries = all
            .split(',')
            .map(|entry| entry.trim().to_owned())
            .collect();
        Some(if headers.contains_key(name) {
            entries
        } else {
            Vec::new()
        })
    };
    let [nodes, protos, hosts, ports] =
        ["for", "proto", "host", "port"].map(|what| list(&format!("x-forwarded-{what}")));
    let (nodes, protos, hosts, ports) = (nodes?, protos?, hosts?, ports?);
    if [&nodes, &protos, &hosts, &ports]
        .iter()
        .all(|list| list.is_empty())
    {
        return Some(None);
    }
    let count = nodes.len().max(1);
    // Lists end together; one that is too short is that of its first entry before it begins.
    let of = |list: &[String], at: usize| -> Option<String> {
        let at = (at + list.len()).saturating_sub(count);
        list.get(at).cloned()
    };
    let mut hops = Vec::new();
    for at in 0..count {
        hops.push(Hop {
            node: nodes.get(at).and_then(|text| node(text)),
            https: of(&protos, at).and_then(|text| scheme(&text)),
            host: match of(&hosts, at) {
                Some(text) => Some(authority(&text)?),
                None => None,
            },
            port: match of(&ports, at) {
                Some(text) => Some(text.parse().ok()?),
                None => None,
            },
        });
    }
    Some(Some(hops))
}

/// An address, in brackets or not, and behind a colon its port or a name for one. Port 0 is none.
fn node(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    if let Ok(both) = text.parse::<SocketAddr>() {
        return Some(SocketAddr::new(both.ip().to_canonical(), both.port()));
    }
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match (inner, text.rfind(":_")) {
        (Some(inner), _) => inner,
        // Brackets that do not close are let pass here.
        (None, Some(at)) => text[..at].trim_matches(['[', ']']),
        (None, None) => text,
    };
    let address: IpAddr = address.parse().ok()?;
    Some(SocketAddr::new(address.to_canonical(), 0))
}

fn scheme(text: &str) -> Option<bool> {
    match &*text.to_ascii_lowercase() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

fn authority(text: &str) -> Option<Host> {
    let colon = match text.ends_with(']') {
        true => None,
        false => text.rfind(':'),
    };
    let (name, port) = match colon {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let port = match port {
        Some(port) if port.is_empty() || port.contains(|c: char| !c.is_ascii_digit()) => {
            return None;
        }
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    if name.starts_with('[') {
        let inner = name.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<std::net::Ipv6Addr>().ok()?;
    } else if name.is_empty()
        || name.contains(|c: char| !(c.is_ascii_alphanumeric() || "-._".contains(c)))
    {
        return None;
    }
    Some(Host {
        text: text.to_ascii_lowercase(),
        name: name.to_ascii_lowercase(),
        port,
    })
}
