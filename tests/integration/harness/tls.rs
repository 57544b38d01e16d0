//! TLS for every test: `RONDE_TEST_TLS=1 cargo test --test integration`, and to the backends of every test:
//! `RONDE_TEST_TLS_BACKENDS=1`.
//!
//! Under the first switch the program under test listens with TLS, and the clients of the tests speak it, with rustls and a
//! certificate that is made for the run. A client sees the end of a connection as `EOF` only when TLS says that it is the
//! end; a FIN without close_notify counts as a reset.
//!
//! Not here: what TLS itself promises (`u_tls`).

use super::scratch_directory;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, DEFAULT_VERSIONS, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};
use std::collections::HashSet;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

/// Whether the whole suite runs over TLS.
pub fn is_on() -> bool {
    std::env::var_os("RONDE_TEST_TLS").is_some_and(|set| set == "1")
}

/// Whether the backends of the whole suite have TLS.
pub fn is_on_to_backends() -> bool {
    std::env::var_os("RONDE_TEST_TLS_BACKENDS").is_some_and(|set| set == "1")
}

/// What a backend of this run is accepted with.
pub fn of_backends() -> Option<Arc<ServerConfig>> {
    static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
        let Identity { der, key_der, .. } = identity();
        server_config(DEFAULT_VERSIONS, vec![der.clone()], key_der)
    });
    is_on_to_backends().then(|| Arc::clone(&CONFIG))
}

/// A server that shows this chain, and gives out tickets.
pub fn server_config(
    versions: &[&'static SupportedProtocolVersion],
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).expect("versions").with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(key.to_vec()).into();
    let mut config = builder.with_single_cert(chain, key).expect("a pair");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new().expect("tickets");
    Arc::new(config)
}

/// How clients of this run speak to the program under test.
pub fn scheme() -> &'static str {
    if is_on() { "https" } else { "http" }
}

/// A certificate for this host that signs itself, and its files.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub der: CertificateDer<'static>,
    pub key_der: Vec<u8>,
}

pub fn identity() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let directory = scratch_directory();
        let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("its file");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("its file");
        let key_der = made.signing_key.serialize_der();
        Identity { certificate, key, der: made.cert.der().clone(), key_der }
    });
    &IDENTITY
}

/// The flags with which ronde listens with TLS, on a port of its choice.
pub fn flags() -> String {
    let Identity { certificate, key, .. } = identity();
    format!(
        "--tls-listen 127.0.0.1:0 --tls-certificate {} --tls-key {}",
        certificate.display(),
        key.display()
    )
}

/// Where TLS is spoken in this run.
static SECURED: LazyLock<Mutex<HashSet<SocketAddr>>> = LazyLock::new(Mutex::default);

/// From now on, clients that connect to this address speak TLS.
pub fn note_secured(address: SocketAddr) {
    SECURED.lock().expect("the addresses").insert(address);
}

/// The address may be another's.
pub fn forget_secured(address: SocketAddr) {
    SECURED.lock().expect("the addresses").remove(&address);
}

pub fn is_secured(address: SocketAddr) -> bool {
    is_on() && SECURED.lock().expect("the addresses").contains(&address)
}

/// A client's configuration, which offers these protocols.
pub fn client_config(protocols: &[&str]) -> ClientConfig {
    client_config_of(DEFAULT_VERSIONS, protocols)
}

