//! The forms of single values: durations, sizes, addresses, lists of names. Each function takes
//! what was written and gives the value, or the rest of a sentence that begins "… is not
//! valid:" and says what to write instead. Nothing here panics on any text.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::config::{Cache, Keep, Listen, Memory};
use super::console::Access;
use super::door::Proxy;
use crate::frame;
use crate::room::{BadName, RoomName};

/// Ten years: far below what clocks can add, far above what anybody waits for.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);
/// 1 TiB: exact as a float, and a typing error beyond it.
const LARGEST: f64 = (1u64 << 40) as f64;
/// With less the server would be short of memory before anybody came.
const MEMORY_LEAST: u64 = 16 << 20;
/// What a unix socket's address holds beside its final NUL: 108 bytes on Linux, 104 on macOS.
const UNIX_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Seconds, fractions allowed, or a number with a unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let help = || "write seconds or a number with a unit, like 30, 0.5, 500ms, 5m, 1h or 7d".into();
    let (number, unit) = number_and_unit(text).ok_or_else(help)?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1000.0,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86400.0,
        _ => return Err(help()),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("write a duration of at most 3650d".into()),
    }
}

/// A duration where none at all makes no sense.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("write a duration longer than 0, like 10s".into()),
        duration => Ok(duration),
    }
}

/// Bytes, or a number with a unit. A bare letter counts by 1024, as in nginx and coreutils.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let help = || "write bytes or a number with a unit, like 65536, 64KiB, 4MiB or 1GiB".to_owned();
    let (number, unit) = number_and_unit(text).ok_or_else(help)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(help()),
    };
    let bytes = number * factor as f64;
    if bytes > LARGEST {
        return Err("write a size of at most 1024GiB".into());
    }
    match usize::try_from(bytes as u64) {
        Ok(0) => Err("write a size of at least 1 byte".into()),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err("write a size that fits this machine's memory".into()),
    }
}

/// The server's own memory: a size that it can live with, or 0.
pub(super) fn memory(text: &str) -> Result<Memory, String> {
    if whole(text) == Some(0) {
        return Ok(Memory::NoLimit);
    }
    match size(text)? as u64 {
        bytes if bytes < MEMORY_LEAST => Err("write a size of at least 16MiB, of which the server                                               itself takes a part, or 0 for no limit"
            .into()),
        bytes => Ok(Memory::Limit(bytes)),
    }
}

/// Bytes of a request's head: a browser's handshake must fit, and a variable of a child must hold a header.
pub(super) fn head_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        bytes @ 1024..=65536 => Ok(bytes),
        _ => Err("write a size from 1KiB to 64KiB".into()),
    }
}

/// What the console may do.
pub(super) fn console(text: &str) -> Result<Access, String> {
    match text {
        // `read` and `true` are what the flag means without a value.
        "read" | "true" => Ok(Access::Read),
        "write" => Ok(Access::Write),
        _ => Err("write --console to look, or --console=write to act too".into()),
    }
}

/// How many headers.
pub(super) fn headers(text: &str) -> Result<usize, String> {
    match whole(text) {
        Some(n @ 1..=1000) => Ok(n as usize),
        _ => Err("write a whole number from 1 to 1000".into()),
    }
}

/// Digits with at most one point inside, then whatever follows.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.starts_with('.') || number.ends_with('.') {
        return None;
    }
    Some((number.parse().ok()?, unit))
}

fn whole(text: &str) -> Option<u32> {
    // The standard parser also takes a plus sign.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// How many, at least one. Clients' ids are u32, so no limit needs more.
pub(super) fn count(text: &str) -> Result<usize, String> {
    match whole(text) {
        Some(n) if n > 0 => Ok(n as usize),
        _ => Err("write a whole number from 1 to 4294967295".into()),
    }
}

/// How often; 0 is never.
pub(super) fn times(text: &str) -> Result<usize, String> {
    match whole(text) {
        Some(n) => Ok(n as usize),
        None => Err("write a whole number, or 0 for never".into()),
    }
}

/// A nice value.
pub(super) fn nice(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(nice @ -20..=19) if !text.starts_with('+') => Ok(nice),
        _ => Err("write a whole number from -20 (first served) to 19 (last)".into()),
    }
}

/// So many in a time, as the time that each takes: `20`, `20/s`, `0.5/s`, `30/m`, `100/h`.
pub(super) fn rate(text: &str) -> Result<Duration, String> {
    let help = || "write how many in a time, like 20/s, 0.5/s or 30/m".to_owned();
    let (number, unit) = number_and_unit(text).ok_or_else(help)?;
    let period = match unit {
        "" | "/s" => 1.0,
        "/m" => 60.0,
        "/h" => 3600.0,
        _ => return Err(help()),
    };
    match Duration::try_from_secs_f64(period / number) {
        // A million a second is more than any machine starts.
        Ok(every) if every <= LONGEST && every >= Duration::from_micros(1) => Ok(every),
        _ => Err(help()),
    }
}

