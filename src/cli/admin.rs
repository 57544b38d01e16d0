//! The commands that speak with the running ronde: `ronde status`, `drain`, `undrain`, `reload`.

use std::net::{Ipv4Addr, SocketAddr};

/// The admin listener of the demo, and the one that is tried where none is configured.
pub fn default_address() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9180)
}
