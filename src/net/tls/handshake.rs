//! How far a handshake came, or why there will be no TLS.
//!
//! The problem: most handshakes that fail are no client's of this site: scanners, tests of old versions, a `curl` that does not
//! trust the certificate. The cause is for an admin that looks for it, in words.
//!
//! Not here: how often, and where it is logged (`proxy::session`).

use std::fmt;
use std::io;

/// How far a handshake came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    Done,
    /// The peer has to say more.
    Waits,
}

/// Why there will be no TLS on a connection.
#[derive(Debug)]
pub enum HandshakeError {
    /// The two do not agree, or one does not keep to the rules.
    Protocol(rustls::Error),
    /// The peer closed the connection.
    Left,
    Socket(io::Error),
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        Self::Protocol(error)
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl From<HandshakeError> for io::Error {
    /// The connection is of no use any more.
    fn from(fault: HandshakeError) -> Self {
        match fault {
            HandshakeError::Protocol(error) => io::Error::new(io::ErrorKind::InvalidData, error),
            HandshakeError::Left => io::ErrorKind::UnexpectedEof.into(),
            HandshakeError::Socket(error) => error,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rustls::{AlertDescription, Error};
        match self {
            Self::Protocol(Error::NoApplicationProtocol) => {
                f.write_str("the client offers other protocols, and not http/1.1 (ALPN)")
            }
            Self::Protocol(Error::AlertReceived(
                alert @ (AlertDescription::UnknownCA | AlertDescription::BadCertificate),
            )) => write!(f, "the client does not trust the certificate ({alert:?})"),
            Self::Protocol(error) => error.fmt(f),
            Self::Left => f.write_str("the client left in the middle of it"),
            Self::Socket(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HandshakeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{AlertDescription, Error};

    #[test]
    fn the_causes_that_an_admin_looks_for_are_told_in_words() {
        for (error, said) in [
            (Error::NoApplicationProtocol, "the client offers other protocols, and not http/1.1 (ALPN)"),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "the client does not trust the certificate (UnknownCA)",
            ),
            (
                Error::AlertReceived(AlertDescription::BadCertificate),
                "the client does not trust the certificate (BadCertificate)",
            ),
        ] {
            assert_eq!(HandshakeError::Protocol(error).to_string(), said);
        }
        let other = Error::AlertReceived(AlertDescription::DecodeError);
        assert_eq!(HandshakeError::Protocol(other.clone()).to_string(), other.to_string());
        assert_eq!(HandshakeError::Left.to_string(), "the client left in the middle of it");
    }
}