/// A user or group as the system may know it.
pub(super) fn named_owner(text: &str) -> Result<String, String> {
    let visible = |c: char| !c.is_control() && !c.is_whitespace();
    match !text.is_empty() && !text.starts_with(':') && text.chars().all(visible) {
        true => Ok(text.to_owned()),
        false => Err("write a name or a number".into()),
    }
}

/// How many rooms: at least one, where there is no fleet to be a gateway of.
pub(super) fn rooms(text: &str) -> Result<usize, String> {
    match cfg!(feature = "kube") && text == "0" {
        true => Ok(0),
        false => count(text),
    }
}

/// The name or uid of an object.
#[cfg(feature = "kube")]
pub(super) fn named(text: &str) -> Result<String, String> {
    let visible = |b: u8| b.is_ascii_graphic() && b != b'/';
    match !text.is_empty() && text.len() <= 253 && text.bytes().all(visible) {
        true => Ok(text.to_owned()),
        false => Err("write the name that the object has in Kubernetes".into()),
    }
}

/// The path of a file.
pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    match text {
        "" | "-" => Err("write the path of a file".into()),
        path => Ok(PathBuf::from(path)),
    }
}

/// A label's value (Kubernetes: 63 letters, digits, `-`, `_`, `.`; letters or digits at both ends).
#[cfg(feature = "kube")]
pub(super) fn label(text: &str) -> Result<String, String> {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    match bytes.len() <= 63
        && bytes.iter().all(|b| inside(*b))
        && ends(bytes.first())
        && ends(bytes.last())
    {
        true => Ok(text.to_owned()),
        false => Err("write the value of a label: up to 63 letters, digits, - _ or .".into()),
    }
}

/// Rooms with series of their own. A million is beyond what a scraper takes.
pub(super) fn series(text: &str) -> Result<usize, String> {
    match whole(text) {
        Some(n) if n <= 1_000_000 => Ok(n as usize),
        _ => Err("write a whole number from 0 to 1000000".into()),
    }
}

/// `N`, `all:N`, `tagged:N`.
pub(super) fn cache(text: &str) -> Result<Cache, String> {
    let (keep, number) = match text.split_once(':') {
        None | Some(("all", _)) => (Keep::All, text.strip_prefix("all:").unwrap_or(text)),
        Some(("tagged", number)) => (Keep::Tagged, number),
        Some(_) => return Err("write N, all:N or tagged:N, like tagged:8".into()),
    };
    match whole(number) {
        Some(n) if (1..=1_000_000).contains(&n) => Ok(Cache {
            keep,
            messages: n as usize,
        }),
        _ => Err("write a number of messages from 1 to 1000000, like 8 or tagged:8".into()),
    }
}

/// `START:END`, both included.
pub(super) fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let port = |text| {
        whole(text)
            .and_then(|n| u16::try_from(n).ok())
            .filter(|port| *port > 0)
    };
    match text
        .split_once(':')
        .map(|(start, end)| (port(start), port(end)))
    {
        Some((Some(start), Some(end))) if start <= end => Ok(start..=end),
        Some((Some(_), Some(_))) => Err("write the smaller port first, like 9001:9999".into()),
        _ => Err("write two ports from 1 to 65535 with a colon between, like 9001:9999".into()),
    }
}

/// `HOST:PORT` or `unix:PATH`, to listen at.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("write the socket's path after unix:, like unix:/run/scalesocket".into()),
        Some(path) if path.len() > UNIX_PATH => Err(format!(
            "a socket's path has at most {UNIX_PATH} bytes, so choose a shorter one"
        )),
        Some(path) if path.contains('\0') => Err("a path cannot contain NUL".into()),
        Some(path) => Ok(Listen::Unix(PathBuf::from(path))),
        None => host_port(text).map(|_| Listen::Tcp(text.to_owned())),
    }
}

/// `HOST:PORT`, to connect to.
pub(super) fn peer(text: &str) -> Result<String, String> {
    match host_port(text)? {
        0 => Err("write the port that the program listens on, from 1 to 65535".into()),
        _ => Ok(text.to_owned()),
    }
}

