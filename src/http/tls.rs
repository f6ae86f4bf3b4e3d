//! TLS at the public door: certificates from files, read again when they change, and handshakes.
//!
//! Whoever has shaken hands keeps what it has; who comes later sees the newest certificates. A pair
//! of files that do not belong together, as in the midst of being replaced, changes nothing.

mod certificates;
mod subject;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use subject::Subject;

use crate::metrics::Metrics;
use crate::ws;
use certificates::{Certificates, Contents};

/// How often the files are looked at: two seconds late is early enough for a certificate.
const GLANCE: Duration = Duration::from_secs(2);
/// What the first record of a handshake begins with (RFC 8446 section 5.1).
pub(super) const HANDSHAKE: u8 = 22;

/// Where the certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Chains in PEM, the server's own certificate first, and the key of each.
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// The authorities, in PEM, of which a client must have a certificate; none if it needs none.
    pub client_ca: Option<PathBuf>,
}

/// The certificates in use, and the files that they come from.
pub struct Tls {
    files: Files,
    now: RwLock<Current>,
}

/// What a handshake that begins now is done with.
#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    /// What the files held.
    contents: Arc<Contents>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Who has come, as far as the first bytes tell.
#[derive(Debug)]
pub(super) enum Arrival {
    /// Over TLS, with the subject of its certificate where it needs one.
    Secure(Box<ws::tls::Tls>, Option<Arc<Subject>>),
    /// It speaks plain HTTP; nothing of that is read.
    Plain(TcpStream),
    /// It has gone without a word.
    Nobody,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// One sentence for the user, which names the file that cannot be used.
    pub fn read(files: Files) -> anyhow::Result<Tls> {
        let contents = Contents::read(&files)?;
        let now = RwLock::new(Current::new(&files, contents)?);
        Ok(Tls { files, now })
    }

    /// Whether one of the certificates is for that host.
    pub(super) fn is_for(&self, host: &ServerName<'_>) -> bool {
        let certificates = Arc::clone(&self.now.read().certificates);
        certificates.any_for(host)
    }

    /// Looks at the files every two seconds, and whenever it is asked to, until `stop`. The metrics
    /// tell when the first of the certificates expires.
    pub async fn watch(
        self: Arc<Self>,
        metrics: Metrics,
        mut asked: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        let mut suspect = None;
        asked.mark_unchanged();
        loop {
            let certificates = Arc::clone(&self.now.read().certificates);
            metrics.set_certificates_expire(certificates.expire());
            let is_asked = tokio::select! {
                () = tokio::time::sleep(GLANCE) => false,
                Ok(()) = asked.changed() => true,
                () = stop.cancelled() => return,
            };
            let this = Arc::clone(&self);
            let before = suspect.take();
            // Files may be on a disk that sleeps, and a large key takes milliseconds to check.
            let looked = tokio::task::spawn_blocking(move || this.renew(before, is_asked)).await;
            suspect = looked.unwrap_or_default();
        }
    }

    /// Takes what the files hold now, if that is new and of use. Returns what was of no use.
    ///
    /// Files are rarely replaced at one stroke, so only what is of no use twice in a row is
    /// worth a warning, and that only once.
    fn renew(&self, suspect: Option<Suspect>, is_asked: bool) -> Option<Suspect> {
        let read = Contents::read(&self.files).map(Arc::new);
        let contents = match &read {
            Ok(contents) => Some(Arc::clone(contents)),
            Err(_) => None,
        };
        if contents.is_some() && contents.as_ref() == Some(&self.now.read().contents) {
            if is_asked {
                info!("certificates read again: they are the same");
            }
            return None;
        }
        let known = suspect.filter(|suspect| suspect.contents == contents);
        if let Some(Suspect { told: true, .. }) = &known
            && !is_asked
        {
            return known;
        }
        match read.and_then(|contents| Current::new(&self.files, contents)) {
            Ok(current) => {
                *self.now.write() = current;
                info!("certificates replaced: new connections get the new ones");
                None
            }
            Err(error) => {
                let told = is_asked || known.is_some();
                if told {
                    warn!(
                        error = format!("{error:#}"),
                        "certificates are of no use; the old ones stay"
                    );
                }
                Some(Suspect { contents, told })
            }
        }
    }

    /// Waits for the first byte of a connection and, if it is one of TLS, shakes hands.
    pub(super) async fn accept(&self, tcp: TcpStream) -> io::Result<Arrival> {
        // Until here a connection costs nothing but its task.
        let mut first = [0];
        match (tcp.peek(&mut first).await?, first) {
            (0, _) => return Ok(Arrival::Nobody),
            (_, [HANDSHAKE]) => {}
            (_, [letter]) if letter.is_ascii_alphabetic() => return Ok(Arrival::Plain(tcp)),
            _ => {
                let error = "what comes is neither TLS nor HTTP";
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        let config = Arc::clone(&self.now.read().config);
        let stream = ws::tls::Tls::accept(tcp, config).await?;
        let subject = match stream.client_certificates().first() {
            // SECURITY: who cannot be named does not come in.
            Some(certificate) => Some(Subject::of(certificate).map_err(|unnamed| {
                error!(%unnamed, "client certificate is good, but its subject cannot be read");
                io::Error::new(io::ErrorKind::InvalidData, unnamed)
            })?),
            None => None,
        };
        Ok(Arrival::Secure(Box::new(stream), subject.map(Arc::new)))
    }
}

/// Contents of the files that were of no use; none if they cannot even be read.
struct Suspect {
    contents: Option<Arc<Contents>>,
    told: bool,
}

impl Current {
    fn new(files: &Files, contents: impl Into<Arc<Contents>>) -> anyhow::Result<Current> {
        let contents = contents.into();
        let (config, certificates) = certificates::configure(files, &contents)?;
        Ok(Current {
            config: Arc::new(config),
            certificates,
            contents,
        })
    }
}

/// Why a handshake failed: a label for metrics.
pub(super) fn reason(error: &io::Error) -> &'static str {
    use rustls::Error;
    let session = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match session {
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => "certificate",
        Some(Error::AlertReceived(_)) => "alert",
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => "incompatible",
        Some(_) => "protocol",
        None if error
            .get_ref()
            .is_some_and(|inner| inner.is::<subject::Unnamed>()) =>
        {
            "certificate"
        }
        None if error.kind() == io::ErrorKind::InvalidData => "protocol",
        None => "hung_up",
    }
}
