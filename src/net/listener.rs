//! Listeners: TCP ports, and Unix sockets.
//!
//! The problem: the two come and go differently. A port is free again when its listener is gone. A Unix socket leaves a file
//! behind that nothing listens on, and that keeps its path from being used again; and as long as it is there, its mode
//! decides which users are let in, so no client may be accepted before the mode is set.
//!
//! Not here: which addresses are wanted (`server::listeners`), and accepting in the right order (`server::acceptor`).

use crate::config::{Address, Config, Peer};
use crate::net::conn::{Conn, set_timeouts};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with, sockopt,
};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

/// Connections that the kernel completes between two calls of accept(2). std asks for 128, which a burst of clients
/// overruns: each connection too many waits a second for its SYN to be sent again.
pub const BACKLOG: u16 = 4096;

/// A socket that accepts clients. accept(2) itself does not wait: the acceptor waits for all its listeners at once.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
    /// Another process has opened it and keeps it: it outlives ronde, and its connections have none of ronde's options.
    PassedTcp(TcpListener),
    /// The same; the file is that process's, too.
    PassedUnix(UnixListener, Arc<Path>),
}

/// The file of a Unix socket.
#[derive(Debug)]
pub struct SocketFile {
    path: Arc<Path>,
    identity: Identity,
}

/// Device and inode, which tell a file from another that has taken its path.
type Identity = (u64, u64);

/// What accept(2) says of a client that was gone before it was accepted, or whose network was: the next may be there.
pub fn is_of_the_client(error: &io::Error) -> bool {
    let of_the_client = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::PROTO,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
    ];
    Errno::from_io_error(error).is_some_and(|errno| of_the_client.contains(&errno))
}

impl Listener {
    /// Accepts a connection, if one is there.
    ///
    /// # Errors
    /// What accept(2) says; [`io::ErrorKind::WouldBlock`] when none is there.
    pub fn accept(&self) -> io::Result<(Conn, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Conn::accepted(stream), address.ip().into()))
            }
            Self::PassedTcp(listener) => {
                let (stream, address) = listener.accept()?;
                // The listener could be given these, but what waits in its queue already has not inherited them.
                let _ = stream.set_nodelay(true);
                set_timeouts(&stream)?;
                Ok((Conn::accepted(stream), address.ip().into()))
            }
            Self::Unix(listener, _) | Self::PassedUnix(listener, _) => {
                let (stream, _) = listener.accept()?;
                Ok((Conn::accepted_locally(stream)?, Peer::Unix))
            }
        }
    }

    /// Where it listens; `None` if the system does not say.
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp(listener) | Self::PassedTcp(listener) => listener.local_addr().ok().map(Address::Tcp),
            Self::Unix(_, SocketFile { path, .. }) | Self::PassedUnix(_, path) => {
                Some(Address::Unix(Arc::clone(path)))
            }
        }
    }

    /// Whether it stays open when ronde ends.
    pub fn is_passed(&self) -> bool {
        matches!(self, Self::PassedTcp(_) | Self::PassedUnix(..))
    }

    /// Whether the clients of this address are its clients, so that no other socket can be had for them.
    pub fn includes(&self, address: &Address) -> bool {
        match (self.address(), address) {
            (Some(Address::Tcp(own)), Address::Tcp(address)) => {
                let is_dual = || own.is_ipv6() && !sockopt::ipv6_v6only(self).unwrap_or(true);
                let is_family = own.is_ipv4() == address.is_ipv4() || is_dual();
                own.port() == address.port()
                    && (own.ip() == address.ip() || own.ip().is_unspecified() && is_family)
            }
            (own, address) => own.as_ref() == Some(address),
        }
    }

    /// Whether a connect to this address would reach this listener, directly.
    pub fn is_reached_by(&self, address: &Address) -> bool {
        match (self, address) {
            (Self::Unix(_, file), Address::Unix(path)) => identity(path).is_ok_and(|it| it == file.identity),
            (Self::PassedUnix(_, own), Address::Unix(path)) => {
                own == path || identity(path).is_ok_and(|it| identity(own).is_ok_and(|own| own == it))
            }
            (Self::Tcp(listener) | Self::PassedTcp(listener), Address::Tcp(address)) => {
                listener.local_addr().is_ok_and(|own| reaches(own, *address))
            }
            (Self::Tcp(_) | Self::PassedTcp(_), Address::Unix(_)) => false,
            (Self::Unix(..) | Self::PassedUnix(..), Address::Tcp(_)) => false,
        }
    }

    /// Changes the permissions of a Unix socket's file, if they are others.
    pub fn set_mode(&self, mode: u32) {
        let Self::Unix(_, SocketFile { path, .. }) = self else { return };
        let is_other = fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o7777 != mode);
        if is_other && let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode)) {
            log::warn!("{} keeps its permissions: {error}", path.display());
        }
    }

    /// Removes the file of a Unix socket, unless it is another's by now. What is in the backlog already is accepted all the
    /// same.
    pub fn withdraw(&self) {
        if let Self::Unix(_, SocketFile { path, identity: own }) = self
            && identity(path).is_ok_and(|found| found == *own)
            && let Err(error) = fs::remove_file(path)
        {
            log::warn!("{} stays behind: {error}", path.display());
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) | Self::PassedTcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) | Self::PassedUnix(listener, _) => listener.as_fd(),
        }
    }
}

