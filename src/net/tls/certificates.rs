//! The certificates that ronde shows to its clients.

use crate::config::CertificateFiles;
use rustls::ServerConfig;
use std::sync::Arc;

/// All of them, ready to serve.
#[derive(Debug)]
pub struct Certificates {
    server: Arc<ServerConfig>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// To be typed.
    pub fn load(_files: &[CertificateFiles]) -> Result<Self, String> {
        Err("to be written".into())
    }

    /// What a new connection from a client begins with.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}
