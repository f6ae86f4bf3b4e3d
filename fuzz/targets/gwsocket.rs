//! Packets, both ways: those of a child in any pieces, against a parser that has the whole stream
//! before it; and those that clients make, which keep no address but the true one.

use scalesocket::frame::{
    Audience, Broken, ClientFraming, ClientId, Decoder, Drop, Encoder, Event, Kind, ServerFraming,
};

use super::input::{Input, pieces};

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Message(u32, Kind, Vec<u8>),
    Counted(Drop),
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limit = usize::from(input.byte());
    let seed = input.byte();
    let stream = input.rest();
    let mut heard = Vec::new();
    let mut decoder = Decoder::new(&ServerFraming::Packets, limit);
    let mut broken = None;
    for piece in pieces(stream, seed) {
        let fed = decoder.feed(piece, &mut |event| heard.push(copied(event)));
        assert!(
            decoder.buffered() <= limit.max(12),
            "more is kept than may be"
        );
        if let Err(fault) = fed {
            assert_eq!(fault, Broken::BadPacket);
            broken = Some(fault);
            break;
        }
    }
    if broken.is_none() {
        decoder.finish(&mut |event| heard.push(copied(event)));
        assert_eq!(decoder.buffered(), 0);
    }
    let (expected, whole) = plainly(stream, limit);
    assert_eq!((heard, broken.is_none()), (expected, whole));
    spoken(stream);
}

fn copied(event: Event<'_>) -> Heard {
    match event {
        Event::Message {
            to,
            kind,
            payload,
            tagged: false,
        } => {
            let id = match to {
                Audience::Everyone => 0,
                Audience::Only([id]) => *id,
                other => panic!("{other:?} of a packet"),
            };
            Heard::Message(id, kind, payload.to_vec())
        }
        Event::Counted(drop) => Heard::Counted(drop),
        other => panic!("{other:?} of a packet"),
    }
}

/// The packets of a stream, and whether it may go on.
fn plainly(mut stream: &[u8], limit: usize) -> (Vec<Heard>, bool) {
    let mut heard = Vec::new();
    while let Some((header, rest)) = stream.split_at_checked(12) {
        let number =
            |at| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (id, code, length) = (number(0), number(4), number(8) as usize);
        if length > limit {
            return (heard, false);
        }
        if code != 1 && code != 2 {
            heard.push(Heard::Counted(Drop::UnknownType));
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            heard.push(Heard::Counted(Drop::PartialPacket));
            return (heard, true);
        };
        let text = code == 1 && std::str::from_utf8(payload).is_ok();
        if code == 1 || code == 2 {
            let kind = if text { Kind::Text } else { Kind::Binary };
            heard.push(Heard::Message(id, kind, payload.to_vec()));
        }
        stream = rest;
    }
    if !stream.is_empty() {
        heard.push(Heard::Counted(Drop::PartialPacket));
    }
    (heard, true)
}

/// A packet that a client made: refused, or passed on with the client's own number.
fn spoken(packet: &[u8]) {
    let client = ClientId::new(0x0A0B_0C0D).expect("not 0");
    let mut out = b"before".to_vec();
    let said = Encoder::new(&ClientFraming::Binary).message(client, Kind::Binary, packet, &mut out);
    let good = packet.len() >= 12
        && packet[4..8] == [0, 0, 0, 1]
        && packet[8..12] == ((packet.len() - 12) as u32).to_be_bytes();
    match said {
        Ok(()) => {
            assert!(good);
            assert_eq!(out, [b"before\x0A\x0B\x0C\x0D", &packet[4..]].concat());
        }
        Err(fault) => {
            assert!(!good);
            assert_eq!(fault, Drop::BadHeader);
            assert_eq!(out, b"before");
        }
    }
}
