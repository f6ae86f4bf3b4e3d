//! The secrets of one control plane: an authority of its own, the API server's certificate, the key
//! that signs tokens of service accounts, and the administrator's token. Made anew for each, and
//! valid nowhere else.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

/// The name in the API server's certificate: clients ask for it whatever address they come by, so
/// that they can come through a forwarder.
pub const SERVER_NAME: &str = "kubernetes.default.svc";

pub struct Certificates {
    pub authority: PathBuf,
    pub authority_pem: String,
    pub server: PathBuf,
    pub server_key: PathBuf,
    pub tokens_key: PathBuf,
    pub tokens_public: PathBuf,
}

impl Certificates {
    pub fn make(directory: &Path, address: IpAddr) -> Certificates {
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).expect("a file is written");
            path
        };
        let key = || KeyPair::generate().expect("a key");

        let mut authority = CertificateParams::new([]).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = key();
        let signed = authority.self_signed(&authority_key).expect("an authority");
        let authority_pem = signed.pem();

        let server_key = key();
        let mut server = CertificateParams::new([SERVER_NAME.to_owned()]).expect("parameters");
        server.subject_alt_names.push(SanType::IpAddress(address));
        let issuer = Issuer::new(authority, authority_key);
        let certificate = server
            .signed_by(&server_key, &issuer)
            .expect("a certificate");

        let tokens = key();
        Certificates {
            authority: write("authority.crt", &authority_pem),
            authority_pem,
            server: write("server.crt", &certificate.pem()),
            server_key: write("server.key", &server_key.serialize_pem()),
            tokens_key: write("tokens.key", &tokens.serialize_pem()),
            tokens_public: write("tokens.pub", &tokens.public_key_pem()),
        }
    }
}
