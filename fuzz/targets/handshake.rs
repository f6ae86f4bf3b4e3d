//! The door: any bytes as what a client sends before it is let in, through the server's own HTTP and
//! all its routes, without a socket.
//!
//! What is answered is HTTP with a status that we mean to give, and 101 comes exactly where a second
//! judge finds the handshake of RFC 6455 section 4.2.1.

use std::ffi::OsString;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use scalesocket::app::Plan;
use scalesocket::cli::{self, Command};
use scalesocket::http::bare::Bare;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use super::input::Input;

/// The statuses that the door and its HTTP give to somebody who cannot get into a room.
const STATUSES: [u16; 15] = [
    101, 200, 400, 401, 403, 404, 405, 408, 413, 414, 421, 426, 431, 501, 503,
];
/// Longer inputs are stopped by a limit of the HTTP below, which is not ours to judge.
const LONGEST: usize = 4096;

/// Servers that differ in how they refuse and what they ask.
const SERVERS: [&[&str]; 2] = [
    &["--metrics", "--stats", "--api", "--same-origin", "cat"],
    &["--refuse=close", "--compress", "--subprotocol=chat", "cat"],
];

pub(super) fn run(bytes: &[u8]) {
    static DOORS: OnceLock<Vec<Bare>> = OnceLock::new();
    let mut input = Input::new(bytes);
    let refuses_by_closing = input.byte() & 1 == 1;
    let request = input.rest();
    if request.len() > LONGEST {
        return;
    }
    let doors = DOORS.get_or_init(|| SERVERS.iter().map(|words| door(words)).collect());
    let door = &doors[usize::from(refuses_by_closing)];
    let answer = runtime().block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let mut answer = Vec::new();
        let client = async {
            ours.write_all(request).await.expect("it is taken");
            // A server that has heard enough is not there any more.
            let _ = ours.shutdown().await;
            ours.read_to_end(&mut answer).await.expect("it ends");
        };
        tokio::join!(door.serve(theirs), client);
        answer
    });
    if answer.is_empty() {
        return;
    }
    let (status, head) = first(&answer);
    assert!(
        STATUSES.contains(&status),
        "{status}: {}",
        String::from_utf8_lossy(&answer)
    );
    match accept(request) {
        Some(accept) if status == 101 => {
            let given = head
                .iter()
                .find_map(|line| line.strip_prefix("sec-websocket-accept: "));
            assert_eq!(given, Some(&*accept));
        }
        _ => assert_ne!(status, 101, "that was no handshake"),
    }
    if refuses_by_closing && is_plain_handshake(request) {
        assert_eq!(status, 101, "that was a handshake");
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime")
    })
}

fn door(words: &[&str]) -> Bare {
    let words = ["scalesocket"].iter().chain(words).map(OsString::from);
    let config = match cli::parse(words, &|_| None) {
        Ok(Command::Serve(config)) => *config,
        other => panic!("{other:?}"),
    };
    let plan = Plan::new(config, 1024).expect("it can be served");
    Bare::new(&plan.bare().expect("a door"))
}

/// The status and the header lines of the first answer, names in lower case as hyper writes them.
fn first(answer: &[u8]) -> (u16, Vec<&str>) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let head = std::str::from_utf8(&answer[..end.expect("a whole head")]).expect("text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1."));
    let status = status.and_then(|rest| rest.get(2..5)?.parse().ok());
    (status.expect("a status line"), lines.collect())
}

/// A request's head, as plainly as it can be read; none: it is none, or not all of it is there.
struct Head<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: &'a [u8],
    headers: Vec<(String, &'a [u8])>,
}

fn head(request: &[u8]) -> Option<Head<'_>> {
    // Empty lines before a request are passed over (RFC 9112 section 2.2).
    let start = request.iter().position(|byte| !b"\r\n".contains(byte))?;
    let mut lines = request[start..].split(|byte| *byte == b'\n');
    let mut line = || {
        lines
            .next()
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    };
    let mut words = line()?
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
        headers.push((name, line[colon + 1..].trim_ascii()));
    }
    Some(Head {
        method,
        target,
        version,
        headers,
    })
}

/// The answer to the key, if this is a handshake.
fn accept(request: &[u8]) -> Option<String> {
    let head = head(request)?;
    let all = |name: &str| -> Vec<&[u8]> {
        let named = head.headers.iter().filter(|(key, _)| key == name);
        named.map(|(_, value)| *value).collect()
    };
    let has = |name: &str, token: &[u8]| {
        let mut tokens = all(name)
            .into_iter()
            .flat_map(|value| value.split(|byte| *byte == b','));
        tokens.any(|given| given.trim_ascii().eq_ignore_ascii_case(token))
    };
    let [key] = all("sec-websocket-key")[..] else {
        return None;
    };
    let good = head.method == b"GET"
        && head.version == b"HTTP/1.1"
        && has("upgrade", b"websocket")
        && has("connection", b"upgrade")
        && all("sec-websocket-version") == [b"13"]
        && STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    let hash = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    good.then(|| STANDARD.encode(hash))
}

/// Whether this is a handshake with nothing in it that anybody could object to.
fn is_plain_handshake(request: &[u8]) -> bool {
    let (Some(head), Some(_)) = (head(request), accept(request)) else {
        return false;
    };
    let target = head.target.strip_prefix(b"/").unwrap_or_default();
    let count = |wanted: &[u8]| {
        let windows = request.windows(wanted.len());
        windows.filter(|window| *window == wanted).count()
    };
    let breaks = count(b"\r\n");
    let line = [b"GET ", head.target, b" HTTP/1.1\r\n"].concat();
    let strict = request.starts_with(&line)
        && request.ends_with(b"\r\n\r\n")
        && count(b"\r\n\r\n") == 1
        && (count(b"\r"), count(b"\n")) == (breaks, breaks)
        && request
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n'));
    strict
        && !target.is_empty()
        && target.iter().all(u8::is_ascii_lowercase)
        && head.headers.len() < 50
        && head.headers.iter().all(|(name, _)| {
            let known = ["host", "upgrade", "connection", "user-agent", "cookie"];
            let known = known.contains(&&**name) || name.starts_with("sec-websocket-");
            known
                && name
                    .bytes()
                    .all(|byte| byte == b'-' || byte.is_ascii_lowercase())
        })
}
