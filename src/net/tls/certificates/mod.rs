//! The certificates that ronde shows to its clients.
//!
//! The problem: a certificate lives for weeks and a server for years. What a connection begins with must be the newest
//! one, without a restart, and without that clients that come back lose their sessions.
//!
//! The idea: one [`ServerConfig`] until the next reload, and one pair of ticket keys for ever. What changes is what it asks
//! for a certificate: each handshake looks up the names of now (`choice`).
//!
//! Versions and ciphers are those that rustls has by default, TLS 1.2 and 1.3: a list of ronde's own would be out of
//! date in a year.
//!
//! Reading order: `pair` (two files become a certificate with its key), `leaf` (what it says of itself), `fault` and
//! `remark` (what is wrong with it), `choice` (which one a client is shown), this module (all of them), `renewal` (new
//! files, without a restart), `coverage` (whether the names fit the routes).
//!
//! Not here: handshakes (`handshake`).

mod choice;
mod coverage;
mod fault;
#[cfg(test)]
pub(super) mod fixtures;
mod leaf;
mod pair;
mod remark;
mod renewal;

pub(super) use fault::Fault;
pub(super) use leaf::Leaf;
pub(super) use pair::chain as read_chain;
pub use renewal::{News, Renewal};

use crate::config::{CertificateFiles, Config};
use crate::observe::date::Date;
use crate::observe::metrics::snapshot::CertificateEnd;
use choice::Choice;
use pair::Pair;
use remark::Remark;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

/// All of them, ready to serve.
#[derive(Clone, Debug)]
pub struct Certificates {
    server: Arc<ServerConfig>,
    shown: Arc<Shown>,
    /// As they were read at the start.
    pairs: Vec<Pair>,
}

/// Why there are none.
#[derive(Debug)]
pub enum LoadError {
    Fault(Fault),
    /// There are no files to read.
    None,
    /// The system has no random numbers, or rustls nothing that fits together.
    Setup(rustls::Error),
}

impl Certificates {
    /// Reads the files. The first pair is for clients that name no host, or one that no certificate has.
    ///
    /// # Errors
    /// The first fault of them.
    pub fn load(files: &[CertificateFiles]) -> Result<Self, LoadError> {
        Self::read(files, Arc::new(default_provider()), Ticketer::new()?)
    }

    /// Reads other files, or the same again. Clients that come back keep their sessions.
    ///
    /// # Errors
    /// As [`Certificates::load`].
    pub fn reload(&self, files: &[CertificateFiles]) -> Result<Self, LoadError> {
        Self::read(files, Arc::clone(self.server.crypto_provider()), Arc::clone(&self.server.ticketer))
    }

    fn read(
        files: &[CertificateFiles],
        provider: Arc<CryptoProvider>,
        ticketer: Arc<dyn ProducesTickets>,
    ) -> Result<Self, LoadError> {
        let pairs = files.iter().map(|files| Pair::read(files, &provider)).collect::<Result<Vec<_>, _>>()?;
        let shown = Arc::new(Shown::new(&pairs).ok_or(LoadError::None)?);
        let server = Arc::new(server(provider, Arc::clone(&shown), ticketer)?);
        Ok(Self { server, shown, pairs })
    }

    /// What a new connection from a client begins with.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// A line for each: its file, its names, its end.
    pub fn lines(&self) -> Vec<String> {
        let line = |pair: &Pair| {
            let names = match &pair.leaf.names[..] {
                [] => "no host".to_owned(),
                names => names.join(", "),
            };
            let (file, until) = (pair.files.certificate.display(), Date::from(pair.leaf.until).imf());
            format!("{file}  for {names}, until {until}")
        };
        self.pairs.iter().map(line).collect()
    }

    /// The same for handshakes that are under way when no listener shows any: nothing is told of them any more.
    pub fn withdrawn(&self) -> Self {
        Self { pairs: Vec::new(), ..self.clone() }
    }

    /// Until when those that are shown now are valid.
    pub fn ends(&self) -> Vec<CertificateEnd> {
        let ends = self.shown.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours =
            |end: &&CertificateEnd| self.pairs.iter().any(|pair| pair.files.certificate == end.file);
        ends.iter().filter(is_ours).cloned().collect()
    }

    /// What an admin should hear of them, and of how they fit the routes.
    pub fn remarks(&self, config: &Config, now: SystemTime) -> Vec<String> {
        let names: Vec<_> = self.pairs.iter().flat_map(|pair| pair.leaf.names.clone()).collect();
        let remarks = self.pairs.iter().flat_map(|pair| Remark::all(pair, now));
        remarks.map(|remark| remark.to_string()).chain(coverage::remarks(config, &names)).collect()
    }

    /// Looks after them from `now` on, when all [`Certificates::remarks`] have been made.
    pub fn renewal(&self, now: SystemTime) -> Renewal {
        Renewal::new(&self.pairs, Arc::clone(&self.shown), Arc::clone(self.server.crypto_provider()), now)
    }
}

fn server(
    provider: Arc<CryptoProvider>,
    shown: Arc<Shown>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut server = builder.with_no_client_auth().with_cert_resolver(shown);
    // A client that speaks HTTP/2 alone is told so in the handshake (RFC 7301 §3.2).
    server.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    // Sessions are kept by the clients, and not here. Without early data (rustls' default), which anybody could replay.
    server.ticketer = ticketer;
    Ok(server)
}

