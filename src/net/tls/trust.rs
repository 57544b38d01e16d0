//! Which backends are believed to be what they are called.
//!
//! The problem: without a check TLS keeps out those that only listen, and what can answer in the backend's place reads
//! and writes everything. So a backend has to prove an [`Identity`]: that a trusted issuer gave a certificate to the host
//! that the configuration names (RFC 9110 §4.3.4). Trusted are the issuers that the system trusts, or those of one file.
//!
//! A homelab often has no issuer: a certificate vouches for itself, and that file is given. webpki refuses it where it says
//! that it is an issuer's, as those of `openssl req -x509` do, because an issuer is no server. But a certificate that the
//! admin has named is known byte by byte. So it only has to be for this host, and of today.
//!
//! All connections of one [`Trust`] share their sessions, and a handshake that resumes one costs a third.
//!
//! Not here: what a refusal is called (`refusal`), and ronde's own certificates (`certificates`).

use super::certificates::{Fault, Leaf, read_chain};
use crate::config::{Config, Endpoint, row};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::parse_x509_certificate;

/// What a backend has to prove, and to whom. Two are the same only if they are so in all of that: then a connection that was
/// checked for one is good for the other.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) trust: Trust,
    pub(super) name: ServerName<'static>,
}

/// How the backends of a route are checked.
#[derive(Clone, Debug)]
pub struct Trust(pub(super) Arc<ClientConfig>);

/// Every trust that was asked for: routes with the same settings have the same.
#[derive(Debug, Default)]
pub struct Trusts(Vec<(Settings, Trust)>);

/// By what they differ.
type Settings = (Option<PathBuf>, bool);

/// Why backends cannot be checked.
#[derive(Debug)]
pub enum TrustError {
    /// Of `--backend-ca`.
    File(Fault),
    /// The system knows no issuer, and what went wrong when they were read.
    NoRoots(Option<String>),
    /// No certificate can be for such a host.
    Name(String),
    /// rustls has nothing that fits together.
    Setup(Error),
}

impl Trusts {
    /// How these settings want backends to be checked; `None` where none speaks TLS.
    ///
    /// # Errors
    /// The issuers cannot be read, or there are none.
    pub fn of(&mut self, config: &Config) -> Result<Option<Trust>, TrustError> {
        if !config.has_tls_backends() {
            return Ok(None);
        }
        let settings = (config.backend_ca.clone(), config.backend_tls_insecure);
        if let Some((_, known)) = self.0.iter().find(|(known, _)| *known == settings) {
            return Ok(Some(known.clone()));
        }
        let trust = Trust::new(&settings)?;
        self.0.push((settings, trust.clone()));
        Ok(Some(trust))
    }
}

impl Trust {
    fn new((file, is_insecure): &Settings) -> Result<Self, TrustError> {
        let provider = Arc::new(default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match file {
            _ if *is_insecure => Arc::new(Anybody(Arc::clone(&provider))),
            Some(file) => {
                let named = read_chain(file).map_err(TrustError::File)?;
                let mut roots = RootCertStore::empty();
                for certificate in &named {
                    let refused = |error| TrustError::File(Fault::Refused(file.clone(), error));
                    roots.add(certificate.clone()).map_err(refused)?;
                }
                Arc::new(Named { issued: by_issuers(roots, &provider)?, named })
            }
            None => by_issuers(system_roots()?, &provider)?,
        };
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(TrustError::Setup)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// What the backend at this endpoint has to prove. The name is the one of the configuration, whatever it resolves to; an
    /// address is checked as an address, and not sent (RFC 6066 §3).
    ///
    /// # Errors
    /// [`TrustError::Name`].
    pub fn in_host_of(&self, endpoint: &Endpoint) -> Result<Identity, TrustError> {
        let host = match endpoint {
            Endpoint::Tcp { host, .. } => host.strip_suffix('.').unwrap_or(host),
            Endpoint::Unix(_) => "localhost",
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TrustError::Name(host.to_owned()))?;
        Ok(Identity { trust: self.clone(), name })
    }
}

fn by_issuers(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    builder.build().map_err(|error| TrustError::Setup(Error::General(error.to_string())))
}

/// One that cannot be read is left out: systems carry some that are older than the rules for them.
fn system_roots() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        true => Err(TrustError::NoRoots(found.errors.first().map(ToString::to_string))),
        false => Ok(roots),
    }
}

/// Believes certificates that an issuer of the file vouches for, and those that are in it themselves.
#[derive(Debug)]
struct Named {
    issued: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.named.iter().any(|named| named.as_ref() == shown.as_ref()) {
            return self.issued.verify_server_cert(shown, others, name, ocsp, now);
        }
        check_dates(shown, now)?;
        verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

fn check_dates(shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let leaf = parse_x509_certificate(shown).ok().and_then(|(_, certificate)| Leaf::of(&certificate));
    let Leaf { from, until, .. } = leaf.ok_or(CertificateError::BadEncoding)?;
    let unix =
        |time: SystemTime| UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap_or_default());
    match (unix(from), unix(until)) {
        (_, not_after) if now > not_after => Err(CertificateError::ExpiredContext { time: now, not_after }),
        (not_before, _) if now < not_before => {
            Err(CertificateError::NotValidYetContext { time: now, not_before })
        }
        _ => Ok(()),
    }
}

