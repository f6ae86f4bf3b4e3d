//! The floors: what nobody can leave out, and nothing else. Each is a child of this program that
//! says its port on stdout and is ended by whoever started it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::proc;
use crate::sequence::put_due_line;
use crate::wire;

/// Bytes that the relay copies at once: what a pipe holds.
const COPY: usize = 64 << 10;

fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    Ok(listener)
}

/// `cat` behind one TCP connection, two threads that copy.
pub(crate) fn relay() -> Result<()> {
    let (mut from_client, _) = listen()?.accept()?;
    from_client.set_nodelay(true)?;
    let mut to_client = from_client.try_clone()?;
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = cat.stdin.take().context("stdin of cat")?;
    let mut stdout = cat.stdout.take().context("stdout of cat")?;
    let into = std::thread::spawn(move || copy(&mut from_client, &mut stdin));
    copy(&mut stdout, &mut to_client)?;
    cat.wait()?;
    into.join().ok().context("the copying thread failed")?
}

/// `io::copy` would splice, which no server that looks at the bytes could.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<()> {
    let mut buffer = vec![0; COPY];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}

/// Numbered lines to so many clients, as finished frames: so many of them with each write(2), as
/// fast as they are taken, or so many lines a second if `rate` is not 0. It answers every handshake
/// without a look at it, and begins when the first client says anything.
pub(crate) fn writes(
    lines: u64,
    size: usize,
    clients: usize,
    at_once: u64,
    rate: u64,
) -> Result<()> {
    let listener = listen()?;
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
    let begun = proc::monotonic();
    let mut frames = Vec::new();
    let mut next = 0;
    while next < lines {
        let due = begun + (next * 1_000_000_000).checked_div(rate).unwrap_or(0);
        proc::sleep_until(due);
        frames.clear();
        for number in next..lines.min(next + at_once) {
            frames.extend([0x80 | wire::TEXT, size as u8]);
            put_due_line(&mut frames, number, due, size);
            frames.pop();
        }
        for stream in &mut streams {
            stream.write_all(&frames)?;
        }
        next += at_once;
    }
    // Until it is killed: its processor time is read first.
    loop {
        std::thread::park();
    }
}
