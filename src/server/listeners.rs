//! The addresses that ronde serves, and why a server cannot start.
//!
//! The problem: an address can be taken, foreign or a trap. `:8080` is one socket for both families where there is IPv6
//! and another where there is none, `localhost` is two, and a backend that is one of these addresses would have every
//! request go round for ever.
//!
//! Not here: accepting (`acceptor`), socket options (`net`).

use crate::config::{Config, Listen};
use crate::net::conn;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    Bind(SocketAddr, io::Error),
    /// A backend that is one of the listeners.
    Myself(SocketAddr),
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "{address} is in use by another program; choose another address with --listen")
            }
            Self::Bind(address, error) => {
                write!(f, "cannot listen on {address}: {error}; choose another address with --listen")
            }
            Self::Myself(address) => {
                write!(f, "the backend {address} is ronde's own address; a request would go round for ever")
            }
            Self::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// A backend that leads straight back here. What leads back by a name or by another machine is seen at the first
/// request instead: 508, by `Via`.
pub(super) fn refuse_myself(config: &Config, listeners: &[TcpListener]) -> Result<(), StartError> {
    let addresses = config
        .backend
        .iter()
        .filter_map(|backend| Some(SocketAddr::new(backend.host.parse().ok()?, backend.port)));
    let own: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let is_own = |address: &SocketAddr| {
        let leads_here = |own: &SocketAddr| {
            let every = own.ip().is_unspecified() && (own.is_ipv6() || address.is_ipv4());
            own.port() == address.port()
                && (own.ip() == address.ip()
                    || every && (address.ip().is_loopback() || address.ip().is_unspecified()))
        };
        own.iter().any(leads_here)
    };
    addresses.into_iter().find(is_own).map_or(Ok(()), |address| Err(StartError::Myself(address)))
}

pub(super) fn listen_all(wanted: &[Listen]) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for listen in wanted {
        match *listen {
            Listen::At(address) => listeners.push(listen_at(address)?),
            Listen::Every(port) => {
                // One dual-stack socket where there is IPv6.
                let every = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
                let listener = match listen_at(every) {
                    Err(StartError::Bind(_, error)) if error.kind() != io::ErrorKind::AddrInUse => {
                        listen_at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
                    }
                    outcome => outcome,
                };
                listeners.push(listener?);
            }
            Listen::Localhost(port) => {
                let listener = listen_at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))?;
                let port = listener.local_addr()?.port();
                listeners.push(listener);
                // Both loopbacks where there are two.
                listeners.extend(listen_at(SocketAddr::new(IpAddr::from(Ipv6Addr::LOCALHOST), port)).ok());
            }
        }
    }
    Ok(listeners)
}

fn listen_at(address: SocketAddr) -> Result<TcpListener, StartError> {
    conn::listen(address).map_err(|error| StartError::Bind(address, error))
}
