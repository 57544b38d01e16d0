//! The certificates that ronde shows to its clients.

use crate::config::CertificateFiles;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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
    pub fn load(files: &[CertificateFiles]) -> Result<Self, String> {
        let [files, ..] = files else { return Err("there is no certificate".into()) };
        let chain = CertificateDer::pem_file_iter(&files.certificate).and_then(|chain| chain.collect());
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let server = builder.and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(chain.unwrap_or_default(), key)
        });
        let mut server = server.map_err(|error| error.to_string())?;
        server.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        server.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| error.to_string())?;
        Ok(Self { server: Arc::new(server) })
    }

    /// What a new connection from a client begins with.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}