pub fn client_config_of(versions: &[&'static SupportedProtocolVersion], protocols: &[&str]) -> ClientConfig {
    client_config_that_trusts(identity().der.clone(), versions, protocols)
}

pub fn client_config_that_trusts(
    root: CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// One end of a TLS connection. Its clones are the same end: one may send while another receives.
#[derive(Clone, Debug)]
pub struct Secured(Arc<End>);

#[derive(Debug)]
struct End {
    stream: TcpStream,
    session: Mutex<Session>,
    /// Ciphertext that the socket did not take, and the turn to write.
    unsent: Mutex<Vec<u8>>,
    /// A client that has died says no end.
    has_died: AtomicBool,
}

#[derive(Debug)]
struct Session {
    tls: Connection,
    /// Ciphertext that rustls has no room for.
    unread: Vec<u8>,
}

impl Secured {
    /// Shakes hands. If that fails, the first read says so.
    pub fn over(stream: TcpStream) -> Secured {
        Secured::with(stream, client_config(&["http/1.1"]))
    }

    pub fn with(stream: TcpStream, config: ClientConfig) -> Secured {
        let secured = Secured::begin(stream, config);
        let _seen_later = secured.shake_hands();
        secured
    }

    /// Nothing is sent yet.
    pub fn begin(stream: TcpStream, config: ClientConfig) -> Secured {
        let name = ServerName::try_from("localhost").expect("a name");
        Secured::from(stream, ClientConnection::new(Arc::new(config), name).expect("a session").into())
    }

    /// The server's end.
    pub fn accept(stream: TcpStream, config: Arc<ServerConfig>) -> Secured {
        Secured::from(stream, ServerConnection::new(config).expect("a session").into())
    }

    fn from(stream: TcpStream, mut tls: Connection) -> Secured {
        tls.set_buffer_limit(None);
        let session = Mutex::new(Session { tls, unread: Vec::new() });
        Secured(Arc::new(End { stream, session, unsent: Mutex::default(), has_died: AtomicBool::new(false) }))
    }

    /// The records of these bytes, for the test to send.
    pub fn encrypted(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.session.lock().expect("the session").tls.writer().write_all(bytes).expect("bytes encrypted");
        self.outgoing()
    }

    /// What would be sent next, for the test to send.
    pub fn outgoing(&self) -> Vec<u8> {
        let mut outgoing = Vec::new();
        let session = &mut *self.0.session.lock().expect("the session");
        while session.tls.wants_write() {
            session.tls.write_tls(&mut outgoing).expect("room");
        }
        outgoing
    }

    /// Goes on until both are done.
    pub fn shake_hands(&self) -> io::Result<()> {
        while self.0.session.lock().expect("the session").tls.is_handshaking() {
            self.flush()?;
            // The alert, if there is one.
            self.fill().inspect_err(|_| drop(self.flush()))?;
        }
        self.flush()
    }

    pub fn stream(&self) -> &TcpStream {
        &self.0.stream
    }

    /// The first flight of a handshake.
    pub fn hello() -> Vec<u8> {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = ClientConnection::new(Arc::new(client_config(&[])), name).expect("a session");
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).expect("room");
        hello
    }

    pub fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.0.session.lock().expect("the session").tls.reader().read(room);
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.fill()?,
                read => return read,
            }
        }
    }

    /// One read of ciphertext, unless some is in hand.
    fn fill(&self) -> io::Result<()> {
        let is_empty = self.0.session.lock().expect("the session").unread.is_empty();
        let mut room = [0; 1 << 14];
        let count = if is_empty { (&self.0.stream).read(&mut room)? } else { 0 };
        let session = &mut *self.0.session.lock().expect("the session");
        if is_empty && count == 0 && session.tls.is_handshaking() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        session.unread.extend_from_slice(&room[..count]);
        let taken = session.tls.read_tls(&mut &session.unread[..])?;
        session.unread.drain(..taken);
        let processed = session.tls.process_new_packets();
        processed.map(|_| ()).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Takes bytes when everything before them has left, as a socket would.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let piece = &bytes[..bytes.len().min(1 << 16)];
        self.0.session.lock().expect("the session").tls.writer().write_all(piece)?;
        match self.flush() {
            // The socket is full, and the rest leaves with the next write.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(piece.len()),
            flushed => flushed.map(|()| piece.len()),
        }
    }

    fn flush(&self) -> io::Result<()> {
        let mut unsent = self.0.unsent.lock().expect("the turn");
        {
            let session = &mut *self.0.session.lock().expect("the session");
            while session.tls.wants_write() {
                session.tls.write_tls(&mut *unsent)?;
            }
        }
        while !unsent.is_empty() {
            let count = (&self.0.stream).write(&unsent)?;
            unsent.drain(..count);
        }
        Ok(())
    }

    /// close_notify and a FIN.
    pub fn finish(&self) -> io::Result<()> {
        self.0.session.lock().expect("the session").tls.send_close_notify();
        self.flush()?;
        match self.0.stream.shutdown(Shutdown::Write) {
            // The other end has closed before, and answers the close_notify with a reset.
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
            finished => finished,
        }
    }

    /// Without close_notify, when it is dropped.
    pub fn die(&self) {
        self.0.has_died.store(true, Ordering::Relaxed);
    }

    /// Both get new keys, in the middle of everything (TLS 1.3).
    pub fn refresh_keys(&self) {
        match &mut self.0.session.lock().expect("the session").tls {
            Connection::Client(client) => client.refresh_traffic_keys(),
            Connection::Server(server) => server.refresh_traffic_keys(),
        }
        .expect("new keys");
        self.flush().expect("the new keys sent");
    }

    /// Whether it went on with an earlier session.
    pub fn is_resumed(&self) -> bool {
        let session = self.0.session.lock().expect("the session");
        session.tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// The certificate of the other end.
    pub fn shown(&self) -> Option<CertificateDer<'static>> {
        let session = self.0.session.lock().expect("the session");
        session.tls.peer_certificates()?.first().map(|first| first.clone().into_owned())
    }

    /// What was agreed on.
    pub fn protocol(&self) -> Option<Vec<u8>> {
        self.0.session.lock().expect("the session").tls.alpn_protocol().map(<[u8]>::to_vec)
    }
}

impl Drop for End {
    /// As every client does, unless it has died.
    fn drop(&mut self) {
        if *self.has_died.get_mut() {
            return;
        }
        let (Ok(session), Ok(unsent)) = (self.session.get_mut(), self.unsent.get_mut()) else { return };
        session.tls.send_close_notify();
        if unsent.is_empty() {
            let _ = self.stream.set_nonblocking(true);
            let _ = session.tls.write_tls(&mut &self.stream);
        }
    }
}