/// Believes everybody (`--backend-tls-insecure`): the backend has the key of the certificate that it shows, and that is all.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, shown, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.trust.0, &other.trust.0) && self.name == other.name
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.trust.0).hash(state);
        self.name.hash(state);
    }
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = row::backend_ca.flag;
        match self {
            Self::File(fault) => write!(f, "{flag}: {fault}"),
            Self::NoRoots(why) => {
                write!(
                    f,
                    "this system has no certificates of issuers, by which a backend with https:// is checked"
                )?;
                if let Some(why) = why {
                    write!(f, " ({why})")?;
                }
                write!(
                    f,
                    ": install ca-certificates (into an image FROM scratch, copy \
                     /etc/ssl/certs/ca-certificates.crt to the same place), or name the issuer with {flag}"
                )
            }
            Self::Name(host) => {
                write!(f, "no certificate can be for {host:?}, the host of a backend with https://")
            }
            Self::Setup(error) => write!(f, "TLS to backends cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for TrustError {}

impl From<TrustError> for io::Error {
    fn from(error: TrustError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Handshake;
    use super::super::certificates::fixtures::{Folder, made};
    use super::*;
    use crate::config::CertificateFiles;
    use crate::net::conn::{Block, Conn, Received, Window};
    use crate::net::tls::Certificates;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustls::ServerConnection;
    use std::io::Write;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::path::Path;
    use std::sync::mpsc;
    use std::thread;

    fn config(ca: Option<&Path>, backend: &str) -> Config {
        Config {
            backend: vec![backend.parse().unwrap()],
            backend_ca: ca.map(Path::to_owned),
            ..Config::default()
        }
    }

    fn pair() -> (Folder, CertificateFiles) {
        let folder = Folder::new();
        let files = folder.write_pair("a", &made(&["a.example"]));
        (folder, files)
    }

    #[test]
    fn routes_with_the_same_settings_have_the_same_trust() {
        let (_folder, CertificateFiles { certificate, .. }) = pair();
        let mut trusts = Trusts::default();
        let mut identity = |ca: Option<&Path>, backend: &str| {
            let config = config(ca, backend);
            let trust = trusts.of(&config).unwrap().unwrap();
            trust.in_host_of(&config.backend[0].endpoint).unwrap()
        };
        let ca = Some(&*certificate);
        let one = identity(ca, "https://a.example");
        assert_eq!(one, identity(ca, "https://A.example.:8443"));
        assert_ne!(one, identity(ca, "https://b.example"));
        let blind = Config { backend_tls_insecure: true, ..config(ca, "https://a.example") };
        let blind = trusts.of(&blind).unwrap().unwrap();
        assert_ne!(one, blind.in_host_of(&config(ca, "https://a.example").backend[0].endpoint).unwrap());
        assert!(trusts.of(&config(None, "a.example:80")).unwrap().is_none());
    }

    #[test]
    fn a_file_without_an_issuer_is_a_fault() {
        let (_folder, CertificateFiles { key, .. }) = pair();
        let error = Trusts::default().of(&config(Some(&key), "https://a.example")).unwrap_err();
        assert!(error.to_string().starts_with("--backend-ca: "), "{error}");
        assert!(matches!(error, TrustError::File(Fault::NoCertificate(..))), "{error}");
    }

    type Say = fn(&mut ServerConnection);

    /// A server that says the next thing each time it is told to.
    fn server(files: &CertificateFiles) -> (SocketAddr, mpsc::SyncSender<Say>, mpsc::Receiver<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let config = Certificates::load(std::slice::from_ref(files)).unwrap().server_config();
        let (say, said) = mpsc::sync_channel::<Say>(1);
        let (done, is_done) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut server = ServerConnection::new(config).unwrap();
            // The tickets are ready then, and not sent.
            while server.is_handshaking() {
                while server.wants_write() {
                    server.write_tls(&mut stream).unwrap();
                }
                server.read_tls(&mut stream).unwrap();
                server.process_new_packets().unwrap();
            }
            while let Ok(next) = said.recv() {
                next(&mut server);
                while server.wants_write() {
                    server.write_tls(&mut stream).unwrap();
                }
                done.send(()).unwrap();
            }
        });
        (address, say, is_done)
    }

    /// Within so many seconds.
    fn is_something_there(conn: &Conn, seconds: i64) -> bool {
        let most = Timespec { tv_sec: seconds, tv_nsec: 0 };
        poll(&mut [PollFd::new(conn, PollFlags::IN)], Some(&most)).unwrap() > 0
    }

    /// Every idle connection may begin so: its client is done before the server's tickets are there.
    #[test]
    fn a_ticket_on_an_idle_connection_is_nothing_and_all_else_is_something() {
        let (_folder, files) = pair();
        let config = config(Some(&files.certificate), "https://a.example");
        let trust = Trusts::default().of(&config).unwrap().unwrap();
        let identity = trust.in_host_of(&config.backend[0].endpoint).unwrap();
        let rows: [(Say, Received); 2] = [
            (|server| server.writer().write_all(b"evil").unwrap(), Received::Bytes(4)),
            (|server| server.send_close_notify(), Received::End),
        ];
        for (say_more, received) in rows {
            let (address, say, done) = server(&files);
            let mut conn = Conn::connect(&address.into(), Window::Automatic, Block::Briefly).unwrap().0;
            while conn.secured_to(&identity, Block::Briefly).unwrap() == Handshake::Waits {}
            assert!(!conn.is_handshaking());
            assert_eq!(conn.peek().unwrap(), Received::Nothing);
            say.send(|_| {}).unwrap();
            done.recv().unwrap();
            assert!(is_something_there(&conn, 10), "the tickets");
            assert_eq!(conn.peek().unwrap(), Received::Nothing);
            assert!(!is_something_there(&conn, 0) && !conn.has_unread());
            say.send(say_more).unwrap();
            done.recv().unwrap();
            assert!(is_something_there(&conn, 10), "what comes behind");
            assert_eq!(conn.peek().unwrap(), received);
            assert!(conn.has_unread());
        }
    }
}
