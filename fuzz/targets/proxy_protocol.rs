//! Headers of the PROXY protocol: what a plain reading of the specification takes is what is taken, in
//! any pieces, and nothing behind a header is asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use scalesocket::http::bare::{Header, Parsed, parse_proxy_header as parse};

const SIGNATURE: [u8; 12] = *b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a";

pub(super) fn run(bytes: &[u8]) {
    let parsed = parse(bytes);
    match (&parsed, second(bytes)) {
        (Ok(Parsed::Whole(header, length)), expected) => {
            assert_eq!(Some((*header, *length)), expected);
        }
        (_, expected) => assert_eq!(expected, None, "{parsed:?}"),
    }
    if parsed.is_err() {
        // Nor does anything that follows mend it.
        for rest in [&[0; 300][..], b"\r\n", b"\n", b" 1.1.1.1 1.1.1.1 1 1\r\n"] {
            assert_eq!(second(&[bytes, rest].concat()), None);
        }
    }
    in_pieces(bytes, &parsed);
}

/// Byte by byte: no earlier than at its end is it whole, and what is missing never goes beyond that.
fn in_pieces(bytes: &[u8], parsed: &Result<Parsed, &'static str>) {
    for length in 0..bytes.len().min(120) {
        match (parse(&bytes[..length]), parsed) {
            (Ok(Parsed::Incomplete(missing)), Ok(Parsed::Whole(_, whole))) => {
                assert!(missing > 0 && length + missing <= *whole);
            }
            (Ok(Parsed::Incomplete(missing)), _) => assert!(missing > 0),
            (whole @ Ok(Parsed::Whole(..)), _) => assert_eq!(&whole, parsed),
            (Err(_), _) => assert!(parsed.is_err(), "what is none becomes one"),
        }
    }
}

/// The whole header that this begins with, read at once.
fn second(bytes: &[u8]) -> Option<(Header, usize)> {
    if bytes.starts_with(&SIGNATURE) {
        version_2(bytes)
    } else {
        version_1(bytes)
    }
}

fn version_1(bytes: &[u8]) -> Option<(Header, usize)> {
    let first: &[u8] = &bytes[..bytes.len().min(107)];
    let text: String = first.iter().map(|byte| char::from(*byte)).collect();
    let (line, _) = text.split_once("\r\n")?;
    if line.contains(|c: char| !c.is_ascii() || c.is_ascii_control()) {
        return None;
    }
    let length = line.len() + 2;
    if line == "PROXY UNKNOWN" || line.starts_with("PROXY UNKNOWN ") {
        return Some((Header::Unnamed, length));
    }
    let words: Vec<&str> = line.split(' ').collect();
    let ["PROXY", protocol, source, destination, from, to] = words[..] else {
        return None;
    };
    let at = |address: &str, port: &str| {
        let number: u16 = port.parse().ok()?;
        // Written as people write it, it is the same again.
        if number.to_string() != port {
            return None;
        }
        let address = match protocol {
            "TCP4" => {
                let parsed: Ipv4Addr = address.parse().ok()?;
                (parsed.to_string() == address).then_some(IpAddr::V4(parsed))?
            }
            "TCP6" => plain(address.parse::<Ipv6Addr>().ok()?),
            _ => return None,
        };
        Some(SocketAddr::new(address, number))
    };
    let named = Header::Named {
        remote: at(source, from)?,
        local: at(destination, to)?,
    };
    Some((named, length))
}

fn version_2(bytes: &[u8]) -> Option<(Header, usize)> {
    let fixed = bytes.get(..16)?;
    let length = 16 + usize::from(fixed[14]) * 256 + usize::from(fixed[15]);
    let block = bytes.get(16..length)?;
    if length > 4096 {
        return None;
    }
    let number = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let header = match (fixed[12], fixed[13]) {
        (0x20, _) => Header::Own,
        (0x21, 0x11 | 0x12) if block.len() >= 12 => {
            let address =
                |at: usize| IpAddr::from([block[at], block[at + 1], block[at + 2], block[at + 3]]);
            Header::Named {
                remote: SocketAddr::new(address(0), number(8)),
                local: SocketAddr::new(address(4), number(10)),
            }
        }
        (0x21, 0x21 | 0x22) if block.len() >= 36 => {
            let address = |at: usize| {
                let groups: [u16; 8] = std::array::from_fn(|group| number(at + 2 * group));
                plain(Ipv6Addr::from(groups))
            };
            Header::Named {
                remote: SocketAddr::new(address(0), number(32)),
                local: SocketAddr::new(address(16), number(34)),
            }
        }
        (0x21, 0x31 | 0x32) if block.len() >= 216 => Header::Unnamed,
        (0x21, 0x00 | 0x01 | 0x02 | 0x10 | 0x20 | 0x30) => Header::Unnamed,
        _ => return None,
    };
    Some((header, length))
}

/// What is mapped is what it maps.
fn plain(address: Ipv6Addr) -> IpAddr {
    match address.octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::V6(address),
    }
}
