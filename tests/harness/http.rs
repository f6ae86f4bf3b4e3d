//! A small HTTP/1.1 client that sends exactly what a test wrote. It reads heads, bodies with a
//! length, chunked bodies and bodies that end with the connection; it follows nothing and
//! normalises no path.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socket::Socket;

/// A response, header names in lower case.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error} in {} {}", self.status, self.text()),
        }
    }
}

/// Where the head ends and what it says, once it is whole.
pub fn parse_answer(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some((
        Answer {
            status,
            headers,
            body: Vec::new(),
        },
        end,
    ))
}

/// Reads a head; the bytes after it are returned with it.
pub async fn read_head(socket: &mut Socket) -> io::Result<(Answer, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some((answer, end)) = parse_answer(&bytes) {
            return Ok((answer, bytes.split_off(end)));
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            let so_far = String::from_utf8_lossy(&bytes).into_owned();
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the connection ended within a head: {so_far:?}"),
            ));
        }
    }
}

/// Sends a whole request and reads the whole response. `has_body` is false for HEAD.
pub async fn exchange(socket: &mut Socket, request: &[u8], has_body: bool) -> io::Result<Answer> {
    socket.write_all(request).await?;
    let (mut answer, mut bytes) = read_head(socket).await?;
    if !has_body || matches!(answer.status, 101 | 204 | 304) {
        return Ok(answer);
    }
    let length = answer
        .header("content-length")
        .and_then(|length| length.parse::<usize>().ok());
    let chunked = answer
        .header("transfer-encoding")
        .is_some_and(|value| value == "chunked");
    loop {
        let whole = match length {
            Some(length) if bytes.len() >= length => Some(bytes.clone()),
            None if chunked => unchunk(&bytes),
            _ => None,
        };
        if let Some(body) = whole {
            answer.body = body;
            return Ok(answer);
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            if length.is_some() || chunked {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.body = bytes;
            return Ok(answer);
        }
    }
}

/// The body of a chunked response, when its last chunk is there.
fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(bytes.get(..line)?).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        bytes = bytes.get(line + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_put_together_and_a_part_of_one_is_not_taken_for_it() {
        let bytes = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        assert_eq!(unchunk(bytes).as_deref(), Some(&b"abcde"[..]));
        assert_eq!(unchunk(&bytes[..12]), None);
    }
}
