//! Client sockets before they are connected: where they come from, and the path they seem to come over.

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::ffi::{c_int, c_void};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Ethernet's 1500, less the heads and what tunnels take.
const SEGMENT: c_int = 1400;
/// Receive buffer of a client that is slow, and of one that has become fast. The kernel doubles them.
const SMALL: usize = 4 << 10;
const LARGE: usize = 64 << 10;
/// As many as the system has for outgoing connections, times eight.
const SOURCES: usize = 8;

/// A socket that can be told to connect. The number of the client picks its address, so that the ports of none run out.
///
/// # Errors
/// The system refuses.
pub fn socket(client: usize, flags: SocketFlags) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)?;
    let last = 2 + u8::try_from(client % SOURCES).unwrap_or_default();
    bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
    Ok(socket)
}

/// Makes a client slow to take: a small receive buffer, and the segments of a real path.
///
/// # Errors
/// The system refuses.
pub fn narrow(socket: &OwnedFd) -> io::Result<()> {
    sockopt::set_socket_recv_buffer_size(socket, SMALL)?;
    shorten(socket)
}

/// Gives the path segments as the Internet has them. With the loopback's 64 KB the proxy's send buffer grows to 4 MB: it
/// would take a slow reader's response whole, and at 20 KB/s the proxy could not write again for a minute, which is
/// where nginx and HAProxy give a client up.
///
/// # Errors
/// The system refuses.
#[allow(unsafe_code, reason = "rustix does not have this option")]
pub fn shorten(socket: &OwnedFd) -> io::Result<()> {
    let value: *const c_int = &SEGMENT;
    // SAFETY: the descriptor is open, and the pointer is to as many bytes as the length says.
    match unsafe { setsockopt(socket.as_raw_fd(), IPPROTO_TCP, TCP_MAXSEG, value.cast(), 4) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives a socket that was [`narrow`] room for a fast transfer; its segments stay small.
///
/// # Errors
/// The system refuses.
pub fn widen(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_recv_buffer_size(socket, LARGE)?)
}

const IPPROTO_TCP: c_int = 6;
const TCP_MAXSEG: c_int = 2;

#[allow(unsafe_code, reason = "rustix does not have this option")]
unsafe extern "C" {
    fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
}
