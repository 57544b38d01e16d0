//! Why there is no TLS with a backend, in words for its admin.
//!
//! The problem: "invalid peer certificate" names one of ten mistakes. Which of them it is, and at which certificate, the
//! handshake knows; the log has to tell, once, with what is to be done.
//!
//! Not here: what becomes of the request (`proxy::exchange`), and when it is logged (`backend`).

use super::handshake::HandshakeError;
use crate::config::row;
use crate::observe::date::Date;
use crate::observe::failure::Failure;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error, InvalidMessage};
use std::io;
use std::time::{Duration, UNIX_EPOCH};

/// See the module.
#[derive(Debug)]
pub struct Refusal {
    pub failure: Failure,
    /// As a sentence that begins with the backend.
    pub cause: String,
}

impl Refusal {
    /// Of an error of a connection on which TLS was agreed on, as far as this side knew: by TLS 1.3 a backend that wants a
    /// certificate of its client says so afterwards (RFC 8446 §4.4.2.4).
    pub fn by_alert(error: &io::Error) -> Option<Self> {
        let Some(Error::AlertReceived(alert)) = error.get_ref()?.downcast_ref() else { return None };
        Some(HandshakeError::Protocol(Error::AlertReceived(*alert)).into())
    }
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        let (failure, cause) = match error {
            HandshakeError::Protocol(Error::InvalidCertificate(error)) => {
                (Failure::BackendCertificate, mistrust(error))
            }
            HandshakeError::Protocol(Error::NoCertificatesPresented) => {
                (Failure::BackendCertificate, "it shows no certificate".to_owned())
            }
            HandshakeError::Protocol(Error::AlertReceived(alert)) => {
                (Failure::BackendAlert, format!("it ended the TLS handshake with the alert {alert:?}"))
            }
            HandshakeError::Protocol(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                let cause = "what it answers is no TLS; does it speak plain HTTP on this port?";
                (Failure::BackendTls, cause.to_owned())
            }
            HandshakeError::Protocol(error) => {
                (Failure::BackendTls, format!("the TLS handshake with it failed: {error}"))
            }
            HandshakeError::Left => {
                let cause = "it closed the connection in the middle of the TLS handshake";
                (Failure::BackendTls, cause.to_owned())
            }
            HandshakeError::Socket(error) => (
                Failure::BackendTls,
                format!("the connection broke in the middle of the TLS handshake: {error}"),
            ),
        };
        Self { failure, cause }
    }
}

/// Why its certificate is not believed.
fn mistrust(error: CertificateError) -> String {
    let flag = row::backend_ca.flag;
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate ran out on {}", date(not_after))
        }
        CertificateError::Expired => "its certificate has run out".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate begins on {}", date(not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = match &presented[..] {
                [] => "no host (it has no subjectAltName)".to_owned(),
                names => names.iter().map(|name| host(name)).collect::<Vec<_>>().join(", "),
            };
            format!("its certificate is for {names}, and not for {}", expected.to_str())
        }
        // The second is an issuer of the name of one that is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "its certificate is from an issuer that is not trusted; if the issuer is your own, name its certificate \
             with {flag}"
        ),
        // webpki has no other name for the one that vouches for itself and calls itself an issuer's.
        CertificateError::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => format!(
            "its certificate vouches for itself, and is not trusted; if it is the right one, name it with {flag}"
        ),
        error => format!("its certificate is not believed: {}", Error::InvalidCertificate(error)),
    }
}

/// A name of a certificate, which webpki has in the form of a Rust value alone: `DnsName("a.example")`, `IpAddress(::1)`. It is
/// the backend's own text, and goes into a line of the log.
fn host(presented: &str) -> String {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"').escape_debug().to_string()
}

fn date(time: UnixTime) -> String {
    Date::from(UNIX_EPOCH + Duration::from_secs(time.as_secs())).imf().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    #[test]
    fn the_names_of_a_certificate_are_told_as_they_are_written() {
        let wrong = |presented: &[&str]| {
            let presented = presented.iter().map(ToString::to_string).collect();
            let expected = ServerName::try_from("c.example").unwrap();
            mistrust(CertificateError::NotValidForNameContext { expected, presented })
        };
        for (presented, names) in [
            (&[r#"DnsName("a.example")"#, "IpAddress(192.0.2.7)"][..], "a.example, 192.0.2.7"),
            (&["IpAddress(::1)", "DirectoryName"], "::1, DirectoryName"),
            (&["DnsName(\"a\n\")"], r"a\n"),
            (&[], "no host (it has no subjectAltName)"),
        ] {
            assert_eq!(wrong(presented), format!("its certificate is for {names}, and not for c.example"));
        }
    }
}
