//! Resolves names in the background.
//!
//! The problem: getaddrinfo(3) blocks for as long as a name server is silent and cannot be interrupted; in a worker,
//! every look-up would delay a client. And an address that was right at the start is wrong once the backend's container
//! has been recreated, which nginx notices only when it is restarted. So each name has a thread that does nothing but
//! look it up again and again, and a slow name delays no other.
//!
//! These threads are not joined: a look-up cannot be cancelled, so a pending one ends with the process.
//!
//! Not here: what becomes of the addresses (`backend::membership`).

use crate::config::waits;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

/// Whether the look-ups go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    GoOn,
    Stop,
}

/// Looks a name up every `interval`, and [`waits::RESOLVE_PAUSE`] (200 ms) after each message on `wanted`. A failed
/// look-up is repeated after [`waits::RESOLVE_RETRY`] (1 s), or `interval` if that is shorter. `found` gets every
/// result and decides whether to go on.
pub fn follow(
    host: &str,
    port: u16,
    interval: Duration,
    wanted: &Receiver<()>,
    mut found: impl FnMut(io::Result<Vec<SocketAddr>>) -> Next,
) {
    loop {
        let result = look_up(host, port);
        let pause = if result.is_ok() { interval } else { interval.min(waits::RESOLVE_RETRY) };
        if found(result) == Next::Stop {
            return;
        }
        match wanted.recv_timeout(pause) {
            Ok(()) => thread::sleep(waits::RESOLVE_PAUSE),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// All addresses of a name, sorted, without duplicates.
///
/// # Errors
/// The name does not resolve, or has no address.
pub fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}
