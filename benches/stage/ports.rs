//! Ports that stay free until they are used.
//!
//! A port that the system picks comes from the range of outgoing connections, and while a bench runs there are
//! thousands of these: before a proxy listens there, one of them may have it. So ports are taken from below that range.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

static NEXT: AtomicU16 = AtomicU16::new(20_000);
const END: u16 = 32_000;

/// An address of the loopback interface where nobody listens.
///
/// # Errors
/// There is none left.
pub fn free() -> Result<SocketAddr> {
    let ports = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    let mut addresses =
        ports.take_while(|port| *port < END).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    addresses
        .find(|address| TcpListener::bind(address).is_ok())
        .with_context(|| format!("no port below {END} is free"))
}
