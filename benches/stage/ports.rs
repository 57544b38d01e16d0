//! Ports that stay free until a server listens on them.
//!
//! A port picked by the system comes from the range of outgoing connections. A bench has thousands of these, and one of
//! them could take the port before the server listens. So ports are taken from below that range.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

static NEXT: AtomicU16 = AtomicU16::new(20_000);
const END: u16 = 32_000;

/// A loopback address with a free port, different on each call.
///
/// # Errors
/// No port from 20000 to 31999 is left.
pub fn free() -> Result<SocketAddr> {
    let ports = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    let mut addresses =
        ports.take_while(|port| *port < END).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    addresses
        .find(|address| TcpListener::bind(address).is_ok())
        .with_context(|| format!("no port below {END} is free"))
}
