//! Why a backend was not reached.
//!
//! The problem: connect(2) has a dozen errors, and some of them are about ronde's own host. What counts against a backend must
//! be the backend's. And why there is no TLS is told to the admin in words, for which no row of the failures has room.
//!
//! Not here: what follows from it (`health`).

use super::{Backend, Backends, lock};
use crate::config::Address;
use crate::net::tls::Refusal;
use crate::net::way;
use crate::observe::failure::Failure;
use rustix::io::Errno;
use std::io;

/// What a connect that failed is called. What the system, and not the backend, refused is no failure of the
/// backend: no descriptor, no memory, no port of ours is left.
pub fn connect_failure(to: &Address, error: &io::Error) -> Failure {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Failure::Descriptors,
        // Without a way to the address, nothing that passes is the cause.
        Some(Errno::ADDRNOTAVAIL) => match to {
            Address::Tcp(address) if !way::exists_to(*address) => Failure::Unreachable,
            _ => Failure::Ports,
        },
        Some(Errno::CONNREFUSED | Errno::CONNRESET) => Failure::Refused,
        Some(Errno::NOENT) => Failure::SocketMissing,
        // To a TCP connect a packet filter says it.
        Some(Errno::ACCESS) if matches!(to, Address::Unix(_)) => Failure::SocketForbidden,
        _ if error.kind() == io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Unreachable,
    }
}

impl Backends {
    /// There is no TLS with a backend. The cause is said once, and again when it is another, or the same after a return.
    pub(super) fn note_refusal(backend: &Backend, refusal: &Refusal) {
        let mut said = lock(&backend.refusal);
        if said.as_ref() != Some(&refusal.cause) {
            log::warn!("{backend}: {}", refusal.cause);
            *said = Some(refusal.cause.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn a_want_of_ports_is_told_from_an_address_that_cannot_be_reached() {
        let failure = |to: SocketAddr| connect_failure(&to.into(), &Errno::ADDRNOTAVAIL.into());
        assert_eq!(failure(([127, 0, 0, 1], 1).into()), Failure::Ports);
        assert_eq!(failure(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 1).into()), Failure::Unreachable);
    }
}