/// The port of a well-formed `HOST:PORT`; whether the host exists is not asked here.
pub(super) fn host_port(text: &str) -> Result<u16, String> {
    let help = || "write HOST:PORT, like 127.0.0.1:9000, [::1]:9000 or localhost:9000".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(help)?;
    let port = whole(port).ok_or_else(help)?;
    let port = u16::try_from(port).map_err(|_| "write a port of at most 65535".to_owned())?;
    if host.starts_with('[') {
        return text
            .parse::<SocketAddr>()
            .map(|address| address.port())
            .map_err(|_| help());
    }
    if host.is_empty() {
        return Err(format!(
            "write 0.0.0.0:{port} for every address, or one of this machine's"
        ));
    }
    if host.contains(':') && !host.contains('/') {
        return Err("write an IPv6 address in brackets, like [::1]:9000".into());
    }
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    match numeric {
        true if host.parse::<Ipv4Addr>().is_ok() => Ok(port),
        false if host.bytes().all(name) => Ok(port),
        _ => Err(help()),
    }
}

/// An address, with or without the length of a prefix, or one of two words.
pub(super) fn proxy(text: &str) -> Result<Proxy, String> {
    let help = || "write a network like 10.0.0.0/8 or 2001:db8::/32, an address, loopback or unix";
    match text {
        "loopback" => return Ok(Proxy::Loopback),
        "unix" => return Ok(Proxy::Unix),
        _ => {}
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(whole(length).ok_or_else(help)?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| help())?;
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    match length.map_or(Ok(bits), u8::try_from) {
        // Clients' addresses are compared in this form.
        Ok(length @ 96..=128) if address.to_canonical().is_ipv4() && address.is_ipv6() => {
            Ok(Proxy::Network(address.to_canonical(), length - 96))
        }
        Ok(length) if length <= bits => Ok(Proxy::Network(address, length)),
        _ => Err(format!(
            "a prefix of such an address has at most {bits} bits"
        )),
    }
}

/// A path of plain names, without the slash at its end.
pub(super) fn base_path(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.bytes().all(plain);
    let path = text.strip_suffix('/').unwrap_or(text);
    match path.strip_prefix('/') {
        Some(names) if names.split('/').all(is_name) => Ok(path.to_owned()),
        _ => Err("write a path of letters, digits and any of -._~, like /games".into()),
    }
}

/// The name of a host, without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    match !text.is_empty() && text.bytes().all(name) {
        true => Ok(text.to_owned()),
        false => Err("write names of hosts without ports, like play.example.com".into()),
    }
}

/// Permission bits, as `chmod` takes them.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 && !digits.starts_with('+') => Ok(mode),
        _ => Err("write permissions in octal from 0 to 0777, like 0660".into()),
    }
}

/// A signal that can end a program, by name or number.
pub(super) fn signal(text: &str) -> Result<i32, String> {
    use nix::sys::signal::Signal;
    let help = || "write the name or number of a signal, like TERM, SIGINT or 15".to_owned();
    let signal = match text.parse::<i32>() {
        Ok(number) => Signal::try_from(number).map_err(|_| help())?,
        Err(_) => {
            let name = text.to_ascii_uppercase();
            let name = if name.starts_with("SIG") {
                name
            } else {
                format!("SIG{name}")
            };
            name.parse().map_err(|_| help())?
        }
    };
    match signal {
        Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => {
            Err("it only pauses a program, so write one that ends it, like TERM or INT".into())
        }
        Signal::SIGCONT | Signal::SIGCHLD => {
            Err("it does not end a program, so write one that does, like TERM or INT".into())
        }
        signal => Ok(signal as i32),
    }
}

/// The bytes that end a message: at least one, sorted, none twice.
#[derive(Debug, Clone)]
pub(super) struct Delimiters(pub Vec<u8>);

/// Single characters with escapes.
pub(super) fn delimiters(text: &str) -> Result<Delimiters, String> {
    const ESCAPES: &str = "the escapes are \\n, \\r, \\t, \\0, \\\\ and \\xNN";
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let byte = match c {
            '\\' => match chars.next() {
                Some('n') => b'\n',
                Some('r') => b'\r',
                Some('t') => b'\t',
                Some('0') => 0,
                Some('\\') => b'\\',
                Some('x') => {
                    let mut digit = || chars.next().and_then(|c| c.to_digit(16));
                    let (high, low) = (digit(), digit());
                    match (high, low) {
                        (Some(high), Some(low)) => (high * 16 + low) as u8,
                        _ => return Err(ESCAPES.into()),
                    }
                }
                _ => return Err(ESCAPES.into()),
            },
            // Cutting at one byte of a longer character would cut other characters in two.
            c if !c.is_ascii() => return Err("write ASCII characters, or bytes as \\xNN".into()),
            c => c as u8,
        };
        bytes.push(byte);
    }
    if bytes.is_empty() {
        return Err("write at least one character, or use --binary for output as it comes".into());
    }
    bytes.sort_unstable();
    bytes.dedup();
    Ok(Delimiters(bytes))
}

