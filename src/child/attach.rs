//! Reaching a program that listens, or soon will.
//!
//! A program needs a moment before it listens, and how long nobody knows: it is tried at once,
//! and then ever less often. A try that hangs is given up when the time is over.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{
    net::{TcpStream, ToSocketAddrs},
    time::{Instant, sleep, timeout_at},
};

/// The pauses between tries double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// Connects to a child of ours.
pub(super) async fn local(port: u16, within: Duration) -> io::Result<TcpStream> {
    attach((Ipv4Addr::LOCALHOST, port), within).await
}

/// Connects to `host:port`; the name is looked up for each try.
pub(super) async fn remote(addr: &str, within: Duration) -> io::Result<TcpStream> {
    attach(addr, within).await
}

/// The error is that of the last try.
async fn attach(addr: impl ToSocketAddrs, within: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + within;
    let mut pause = FIRST_PAUSE;
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    loop {
        match timeout_at(deadline, TcpStream::connect(&addr)).await {
            Ok(Ok(stream)) if to_itself(&stream) => {}
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => return Err(last),
        }
        if Instant::now() + pause >= deadline {
            return Err(last);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Where the ports of children overlap those that outgoing connections get, a try may meet itself
/// (TCP's simultaneous open), and would take the port that the child is about to listen on.
fn to_itself(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => local == peer,
        _ => false,
    }
}
