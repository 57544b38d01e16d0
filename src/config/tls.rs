//! What TLS needs of the configuration.

use super::error::Error;
use super::{Config, RawValue, Setting, row};
use std::path::PathBuf;

/// A certificate chain and its key, as files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The reader of `--tls-certificate` and `--tls-key`.
pub(super) fn pem_file(raw: &RawValue, _: &Setting) -> Result<String, String> {
    Ok(raw.text.clone())
}

impl Config {
    /// Every certificate with its key.
    pub fn certificates(&self) -> Vec<CertificateFiles> {
        let pairs = self.tls_certificate.iter().zip(&self.tls_key);
        pairs
            .map(|(certificate, key)| CertificateFiles { certificate: certificate.into(), key: key.into() })
            .collect()
    }

    /// # Errors
    /// Something listens with TLS, and has no certificate to show; or this build has no TLS.
    pub(super) fn check_tls_listeners(&self) -> Result<(), Error> {
        match self.tls_listen.is_empty() {
            false if cfg!(not(feature = "tls")) => {
                Err(Error::at(row::tls_listen.flag, "this ronde was built without TLS".to_owned()))
            }
            false if self.tls_certificate.is_empty() => {
                let fault = "needs a certificate; add --tls-certificate and --tls-key".to_owned();
                Err(Error::at(row::tls_listen.flag, fault))
            }
            _ => Ok(()),
        }
    }
}
