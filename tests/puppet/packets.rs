//! gwsocket's strict mode as a child speaks it: twelve bytes of header (client, type, length, each
//! a u32 in network byte order) and the payload. Reads and writes whole packets only.

use std::io::{self, Read};

use crate::print;

pub(crate) enum To {
    Sender,
    Everyone,
}

/// One packet, or none at the end of the stream.
fn read(from: &mut impl Read) -> io::Result<Option<(u32, u32, Vec<u8>)>> {
    let mut header = [0; 12];
    if let Err(error) = from.read_exact(&mut header) {
        return if error.kind() == io::ErrorKind::UnexpectedEof {
            Ok(None)
        } else {
            Err(error)
        };
    }
    let [client, kind, length] = [0, 4, 8].map(|at| {
        header[at..at + 4]
            .iter()
            .fold(0, |sum, &b| sum << 8 | u32::from(b))
    });
    let mut payload = vec![0; length as usize];
    from.read_exact(&mut payload)?;
    Ok(Some((client, kind, payload)))
}

pub(crate) fn write(client: u32, kind: u32, payload: &[u8]) -> io::Result<()> {
    let mut packet = Vec::with_capacity(12 + payload.len());
    packet.extend(client.to_be_bytes());
    packet.extend(kind.to_be_bytes());
    packet.extend((payload.len() as u32).to_be_bytes());
    packet.extend(payload);
    print(&packet)
}

/// Answers every text or binary packet with itself; news of clients is read and left unanswered.
pub(crate) fn reflect(to: To) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    while let Some((client, kind, payload)) = read(&mut stdin)? {
        if matches!(kind, 1 | 2) {
            write(
                if matches!(to, To::Sender) { client } else { 0 },
                kind,
                &payload,
            )?;
        }
    }
    Ok(())
}

/// A line for every packet: `client type length payload`, the payload with its odd bytes escaped.
pub(crate) fn describe() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    while let Some((client, kind, payload)) = read(&mut stdin)? {
        let shown: String = payload
            .iter()
            .flat_map(|&b| b.escape_ascii())
            .map(char::from)
            .collect();
        print(format!("{client} {kind} {} {shown}\n", payload.len()).as_bytes())?;
    }
    Ok(())
}
