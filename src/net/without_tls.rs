//! What stands in the place of TLS in a build without it: types of which there is no value.
//!
//! The problem: a feature that is switched off at each place that mentions it makes two programs of one. So the places stay,
//! and the compiler sees that nothing ever comes to them.

use crate::config::{CertificateFiles, Config, Endpoint};
use crate::net::socket::{Block, Left, Received, Sent};
use crate::observe::failure::Failure;
use crate::observe::metrics::snapshot::CertificateEnd;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::SystemTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    Done,
    Waits,
}

#[derive(Clone, Debug)]
pub enum Certificates {}

#[derive(Debug)]
pub enum Renewal {}

#[derive(Debug)]
pub enum News {}

/// Why there are no certificates.
#[derive(Debug)]
pub struct LoadError;

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this ronde was built without TLS")
    }
}

#[derive(Debug)]
pub enum Session {}

impl Certificates {
    pub fn load(_: &[CertificateFiles]) -> Result<Self, LoadError> {
        Err(LoadError)
    }

    pub fn reload(&self, _: &[CertificateFiles]) -> Result<Self, LoadError> {
        match *self {}
    }

    pub fn lines(&self) -> Vec<String> {
        match *self {}
    }

    pub fn withdrawn(&self) -> Self {
        match *self {}
    }

    pub fn ends(&self) -> Vec<CertificateEnd> {
        match *self {}
    }

    pub fn remarks(&self, _: &Config, _: SystemTime) -> Vec<String> {
        match *self {}
    }

    pub fn renewal(&self, _: SystemTime) -> Renewal {
        match *self {}
    }
}

impl Renewal {
    pub fn look(&mut self, _: SystemTime) -> Vec<News> {
        match *self {}
    }

    pub fn news_of(&self, _: &Certificates) -> Vec<News> {
        match *self {}
    }
}

impl News {
    pub fn is_a_warning(&self) -> bool {
        match *self {}
    }
}

impl fmt::Display for News {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// Why there will be no TLS.
#[derive(Debug)]
pub struct HandshakeError;

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LoadError.fmt(f)
    }
}

impl From<io::Error> for HandshakeError {
    fn from(_: io::Error) -> Self {
        Self
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {}

#[derive(Clone, Debug)]
pub enum Trust {}

#[derive(Debug, Default)]
pub struct Trusts(());

/// Why backends cannot be checked.
#[derive(Debug)]
pub struct TrustError;

#[derive(Debug)]
pub struct Refusal {
    pub failure: Failure,
    pub cause: String,
}

impl Trusts {
    /// The configuration has refused backends with TLS before.
    pub fn of(&mut self, config: &Config) -> Result<Option<Trust>, TrustError> {
        if config.has_tls_backends() { Err(TrustError) } else { Ok(None) }
    }
}

impl Trust {
    pub fn in_host_of(&self, _: &Endpoint) -> Result<Identity, TrustError> {
        match *self {}
    }
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LoadError.fmt(f)
    }
}

impl From<TrustError> for io::Error {
    fn from(error: TrustError) -> Self {
        Self::other(error.to_string())
    }
}

impl Refusal {
    pub fn by_alert(_: &io::Error) -> Option<Self> {
        None
    }
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        Self { failure: Failure::BackendTls, cause: error.to_string() }
    }
}

impl Session {
    pub fn accept(certificates: &Certificates, _: &[u8]) -> Result<Self, HandshakeError> {
        match *certificates {}
    }

    pub fn connect(identity: &Identity) -> Result<Self, HandshakeError> {
        match *identity {}
    }

    pub fn shake_hands(&self, _: &OwnedFd, _: Block) -> Result<Handshake, HandshakeError> {
        match *self {}
    }

    pub fn is_handshaking(&self) -> bool {
        match *self {}
    }

    pub fn is_resumed(&self) -> bool {
        match *self {}
    }

    pub fn receive(&self, _: &OwnedFd, _: &mut [u8], _: Block) -> io::Result<Received> {
        match *self {}
    }

    pub fn peek(&self, _: &OwnedFd) -> io::Result<Received> {
        match *self {}
    }

    pub fn send(&self, _: &OwnedFd, _: &[IoSlice<'_>], _: Block) -> io::Result<Sent> {
        match *self {}
    }

    pub fn flush(&self, _: &OwnedFd) -> io::Result<()> {
        match *self {}
    }

    pub fn finish(&self, _: &OwnedFd) -> io::Result<()> {
        match *self {}
    }

    pub fn has_unsent(&self) -> bool {
        match *self {}
    }

    pub fn left(&self) -> Left {
        match *self {}
    }

    pub fn has_unread(&self) -> bool {
        match *self {}
    }

    pub fn is_half_closed(&self, _: &OwnedFd) -> bool {
        match *self {}
    }

    pub fn weight(&self) -> usize {
        match *self {}
    }
}
