//! Where a socket is, and what is at its other end.
//!
//! The problem: not every socket has an IP address. A listener or a backend may be a Unix socket, which is a path; a client
//! of one has no address at all; and a proxy may pass on a client without saying which. Code that took one of these for an
//! IP address would have to invent one, and an invented address is logged, forwarded and trusted like a true one.
//!
//! Not here: texts from users (`address`, `unix`), and sockets (`net`).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Where a socket listens: ronde's own, or a backend's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    /// Shared, because each access line that names it has a copy.
    Unix(Arc<Path>),
}

impl Address {
    /// Without the port.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    /// `127.0.0.1:8080` or `unix:/run/app.sock`, as a user writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A client, as far as its connection tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    Ip(IpAddr),
    /// A process of this host, on a Unix socket. Such a socket has a mode, but its clients have no address.
    Unix,
    /// A client of a proxy that does not say which (PROXY protocol, `UNKNOWN`). It is not the proxy, so it has none of the
    /// proxy's trust.
    Unknown,
}

impl From<IpAddr> for Peer {
    /// A v4 client of a dual-stack listener is a v4 client, in logs, fields and ranges.
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }
}

impl fmt::Display for Peer {
    /// `unknown` is the word of RFC 7239 §6.2.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix:"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        let tcp = Address::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        let unix = Address::Unix(Path::new("/run/app.sock").into());
        assert_eq!((tcp.to_string(), unix.to_string()), ("127.0.0.1:80".into(), "unix:/run/app.sock".into()));
        assert_eq!((tcp.ip(), unix.ip()), (Some([127, 0, 0, 1].into()), None));
    }

    #[test]
    fn a_mapped_address_is_the_address_that_it_maps() {
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(Peer::from(mapped).to_string(), "192.0.2.7");
        assert_eq!([Peer::Unix, Peer::Unknown].map(|peer| peer.to_string()), ["unix:", "unknown"]);
    }
}