impl From<Fault> for LoadError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<rustls::Error> for LoadError {
    fn from(error: rustls::Error) -> Self {
        Self::Setup(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::None => f.write_str("there is no certificate"),
            Self::Setup(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// What handshakes ask for a certificate.
#[derive(Debug)]
struct Shown {
    choice: RwLock<Choice<Arc<CertifiedKey>>>,
    ends: Mutex<Vec<CertificateEnd>>,
}

impl Shown {
    fn new(pairs: &[Pair]) -> Option<Self> {
        Some(Self { choice: RwLock::new(choice(pairs)?), ends: Mutex::new(ends(pairs)) })
    }

    /// From now on, handshakes get these.
    pub fn replace<'a>(&self, pairs: impl IntoIterator<Item = &'a Pair> + Clone) {
        if let Some(choice) = choice(pairs.clone()) {
            *self.choice.write().unwrap_or_else(PoisonError::into_inner) = choice;
            *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = ends(pairs);
        }
    }
}

fn ends<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Vec<CertificateEnd> {
    let end = |pair: &Pair| CertificateEnd {
        file: pair.files.certificate.clone(),
        names: pair.leaf.names.clone(),
        until: pair.leaf.until,
    };
    pairs.into_iter().map(end).collect()
}

fn choice<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Option<Choice<Arc<CertifiedKey>>> {
    Choice::new(pairs.into_iter().map(|pair| (&pair.leaf.names[..], Arc::clone(&pair.certified))))
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let choice = self.choice.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(choice.of(hello.server_name())))
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{Folder, made};
    use super::*;
    use rustls::client::Resumption;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};
    use std::fs;

    /// A client that believes these certificates, and keeps its sessions.
    fn client(certificates: &Certificates, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for pair in &certificates.pairs {
            roots.add(pair.certified.cert[0].clone()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(8);
        Arc::new(config)
    }

    /// What a handshake came to, in memory.
    struct Met {
        kind: HandshakeKind,
        shown: CertificateDer<'static>,
        protocol: Option<Vec<u8>>,
    }

    fn meet(
        certificates: &Certificates,
        client: &Arc<ClientConfig>,
        host: &str,
    ) -> Result<Met, rustls::Error> {
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut server = ServerConnection::new(certificates.server_config()).unwrap();
        for _ in 0..6 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            server.read_tls(&mut &bytes[..]).unwrap();
            let served = server.process_new_packets();
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets()?;
            served?;
        }
        Ok(Met {
            kind: client.handshake_kind().unwrap(),
            shown: client.peer_certificates().unwrap()[0].clone().into_owned(),
            protocol: client.alpn_protocol().map(<[u8]>::to_vec),
        })
    }

    #[test]
    fn each_host_gets_its_certificate_and_only_http_1_is_spoken() {
        let folder = Folder::new();
        let files = [("a", "a.example"), ("b", "*.b.example")]
            .map(|(name, host)| folder.write_pair(name, &made(&[host])));
        let certificates = Certificates::load(&files).unwrap();
        let modern = client(&certificates, &["h2", "http/1.1"]);
        for (host, number) in [("a.example", 0), ("x.b.example", 1)] {
            let met = meet(&certificates, &modern, host).unwrap();
            assert_eq!(met.shown, certificates.pairs[number].certified.cert[0], "{host}");
            assert_eq!(met.protocol.as_deref(), Some(&b"http/1.1"[..]));
        }
        // A stranger is shown the first, and sees that it is another's.
        assert!(meet(&certificates, &modern, "c.example").is_err());
        assert_eq!(meet(&certificates, &client(&certificates, &[]), "a.example").unwrap().protocol, None);
        assert!(meet(&certificates, &client(&certificates, &["h2"]), "a.example").is_err());
    }

    #[test]
    fn sessions_survive_a_renewal_and_new_clients_get_the_new_certificate() {
        let folder = Folder::new();
        let files = folder.write_pair("a", &made(&["a.example"]));
        let certificates = Certificates::load(std::slice::from_ref(&files)).unwrap();
        let mut renewal = certificates.renewal(SystemTime::now());
        let config = certificates.server_config();
        let known = client(&certificates, &[]);
        assert_eq!(meet(&certificates, &known, "a.example").unwrap().kind, HandshakeKind::Full);
        assert_eq!(meet(&certificates, &known, "a.example").unwrap().kind, HandshakeKind::Resumed);
        folder.write_pair("a", &made(&["a.example"]));
        renewal.look(SystemTime::now());
        assert_eq!(meet(&certificates, &known, "a.example").unwrap().kind, HandshakeKind::Resumed);
        let fresh = Certificates::load(&[files]).unwrap();
        let met = meet(&certificates, &client(&fresh, &[]), "a.example").unwrap();
        assert_eq!((met.kind, met.shown), (HandshakeKind::Full, fresh.pairs[0].certified.cert[0].clone()));
        assert!(Arc::ptr_eq(&config, &certificates.server_config()));
    }

    #[test]
    fn without_certificates_there_is_nothing_to_show() {
        assert!(matches!(Certificates::load(&[]), Err(LoadError::None)));
        let folder = Folder::new();
        let files = folder.write_pair("a", &made(&["a.example"]));
        fs::remove_file(&files.key).unwrap();
        let error = Certificates::load(&[files]).unwrap_err();
        assert!(matches!(error, LoadError::Fault(Fault::Unreadable(..))), "{error}");
    }
}
