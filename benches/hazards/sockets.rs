//! Client sockets before they are connected: where they come from, and the path they seem to come over.

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::ffi::{c_int, c_void};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Ethernet's 1500, less the heads and what tunnels take.
const SEGMENT: c_int = 1400;
/// Receive buffers: of a client of 1 KB/s, and of one that has become fast. The kernel doubles them.
const SMALL: usize = 16 << 10;
const LARGE: usize = 64 << 10;
/// The most a client says it can take, with a small buffer, the system's and a large one, as far as the kernel heeds it. Without it the kernel promises
/// what short segments do not leave room for; then it drops some, and the proxy's socket waits before it sends them again.
const SMALL_WINDOW: c_int = 8 << 10;
const SYSTEM_WINDOW: c_int = 40 << 10;
const LARGE_WINDOW: c_int = 60 << 10;
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
    set(socket, TCP_WINDOW_CLAMP, SMALL_WINDOW)?;
    set(socket, TCP_MAXSEG, SEGMENT)
}

/// Leaves the buffer as the system has it, and gives the path segments as the Internet has them. With the loopback's
/// 64 KB the proxy's send buffer grows to 4 MB: it would take a slow reader's response whole, and at 20 KB/s the proxy
/// could not write again for a minute, which is where nginx and HAProxy give a client up.
///
/// # Errors
/// The system refuses.
pub fn shorten(socket: &OwnedFd) -> io::Result<()> {
    set(socket, TCP_WINDOW_CLAMP, SYSTEM_WINDOW)?;
    set(socket, TCP_MAXSEG, SEGMENT)
}

/// Gives a socket that was [`narrow`] or [`shorten`]ed room for a fast transfer; its segments stay short.
///
/// # Errors
/// The system refuses.
pub fn widen(socket: &impl AsFd) -> io::Result<()> {
    sockopt::set_socket_recv_buffer_size(socket, LARGE)?;
    set(socket, TCP_WINDOW_CLAMP, LARGE_WINDOW)
}

#[allow(unsafe_code, reason = "rustix does not have these options")]
fn set(socket: &impl AsFd, name: c_int, value: c_int) -> io::Result<()> {
    let value: *const c_int = &value;
    // SAFETY: the descriptor is open, and the pointer is to as many bytes as the length says.
    match unsafe { setsockopt(socket.as_fd().as_raw_fd(), IPPROTO_TCP, name, value.cast(), 4) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

const IPPROTO_TCP: c_int = 6;
const TCP_MAXSEG: c_int = 2;
const TCP_WINDOW_CLAMP: c_int = 10;

#[allow(unsafe_code, reason = "rustix does not have these options")]
unsafe extern "C" {
    fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
}
