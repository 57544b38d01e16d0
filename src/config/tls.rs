//! What TLS needs of the configuration.

use std::path::PathBuf;

/// A certificate chain and its key, as files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}
