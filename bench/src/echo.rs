//! One client's round trip through `cat`, beside the same `cat` behind a bare TCP relay: the
//! floor, which has the two sockets, the two pipes and `cat`, and nothing of a server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::report::{Figures, quantile};
use crate::server::{Server, ends_with_us, this_program};
use crate::wire;

const SIZE: usize = 64;
const WARM: usize = 1_000;
const ROUNDS: usize = 20_000;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Alternates between the server and the floor.
pub(crate) fn run(server: &Path, runs: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for _ in 0..runs {
        let mut note = |what: &str, mut times: Vec<Duration>| {
            for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
                let time = quantile(&mut times, share).as_secs_f64() * 1e6;
                figures.add(format!("{what}, {name}"), "µs", time);
            }
        };
        note("echo through `cat`", through_server(server)?);
        note("echo, floor: `cat` behind a TCP relay", through_relay()?);
    }
    Ok(figures)
}

fn through_server(binary: &Path) -> Result<Vec<Duration>> {
    let server = Server::start(binary, &["cat"])?;
    let mut stream = connect(server.addr)?;
    stream.write_all(wire::handshake("echo").as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.extend_from_slice(&byte);
    }
    let payload = [b'x'; SIZE];
    let mut asked = Vec::new();
    wire::put_frame(&mut asked, wire::TEXT, &payload);
    let mut wanted = vec![0x80 | wire::TEXT, SIZE as u8];
    wanted.extend_from_slice(&payload);
    let times = rounds(&mut stream, &asked, &wanted)?;
    drop(stream);
    server.stop()?;
    Ok(times)
}

fn through_relay() -> Result<Vec<Duration>> {
    let mut command = Command::new(this_program()?);
    command
        .args(["child", "relay"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    ends_with_us(&mut command);
    let mut relay = command.spawn()?;
    let mut measure = || -> Result<Vec<Duration>> {
        let mut port = [0; 2];
        relay
            .stdout
            .as_mut()
            .context("stdout of the relay")?
            .read_exact(&mut port)?;
        let addr = SocketAddr::from(([127, 0, 0, 1], u16::from_be_bytes(port)));
        let mut stream = connect(addr)?;
        let mut line = vec![b'x'; SIZE];
        line.push(b'\n');
        rounds(&mut stream, &line, &line)
    };
    let times = measure();
    // It ends when its client goes; with an error above it may still wait for one.
    if times.is_err() {
        relay.kill()?;
    }
    relay.wait()?;
    times
}

fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn rounds(stream: &mut TcpStream, asked: &[u8], wanted: &[u8]) -> Result<Vec<Duration>> {
    let mut heard = vec![0; wanted.len()];
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..WARM + ROUNDS {
        let begun = Instant::now();
        stream.write_all(asked)?;
        stream.read_exact(&mut heard)?;
        if heard != wanted {
            bail!("another answer came than was asked for");
        }
        if round >= WARM {
            times.push(begun.elapsed());
        }
    }
    Ok(times)
}

/// The floor: `cat` behind one TCP connection, two threads that copy. Says its port on stdout.
pub(crate) fn relay() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::io::stdout().write_all(&port.to_be_bytes())?;
    std::io::stdout().flush()?;
    let (mut from_client, _) = listener.accept()?;
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
    let mut buffer = [0; 16 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}
