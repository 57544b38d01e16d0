//! The addresses that ronde serves, and why a server cannot start.
//!
//! The problem: an address can be taken, foreign or a trap. `:8080` is one socket for both families where there is IPv6
//! and another where there is none, `localhost` is two, one address may include another, and a backend that is one of
//! these addresses would have every request go round for ever. A Unix socket's path can be taken by a file.
//!
//! Not here: accepting (`acceptor`), socket options (`net`).

use crate::config::{Address, Config, Listen, row};
use crate::http1::forward::Scheme;
use crate::net::listener::{self, Claim, Family, Listener};
use crate::net::tls::LoadError;
use crate::observe::logger;
use crate::proxy::client::Closing;
use crate::proxy::conversation::Opening;
use crate::server::activation::{self, Misnamed};
use rustix::io::Errno;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The default of net.ipv4.ip_unprivileged_port_start.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// A listener, and what its connections begin with.
#[derive(Clone, Debug)]
pub struct Entrance {
    pub listener: Arc<Listener>,
    /// As it is configured.
    pub wanted: Listen,
    pub opening: Opening,
    pub scheme: Scheme,
    /// Whether it is closed, for those that have come by it.
    pub closing: Arc<Closing>,
}

impl Entrance {
    /// Whether its listener is that of one of these.
    pub fn is_among(&self, others: &[Self]) -> bool {
        others.iter().any(|other| Arc::ptr_eq(&other.listener, &self.listener))
    }
}

/// Where clients reach ronde, and by which scheme: for an admin. A reload changes it.
#[derive(Clone, Debug, Default)]
pub struct Reached(Arc<Mutex<Vec<(Address, Scheme)>>>);

impl Reached {
    pub fn set(&self, entrances: &[Entrance]) {
        let shown = |entrance: &Entrance| Some((entrance.listener.address()?, entrance.scheme));
        *self.lock() = entrances.iter().filter_map(shown).collect();
    }

