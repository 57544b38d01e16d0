//! Whether a program of this host listens on a loopback address, without connecting to it.
//!
//! The problem: a connect is an answer as well, but the program at the other end sees it: it accepts a connection that is
//! of no use to it, and one that serves a single connection has served it. The kernel has a list of all listeners
//! (proc_pid_net(5)), and asking it disturbs nothing.
//!
//! Not here: other hosts, and this host's other addresses, which may be translated on their way.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state TCP_LISTEN in the kernel's list.
const LISTEN: &str = "0A";

/// The listeners of this network namespace.
pub struct Listening(Vec<SocketAddr>);

impl Listening {
    /// `None` where the kernel does not say.
    pub fn now() -> Option<Self> {
        let v4 = fs::read_to_string("/proc/self/net/tcp").ok()?;
        // Absent where there is no IPv6.
        let v6 = fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default();
        Some(Self(v4.lines().chain(v6.lines()).filter_map(listener).collect()))
    }

    /// Whether a connect to this loopback address would be refused; `false` for any other address.
    pub fn would_refuse(&self, address: SocketAddr) -> bool {
        let serves = |listener: &SocketAddr| {
            let is_every = listener.ip().is_unspecified() && (listener.is_ipv6() || address.is_ipv4());
            listener.port() == address.port() && (is_every || listener.ip().to_canonical() == address.ip())
        };
        address.ip().is_loopback() && !self.0.iter().any(serves)
    }
}

/// The address of a line, if it is one of a listener: `0: 0100007F:1F90 00000000:0000 0A ...`.
fn listener(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    let (local, state) = (words.nth(1)?, words.nth(1)?);
    let (address, port) = local.split_once(':').filter(|_| state == LISTEN)?;
    Some(SocketAddr::new(ip(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// One or four words of 32 bits, each as a number in the byte order of this machine.
fn ip(digits: &str) -> Option<IpAddr> {
    let word =
        |start: usize| Some(u32::from_str_radix(digits.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    match digits.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_found_until_it_is_gone() {
        for (at, by) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("127.0.0.2:0", "127.0.0.2"),
            ("0.0.0.0:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
        ] {
            let listener = TcpListener::bind(at).unwrap();
            let address = SocketAddr::new(by.parse().unwrap(), listener.local_addr().unwrap().port());
            assert!(!Listening::now().unwrap().would_refuse(address), "{at} {by}");
            assert!(Listening::now().unwrap().would_refuse(SocketAddr::new(address.ip(), 1)), "port 1");
            drop(listener);
        }
        assert!(!Listening::now().unwrap().would_refuse("192.0.2.1:1".parse().unwrap()));
    }

    #[test]
    fn lines_of_the_kernel() {
        for (line, listener_of) in [
            ("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt", None),
            ("   0: 00000000:1F90 00000000:0000 0A 00000000:00000000", Some("0.0.0.0:8080")),
            ("   1: 00000000:1F90 00000000:0000 01 00000000:00000000", None),
            ("   2: 00000000000000000000000000000000:0050 0:0 0A", Some("[::]:80")),
            ("   3: 000000:0050 0:0 0A", None),
            ("   4: ä0000000:0050 0:0 0A", None),
            ("", None),
        ] {
            assert_eq!(listener(line), listener_of.map(|address| address.parse().unwrap()), "{line}");
        }
    }
}