/// The name of a variable, or `*`. An empty one is the empty list.
pub(super) fn variable(text: &str) -> Result<String, String> {
    match text.contains(['=', '\0', ' ']) {
        true => Err("write names of variables with commas between, like PATH,HOME, or *".into()),
        false => Ok(text.to_owned()),
    }
}

/// A room as the first component of a path, decoded.
pub(super) fn room(text: &str) -> Result<String, String> {
    match RoomName::parse(text) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(BadName::Empty) => {
            Err("write names of rooms with commas between, like lobby,arena".into())
        }
        Err(BadName::Reserved) => Err(format!(
            "the path /{text} is the server's own, so choose another name"
        )),
        Err(bad) => Err(format!("{bad}, so choose another")),
    }
}

/// `scheme://host[:port]`, `host[:port]`, `*.host`, `null`, `*`. What they mean is the door's.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let help =
        || "write origins like https://example.com, example.com:8443 or *.example.com".into();
    let host = match text.split_once("://") {
        Some(("", _)) => return Err(help()),
        Some((_, host)) => host,
        None => text,
    };
    if host.trim_end_matches('/').contains('/') || (host.ends_with('/') && host.len() > 1) {
        return Err("an origin has no path, so leave out everything from the slash on".into());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]*".contains(c);
    match host.is_empty() || !host.chars().all(plain) {
        true => Err(help()),
        false => Ok(text.to_owned()),
    }
}

/// One subprotocol: a token (RFC 6455, 4.1; RFC 9110, 5.6.2).
pub(super) fn subprotocol(text: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match !text.is_empty() && text.bytes().all(token) {
        true => Ok(text.to_owned()),
        false => Err("write names without spaces, commas between, like chat.v2,chat.v1".into()),
    }
}

/// A cookie's name: a token (RFC 6265, 4.1.1).
pub(super) fn cookie(text: &str) -> Result<String, String> {
    subprotocol(text).map_err(|_| "write the name of a cookie, like session".into())
}

/// An audience or an issuer: any text but none.
pub(super) fn claim(text: &str) -> Result<String, String> {
    match text.is_empty() || text.chars().any(char::is_control) {
        true => Err("write what the tokens say, like https://login.example.com".into()),
        false => Ok(text.to_owned()),
    }
}

/// Where a service is that is asked over HTTP.
pub(super) fn service(text: &str) -> Result<http::Uri, String> {
    let help = || "write a URL, like http://127.0.0.1:9091/api/verify".to_owned();
    let url: http::Uri = text.parse().map_err(|_| help())?;
    let scheme = matches!(url.scheme_str(), Some("http" | "https"));
    let host = url.host().is_some_and(|host| !host.is_empty());
    match url.authority() {
        Some(authority) if authority.as_str().contains('@') => Err(
            "a URL with a password would be shown in logs: leave out everything up to the @".into(),
        ),
        _ if scheme && host => Ok(url),
        _ => Err(help()),
    }
}

/// A header that may be handed from one request to another.
pub(super) fn header_name(text: &str) -> Result<http::HeaderName, String> {
    let name = http::HeaderName::try_from(text)
        .map_err(|_| "write names of headers, commas between, like cookie,x-api-key".to_owned())?;
    let of_connection = [
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let fixed = ["sec-websocket-", "scalesocket-", "x-forwarded-"];
    if of_connection.contains(&name.as_str())
        || fixed.iter().any(|prefix| name.as_str().starts_with(prefix))
    {
        return Err(format!(
            "{name} is of one connection or set by the server, so leave it out"
        ));
    }
    Ok(name)
}

/// A member's name for JSON framing.
pub(super) fn field(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("write the name of a JSON member, like id".into())
    } else if frame::RESERVED.contains(&text) {
        Err(format!(
            "{text} has a meaning of its own in JSON framing, so choose another name"
        ))
    } else {
        Ok(text.to_owned())
    }
}

/// `Name: value`, as it goes out; not one of those that make the message itself.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let help = || "write 'Name: value', like 'X-Frame-Options: DENY'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(help)?;
    let name = http::HeaderName::try_from(name).map_err(|_| help())?;
    let value = value.trim();
    http::HeaderValue::try_from(value).map_err(|_| help())?;
    let framing = [
        "connection",
        "content-length",
        "transfer-encoding",
        "upgrade",
        "date",
    ];
    if framing.contains(&name.as_str()) || name.as_str().starts_with("sec-websocket-") {
        return Err(format!("the server sets {name} itself, so leave it out"));
    }
    Ok((name.as_str().to_owned(), value.to_owned()))
}
