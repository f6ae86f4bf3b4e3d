//! A websocket client that can do wrong: it sends any bytes as they are, answers no ping and no
//! close by itself, and shows every frame it gets. Ordinary people use `Person`, whose codec is not
//! ours; this one is for what a well-behaved library refuses to do.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::PATIENCE;
use super::diary::Page;
use super::socket::Socket;

pub struct Opcode;

impl Opcode {
    pub const CONTINUATION: u8 = 0;
    pub const TEXT: u8 = 1;
    pub const BINARY: u8 = 2;
    pub const CLOSE: u8 = 8;
    pub const PING: u8 = 9;
    pub const PONG: u8 = 10;
}

/// The bit of the first byte that says that a message ends with this frame.
pub const FIN: u8 = 0x80;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the three reserved bits and the opcode, as on the wire.
    pub first: u8,
    pub masked: bool,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }
}

/// A frame as bytes, with any first byte, masked or not (RFC 6455 section 5.2).
pub fn encode(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => bytes.push(masked | short as u8),
        middle @ 126..=0xffff => {
            bytes.push(masked | 126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(masked | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    bytes.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

/// Takes the first frame out of the bytes, if it is whole.
pub fn take_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let number = |at: std::ops::Range<usize>| -> Option<u64> {
        Some(
            bytes
                .get(at)?
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        )
    };
    let (length, mut head) = match second & 0x7f {
        126 => (number(2..4)?, 4),
        127 => (number(2..10)?, 10),
        short => (u64::from(short), 2),
    };
    let masked = second & 0x80 != 0;
    let mut key = [0; 4];
    if masked {
        key.copy_from_slice(bytes.get(head..head + 4)?);
        head += 4;
    }
    let end = head.checked_add(usize::try_from(length).ok()?)?;
    let payload = bytes.get(head..end)?;
    let payload = payload
        .iter()
        .zip(key.iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect();
    bytes.drain(..end);
    Some(Frame {
        first,
        masked,
        payload,
    })
}

/// The mask of every polite frame: a constant serves, a server cannot tell.
pub const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

pub struct Wire {
    pub socket: Socket,
    unread: Vec<u8>,
    page: Page,
}

impl Wire {
    pub fn new(socket: Socket, unread: Vec<u8>, page: Page) -> Wire {
        Wire {
            socket,
            unread,
            page,
        }
    }

    /// Exactly these bytes. A server may hang up in the middle of them: that is for the reading
    /// side to tell.
    pub async fn sends(&mut self, bytes: &[u8]) {
        match timeout(PATIENCE, self.socket.write_all(bytes)).await {
            Ok(Ok(()) | Err(_)) => {}
            Err(_) => self.page.fail("the server stopped reading"),
        }
    }

    /// One whole, masked frame.
    pub async fn says(&mut self, opcode: u8, payload: &[u8]) {
        self.sends(&encode(FIN | opcode, Some(MASK), payload)).await;
    }

    /// The next frame, or none when the connection ended.
    pub async fn hears_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.unread) {
                self.page.heard(&format!(
                    "{:#04x} {}",
                    frame.first,
                    frame.payload.escape_ascii()
                ));
                assert!(!frame.masked, "a server masks nothing");
                return Some(frame);
            }
            match timeout(PATIENCE, self.socket.read_buf(&mut self.unread)).await {
                Ok(Ok(0)) => return None,
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Ok(Err(error)) => self.page.fail(&format!("reading failed: {error}")),
                Ok(Ok(_)) => {}
                Err(_) => self.page.fail("heard nothing more in time"),
            }
        }
    }

    pub async fn hears(&mut self, opcode: u8, payload: &[u8]) {
        let expected = Frame {
            first: FIN | opcode,
            masked: false,
            payload: payload.to_vec(),
        };
        let frame = self.hears_frame().await;
        if frame.as_ref() != Some(&expected) {
            self.page
                .fail(&format!("expected {expected:?} but heard {frame:?}"));
        }
    }

    /// The next frame is a close with this code; its reason is returned.
    pub async fn hears_close(&mut self, code: u16) -> String {
        let Some(frame) = self.hears_frame().await else {
            self.page.fail(&format!(
                "expected close {code}, but the connection just ended"
            ));
        };
        let given = frame
            .payload
            .first_chunk()
            .map(|code| u16::from_be_bytes(*code));
        if frame.opcode() != Opcode::CLOSE || given != Some(code) {
            self.page.fail(&format!(
                "expected close {code} but heard {frame:?} ({given:?})"
            ));
        }
        String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default()).into_owned()
    }

    /// The server ends the connection without another frame.
    pub async fn is_dropped(&mut self) {
        if let Some(frame) = self.hears_frame().await {
            self.page.fail(&format!(
                "expected the end of the connection but heard {frame:?}"
            ));
        }
    }
}
