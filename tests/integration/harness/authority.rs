//! An issuer of certificates for one test, and the backends that show them.
//!
//! Not here: clients of ronde with TLS, and the switches for a whole run (`tls`).

use super::{scratch_directory, tls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::{DEFAULT_VERSIONS, ServerConfig, SupportedProtocolVersion};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Authority {
    /// Its own certificate, in PEM.
    pub file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Issued {
    pub der: CertificateDer<'static>,
    pub key_der: Vec<u8>,
    /// In PEM.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Issuers are told apart by their names.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let file = scratch_directory().join("ca.pem");
        std::fs::write(&file, params.self_signed(&key).expect("a certificate").pem()).expect("its file");
        Authority { file, issuer: Issuer::new(params, key) }
    }

    /// For these names, from 2020 to the end of 2039.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_between(names, 2020, 2040)
    }

    /// From the beginning of one year to that of another.
    pub fn issue_between(&self, names: &[&str], from: i32, until: i32) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let made = params(names, from, until).signed_by(&key, &self.issuer).expect("a certificate");
        Issued::of(&made, &key)
    }

    /// The flag that has ronde believe what it issues.
    pub fn flag(&self) -> String {
        format!("--backend-ca {}", self.file.display())
    }
}

impl Issued {
    /// One that vouches for itself, and says that it is an issuer's, as that of `openssl req -x509`.
    pub fn by_itself(names: &[&str], from: i32, until: i32) -> Issued {
        let (mut params, key) = (params(names, from, until), KeyPair::generate().expect("a key"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Issued::of(&params.self_signed(&key).expect("a certificate"), &key)
    }

    fn of(made: &rcgen::Certificate, key: &KeyPair) -> Issued {
        let directory = scratch_directory();
        let (certificate, key_file) = (directory.join("backend.pem"), directory.join("backend.key"));
        std::fs::write(&certificate, made.pem()).expect("its file");
        std::fs::write(&key_file, key.serialize_pem()).expect("its file");
        Issued { der: made.der().clone(), key_der: key.serialize_der(), certificate, key: key_file }
    }

    /// A backend that shows it.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server_of(DEFAULT_VERSIONS)
    }

    pub fn server_of(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        tls::server_config(versions, vec![self.der.clone()], &self.key_der)
    }
}

fn params(names: &[&str], from: i32, until: i32) -> CertificateParams {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("names");
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    params
}
