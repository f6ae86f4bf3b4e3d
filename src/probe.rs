//! `scalesocket probe URL`: asks a server for its health, for images that have no `curl`.

mod anyone;

pub(crate) use anyone::any_certificate;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustls::AlertDescription;

/// What is read of an answer at the most.
const ANSWER_MAX: u64 = 64 << 10;

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// At this `host:port`.
    Tcp(String),
    /// At this `host:port`, over TLS.
    Tls(String),
    /// At this unix socket.
    Unix(PathBuf),
}

/// Asks for `path` and returns the body of an answer with status 200; any other is an error.
pub fn probe(target: &Target, path: &str, timeout: Duration) -> anyhow::Result<String> {
    let until = Instant::now() + timeout;
    let left = || match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(anyhow!("no answer within {} s", timeout.as_secs_f64())),
        left => Ok(left),
    };
    match target {
        Target::Tcp(address) | Target::Tls(address) => {
            let mut last = anyhow!("{address} has no address");
            for address in address.to_socket_addrs().context("no such host")? {
                match TcpStream::connect_timeout(&address, left()?) {
                    Ok(tcp) => {
                        tcp.set_read_timeout(Some(left()?))?;
                        tcp.set_write_timeout(Some(left()?))?;
                        let host = address.to_string();
                        return match target {
                            Target::Tls(_) => {
                                ask(anyone::over_tls(tcp, address.ip())?, &host, path)
                            }
                            _ => ask(tcp, &host, path),
                        };
                    }
                    Err(error) => last = anyhow!("cannot connect to {address}: {error}"),
                }
            }
            Err(last)
        }
        Target::Unix(socket) => {
            let unix = UnixStream::connect(socket)
                .with_context(|| format!("cannot connect to unix:{}", socket.display()))?;
            unix.set_read_timeout(Some(left()?))?;
            unix.set_write_timeout(Some(left()?))?;
            ask(unix, "localhost", path)
        }
    }
}

/// The command line of a process, word for word.
pub fn words_of(pid: u32) -> anyhow::Result<Vec<OsString>> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline"))
        .with_context(|| format!("cannot see process {pid}"))?;
    let whole = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    let words = whole.split(|byte| *byte == 0);
    Ok(words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect())
}

/// Whether nothing but a certificate of ours was missing.
pub fn wants_certificate(error: &anyhow::Error) -> bool {
    let of_tls = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .filter_map(|error| error.get_ref()?.downcast_ref::<rustls::Error>());
    let wanted = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
    of_tls.into_iter().any(|error| *error == wanted)
}

fn ask(mut stream: impl Read + Write, host: &str, path: &str) -> anyhow::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .context("the server does not listen")?;
    let mut answer = BufReader::new(stream.take(ANSWER_MAX));
    let mut line = String::new();
    answer.read_line(&mut line).context("no answer")?;
    let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut rest = Vec::new();
    answer
        .read_to_end(&mut rest)
        .context("the answer was cut short")?;
    let rest = String::from_utf8_lossy(&rest);
    let body = rest
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body)
        .trim();
    if status != "200" {
        bail!("the server answered {}: {body}", line.trim());
    }
    Ok(body.to_owned())
}
