//! Join and leave messages: what a client had a say in never gets out of the operator's text, and
//! everything else is as the operator wrote it.

use scalesocket::frame::{ClientId, Template, Visitor};

use super::input::Input;

/// Variables that a client has no say in, of those below.
const TRUSTED: [&str; 2] = ["REMOTE_ADDR", "UNIQUE_ID"];

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let id = ClientId::new(u32::from(input.byte()) + 1).expect("not 0");
    let text = String::from_utf8_lossy(input.rest()).into_owned();
    // The operator's text, and what clients say: room, query, a header, their name.
    let mut parts = text.splitn(5, '\n');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (template, room) = (part(), part());
    let vars: Vec<(String, String)> = [
        ("QUERY_STRING", part()),
        ("HTTP_USER_AGENT", part()),
        ("REMOTE_USER", part()),
        ("REMOTE_ADDR", "2001:db8::1".to_owned()),
        ("UNIQUE_ID", "4f1c-2".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let visitor = Visitor {
        id,
        room: &room,
        vars: &vars,
    };
    let mut out = b"before".to_vec();
    Template::parse(&template).render(&visitor, &mut out);
    let out = out
        .strip_prefix(b"before")
        .expect("what was there stays there");
    let shown = String::from_utf8_lossy(out);
    assert_eq!(shown, plainly(&template, &visitor), "of {template:?}");
}

/// The text, character by character.
fn plainly(template: &str, visitor: &Visitor<'_>) -> String {
    let mut out = String::new();
    let mut rest = template.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '#' {
            out.push(character);
            continue;
        }
        let mut name = String::new();
        while let Some(c) =
            rest.next_if(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_')
        {
            name.push(c);
        }
        match value(&name, visitor) {
            Some(value) => out.push_str(&value),
            None => {
                out.push('#');
                out.push_str(&name);
            }
        }
    }
    out
}

/// What a placeholder stands for; none: it is none.
fn value(name: &str, visitor: &Visitor<'_>) -> Option<String> {
    let var = |name: &str| {
        let found = visitor.vars.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    const MISSING: [&str; 21] = [
        "AUTH_TYPE",
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "GATEWAY_INTERFACE",
        "HTTPS",
        "PATH_INFO",
        "PATH_TRANSLATED",
        "REMOTE_HOST",
        "REMOTE_IDENT",
        "REMOTE_PORT",
        "REQUEST_METHOD",
        "REQUEST_SCHEME",
        "REQUEST_URI",
        "SCRIPT_NAME",
        "SERVER_NAME",
        "SERVER_PORT",
        "SSL_CLIENT_SAN_DNS_0",
        "SSL_CLIENT_SAN_URI_0",
        "SSL_CLIENT_S_DN",
        "SSL_CLIENT_S_DN_CN",
        "SSL_CLIENT_VERIFY",
    ];
    match name {
        "ID" => Some(visitor.id.to_string()),
        "ROOM" => Some(encoded(visitor.room.as_bytes())),
        "USER" => var("REMOTE_USER").map(|user| encoded(user.as_bytes())),
        "SERVER_PROTOCOL" | "SERVER_SOFTWARE" => Some(String::new()),
        _ if TRUSTED.contains(&name) => var(name).map(str::to_owned),
        _ if var(name).is_some() => var(name).map(|value| encoded(value.as_bytes())),
        _ if name.starts_with("HTTP_") || MISSING.contains(&name) => Some(String::new()),
        _ => {
            let wanted = name
                .strip_prefix("QUERY_")
                .filter(|name| !name.is_empty())?;
            let query = var("QUERY_STRING").unwrap_or_default();
            for pair in query.split('&') {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                if decoded(key).eq_ignore_ascii_case(wanted.as_bytes()) {
                    return Some(encoded(&decoded(value)));
                }
            }
            Some(String::new())
        }
    }
}

/// All but the unreserved characters of RFC 3986 section 2.3.
fn encoded(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(*byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let text = text.as_bytes();
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', _, _) => {
                bytes.push(b' ');
                at += 1;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    bytes
}
