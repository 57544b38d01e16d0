//! Certificates for the tests of this folder.

use crate::config::CertificateFiles;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder that is gone with its test.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub fn write_pair(&self, name: &str, made: &Made) -> CertificateFiles {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        self.write(&certificate, &made.chain);
        self.write(&key, &made.key);
        CertificateFiles { certificate: self.path(&certificate), key: self.path(&key) }
    }
}

/// A certificate that vouches for itself, and its key, in PEM.
pub struct Made {
    pub chain: String,
    pub key: String,
}

/// For these hosts, from 2020 to the end of 2039.
pub fn made(hosts: &[&str]) -> Made {
    made_between(hosts, 2020, 2040)
}

/// From the beginning of one year to that of another.
pub fn made_between(hosts: &[&str], from: i32, until: i32) -> Made {
    let mut params =
        CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    let key = KeyPair::generate().unwrap();
    Made { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// Runs `openssl` in the folder; `false` when there is none, and the test is to be skipped.
pub fn openssl(folder: &Folder, words: &str) -> bool {
    let mut command = Command::new("openssl");
    command.args(words.split_whitespace()).current_dir(folder.path("")).stdin(Stdio::null());
    match command.output() {
        Ok(done) => {
            assert!(done.status.success(), "{words}: {}", String::from_utf8_lossy(&done.stderr));
            true
        }
        Err(_) => {
            println!("skipped: there is no openssl here");
            false
        }
    }
}
