//! The addresses that ronde serves, and why a server cannot start.
//!
//! The problem: an address can be taken, foreign or a trap. `:8080` is one socket for both families where there is IPv6
//! and another where there is none, `localhost` is two, one address may include another, and a backend that is one of
//! these addresses would have every request go round for ever. A Unix socket's path can be taken by a file.
//!
//! Not here: accepting (`acceptor`), socket options (`net`).

use crate::config::{Address, Config, Listen};
use crate::http1::forward::Scheme;
use crate::net::listener::{self, Claim, Family, Listener};
use crate::net::passed::Passed;
use crate::net::tls::LoadError;
use crate::proxy::conversation::Opening;
use crate::server::activation::{self, Misnamed};
use rustix::io::Errno;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The default of net.ipv4.ip_unprivileged_port_start.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// A listener, and what its connections begin with.
#[derive(Debug)]
pub struct Entrance {
    pub listener: Listener,
    pub opening: Opening,
    pub scheme: Scheme,
}

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    Bind(Address, io::Error),
    /// Why there are no certificates to show.
    Certificates(LoadError),
    /// A backend that is one of the listeners.
    Myself(Address),
    /// A socket that was passed to ronde, and cannot be served.
    Passed(Option<Address>, Misnamed),
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
                ErrorKind::AlreadyExists => {
                    write!(
                        f,
                        "{address}: there is a file that is no socket; remove it, or choose another path"
                    )
                }
                ErrorKind::PermissionDenied if is_privileged(address) => write!(
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
            Self::Passed(Some(address), why) => {
                write!(f, "the socket {address} was passed to ronde, and cannot be served: {why}")
            }
            Self::Passed(None, why) => {
                write!(f, "a socket was passed to ronde, and cannot be served: {why}")
            }
            Self::Certificates(error) => write!(f, "{error}"),
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

fn is_privileged(address: &Address) -> bool {
    matches!(address, Address::Tcp(address) if address.port() < FIRST_UNPRIVILEGED_PORT)
}

/// A backend that leads straight back here. What leads back by a name or by another machine is seen at the first
/// request instead: 508, by `Via`.
pub(super) fn refuse_myself(config: &Config, entrances: &[Entrance]) -> Result<(), StartError> {
    let addresses = config.backend.iter().filter_map(|backend| backend.endpoint.address());
    let is_own = |address: &Address| entrances.iter().any(|it| it.listener.is_reached_by(address));
    addresses.into_iter().find(is_own).map_or(Ok(()), |address| Err(StartError::Myself(address)))
}

/// Opens a socket for each address that clients can reach only by it, beside those that were passed to ronde.
///
/// # Errors
/// The first that cannot be had. Then no file of a Unix socket stays behind.
pub(super) fn listen_all(config: &Config, passed: Vec<Passed>) -> Result<Vec<Entrance>, StartError> {
    let passed = activation::entrances(passed, config)
        .map_err(|(address, misnamed)| StartError::Passed(address, misnamed))?;
    let all = [(&config.listen, Scheme::Http), (&config.tls_listen, Scheme::Https)];
    let all: Vec<_> = all
        .into_iter()
        .flat_map(|(wanted, scheme)| {
            let open = activation::not_passed(wanted, scheme, &passed);
            open.into_iter().map(move |listen| (listen, wanted, scheme))
        })
        .collect();
    let mut entrances = passed;
    for (listen, wanted, scheme) in all {
        if wanted.iter().any(|other| other.includes(listen)) {
            continue;
        }
        match open(listen, config) {
            Ok(listeners) => {
                let opening = match config.proxy_protocol.contains(listen) {
                    true => Opening::ProxyHeader,
                    false => Opening::Client,
                };
                let entrance = |listener| Entrance { listener, opening, scheme };
                entrances.extend(listeners.into_iter().map(entrance));
            }
            Err(error) => {
                withdraw_all(&entrances);
                return Err(error);
            }
        }
    }
    Ok(entrances)
}

/// Removes what a server that does not start would leave behind.
pub(super) fn withdraw_all(entrances: &[Entrance]) {
    entrances.iter().for_each(|entrance| entrance.listener.withdraw());
}

/// The sockets of one `--listen`.
fn open(listen: &Listen, config: &Config) -> Result<Vec<Listener>, StartError> {
    let wanted: Vec<_> = config.listen.iter().chain(&config.tls_listen).collect();
    let claim = if config.freebind { Claim::Early } else { Claim::Existing };
    let listen_at = |address: SocketAddr, family| {
        let listener = listener::listen(address, family, claim);
        listener.map(Listener::Tcp).map_err(|error| StartError::Bind(address.into(), error))
    };
    match listen {
        Listen::Unix(path) => {
            let listener = listener::listen_locally(path, config.listen_mode);
            Ok(vec![listener.map_err(|error| StartError::Bind(Address::Unix(path.clone()), error))?])
        }
        Listen::At(address) => Ok(vec![listen_at(*address, family_of(*address, &wanted))?]),
        Listen::Every(port) => {
            // One dual-stack socket where there is IPv6.
            let every = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port);
            let listener = match listen_at(every, Family::Both) {
                Err(StartError::Bind(_, error)) if is_lack_of_ipv6(&error) => {
                    listen_at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port), Family::Own)
                }
                outcome => outcome,
            };
            Ok(vec![listener?])
        }
        Listen::Localhost(port) => {
            let (mut listeners, mut port) = (Vec::new(), *port);
            for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
                let address = SocketAddr::new(ip, port);
                if wanted.iter().any(|other| *other != listen && other.includes(&Listen::At(address))) {
                    continue;
                }
                match listen_at(address, Family::Own) {
                    Err(StartError::Bind(_, error)) if ip.is_ipv6() && is_lack_of_ipv6(&error) => {}
                    outcome => {
                        let listener = outcome?;
                        if let Some(Address::Tcp(bound)) = listener.address() {
                            port = bound.port();
                        }
                        listeners.push(listener);
                    }
                }
            }
            Ok(listeners)
        }
    }
}

/// `[::]` is for both families, unless IPv4 has its own socket on that port.
fn family_of(address: SocketAddr, wanted: &[&Listen]) -> Family {
    let every_v4 = Listen::At(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()));
    match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() && !wanted.contains(&&every_v4) => Family::Both,
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
            let error = StartError::Bind(Address::Tcp(address.parse().unwrap()), errno.into());
            assert_eq!(error.to_string(), advice);
        }
    }
}
