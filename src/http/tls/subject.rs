//! Who a client's certificate is of, as far as a program may want to know.

use std::fmt::Write;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A certificate whose subject cannot be told to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    /// Not X.509 as RFC 5280 has it.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// A name with line breaks or other control characters, with which one could pass for another.
    #[error("a name in the certificate holds control characters")]
    Control,
}

/// The subject of a client's certificate, which was found good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The whole name in the form of RFC 4514: `CN=ann,O=Example`. Empty if it has none, as where
    /// clients are named by URIs.
    pub dn: String,
    /// The first common name in it.
    pub cn: Option<String>,
    /// The first DNS name of the alternative names.
    pub dns: Option<String>,
    /// The first URI of the alternative names, such as a SPIFFE ID.
    pub uri: Option<String>,
}

impl Subject {
    /// Reads it from a certificate.
    ///
    /// # Errors
    ///
    /// A certificate that cannot be read, or whose subject holds control characters.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Subject, Unnamed> {
        let certificate = Certificate::from_der(certificate).map_err(|_| Unnamed::Unreadable)?;
        let certificate = certificate.tbs_certificate();
        let name = certificate.subject();
        let mut subject = Subject::default();
        // Not `to_string`, which panics where this is an error.
        write!(subject.dn, "{name}").map_err(|_| Unnamed::Unreadable)?;
        let common = name.common_name().map_err(|_| Unnamed::Unreadable)?;
        subject.cn = common.map(|text| text.value().into_owned());
        let others: Option<(bool, SubjectAltName)> = certificate
            .get_extension()
            .map_err(|_| Unnamed::Unreadable)?;
        for other in others.map(|(_, others)| others.0).unwrap_or_default() {
            match other {
                GeneralName::DnsName(name) => subject.dns.get_or_insert(name.to_string()),
                GeneralName::UniformResourceIdentifier(uri) => {
                    subject.uri.get_or_insert(uri.to_string())
                }
                _ => continue,
            };
        }
        if subject
            .parts()
            .any(|(_, text)| text.contains(char::is_control))
        {
            return Err(Unnamed::Control);
        }
        Ok(subject)
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let parts = [
            ("dn", Some(&self.dn)),
            ("cn", self.cn.as_ref()),
            ("dns", self.dns.as_ref()),
            ("uri", self.uri.as_ref()),
        ];
        parts
            .into_iter()
            .filter_map(|(name, text)| Some((name, text?.as_str())))
    }

    /// As CGI variables, by the names that web servers gave them.
    pub fn variables(&self) -> Vec<(&'static str, &str)> {
        let named = self.parts().map(|(part, text)| {
            let name = match part {
                "cn" => "SSL_CLIENT_S_DN_CN",
                "dns" => "SSL_CLIENT_SAN_DNS_0",
                "uri" => "SSL_CLIENT_SAN_URI_0",
                _ => "SSL_CLIENT_S_DN",
            };
            (name, text)
        });
        std::iter::once(("SSL_CLIENT_VERIFY", "SUCCESS"))
            .chain(named)
            .collect()
    }

    /// As one header between servers, which [`Subject::from_header`] reads.
    pub fn to_header(&self) -> String {
        let parts = self
            .parts()
            .map(|(name, text)| format!("{name}={}", utf8_percent_encode(text, NON_ALPHANUMERIC)));
        parts.collect::<Vec<_>>().join("&")
    }

    /// What [`Subject::to_header`] wrote.
    pub fn from_header(header: &str) -> Option<Subject> {
        let mut subject = Subject::default();
        for part in header.split('&') {
            let (name, text) = part.split_once('=')?;
            let text = percent_decode_str(text).decode_utf8().ok()?.into_owned();
            match name {
                "dn" => subject.dn = text,
                "cn" => subject.cn = Some(text),
                "dns" => subject.dns = Some(text),
                "uri" => subject.uri = Some(text),
                _ => return None,
            }
        }
        Some(subject)
    }
}