/// Which clients a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Those of its address's own family.
    Own,
    /// IPv4 clients as well: `[::]` only.
    Both,
}

/// Whether an address may be claimed before the machine has it (IP_FREEBIND, `--freebind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Existing,
    Early,
}

impl Claim {
    pub fn of(config: &Config) -> Self {
        if config.freebind { Self::Early } else { Self::Existing }
    }
}

/// A listener whose connections need no options of their own: on Linux an accepted TCP socket is a copy of its listener,
/// TCP_NODELAY and timeouts included, so three calls per connection are three calls per listener.
///
/// # Errors
/// The address is in use, not ours, or not permitted.
pub fn listen(at: SocketAddr, family: Family, claim: Claim) -> io::Result<TcpListener> {
    let socket = new_socket(family_of(at))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if at.is_ipv6() {
        // Said in both cases, whatever /proc/sys/net/ipv6/bindv6only says.
        sockopt::set_ipv6_v6only(&socket, family == Family::Own)?;
    }
    if claim == Claim::Early {
        // ip(7); it holds for both families.
        sockopt::set_ip_freebind(&socket, true)?;
    }
    bind(&socket, &at)?;
    let _ = sockopt::set_tcp_nodelay(&socket, true);
    set_timeouts(&socket)?;
    rustix::net::listen(&socket, BACKLOG.into())?;
    Ok(TcpListener::from(socket))
}

/// Whether there is this address to listen on, for whatever port: the port itself may be in use by the ronde that serves.
///
/// # Errors
/// The address is not ours.
pub fn try_address(at: SocketAddr, claim: Claim) -> io::Result<()> {
    let (socket, mut at) = (new_socket(family_of(at))?, at);
    if claim == Claim::Early {
        sockopt::set_ip_freebind(&socket, true)?;
    }
    at.set_port(0);
    Ok(bind(&socket, &at)?)
}

/// A Unix socket with a file of this mode. A file on which nothing listens any more is replaced.
///
/// Between bind(2) and listen(2) a connect is refused, so no client gets in by the mode that the umask has left.
///
/// # Errors
/// `EADDRINUSE`: another program listens there. `EEXIST`: there is a file that is no socket. Otherwise what the system says
/// about the path.
pub fn listen_locally(path: &Arc<Path>, mode: u32) -> io::Result<Listener> {
    let socket = new_socket(AddressFamily::UNIX)?;
    let address = SocketAddrUnix::new(&**path)?;
    match bind(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_stale(path)?;
            bind(&socket, &address)?;
        }
        bound => bound?,
    }
    let file = SocketFile { path: Arc::clone(path), identity: identity(path)? };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, BACKLOG.into())?;
    Ok(Listener::Unix(UnixListener::from(socket), file))
}

/// Whether this path could be a socket's: what a socket is there already may be that of the ronde that serves.
///
/// # Errors
/// `ENOENT`: its directory is missing. `EEXIST`: there is a file that is no socket. Otherwise what the system says about the
/// path.
pub fn try_path(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(()),
        Ok(_) => Err(Errno::EXIST.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), |directory| fs::metadata(directory).map(drop))
        }
        Err(error) => Err(error),
    }
}

