//! The addresses that ronde serves, and why a server cannot start.
//!
//! The problem: an address can be taken, foreign or a trap. `:8080` is one socket for both families where there is IPv6
//! and another where there is none, `localhost` is two, one address may include another, and a backend that is one of
//! these addresses would have every request go round for ever.
//!
//! Not here: accepting (`acceptor`), socket options (`net`).

use crate::config::{Config, Listen};
use crate::net::conn::{self, Claim, Family};
use rustix::io::Errno;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// The default of net.ipv4.ip_unprivileged_port_start.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

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
            Self::Bind(address, error) => match error.kind() {
                ErrorKind::AddrInUse => {
                    write!(f, "{address} is in use by another program; choose another address with --listen")
                }
                ErrorKind::AddrNotAvailable => write!(
                    f,
                    "{address} is no address of this machine; choose another with --listen, or give --freebind if it \
                     will be one later"
                ),
                ErrorKind::PermissionDenied if address.port() < FIRST_UNPRIVILEGED_PORT => write!(
                    f,
                    "cannot listen on {address}: ports below {FIRST_UNPRIVILEGED_PORT} need a privilege: `sudo setcap \
                     cap_net_bind_service=+ep PATH/ronde`, or AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit; or \
                     choose another port with --listen"
                ),
                _ => write!(f, "cannot listen on {address}: {error}; choose another address with --listen"),
            },
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

/// Opens a socket for each address that clients can reach only by it.
pub(super) fn listen_all(config: &Config) -> Result<Vec<TcpListener>, StartError> {
    let wanted = &config.listen;
    let claim = if config.freebind { Claim::Early } else { Claim::Existing };
    let listen_at = |address, family| {
        conn::listen(address, family, claim).map_err(|error| StartError::Bind(address, error))
    };
    let is_included = |listen: Listen| wanted.iter().any(|other| other.includes(listen));
    let mut listeners = Vec::new();
    for listen in wanted.iter().copied().filter(|listen| !is_included(*listen)) {
        match listen {
            Listen::At(address) => listeners.push(listen_at(address, family_of(address, wanted))?),
            Listen::Every(port) => {
                // One dual-stack socket where there is IPv6.
                let every = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
                let listener = match listen_at(every, Family::Both) {
                    Err(StartError::Bind(_, error)) if is_lack_of_ipv6(&error) => {
                        listen_at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), Family::Own)
                    }
                    outcome => outcome,
                };
                listeners.push(listener?);
            }
            Listen::Localhost(mut port) => {
                for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
                    let address = SocketAddr::new(ip, port);
                    if wanted.iter().any(|other| *other != listen && other.includes(Listen::At(address))) {
                        continue;
                    }
                    match listen_at(address, Family::Own) {
                        Err(StartError::Bind(_, error)) if ip.is_ipv6() && is_lack_of_ipv6(&error) => {}
                        outcome => {
                            let listener = outcome?;
                            port = listener.local_addr()?.port();
                            listeners.push(listener);
                        }
                    }
                }
            }
        }
    }
    Ok(listeners)
}

/// `[::]` is for both families, unless IPv4 has its own socket on that port.
fn family_of(address: SocketAddr, wanted: &[Listen]) -> Family {
    let every_v4 = Listen::At(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()));
    match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() && !wanted.contains(&every_v4) => Family::Both,
        _ => Family::Own,
    }
}

/// The kernel has no IPv6 at all, or has it switched off.
fn is_lack_of_ipv6(error: &io::Error) -> bool {
    let causes = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|errno| causes.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_refused_says_what_to_do() {
        for (address, errno, advice) in [
            (
                "10.0.0.1:80",
                Errno::ADDRINUSE,
                "10.0.0.1:80 is in use by another program; choose another address with --listen",
            ),
            (
                "[2001:db8::1]:80",
                Errno::ADDRNOTAVAIL,
                "[2001:db8::1]:80 is no address of this machine; choose another with --listen, or give --freebind if it \
                 will be one later",
            ),
            (
                "0.0.0.0:80",
                Errno::ACCESS,
                "cannot listen on 0.0.0.0:80: ports below 1024 need a privilege: `sudo setcap cap_net_bind_service=+ep \
                 PATH/ronde`, or AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit; or choose another port with --listen",
            ),
            (
                "0.0.0.0:8080",
                Errno::ACCESS,
                "cannot listen on 0.0.0.0:8080: Permission denied (os error 13); choose another address with --listen",
            ),
        ] {
            let error = StartError::Bind(address.parse().unwrap(), errno.into());
            assert_eq!(error.to_string(), advice);
        }
    }
}
