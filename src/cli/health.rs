//! `ronde health`: asks the running ronde whether it is well.
//!
//! The problem: an image made `FROM scratch` has no shell and no curl, and a health check that went through to a
//! backend would take a turn in the round. So the one program in the image asks for itself: `OPTIONS *` with
//! `Max-Forwards: 0`, which a proxy must answer itself (RFC 9110 §7.6.2).
//!
//! Not here: the answer (`session`).

use crate::config::waits;
use crate::config::{Config, Listen};
use crate::http1::head::{self, Lines, Scan};
use crate::net::buffer::Buffer;
use crate::net::conn::{Arrived, Conn};
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

const QUESTION: &[u8] =
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n";

/// Why ronde is not well.
#[derive(Debug)]
pub enum Unwell {
    Unreachable(SocketAddr, io::Error),
    Silent(SocketAddr),
    Says(SocketAddr, u16, String),
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(address, error) => write!(f, "nobody is well at {address}: {error}"),
            Self::Silent(address) => {
                write!(f, "{address} does not answer within {} s", waits::HEALTH_ANSWER.as_secs())
            }
            Self::Says(address, status, text) => write!(f, "{address} answers {status}: {text}"),
        }
    }
}

impl std::error::Error for Unwell {}

/// Asks the ronde that runs with this configuration, at its first address.
///
/// # Errors
/// See [`Unwell`].
pub fn ask(config: &Config) -> Result<SocketAddr, Unwell> {
    let address = config.listen.first().map_or(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080), reachable);
    let deadline = Instant::now() + waits::HEALTH_ANSWER;
    let unreachable = |error| Unwell::Unreachable(address, error);
    let mut conn = Conn::connect(address, deadline, || false).map_err(unreachable)?;
    conn.send(&[IoSlice::new(QUESTION)], waits::ONE_CALL).map_err(unreachable)?;
    let mut buffer = Buffer::new(4096);
    while Instant::now() < deadline {
        if let Scan::Complete { end, .. } = head::scan(buffer.filled()) {
            let mut lines = Lines::new();
            let (head, body) = buffer.filled().split_at(end);
            return match head::response(head, &mut lines).map(|response| response.status) {
                Ok(200) => Ok(address),
                Ok(status) => {
                    Err(Unwell::Says(address, status, String::from_utf8_lossy(body).trim().to_owned()))
                }
                Err(failure) => Err(unreachable(io::Error::other(failure))),
            };
        }
        match conn.receive(buffer.room(), waits::ONE_CALL).map_err(unreachable)? {
            Arrived::Bytes(count) => buffer.grew(count),
            Arrived::Nothing => {}
            Arrived::End => return Err(unreachable(io::ErrorKind::UnexpectedEof.into())),
        }
    }
    Err(Unwell::Silent(address))
}

/// Where to reach a listener from this machine: every address includes the loopback one.
fn reachable(listen: &Listen) -> SocketAddr {
    match *listen {
        Listen::Every(port) | Listen::Localhost(port) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        Listen::At(address) if !address.ip().is_unspecified() => address,
        Listen::At(address) => {
            let loopback = match address.ip() {
                IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
            };
            SocketAddr::new(loopback, address.port())
        }
    }
}