    pub fn all(&self) -> Vec<(Address, Scheme)> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Address, Scheme)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct Refused {
    pub address: Address,
    pub error: io::Error,
}

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address that this setting gives cannot be had.
    Bind(&'static str, Refused),
    /// After a reload: an address that is in use by a listener that is not to be there any more.
    BehindAnother(Address, Address),
    /// Why there are no certificates to show.
    Certificates(LoadError),
    /// A backend that is one of the listeners.
    Myself(Address),
    /// A file of the logs cannot be opened.
    Log(logger::StartError),
    /// A socket that was passed to ronde, and cannot be served.
    Passed(Option<Address>, Misnamed),
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(flag, refused) => refused.write(f, flag),
            Self::BehindAnother(address, own) => write!(
                f,
                "cannot listen on {address}: ronde itself listens on {own}, and there can be no other beside it; that \
                 change takes a restart"
            ),
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
            Self::Log(error) => write!(f, "{error}"),
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

impl Refused {
    /// Why it cannot be listened on, and what to do; `flag` is the setting that gives it.
    fn write(&self, f: &mut fmt::Formatter<'_>, flag: &str) -> fmt::Result {
        let Self { address, error } = self;
        match (error.kind(), address) {
            (ErrorKind::AddrInUse, _) => {
                write!(f, "{address} is in use by another program; choose another address with {flag}")
            }
            (ErrorKind::AddrNotAvailable, _) => write!(
                f,
                "{address} is no address of this machine; choose another with {flag}, or give --freebind if it will be one \
             later"
            ),
            (ErrorKind::AlreadyExists, _) => {
                write!(
                    f,
                    "{address}: there is a file that is no socket; remove it, or choose another path with {flag}"
                )
            }
            (ErrorKind::NotFound, Address::Unix(_)) => {
                write!(
                    f,
                    "{address}: there is no such directory; make it, or choose another path with {flag}"
                )
            }
            (ErrorKind::PermissionDenied, Address::Tcp(tcp)) if tcp.port() < FIRST_UNPRIVILEGED_PORT => {
                write!(
                    f,
                    "cannot listen on {address}: ports below {FIRST_UNPRIVILEGED_PORT} need a privilege: `sudo setcap \
             cap_net_bind_service=+ep PATH/ronde`, or AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit; or choose \
             another port with {flag}"
                )
            }
            _ => write!(f, "cannot listen on {address}: {error}; choose another address with {flag}"),
        }
    }
}

/// A backend that leads straight back here. What leads back by a name or by another machine is seen at the first
/// request instead: 508, by `Via`.
fn refuse_myself(config: &Config, entrances: &[Entrance]) -> Result<(), StartError> {
    let addresses = config.backend.iter().filter_map(|backend| backend.endpoint.address());
    let is_own = |address: &Address| entrances.iter().any(|it| it.listener.is_reached_by(address));
    addresses.into_iter().find(is_own).map_or(Ok(()), |address| Err(StartError::Myself(address)))
}

/// The same for all of a configuration's backends.
pub(super) fn refuse_all_myself(config: &Config, entrances: &[Entrance]) -> Result<(), StartError> {
    let challenges = config.challenges();
    let mut configs = config.with_routes().chain(&challenges);
    configs.try_for_each(|config| refuse_myself(config, entrances))
}

/// Opens a socket for each address that clients can reach only by it. What was open `before` a reload stays so, with what
/// its connections begin with now. Sockets that were passed to ronde are among these, at the start as well.
///
/// # Errors
/// The first that cannot be had. Then no file of a Unix socket stays behind.
pub(super) fn listen_all(config: &Config, before: &[Entrance]) -> Result<Vec<Entrance>, StartError> {
    let passed = activation::passed(before);
    activation::check(&passed, config)?;
    let all = [
        (row::listen.flag, &config.listen, Scheme::Http),
        (row::tls_listen.flag, &config.tls_listen, Scheme::Https),
    ];
    let all: Vec<_> = all
        .into_iter()
        .flat_map(|(flag, wanted, scheme)| {
            let open = activation::not_passed(wanted, scheme, &passed);
            open.into_iter().map(move |listen| (flag, listen, wanted, scheme))
        })
        .collect();
    let mut entrances = passed;
    for (flag, listen, wanted, scheme) in all {
        if wanted.iter().any(|other| other.includes(listen)) {
            continue;
        }
        let opening = match config.proxy_protocol.contains(listen) {
            true => Opening::ProxyHeader,
            false => Opening::Client,
        };
        let entrance = |listener, closing| {
            let wanted = listen.clone();
            Entrance { listener, wanted, opening, scheme, closing }
        };
        let known = known(listen, scheme, config, before);
        if !known.is_empty() {
            let known = known.into_iter().map(|it| (Arc::clone(&it.listener), Arc::clone(&it.closing)));
            entrances.extend(known.map(|(listener, closing)| entrance(listener, closing)));
            continue;
        }
        let wanted: Vec<_> = config.listen.iter().chain(&config.tls_listen).collect();
        match open(listen, &wanted, config.listen_mode, config) {
            Ok(listeners) => {
                let new = |listener| entrance(Arc::new(listener), Arc::default());
                entrances.extend(listeners.into_iter().map(new));
            }
            Err(refused) => {
                withdraw_new(&entrances, before);
                return Err(blame(flag, refused, before));
            }
        }
    }
    Ok(entrances)
}

/// The sockets of `--admin`, beside those that were passed to ronde for it; none if it is off. A Unix socket is its owner's
/// alone.
///
/// # Errors
/// [`StartError::Bind`].
pub(super) fn listen_for_admin(config: &Config, passed: Vec<Listener>) -> Result<Vec<Listener>, StartError> {
    /// What may connect to it may drain every backend.
    const MODE: u32 = 0o600;
    let mut listeners = passed;
    let is_passed = |admin: &&Listen| listeners.iter().any(|passed| activation::is_served_by(admin, passed));
    if let Some(admin) = config.admin.as_ref().filter(|admin| !is_passed(admin)) {
        let opened = open(admin, &[admin], MODE, config);
        listeners.extend(opened.map_err(|refused| StartError::Bind(row::admin.flag, refused))?);
    }
    Ok(listeners)
}

/// The sockets of this `--listen` that were there before. One that was there for the other scheme alone changes it.
fn known<'a>(listen: &Listen, scheme: Scheme, config: &Config, before: &'a [Entrance]) -> Vec<&'a Entrance> {
    let of = |of: Scheme| {
        before.iter().filter(move |entrance| entrance.wanted == *listen && entrance.scheme == of)
    };
    let same: Vec<_> = of(scheme).collect();
    let (other, others) = match scheme {
        Scheme::Http => (Scheme::Https, &config.tls_listen),
        Scheme::Https => (Scheme::Http, &config.listen),
    };
    if same.is_empty() && !others.contains(listen) { of(other).collect() } else { same }
}

