//! The floor of paced lines: a process that writes each line to each of its clients, with one
//! write(2) of a frame that is ready, and does nothing else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Outcome, SIZE, drive};
use crate::sequence::put_line;
use crate::server::{ends_with_us, this_program};
use crate::wire;

/// The same clients, on the floor.
pub(super) fn run(rate: &str, clients: usize, lines: u64) -> Result<Outcome> {
    let mut command = Command::new(this_program()?);
    command
        .args([
            "child",
            "bare",
            rate,
            &clients.to_string(),
            &lines.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    ends_with_us(&mut command);
    let mut floor = command.spawn()?;
    let mut port = [0; 2];
    let stdout = floor.stdout.as_mut().context("stdout of the floor")?;
    let outcome = stdout
        .read_exact(&mut port)
        .map_err(Into::into)
        .and_then(|()| {
            let addr = SocketAddr::from(([127, 0, 0, 1], u16::from_be_bytes(port)));
            drive(addr, floor.id(), clients, lines, None)
        });
    floor.kill()?;
    floor.wait()?;
    outcome
}

/// The floor itself: it says its port on stdout, answers every handshake without a look at it,
/// and begins when the first client says anything.
pub(crate) fn serve(rate: u32, clients: usize, lines: u64) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::io::stdout().write_all(&port.to_be_bytes())?;
    std::io::stdout().flush()?;
    let mut streams: Vec<TcpStream> = Vec::with_capacity(clients);
    let mut scratch = [0; 4096];
    for _ in 0..clients {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        // The request is small and comes in one piece.
        let _request = stream.read(&mut scratch)?;
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
        streams.push(stream);
    }
    let first = streams.first_mut().context("no clients")?;
    let _go = first.read(&mut scratch)?;
    let begun = Instant::now();
    for number in 0..lines {
        let due = begun + Duration::from_secs_f64(number as f64 / f64::from(rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut frame = vec![0x80 | wire::TEXT, SIZE as u8];
        put_line(&mut frame, number, SIZE);
        frame.pop();
        for stream in &mut streams {
            stream.write_all(&frame)?;
        }
    }
    // Until it is killed: its processor time is read first.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
