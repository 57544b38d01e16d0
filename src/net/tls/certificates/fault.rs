//! Why two files are no certificate that can be shown.
//!
//! The problem: "invalid certificate" sends an admin through ten guides. Each of these faults has one cause and one
//! remedy, so the line names the file, what is in it, and what to do.
//!
//! Not here: certificates that serve and should be looked at (`remark`).

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// See the module. The path is that of the file at fault.
#[derive(Debug)]
pub enum Fault {
    Unreadable(PathBuf, io::Error),
    TooLarge(PathBuf),
    /// The file has lines of PEM that do not fit together: it is cut off, perhaps.
    BrokenPem(PathBuf, String),
    NoCertificate(PathBuf),
    /// There is a block of PEM, and what is in it is no certificate.
    NotX509(PathBuf),
    NoKey(PathBuf),
    EncryptedKey(PathBuf),
    UnknownKey(PathBuf),
    /// The key is another certificate's.
    WrongKey {
        certificate: PathBuf,
        key: PathBuf,
    },
    /// The certificate of the key is in the file, at this place (from 1).
    NotFirst {
        certificate: PathBuf,
        key: PathBuf,
        place: usize,
    },
    /// rustls does not take it.
    Refused(PathBuf, rustls::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(file, error) => {
                write!(f, "cannot read {}: {error}{}", file.display(), remedy(file, error))
            }
            Self::TooLarge(file) => {
                write!(f, "{} is larger than 1 MiB, and so neither a certificate nor a key", file.display())
            }
            Self::BrokenPem(file, why) => {
                write!(f, "{} is damaged or cut off ({why}); write it again", file.display())
            }
            Self::NoCertificate(file) => write!(
                f,
                "{} has no certificate in it, which begins with -----BEGIN CERTIFICATE-----{}",
                file.display(),
                instead(file)
            ),
            Self::NotX509(file) => {
                write!(f, "{} has a block that is called a certificate and is none", file.display())
            }
            Self::NoKey(file) => write!(
                f,
                "{} has no private key in it, which begins with -----BEGIN PRIVATE KEY-----{}",
                file.display(),
                instead(file)
            ),
            Self::EncryptedKey(file) => write!(
                f,
                "the key in {} is encrypted, and nobody is there to give the passphrase at a start: `openssl pkey -in \
                 {0} -out NEW` takes it off",
                file.display()
            ),
            Self::UnknownKey(file) => write!(
                f,
                "the key in {} is of a kind that ronde does not have: make one of ECDSA (P-256 or P-384), RSA (2048 \
                 bits or more) or Ed25519",
                file.display()
            ),
            Self::WrongKey { certificate, key } => write!(
                f,
                "the key in {} does not belong to the certificate in {}; if only one of them was renewed, the other \
                 is missing",
                key.display(),
                certificate.display()
            ),
            Self::NotFirst { certificate, key, place } => write!(
                f,
                "the certificate for the key in {} is number {place} in {}; it has to be the first, and those that \
                 vouch for it follow",
                key.display(),
                certificate.display()
            ),
            Self::Refused(file, error) => write!(f, "{} cannot be used: {error}", file.display()),
        }
    }
}

impl std::error::Error for Fault {}

/// What to do about an error, where its own words do not say.
fn remedy(file: &Path, error: &io::Error) -> String {
    if error.kind() != ErrorKind::PermissionDenied {
        return String::new();
    }
    let advice =
        "let a group of ronde's read it (chgrp, chmod g+r), or give it by LoadCredential= of systemd";
    match (fs::metadata(file), fs::metadata("/proc/self")) {
        (Ok(file), Ok(process)) => format!(
            "; it belongs to user {} and group {} with mode {:o}, and ronde runs as user {}: {advice}",
            file.uid(),
            file.gid(),
            file.mode() & 0o7777,
            process.uid()
        ),
        (Err(_), _) | (_, Err(_)) => {
            format!("; a directory on its path is closed to ronde's user: {advice}, and chmod g+x for each")
        }
    }
}

/// What the file is instead, as far as its first bytes say.
fn instead(file: &Path) -> &'static str {
    match super::pair::contents(file).as_deref() {
        Ok([]) => "; it is empty",
        // A SEQUENCE with a long length: what every certificate and most keys begin with.
        Ok([0x30, 0x80..=0x84, ..]) => {
            "; it is in DER: `openssl x509 -inform der` or `openssl pkey -inform der` makes PEM"
        }
        Ok(_) | Err(_) => "",
    }
}
