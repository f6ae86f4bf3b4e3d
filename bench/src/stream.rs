//! A client's connection, plain or over TLS, which reads and writes alike either way.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// What a client needs to know for TLS.
pub(crate) type Tls = Arc<ClientConfig>;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// A blocking one. The handshake of TLS comes with the first byte.
    pub(crate) fn connect(addr: SocketAddr, tls: Option<&Tls>) -> Result<Self> {
        let tcp = TcpStream::connect(addr)?;
        tcp.set_nodelay(true)?;
        Ok(match tls {
            None => Stream::Plain(tcp),
            Some(tls) => {
                let name = ServerName::from(addr.ip());
                let session = ClientConnection::new(Arc::clone(tls), name)?;
                Stream::Secure(Box::new(StreamOwned::new(session, tcp)))
            }
        })
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Secure(secure) => &secure.sock,
        }
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.tcp().set_nonblocking(nonblocking)
    }

    pub(crate) fn set_read_timeout(&self, within: Duration) -> io::Result<()> {
        self.tcp().set_read_timeout(Some(within))
    }

    /// The end, without a word. It may have ended already.
    pub(crate) fn shut(&self) {
        let _ = self.tcp().shutdown(Shutdown::Both);
    }

    /// Dropped from now on, the other side sees a reset.
    pub(crate) fn will_reset(&self) -> Result<()> {
        will_reset(self.tcp())
    }
}

/// The same of a connection that has nothing else.
pub(crate) fn will_reset(tcp: &TcpStream) -> Result<()> {
    let at_once = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    Ok(setsockopt(tcp, sockopt::Linger, &at_once)?)
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp().as_fd()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(buffer),
            Stream::Secure(secure) => secure.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Secure(secure) => secure.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Secure(secure) => secure.flush(),
        }
    }
}

/// A certificate for 127.0.0.1 with its key, written to files of these names, and what a client
/// needs to believe it.
pub(crate) fn certificate(chain: &Path, key: &Path) -> Result<Tls> {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST).to_string();
    let made = rcgen::generate_simple_self_signed([loopback])?;
    std::fs::write(chain, made.cert.pem())?;
    std::fs::write(key, made.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots
        .add(made.cert.der().clone())
        .context("a certificate")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
