//! The PROXY protocol, versions 1 and 2 (HAProxy, `doc/proxy-protocol.txt`): what a proxy says at the
//! beginning of a connection of whom it passes on, before TLS and HTTP.
//!
//! [`parse`] is pure and says how many bytes surely belong to a header that is not whole, so that
//! nothing behind it is ever read. Additions (TLVs) are passed over. Who may say such a thing is
//! [`super::introduction`]'s.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with (section 2.2), and no line of text does.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with (section 2.1).
const WORD: &[u8] = b"PROXY ";
/// The shortest and the longest line of version 1, with its end.
const LINE: (usize, usize) = (15, 107);
/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;
/// The longest header of version 2. Additions may make one of 65,551 bytes; those that are in use,
/// certificates of clients among them, fit, and so does what nginx takes.
const LONGEST: usize = 4096;

/// Why something is no header; for people.
pub type Malformed = &'static str;

/// What a header says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// It is the proxy's own (LOCAL), as for a health check.
    Own,
    /// It is passed on for somebody whom the proxy cannot name so.
    Unnamed,
    /// It is passed on for whoever connected from `remote` to `local`.
    Named {
        /// The client.
        remote: SocketAddr,
        /// What the client connected to.
        local: SocketAddr,
    },
}

/// How far some bytes are a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// At least so many more belong to it; never 0.
    Incomplete(usize),
    /// It is the first so many of them.
    Whole(Header, usize),
}

/// Parses the beginning of a connection. Bytes behind the header are not looked at.
///
/// # Errors
///
/// No more bytes can make a header of these.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    match bytes.first() {
        None => Ok(Parsed::Incomplete(LINE.0)),
        Some(b'\r') => binary(bytes),
        Some(_) => line(bytes),
    }
}

/// Version 2.
fn binary(bytes: &[u8]) -> Result<Parsed, Malformed> {
    begins_as(bytes, SIGNATURE)?;
    let [version, way, high, low] = [12, 13, 14, 15].map(|at| bytes.get(at).copied());
    let is_own = match version {
        Some(0x20) => true,
        Some(0x21) => false,
        Some(0x22..=0x2f) => return Err("the command of the PROXY header is unknown"),
        Some(_) => return Err("the PROXY header is of another version than 1 and 2"),
        None => true,
    };
    let way = way.filter(|_| !is_own).unwrap_or_default();
    let (family, transport) = (way >> 4, way & 0xf);
    if family > 3 || transport > 2 {
        return Err("the family of addresses in the PROXY header is unknown");
    }
    let (Some(high), Some(low)) = (high, low) else {
        return Ok(Parsed::Incomplete(FIXED - bytes.len()));
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // Without a transport the addresses are to be ignored.
    let least = match (family, transport) {
        (_, 0) | (0, _) => 0,
        (1, _) => 12,
        (2, _) => 36,
        _ => 216,
    };
    if length < least {
        return Err("the PROXY header is too short for its addresses");
    }
    let whole = FIXED + length;
    if whole > LONGEST {
        return Err("the PROXY header is longer than 4096 bytes");
    }
    let Some(block) = bytes.get(FIXED..whole) else {
        return Ok(Parsed::Incomplete(whole - bytes.len()));
    };
    let named = match least {
        12 => addresses::<4, Ipv4Addr>(block),
        36 => addresses::<16, Ipv6Addr>(block),
        _ => None,
    };
    let header = match named {
        _ if is_own => Header::Own,
        None => Header::Unnamed,
        Some((remote, local)) => Header::Named { remote, local },
    };
    Ok(Parsed::Whole(header, whole))
}

/// Both addresses, and then both ports.
fn addresses<const N: usize, A>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    A: From<[u8; N]> + Into<IpAddr>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _) = rest.split_first_chunk()?;
    let at = |address: &[u8; N], port: &[u8; 2]| {
        socket(A::from(*address).into(), u16::from_be_bytes(*port))
    };
    Some((at(source, source_port), at(destination, destination_port)))
}

/// IPv4 in the clothes of IPv6 is IPv4, for limits and networks.
fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// Version 1.
fn line(bytes: &[u8]) -> Result<Parsed, Malformed> {
    begins_as(bytes, WORD)?;
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~');
    let end = bytes.iter().position(|byte| !is_text(byte));
    let (text, behind) = bytes.split_at(end.unwrap_or(bytes.len()));
    let missing = match behind {
        [] => 2,
        [b'\r'] => 1,
        [b'\r', b'\n', ..] => 0,
        _ => return Err("the PROXY header is no line that ends with CRLF"),
    };
    if text.len() + 2 > LINE.1 {
        return Err("the PROXY header is a line of more than 107 bytes");
    }
    if missing > 0 {
        let least = LINE.0.saturating_sub(bytes.len());
        return Ok(Parsed::Incomplete(least.max(missing)));
    }
    let header = said(text).ok_or("the PROXY header breaks its grammar")?;
    Ok(Parsed::Whole(header, text.len() + 2))
}

/// What a line says, without its end.
fn said(text: &[u8]) -> Option<Header> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split(' ').skip(1);
    let protocol = words.next()?;
    if protocol == "UNKNOWN" {
        // What follows is to be ignored.
        return Some(Header::Unnamed);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match protocol {
            "TCP4" => word.parse().ok().map(IpAddr::V4),
            "TCP6" => word.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some(Header::Named {
        remote: socket(source, source_port),
        local: socket(destination, destination_port),
    })
}

/// A number as people write it: no sign, and no zero before it.
fn port(word: &str) -> Option<u16> {
    let padded = word.len() > 1 && word.starts_with('0');
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !padded).then(|| word.parse().ok()).flatten()
}

/// Whether it is the beginning of that, or goes on behind it.
fn begins_as(bytes: &[u8], what: &[u8]) -> Result<(), Malformed> {
    let both = bytes.iter().zip(what);
    match both.into_iter().all(|(one, other)| one == other) {
        true => Ok(()),
        false => Err("there is no PROXY header"),
    }
}

/// Why no header was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// What came is none.
    #[error("{0}")]
    Malformed(Malformed),
    /// The stream ended within it.
    #[error("the connection ended within the PROXY header")]
    Truncated,
    /// Nothing more can be read.
    #[error("{0}")]
    Lost(#[from] io::Error),
}

/// Reads a header and nothing behind it; none if the stream ends before its first byte.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<Header>, Failure> {
    let mut bytes = Vec::new();
    loop {
        let missing = match parse(&bytes).map_err(Failure::Malformed)? {
            Parsed::Whole(header, _) => return Ok(Some(header)),
            Parsed::Incomplete(missing) => missing,
        };
        let mut belongs = (&mut *stream).take(missing as u64);
        if belongs.read_buf(&mut bytes).await? == 0 {
            return match bytes.is_empty() {
                true => Ok(None),
                false => Err(Failure::Truncated),
            };
        }
    }
}

#[cfg(test)]
mod tests;
