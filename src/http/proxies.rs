//! Which proxies are believed, and what follows for a request that came through them.
//!
//! The way of a request is walked from our end: the connection's other end is certain, and what it says
//! counts only if it is trusted, and so on to the left. The first address that is not trusted is the
//! client's, and what stands left of it may be made up. From anybody else the headers are left as they
//! are, for the child to see, and nothing follows from them. Where the PROXY protocol names the other
//! end, it is that one who is asked about: the proxy only carries bytes.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, header};

use super::Ends;
use super::forwarded::{self, Hop, Malformed, Node};
use super::origin::parse_authority;

/// Whose word is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<(IpAddr, u8)>,
    unix: bool,
}

/// What is believed in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Believed {
    /// None: whoever the connection is with.
    remote: Option<SocketAddr>,
    https: Option<bool>,
    host: Option<String>,
    port: Option<u16>,
}

impl TrustedProxies {
    /// Addresses with the length of their prefix, and whether whoever comes through a unix socket is
    /// trusted.
    pub fn new(networks: Vec<(IpAddr, u8)>, unix: bool) -> Self {
        TrustedProxies { networks, unix }
    }

    /// Whether the other end of a connection is one of them; it has no address over a unix socket.
    pub(super) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |peer| self.has(peer))
    }

    fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mut networks = self.networks.iter();
        networks.any(|(network, length)| within(address, *network, *length))
    }

    /// Puts in place of the proxy who came to it, and how.
    pub(super) fn apply(&self, ends: &mut Ends, headers: &mut HeaderMap) -> Result<(), Malformed> {
        let peer = ends.remote.map(|remote| remote.ip());
        if ends.unnamed || !self.trusts(peer) {
            return Ok(());
        }
        let said = forwarded::forwarded(headers)?.map(|hops| {
            let (remote, last) = self.walk(hops.iter().map(|hop| hop.node));
            let hop = hops.into_iter().nth(last).unwrap_or(Hop::NONE);
            Believed::new(remote, hop)
        });
        let x_said = match forwarded::x_forwarded(headers)? {
            Some(x_said) => {
                let (remote, last) = self.walk(x_said.nodes());
                Some(Believed::new(remote, x_said.hop(last)?))
            }
            None => None,
        };
        let believed = match (said, x_said) {
            // A proxy that sets one of the two passes the other on as the client made it up.
            (Some(one), Some(other)) if !one.agrees_with(&other) => {
                return Err("Forwarded and X-Forwarded-* say different things");
            }
            // Only the latter can name a port without a host.
            (Some(believed), other) => Believed {
                port: believed.port().or(other.and_then(|other| other.port())),
                ..believed
            },
            (None, Some(believed)) => believed,
            (None, None) => return Ok(()),
        };
        believed.settle(ends, headers);
        Ok(())
    }

    /// From our end to the last hop that somebody trusted tells of: whose address that is, and which
    /// hop. What stands left of it is not looked at.
    fn walk(
        &self,
        nodes: impl DoubleEndedIterator<Item = Node> + ExactSizeIterator,
    ) -> (Option<SocketAddr>, usize) {
        let (mut remote, mut last) = (None, 0);
        for (index, node) in nodes.enumerate().rev() {
            last = index;
            match node {
                // The trusted one that hides it stands for it.
                Node::Hidden => break,
                Node::At(address, port) => {
                    remote = Some(SocketAddr::new(address, port.unwrap_or(0)));
                    if !self.has(address) {
                        break;
                    }
                }
            }
        }
        (remote, last)
    }
}

impl Believed {
    fn new(remote: Option<SocketAddr>, hop: Hop) -> Self {
        Believed {
            remote,
            https: hop.https,
            host: hop.host,
            port: hop.port,
        }
    }

    /// The port that the client came to, as far as that is said.
    fn port(&self) -> Option<u16> {
        let named = self.host.as_deref().and_then(parse_authority);
        self.port.or(named.and_then(|(_, port)| port))
    }

