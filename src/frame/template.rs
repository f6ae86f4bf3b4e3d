//! The text of join and leave messages: what the operator wrote, with placeholders.
//!
//! A placeholder is `#` and the longest run of `[A-Z0-9_]`; one that names nothing stays as it is.
//! Whatever a client had a say in is percent-encoded (all but the unreserved characters of RFC 3986),
//! so that no name or query can break out of the operator's JSON, line or quotes.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use super::ClientId;

/// All but RFC 3986's unreserved characters (section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The variables that clients have no say in. A list of the trusted, so that a variable added
/// later is encoded until somebody decides otherwise; SERVER_NAME is missing because the Host
/// header may have given it.
const TRUSTED: [&str; 11] = [
    "GATEWAY_INTERFACE",
    "HTTPS",
    "PORT",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "REQUEST_SCHEME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
    "SSL_CLIENT_VERIFY",
    "UNIQUE_ID",
];

/// The variables of CGI and those that web servers add, besides `HTTP_*`. One that is missing is
/// empty, as a script would take it (RFC 3875, section 4.1).
const CGI: [&str; 26] = [
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "GATEWAY_INTERFACE",
    "HTTPS",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_IDENT",
    "REMOTE_PORT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "REQUEST_SCHEME",
    "REQUEST_URI",
    "SCRIPT_NAME",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
    "SSL_CLIENT_SAN_DNS_0",
    "SSL_CLIENT_SAN_URI_0",
    "SSL_CLIENT_S_DN",
    "SSL_CLIENT_S_DN_CN",
    "SSL_CLIENT_VERIFY",
];

/// Who a join or leave message speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'a> {
    /// `#ID`.
    pub id: ClientId,
    /// `#ROOM`; `#USER` is REMOTE_USER, or empty.
    pub room: &'a str,
    /// The CGI variables of the client's request, by name; `#QUERY_<NAME>` is read from
    /// QUERY_STRING.
    pub vars: &'a [(String, String)],
}

/// A join or leave message, parsed once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    /// Without its `#`.
    Name(String),
}

impl Template {
    /// Any text is a template.
    pub fn parse(text: &str) -> Template {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('#') {
            plain.push_str(before);
            let end = after.find(|c: char| !is_name(c)).unwrap_or(after.len());
            let (name, tail) = after.split_at(end);
            if name.is_empty() {
                plain.push('#');
            } else {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Name(name.to_owned()));
            }
            rest = tail;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Template { pieces }
    }

    /// Appends the message for that client.
    pub fn render(&self, visitor: &Visitor<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Name(name) => visitor.write(name, out),
            }
        }
    }
}

impl Visitor<'_> {
    fn write(&self, name: &str, out: &mut Vec<u8>) {
        if name == "ID" {
            out.extend_from_slice(self.id.to_string().as_bytes());
        } else if name == "ROOM" {
            encode(self.room.as_bytes(), out);
        } else if name == "USER" {
            // What the client has proved to be, or nothing.
            encode(self.var("REMOTE_USER").unwrap_or_default().as_bytes(), out);
        } else if let Some(value) = self.var(name) {
            match TRUSTED.contains(&name) {
                true => out.extend_from_slice(value.as_bytes()),
                false => encode(value.as_bytes(), out),
            }
        } else if CGI.contains(&name) || name.starts_with("HTTP_") {
            // Missing means empty. Before parameters: one called `string` is not the query.
        } else if let Some(parameter) = name.strip_prefix("QUERY_").filter(|name| !name.is_empty())
        {
            encode(&self.parameter(parameter), out);
        } else {
            out.push(b'#');
            out.extend_from_slice(name.as_bytes());
        }
    }

    fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value as the client meant it: decoded once, so that the child has one layer to undo.
    fn parameter(&self, name: &str) -> Vec<u8> {
        let query = self.var("QUERY_STRING").unwrap_or_default();
        let mut pairs = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let found = pairs.find(|(key, _)| decode(key).eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| decode(value)).unwrap_or_default()
    }
}

fn is_name(c: char) -> bool {
    matches!(c, 'A'..='Z' | '0'..='9' | '_')
}

fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for part in percent_encode(bytes, ENCODED) {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Decodes a part of a query as forms write it: `+` is a space, `%XX` a byte.
fn decode(text: &str) -> Vec<u8> {
    let spaced = match text.contains('+') {
        true => Cow::Owned(text.replace('+', " ")),
        false => Cow::Borrowed(text),
    };
    percent_decode(spaced.as_bytes()).collect()
}

#[cfg(test)]
mod tests;
