//! The puppet as a TCP program: listens on `127.0.0.1:$PORT`, prints what happens to stderr.
//!
//! `tcp` echoes; words after it change that: `late MS` binds after so long, `never` does not bind,
//! `hangs-up` closes its side after the first line, `greets` prints `hello` when connected, `env`
//! prints its port first.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

pub(crate) fn listen(words: &[String]) -> io::Result<()> {
    let says = |word: &str| words.iter().any(|w| w == word);
    if says("never") {
        crate::processes::sleep();
    }
    if let Some(at) = words.iter().position(|w| w == "late") {
        let millis = words
            .get(at + 1)
            .and_then(|w| w.parse().ok())
            .unwrap_or(300);
        std::thread::sleep(Duration::from_millis(millis));
    }
    let port = std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| io::Error::other("PORT is not a port"))?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    eprintln!("puppet listens on {port}");
    loop {
        let (client, _) = listener.accept()?;
        if talk(&client, port, &says).is_ok() && says("hangs-up") {
            client.shutdown(Shutdown::Both).ok();
            crate::processes::sleep();
        }
        // A half-closed connection has said all it will: this program ends with its only client.
        eprintln!("puppet saw the end");
        if !says("stays") {
            return Ok(());
        }
    }
}

fn talk(mut client: &TcpStream, port: u16, says: &dyn Fn(&str) -> bool) -> io::Result<()> {
    if says("greets") {
        client.write_all(format!("hello from {port}\n").as_bytes())?;
    }
    let mut lines = BufReader::new(client);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        client.write_all(&line)?;
        line.clear();
        if says("hangs-up") {
            break;
        }
    }
    Ok(())
}
