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
                names => names.join(", "),
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

fn date(time: UnixTime) -> String {
    Date::from(UNIX_EPOCH + Duration::from_secs(time.as_secs())).imf().to_string()
}