/// An address that is in use may be so by a listener that is there until the reload.
fn blame(flag: &'static str, refused: Refused, before: &[Entrance]) -> StartError {
    match overlapping(&refused, before) {
        Some(own) => StartError::BehindAnother(refused.address, own),
        None => StartError::Bind(flag, refused),
    }
}

/// The listener before a reload that has an address which is refused because it is in use.
fn overlapping(refused: &Refused, before: &[Entrance]) -> Option<Address> {
    let Refused { address: Address::Tcp(address), error } = refused else { return None };
    let overlaps = |own: &Address| match own {
        Address::Tcp(own) => {
            let is_same = own.ip() == address.ip();
            own.port() == address.port()
                && (is_same || own.ip().is_unspecified() || address.ip().is_unspecified())
        }
        Address::Unix(_) => false,
    };
    let mut own = before.iter().filter_map(|entrance| entrance.listener.address());
    own.find(|own| error.kind() == ErrorKind::AddrInUse && overlaps(own))
}

/// Removes what a server that does not start, or a reload that fails, would leave behind: the listeners that were not there
/// `before`.
pub(super) fn withdraw_new(entrances: &[Entrance], before: &[Entrance]) {
    let new = entrances.iter().filter(|entrance| !entrance.is_among(before));
    new.for_each(|entrance| entrance.listener.withdraw());
}

/// The sockets of one address among those that are `wanted`; the mode is that of a Unix socket.
fn open(listen: &Listen, wanted: &[&Listen], mode: u32, config: &Config) -> Result<Vec<Listener>, Refused> {
    let claim = Claim::of(config);
    let listen_at = |address: SocketAddr, family| {
        let listener = listener::listen(address, family, claim);
        listener.map(Listener::Tcp).map_err(|error| Refused { address: address.into(), error })
    };
    match listen {
        Listen::Unix(path) => {
            let listener = listener::listen_locally(path, mode);
            Ok(vec![listener.map_err(|error| Refused { address: Address::Unix(path.clone()), error })?])
        }
        Listen::At(address) => Ok(vec![listen_at(*address, family_of(*address, wanted))?]),
        Listen::Every(port) => {
            // One dual-stack socket where there is IPv6.
            let every = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port);
            let listener = match listen_at(every, Family::Both) {
                Err(Refused { error, .. }) if is_lack_of_ipv6(&error) => {
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
                    Err(Refused { error, .. }) if ip.is_ipv6() && is_lack_of_ipv6(&error) => {}
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
    use std::path::Path;

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
            (
                "unix:/run/none/ronde.sock",
                Errno::NOENT,
                "unix:/run/none/ronde.sock: there is no such directory; make it, or choose another path with --listen",
            ),
        ] {
            let address = match address.strip_prefix("unix:") {
                Some(path) => Address::Unix(Path::new(path).into()),
                None => Address::Tcp(address.parse().unwrap()),
            };
            for flag in ["--listen", "--tls-listen", "--admin"] {
                let refused = Refused { address: address.clone(), error: errno.into() };
                let error = StartError::Bind(flag, refused);
                assert_eq!(error.to_string(), advice.replace("--listen", flag));
            }
        }
    }
}
