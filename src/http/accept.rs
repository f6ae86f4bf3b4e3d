//! Accepting at one listener, also when descriptors run out: then a spare one takes those who come out
//! of the queue, so that they are told rather than left to wait for a time-out.
//!
//! What goes wrong is said once, and once that it is over, with how often it did.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Ends;
use super::listen::Listener;

/// Bytes that the kernel takes for a client beyond what is in flight (tcp(7)): one large write.
const UNSENT_MAX: u32 = 256 << 10;
/// How long a connection may be silent before the kernel asks whether the client is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long to wait when accepting fails and nothing else can be done.
const PAUSE: Duration = Duration::from_millis(100);
/// For how long nothing may fail until it is over.
const CALM: Duration = Duration::from_secs(1);

/// A new connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream, Ends),
    Unix(UnixStream),
}

impl Stream {
    /// Both its ends, as far as it has any.
    pub(super) fn ends(&self) -> Ends {
        match self {
            Stream::Tcp(_, ends) => *ends,
            Stream::Unix(_) => Ends::default(),
        }
    }
}

/// What came of accepting.
#[derive(Debug)]
pub(super) enum Accepted {
    /// Somebody.
    One(Stream),
    /// Somebody for whom there is no descriptor but the spare one.
    Excess(Stream),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Listener,
    /// How long a client may take nothing before the kernel gives it up.
    patience: Duration,
    /// Held for the moment when there is no other: a socket, because that needs no file system.
    spare: Option<UnixDatagram>,
    trouble: Option<Trouble>,
}

/// Accepting fails.
#[derive(Debug)]
struct Trouble {
    failed: u64,
    /// When it may be over.
    until: Instant,
}

impl Acceptor {
    pub(super) fn new(listener: Listener, patience: Duration) -> Self {
        let spare = UnixDatagram::unbound().ok();
        Acceptor {
            listener,
            patience,
            spare,
            trouble: None,
        }
    }

    /// Waits for the next connection. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Accepted {
        loop {
            if self.spare.is_none() {
                self.spare = UnixDatagram::unbound().ok();
            }
            let accepted = match &self.trouble {
                None => accept(&self.listener).await,
                Some(trouble) => tokio::select! {
                    accepted = accept(&self.listener) => accepted,
                    () = tokio::time::sleep_until(trouble.until) => {
                        self.look();
                        continue;
                    }
                },
            };
            let error = match accepted {
                Ok(stream) => match self.settle(&stream) {
                    Ok(()) => return Accepted::One(stream),
                    // It has gone meanwhile.
                    Err(_) => continue,
                },
                Err(error) if is_of_client(&error) => continue,
                Err(error) => error,
            };
            if lacks_descriptors(&error) && self.spare.take().is_some() {
                match accept(&self.listener).now_or_never() {
                    Some(Ok(stream)) => {
                        self.fails(&error);
                        // It may have gone; whoever gets it finds out.
                        let _ = self.settle(&stream);
                        return Accepted::Excess(stream);
                    }
                    // The kernel asks for a descriptor before it looks whether anybody waits.
                    None => continue,
                    Some(Err(_)) => {}
                }
            }
            self.fails(&error);
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn fails(&mut self, error: &io::Error) {
        let until = Instant::now() + CALM;
        match &mut self.trouble {
            Some(trouble) => {
                trouble.failed += 1;
                trouble.until = until;
            }
            None => {
                warn!(%error, listener = %self.listener, "cannot accept connections");
                self.trouble = Some(Trouble { failed: 1, until });
            }
        }
    }

    /// Nothing has failed for a while: perhaps only because nobody came.
    fn look(&mut self) {
        let is_over = self.spare.is_some() && UnixDatagram::unbound().is_ok();
        if let Some(trouble) = &mut self.trouble {
            trouble.until = Instant::now() + CALM;
            if is_over {
                let failed = trouble.failed;
                info!(failed, listener = %self.listener, "accepting connections again");
                self.trouble = None;
            }
        }
    }

    /// What the kernel is told of a client's connection; where it does not know an option, we go on.
    ///
    /// Without a bound on what is unsent it takes megabytes for a client that does not read: memory
    /// outside every bound of ours, and a lag that nobody sees. Who takes nothing of an answer is cut
    /// off after `patience` (websocket clients are told before), and who is gone without a word is
    /// found out.
    fn settle(&self, stream: &Stream) -> io::Result<()> {
        if let Stream::Tcp(tcp, _) = stream {
            let socket = socket2::SockRef::from(tcp);
            socket.set_tcp_nodelay(true)?;
            socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE))?;
            #[cfg(any(target_os = "linux", target_os = "android"))]
            {
                socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
                socket.set_tcp_user_timeout(Some(self.patience))?;
            }
        }
        Ok(())
    }
}

async fn accept(listener: &Listener) -> io::Result<Stream> {
    match listener {
        Listener::Tcp(listener) => {
            let (tcp, remote) = listener.accept().await?;
            let ends = Ends {
                remote: Some(remote),
                local: tcp.local_addr().ok(),
                ..Ends::default()
            };
            Ok(Stream::Tcp(tcp, ends))
        }
        Listener::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
    }
}

/// One client's trouble, or its network's, not ours (accept(2), "Error handling"): it is out of the
/// queue, and the next one may do better.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kind = matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::Interrupted
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::TimedOut
    );
    kind || matches!(
        error.raw_os_error(),
        Some(libc::EPROTO | libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::EHOSTDOWN)
    )
}

/// Of this process, or of the whole machine.
fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_whose_they_are() {
        for errno in [
            libc::ECONNABORTED,
            libc::EPROTO,
            libc::ENETDOWN,
            libc::EINTR,
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert!(
                is_of_client(&error) && !lacks_descriptors(&error),
                "{error}"
            );
        }
        for errno in [libc::EMFILE, libc::ENFILE] {
            let error = io::Error::from_raw_os_error(errno);
            assert!(
                !is_of_client(&error) && lacks_descriptors(&error),
                "{error}"
            );
        }
        for errno in [libc::ENOBUFS, libc::ENOMEM, libc::EPERM, libc::EINVAL] {
            let error = io::Error::from_raw_os_error(errno);
            assert!(
                !is_of_client(&error) && !lacks_descriptors(&error),
                "{error}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_over_when_nothing_failed_for_a_while() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut acceptor = Acceptor::new(Listener::Tcp(listener), Duration::from_secs(60));
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        acceptor.fails(&error);
        acceptor.fails(&error);
        assert_eq!(
            acceptor.trouble.as_ref().map(|trouble| trouble.failed),
            Some(2)
        );
        let nobody = tokio::time::timeout(CALM / 2, acceptor.next()).await;
        assert!(nobody.is_err() && acceptor.trouble.is_some(), "too early");
        let nobody = tokio::time::timeout(CALM, acceptor.next()).await;
        assert!(nobody.is_err() && acceptor.trouble.is_none());
    }
}
