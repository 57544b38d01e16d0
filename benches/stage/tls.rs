//! One certificate for all proxies, and clients that speak TLS with them.
//!
//! All agree on the same: TLS 1.3, TLS_AES_256_GCM_SHA384 (which rustls and OpenSSL both ask for first), X25519, and a
//! certificate with an ECDSA key on P-256. All give tickets, as they do by default.

use crate::stage::anybody::Anybody;
use crate::stage::http;
use anyhow::Result;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A certificate and its key, as files.
#[derive(Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Both in one, as HAProxy wants them.
    pub both: PathBuf,
}

impl Pair {
    /// Makes one that signs itself.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn make(directory: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["bench".to_owned()])?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let file = |name: &str, text: &str| -> Result<PathBuf> {
            let path = directory.join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        Ok(Self {
            both: file("both.pem", &format!("{certificate}{key}"))?,
            certificate: file("certificate.pem", &certificate)?,
            key: file("key.pem", &key)?,
        })
    }
}

/// A client's connection.
pub type Client = StreamOwned<ClientConnection, TcpStream>;

/// A client that believes every certificate.
pub fn client(resumption: Resumption) -> Result<Arc<ClientConfig>> {
    let CryptoProvider { mut cipher_suites, mut kx_groups, .. } = ring::default_provider();
    cipher_suites.retain(|suite| *suite == ring::cipher_suite::TLS13_AES_256_GCM_SHA384);
    kx_groups.retain(|group| group.name() == ring::kx_group::X25519.name());
    let provider = CryptoProvider { cipher_suites, kx_groups, ..ring::default_provider() };
    let builder =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13])?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = builder.with_no_client_auth();
    config.resumption = resumption;
    Ok(Arc::new(config))
}

/// Connects. The handshake begins with the first byte that is read or written.
///
/// # Errors
/// The connect fails.
pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Client> {
    let session = ClientConnection::new(Arc::clone(config), ServerName::try_from("bench")?)?;
    Ok(StreamOwned::new(session, http::connect(address)?))
}

/// Sends a GET; returns the connection's socket, which is idle as seen from the server.
///
/// # Errors
/// No response arrives within 10 s, or its status is not 200.
pub fn ask(address: SocketAddr, config: &Arc<ClientConfig>, host: &str, path: &str) -> Result<TcpStream> {
    let mut client = connect(address, config)?;
    http::ask_on(&mut client, host, path)?;
    Ok(client.sock)
}
