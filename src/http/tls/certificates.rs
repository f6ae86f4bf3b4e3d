//! From PEM files to what handshakes are done with: chains and their keys, the authorities of
//! clients, and which certificate a client is shown.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::Files;

/// What the files held at one time.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SECURITY: there are keys in it.
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl Contents {
    pub(super) fn read(files: &Files) -> anyhow::Result<Contents> {
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let pairs = files
            .pairs
            .iter()
            .map(|(chain, key)| Ok((read(chain)?, read(key)?)));
        Ok(Contents {
            pairs: pairs.collect::<anyhow::Result<_>>()?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }
}

/// The server's certificates, in the order of the command line.
#[derive(Debug)]
pub(super) struct Certificates(Vec<Arc<CertifiedKey>>);

impl Certificates {
    /// Whether one is for that host.
    pub(super) fn any_for(&self, host: &ServerName<'_>) -> bool {
        self.0.iter().any(|pair| is_for(pair, host))
    }

    /// When the first of them expires, from 1970 on. Those of authorities in the chains do not count:
    /// some are kept there for old clients long after their end.
    pub(super) fn expire(&self) -> Option<Duration> {
        let ends = self.0.iter().filter_map(|pair| {
            let certificate = Certificate::from_der(pair.end_entity_cert().ok()?).ok()?;
            let validity = certificate.tbs_certificate().validity();
            Some(validity.not_after.to_unix_duration())
        });
        ends.min()
    }
}

fn is_for(pair: &CertifiedKey, host: &ServerName<'_>) -> bool {
    let parsed = pair.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|certificate| verify_server_name(&certificate, host).is_ok())
}

impl ResolvesServerCert for Certificates {
    /// The first that is for the host the client asks for and that it can check, else the first
    /// that it can check: a client that asks for no host, or for one we have no certificate of,
    /// shall say itself what it thinks of ours.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let [only] = self.0.as_slice() {
            return Some(Arc::clone(only));
        }
        let host = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let schemes = hello.signature_schemes();
        let mut fit = self
            .0
            .iter()
            .filter(|pair| pair.key.choose_scheme(schemes).is_some());
        let first = fit.clone().next();
        let named = host.and_then(|host| fit.find(|pair| is_for(pair, &host)));
        named.or(first).cloned()
    }
}

/// Everything a handshake is done with.
pub(super) fn configure(
    files: &Files,
    contents: &Contents,
) -> anyhow::Result<(ServerConfig, Arc<Certificates>)> {
    let provider = Arc::new(ring::default_provider());
    let pairs = files.pairs.iter().zip(&contents.pairs);
    let pairs = pairs.map(|((chain_file, key_file), (chain, key))| {
        let certified = certified(chain_file, chain, key_file, key, &provider)?;
        Ok(Arc::new(certified))
    });
    let certificates = Arc::new(Certificates(pairs.collect::<anyhow::Result<_>>()?));
    // TLS 1.2 and 1.3: rustls knows no others.
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let config = match (&files.client_ca, &contents.client_ca) {
        (Some(file), Some(authorities)) => {
            let roots = Arc::new(roots(file, authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            config.with_client_cert_verifier(verifier?)
        }
        _ => config.with_no_client_auth(),
    };
    let resolver: Arc<dyn ResolvesServerCert> = Arc::<Certificates>::clone(&certificates);
    let mut config = config.with_cert_resolver(resolver);
    // Not h2: a websocket over HTTP/2 (RFC 8441) is not served.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Sessions are resumed by tickets, which cost the server no memory; their keys are new with the
    // certificates, so that a ticket of the old ones is worth nothing.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match files.client_ca {
        // SECURITY: a resumed session would not check the client's certificate again.
        Some(_) => config.send_tls13_tickets = 0,
        None => config.ticketer = ring::Ticketer::new()?,
    }
    Ok((config, certificates))
}

fn certified(
    chain_file: &Path,
    chain: &[u8],
    key_file: &Path,
    key: &[u8],
    provider: &CryptoProvider,
) -> anyhow::Result<CertifiedKey> {
    let chain = all(chain_file, chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        anyhow!(
            "{} holds no private key ({}): it must be PEM, not encrypted, and PKCS#8, PKCS#1 or SEC1",
            key_file.display(),
            fault(&error)
        )
    })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .with_context(|| format!("the key in {} is of no use", key_file.display()))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => bail!(
            "the key in {} does not belong to the certificate in {}: its own certificate must be the first there",
            key_file.display(),
            chain_file.display()
        ),
        Err(error) => Err(error)
            .with_context(|| format!("the certificate in {} is of no use", chain_file.display())),
    }
}

fn roots(file: &Path, pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in all(file, pem)? {
        roots
            .add(certificate)
            .with_context(|| format!("an authority in {} is of no use", file.display()))?;
    }
    Ok(roots)
}

/// Every certificate in a file; at least one.
fn all(file: &Path, pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => bail!("{} holds no certificate in PEM", file.display()),
        Err(error) => bail!("{} is not PEM: {}", file.display(), fault(&error)),
    }
}

/// What is wrong with a file.
///
/// SECURITY: the parser's own words hold the line at fault, and that of a key whose line breaks were
/// lost is the key.
fn fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section does not end",
        pem::Error::IllegalSectionStart { .. } => {
            "a section begins on a line that goes on: are its line breaks lost?"
        }
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::NoItemsFound => "no section of that kind",
        _ => "it cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn no_error_tells_of_a_key() {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let files = Files {
            pairs: vec![(PathBuf::from("chain"), PathBuf::from("key"))],
            client_ca: None,
        };
        for broken in [
            key.replace('\n', ""),
            key.replace('\n', "\\n"),
            key.replace("-----END", "END"),
            key.replacen('M', "-", 1),
            key.replace("PRIVATE", "SECRET"),
        ] {
            let contents = Contents {
                pairs: vec![(chain.clone().into_bytes(), broken.into_bytes())],
                client_ca: None,
            };
            let error = format!("{:#}", configure(&files, &contents).unwrap_err());
            assert!(error.contains("key"), "{error}");
            let body = key.lines().nth(1).unwrap().as_bytes();
            for part in body.windows(8) {
                let text = String::from_utf8_lossy(part);
                let numbers = part.iter().map(u8::to_string).collect::<Vec<_>>();
                let tells = error.contains(&*text) || error.contains(&numbers.join(", "));
                assert!(!tells, "{error}");
            }
        }
    }
}