    fn agrees_with(&self, other: &Believed) -> bool {
        let what = |of: &Believed| {
            let host = of.host.as_deref().and_then(parse_authority);
            let host = host.map(|(name, _)| name);
            (of.remote.map(|remote| remote.ip()), of.https, host)
        };
        // A port that only one of them names is its scheme's own for the other.
        let ports = self.port().zip(other.port());
        what(self) == what(other) && ports.is_none_or(|(one, other)| one == other)
    }

    fn settle(self, ends: &mut Ends, headers: &mut HeaderMap) {
        if self.remote.is_some() {
            ends.remote = self.remote;
        }
        if let Some(https) = self.https {
            ends.https = https;
        }
        let own = if ends.https { 443 } else { 80 };
        let named = self.host.as_deref().and_then(parse_authority);
        let named = named.and_then(|(_, port)| port);
        // Who tells only the address says nothing of the way that the client came.
        let told = self.host.is_some() || self.https.is_some();
        let port = self.port.or(named).or(told.then_some(own));
        if let (Some(local), Some(port)) = (&mut ends.local, port) {
            local.set_port(port);
        }
        // Two hosts, or none, stay what they are: a request that is refused.
        let has_one = headers.get_all(header::HOST).iter().count() == 1;
        if let Some(host) = self.host.filter(|_| has_one) {
            let host = match port {
                Some(port) if named.is_none() && port != own => format!("{host}:{port}"),
                _ => host,
            };
            if let Ok(host) = HeaderValue::try_from(host) {
                headers.insert(header::HOST, host);
            }
        }
    }
}

