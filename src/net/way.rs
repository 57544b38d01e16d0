//! Whether this host has a way to an address.
//!
//! The problem: connect(2) says EADDRNOTAVAIL for two things. Every local port to that address is in use: that is this host's want,
//! and passes. Or the host has no address from which it could be reached, as with `::1` where IPv6 is off: then nobody is there.
//!
//! Not here: what each of the two is called (`backend::unreachable`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// A UDP connect looks for the same way as a TCP connect. It has ports of its own, and sends nothing.
pub fn exists_to(address: SocketAddr) -> bool {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // If not even this socket can be had, the host is short of more than ports.
    UdpSocket::bind((any, 0)).map_or(true, |socket| socket.connect(address).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_way_to_this_host_and_none_to_a_link_without_a_name() {
        assert!(exists_to(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert!(!exists_to(SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 1))));
    }
}
