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
    Unreadable(PathBuf, io::Error, Barrier),
    TooLarge(PathBuf),
    /// The file has lines of PEM that do not fit together: it is cut off, perhaps.
    BrokenPem(PathBuf, &'static str),
    NoCertificate(PathBuf, Instead),
    /// There is a block of PEM, and what is in it is no certificate.
    NotX509(PathBuf),
    NoKey(PathBuf, Instead),
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

/// What keeps ronde from reading a file, as far as its error does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    None,
    /// The file is closed to ronde's user.
    File {
        user: u32,
        group: u32,
        mode: u32,
        ronde: u32,
    },
    /// A folder on the way is.
    Folder,
}

/// What a file is that has no PEM, as far as its first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    Empty,
    Der,
    Other,
}

impl Fault {
    pub fn unreadable(file: &Path, error: io::Error) -> Self {
        let barrier = match (fs::metadata(file), fs::metadata("/proc/self")) {
            _ if error.kind() != ErrorKind::PermissionDenied => Barrier::None,
            (Ok(it), Ok(process)) => Barrier::File {
                user: it.uid(),
                group: it.gid(),
                mode: it.mode() & 0o7777,
                ronde: process.uid(),
            },
            (Err(_), _) | (_, Err(_)) => Barrier::Folder,
        };
        Self::Unreadable(file.to_owned(), error, barrier)
    }
}

impl Instead {
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [] => Self::Empty,
            // A SEQUENCE with a long length: what every certificate and most keys begin with.
            [0x30, 0x80..=0x84, ..] => Self::Der,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(file, error, barrier) => {
                write!(f, "cannot read {}: {error}{barrier}", file.display())
            }
            Self::TooLarge(file) => {
                write!(f, "{} is larger than 1 MiB, and so neither a certificate nor a key", file.display())
            }
            Self::BrokenPem(file, why) => {
                write!(f, "{} is damaged or cut off ({why}); write it again", file.display())
            }
            Self::NoCertificate(file, instead) => write!(
                f,
                "{} has no certificate in it, which begins with -----BEGIN CERTIFICATE-----{instead}",
                file.display()
            ),
            Self::NotX509(file) => {
                write!(f, "{} has a block that is called a certificate and is none", file.display())
            }
            Self::NoKey(file, instead) => write!(
                f,
                "{} has no private key in it, which begins with -----BEGIN PRIVATE KEY-----{instead}",
                file.display()
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
                "the key in {} does not belong to the certificate in {}; if only one of them is new, the other is \
                 missing",
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

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ADVICE: &str =
            "let a group of ronde's read it (chgrp, chmod g+r), or give it by LoadCredential= of systemd";
        match self {
            Self::None => Ok(()),
            Self::File { user, group, mode, ronde } => write!(
                f,
                "; it belongs to user {user} and group {group} with mode {mode:o}, and ronde runs as user {ronde}: \
                 {ADVICE}"
            ),
            Self::Folder => {
                write!(
                    f,
                    "; a directory on its path is closed to ronde's user: {ADVICE}, and chmod g+x for each"
                )
            }
        }
    }
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "; it is empty",
            Self::Der => "; it is in DER: `openssl x509 -inform der` or `openssl pkey -inform der` makes PEM",
            Self::Other => "",
        })
    }
}

impl std::error::Error for Fault {}