fn within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let (differing, bits) = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (u128::from(one.to_bits() ^ other.to_bits()), 32_u8)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits(), 128),
        _ => return false,
    };
    let ignored = u32::from(bits.saturating_sub(length));
    differing.checked_shr(ignored).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn proxies() -> TrustedProxies {
        let networks = [("10.0.0.0", 8), ("2001:db8:1::", 48), ("127.0.0.1", 32)];
        let networks = networks.map(|(address, length)| (address.parse().unwrap(), length));
        TrustedProxies::new(networks.to_vec(), false)
    }

    /// Who is believed to have come, if `peer` connected and sent these headers.
    fn come(peer: &str, lines: &[(&'static str, &str)]) -> Result<(Ends, HeaderMap), Malformed> {
        let mut ends = Ends {
            remote: Some(SocketAddr::new(peer.parse().unwrap(), 1)),
            local: Some("10.9.9.9:9000".parse().unwrap()),
            https: false,
            unnamed: false,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("inner:9000"));
        for (name, value) in lines {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        proxies().apply(&mut ends, &mut headers)?;
        Ok((ends, headers))
    }

    fn address(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let (ends, _) = come(peer, lines).unwrap();
        ends.remote.unwrap().ip().to_string()
    }

    const XFF: &str = "x-forwarded-for";

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_clients() {
        for (peer, line, expected) in [
            ("10.1.1.1", "192.0.2.1", "192.0.2.1"),
            ("10.1.1.1", "198.51.100.9, 192.0.2.1, 10.2.2.2", "192.0.2.1"),
            ("10.1.1.1", "192.0.2.1, 2001:db8:1::5", "192.0.2.1"),
            ("::ffff:10.1.1.1", "192.0.2.1", "192.0.2.1"),
            ("192.0.2.7", "198.51.100.9", "192.0.2.7"),
            ("2001:db8:2::1", "198.51.100.9", "2001:db8:2::1"),
            ("10.1.1.1", "10.3.3.3, 10.2.2.2", "10.3.3.3"),
            // Whom a trusted proxy hides is known by that proxy, and nobody left of it counts.
            ("10.1.1.1", "192.0.2.1, unknown, 10.2.2.2", "10.2.2.2"),
            ("10.1.1.1", "192.0.2.1, unknown", "10.1.1.1"),
            ("10.1.1.1", "192.0.2.1, garbage", "10.1.1.1"),
        ] {
            assert_eq!(address(peer, &[(XFF, line)]), expected, "{peer} {line}");
        }
        let quoted = r#"for=6.6.6.6, for="[2001:db8:9::1]:7";proto=https, for=10.2.2.2"#;
        assert_eq!(
            address("10.1.1.1", &[("forwarded", quoted)]),
            "2001:db8:9::1"
        );
    }

    #[test]
    fn scheme_host_and_port_are_those_of_the_proxy_that_the_client_came_to() {
        let lines = [
            (XFF, "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "play.example"),
        ];
        let (ends, headers) = come("10.1.1.1", &lines).unwrap();
        assert!(ends.https);
        assert_eq!(ends.local.unwrap().port(), 443);
        assert_eq!(headers[header::HOST], "play.example");
        // What stands left of it is not read, so it may be anything.
        let made_up = [
            (XFF, "?, 192.0.2.1"),
            ("x-forwarded-host", "a b, play.example"),
            ("x-forwarded-port", "x, 8443"),
        ];
        let (ends, headers) = come("10.1.1.1", &made_up).unwrap();
        assert_eq!(ends.local.unwrap().port(), 8443);
        assert_eq!(headers[header::HOST], "play.example:8443");
        let odd = [lines[1], lines[2], ("x-forwarded-port", "8443")];
        let (ends, headers) = come("10.1.1.1", &odd).unwrap();
        assert_eq!(ends.local.unwrap().port(), 8443);
        assert_eq!(headers[header::HOST], "play.example:8443");
        assert_eq!(ends.remote.unwrap().ip().to_string(), "10.1.1.1");
        let (ends, headers) = come("192.0.2.7", &odd).unwrap();
        assert!(!ends.https);
        assert_eq!(headers[header::HOST], "inner:9000");
        assert_eq!(
            headers["x-forwarded-host"], "play.example",
            "for the child to see"
        );
        let (ends, _) = come("10.1.1.1", &[(XFF, "192.0.2.1")]).unwrap();
        assert_eq!(ends.local.unwrap().port(), 9000, "nothing was said of it");
    }

    #[test]
    fn two_that_say_different_things_are_refused() {
        let one = ("forwarded", "for=192.0.2.1;proto=https;host=a.example");
        let same = [
            one,
            (XFF, "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.example"),
        ];
        assert!(come("10.1.1.1", &same).is_ok());
        let with_port = [&same[..], &[("x-forwarded-port", "8443")]].concat();
        let (ends, headers) = come("10.1.1.1", &with_port).unwrap();
        assert_eq!(ends.local.unwrap().port(), 8443);
        assert_eq!(headers[header::HOST], "a.example:8443");
        let two_ports = (
            "forwarded",
            "for=192.0.2.1;proto=https;host=\"a.example:1\"",
        );
        let two_ports = [&[two_ports], &with_port[1..]].concat();
        assert!(come("10.1.1.1", &two_ports).is_err());
        for other in [
            vec![(XFF, "192.0.2.2")],
            // What only one of them says may be the client's own.
            vec![(XFF, "192.0.2.1")],
            vec![("x-forwarded-proto", "https")],
        ] {
            let lines = [vec![one], other].concat();
            assert!(come("10.1.1.1", &lines).is_err(), "{lines:?}");
            assert!(come("192.0.2.7", &lines).is_ok(), "nobody is asked");
        }
    }

    #[test]
    fn a_network_is_what_its_prefix_says() {
        for (address, network, length, expected) in [
            ("192.0.2.255", "192.0.2.0", 24, true),
            ("192.0.3.0", "192.0.2.0", 24, false),
            ("192.0.2.1", "192.0.2.0", 32, false),
            ("8.8.8.8", "0.0.0.0", 0, true),
            ("::1", "0.0.0.0", 0, false),
            ("ffff::", "::", 0, true),
            ("2001:db8::1", "2001:db8::", 127, true),
            ("2001:db8::2", "2001:db8::", 127, false),
        ] {
            let is = within(address.parse().unwrap(), network.parse().unwrap(), length);
            assert_eq!(is, expected, "{address} {network}/{length}");
        }
        assert!(!proxies().trusts(None));
        assert!(TrustedProxies::new(Vec::new(), true).trusts(None));
    }
}
