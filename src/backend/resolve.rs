//! Names to addresses, in the background.
//!
//! The problem: getaddrinfo blocks for as long as a name server is silent, and cannot be interrupted; in a worker it
//! would stop a client for every look-up. And an address that was right at the start is wrong after the backend's
//! container was made anew, which nginx notices at its next start. So each name has a thread of its own, which does
//! nothing but look it up again and again, and a silent name delays no other.
//!
//! These are the only threads that nobody joins: a look-up cannot be ended from outside, the process's end does it.
//!
//! Not here: what becomes of the addresses (`backend`).

use crate::config::waits;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

/// Whether anybody still wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    GoOn,
    Stop,
}

/// Looks a name up every `interval`, and soon after `wanted` says so. `found` gets every answer, and says whether to
/// go on.
pub fn follow(
    host: &str,
    port: u16,
    interval: Duration,
    wanted: &Receiver<()>,
    mut found: impl FnMut(io::Result<Vec<SocketAddr>>) -> Next,
) {
    loop {
        let answer = look_up(host, port);
        let pause = if answer.is_ok() { interval } else { interval.min(waits::RESOLVE_RETRY) };
        if found(answer) == Next::Stop {
            return;
        }
        match wanted.recv_timeout(pause) {
            Ok(()) => thread::sleep(waits::RESOLVE_PAUSE),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Every address of a name, each once.
///
/// # Errors
/// The name does not resolve.
pub fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}