/// Removes a socket's file, if a connect proves that nothing listens on it.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(Errno::EXIST.into());
    }
    // Without waiting: a live one may have a full backlog.
    match connect(&new_socket(AddressFamily::UNIX)?, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => {
            log::info!("{} was left behind by a program that has ended, and is replaced", path.display());
            fs::remove_file(path)
        }
        // Whatever else it says, something may be there.
        _ => Err(Errno::ADDRINUSE.into()),
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

fn family_of(at: SocketAddr) -> AddressFamily {
    if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn new_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// Whether a connect to this address would reach a listener on `own`, directly.
pub fn reaches(own: SocketAddr, address: SocketAddr) -> bool {
    let every = own.ip().is_unspecified() && (own.is_ipv6() || address.is_ipv4());
    let is_here = address.ip().is_loopback() || address.ip().is_unspecified();
    own.port() == address.port() && (own.ip() == address.ip() || every && is_here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// A path of its own for each test.
    fn path(name: &str) -> Arc<Path> {
        std::env::temp_dir().join(format!("ronde-{name}-{}.sock", std::process::id())).into()
    }

    #[test]
    fn the_file_has_its_mode_and_is_removed_once() {
        let path = path("mode");
        let listener = listen_locally(&path, 0o640).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o640);
        listener.set_mode(0o604);
        assert_eq!(mode(), 0o604);
        assert!(listener.is_reached_by(&Address::Unix(Arc::clone(&path))));
        listener.withdraw();
        assert!(!path.exists() && UnixStream::connect(&path).is_err());
        let successor = listen_locally(&path, 0o600).unwrap();
        listener.withdraw();
        assert!(path.exists(), "it is the successor's");
        successor.withdraw();
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let path = path("stale");
        let live = listen_locally(&path, 0o600).unwrap();
        assert_eq!(listen_locally(&path, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok());
        drop(live);
        assert!(path.exists());
        listen_locally(&path, 0o600).unwrap().withdraw();
        fs::write(&path, "precious").unwrap();
        assert_eq!(listen_locally(&path, 0o600).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_listener_knows_the_addresses_that_lead_to_it() {
        for (at, reached_by, not) in [
            ("127.0.0.1", &["127.0.0.1"][..], &["127.0.0.2", "::1", "0.0.0.0"][..]),
            ("0.0.0.0", &["127.0.0.1", "127.0.0.2", "0.0.0.0"], &["::1", "192.0.2.1"]),
            ("::", &["127.0.0.1", "::1", "::", "0.0.0.0"], &["2001:db8::1"]),
        ] {
            let at = SocketAddr::new(at.parse().unwrap(), 0);
            let listener = Listener::Tcp(listen(at, Family::Both, Claim::Existing).unwrap());
            let Some(Address::Tcp(own)) = listener.address() else { panic!("{at}") };
            let is_reached = |ip: &str, port| {
                listener.is_reached_by(&Address::Tcp(SocketAddr::new(ip.parse().unwrap(), port)))
            };
            assert!(reached_by.iter().all(|ip| is_reached(ip, own.port())), "{at}");
            assert!(!not.iter().any(|ip| is_reached(ip, own.port())), "{at}");
            assert!(!reached_by.iter().any(|ip| is_reached(ip, 1)), "{at}");
        }
    }

    #[test]
    fn a_listener_takes_the_clients_of_some_addresses_from_others() {
        for (at, family, included, not) in [
            ("127.0.0.1", Family::Own, &["127.0.0.1"][..], &["127.0.0.2", "0.0.0.0", "::", "::1"][..]),
            ("0.0.0.0", Family::Own, &["127.0.0.1", "0.0.0.0"], &["::", "::1"]),
            ("::", Family::Own, &["::1", "::"], &["127.0.0.1", "0.0.0.0"]),
            ("::", Family::Both, &["::1", "::", "127.0.0.1", "0.0.0.0"], &[]),
        ] {
            let at = SocketAddr::new(at.parse().unwrap(), 0);
            let listener = Listener::Tcp(listen(at, family, Claim::Existing).unwrap());
            let Some(Address::Tcp(own)) = listener.address() else { panic!("{at}") };
            let includes =
                |ip: &str, port| listener.includes(&Address::Tcp(SocketAddr::new(ip.parse().unwrap(), port)));
            assert!(included.iter().all(|ip| includes(ip, own.port())), "{at} {family:?}");
            assert!(!not.iter().any(|ip| includes(ip, own.port())), "{at} {family:?}");
            assert!(!included.iter().any(|ip| includes(ip, 1)), "{at} {family:?}");
        }
    }

    #[test]
    fn a_passed_socket_is_known_by_another_path_to_it() {
        let (own, alias) = (path("passed"), path("alias"));
        let listener = Listener::PassedUnix(UnixListener::bind(&own).unwrap(), Arc::clone(&own));
        std::os::unix::fs::symlink(&own, &alias).unwrap();
        let is_reached = |path: &Arc<Path>| listener.is_reached_by(&Address::Unix(Arc::clone(path)));
        assert!(is_reached(&own) && is_reached(&alias) && !is_reached(&path("other")));
        fs::remove_file(&*alias).unwrap();
        fs::remove_file(&*own).unwrap();
        assert!(is_reached(&own) && !is_reached(&alias));
    }

    #[test]
    fn a_full_backlog_is_to_be_tried_again() {
        use crate::net::conn::{Block, Window};
        let path = path("backlog");
        let socket = new_socket(AddressFamily::UNIX).unwrap();
        bind(&socket, &SocketAddrUnix::new(&*path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let to = Address::Unix(Arc::clone(&path));
        let connect = || Conn::connect(&to, Window::Wide, Block::Never);
        let first = connect().unwrap();
        assert_eq!(connect().unwrap_err().kind(), ErrorKind::WouldBlock);
        let listener = UnixListener::from(socket);
        let _accepted = listener.accept().unwrap();
        let second = connect().unwrap();
        drop((first, second));
        fs::remove_file(&path).unwrap();
    }
}
