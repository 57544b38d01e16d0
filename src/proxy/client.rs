//! A client's connection, and how many there may be.
//!
//! The problem: a connection is always in exactly one place: in the channel, with a worker, in the waiter, or closed.
//! It has one owner, and handing it over is the change of state; there is no table of connections that could be out of
//! date. What it takes along is little: ten thousand idle ones are ten thousand of these structs and nothing else.
//!
//! Not here: what is said on it (`session`).

use crate::config::Peer;
use crate::http1::forward::Scheme;
use crate::net::conn::Conn;
use crate::proxy::per_client::Counted;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One client's connection, and the bytes that were read from it and are in no worker's buffer.
#[derive(Debug)]
pub struct Client {
    pub conn: Conn,
    /// The other end of the connection.
    pub peer: Peer,
    /// The client that the other end, a proxy, has named (PROXY protocol).
    pub named: Option<Peer>,
    /// Whether it speaks TLS, from when it is accepted on.
    pub scheme: Scheme,
    /// Bytes of a message that is not complete, or of the next ones: only while no worker has this connection.
    pub carried: Vec<u8>,
    pub presence: Presence,
    /// Its place among the connections of its client (`--max-per-client`); `None` without such a limit.
    pub counted: Option<Box<Counted>>,
    _permit: Permit,
    /// Of the listener that it came by.
    closing: Arc<Closing>,
}

/// Whether a reload has closed a listener: then the next response to each client that came by it is the last.
#[derive(Debug, Default)]
pub struct Closing(AtomicBool);

impl Closing {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How much of the connection the client has left open, as far as that was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Open,
    /// It sends no more, and may still read; this was noticed at this time.
    HalfClosed(Instant),
    /// The connection is broken, or closed in both directions.
    Gone,
}

impl Client {
    pub fn new(
        conn: Conn,
        peer: Peer,
        scheme: Scheme,
        counted: Option<Box<Counted>>,
        permit: Permit,
        closing: Arc<Closing>,
    ) -> Self {
        let (named, carried, presence) = (None, Vec::new(), Presence::Open);
        Self { conn, peer, named, scheme, carried, presence, counted, _permit: permit, closing }
    }

    /// Whether the connection may serve another request after this one, as far as its listener is concerned.
    pub fn may_stay(&self) -> bool {
        !self.closing.0.load(Ordering::Relaxed)
    }

    /// The client, as far as it is known: what a proxy has named, or else the other end.
    pub fn source(&self) -> Peer {
        self.named.unwrap_or(self.peer)
    }

    /// Whether the client is on this host: on a Unix socket, on loopback, or on the very address that it connected to, from
    /// which no packet of another host is let in.
    pub fn is_from_this_host(&self) -> bool {
        match self.named {
            // A proxy may name any address, and has not connected from it.
            Some(named) => is_of_this_host(named, None),
            None => is_of_this_host(self.peer, self.conn.local()),
        }
    }
}

fn is_of_this_host(peer: Peer, local: Option<SocketAddr>) -> bool {
    match peer {
        Peer::Ip(ip) => ip.is_loopback() || local.is_some_and(|local| local.ip() == ip),
        Peer::Unix => true,
        Peer::Unknown => false,
    }
}

/// The clients that are connected, as a number with a bound: `--max-connections`.
#[derive(Clone, Debug, Default)]
pub struct ConnectionLimit(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    connected: Mutex<usize>,
    emptied: Condvar,
}

/// One connection's share of the limit; given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<Count>);

impl ConnectionLimit {
    /// A permit, unless so many are taken.
    pub fn enter(&self, most: usize) -> Option<Permit> {
        let mut connected = self.0.lock();
        if *connected >= most {
            return None;
        }
        *connected += 1;
        Some(Permit(Arc::clone(&self.0)))
    }

    pub fn count(&self) -> usize {
        *self.0.lock()
    }

    /// Waits until no client is connected, or for so long. Returns whether none is.
    pub fn wait_until_empty(&self, most: Duration) -> bool {
        let connected = self.0.lock();
        let waited = self.0.emptied.wait_timeout_while(connected, most, |connected| *connected > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }
}

impl Count {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut connected = self.0.lock();
        *connected -= 1;
        if *connected == 0 {
            self.0.emptied.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_on_loopback_or_has_the_address_that_was_connected_to() {
        let (own, other) = (Peer::Ip([10, 0, 0, 1].into()), Peer::Ip([10, 0, 0, 2].into()));
        let local = Some(SocketAddr::from(([10, 0, 0, 1], 80)));
        for (peer, local, expected) in [
            (own, local, true),
            (other, local, false),
            (own, None, false),
            (Peer::Ip([127, 0, 0, 9].into()), None, true),
            (Peer::Unix, None, true),
            (Peer::Unknown, local, false),
        ] {
            assert_eq!(is_of_this_host(peer, local), expected, "{peer:?} {local:?}");
        }
    }

    #[test]
    fn a_permit_is_free_again_when_it_is_dropped() {
        let limit = ConnectionLimit::default();
        let first = limit.enter(2).unwrap();
        let _second = limit.enter(2).unwrap();
        assert!(limit.enter(2).is_none() && limit.enter(3).is_some());
        drop(first);
        assert!(limit.enter(1).is_none() && limit.enter(2).is_some());
        assert_eq!(limit.count(), 1);
    }

    #[test]
    fn the_end_of_the_last_connection_is_waited_for() {
        let limit = ConnectionLimit::default();
        assert!(limit.wait_until_empty(Duration::ZERO));
        let permits = [limit.enter(2).unwrap(), limit.enter(2).unwrap()];
        assert!(!limit.wait_until_empty(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            scope.spawn(|| drop(permits));
            assert!(limit.wait_until_empty(Duration::from_secs(10)));
        });
    }
}
