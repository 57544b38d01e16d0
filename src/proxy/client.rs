//! A client's connection, as it moves between the acceptor, the channel, the workers and the waiter.
//!
//! The problem: it is always in exactly one of these places. It has one owner, and handing it over is the change
//! of state; there is no table of connections that could be out of date. What it takes along is little: ten
//! thousand idle ones are ten thousand of these structs and nothing else.
//!
//! Not here: what is said on it (`session`).

use crate::net::conn::Conn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One client's connection and what was read from it and not understood yet.
#[derive(Debug)]
pub struct Client {
    pub conn: Conn,
    pub address: SocketAddr,
    /// Bytes of a message that is not complete, or of the next ones: only while no worker has this connection.
    pub carried: Vec<u8>,
    _place: Place,
}

impl Client {
    pub fn new(conn: Conn, address: SocketAddr, place: Place) -> Self {
        // A v4 client of a dual-stack listener is a v4 client, in logs, fields and networks.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { conn, address, carried: Vec::new(), _place: place }
    }

    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

/// The clients that are connected, as a number with a bound: `--max-connections`.
#[derive(Debug)]
pub struct ConnectionLimit {
    count: Arc<AtomicUsize>,
    most: usize,
}

/// One connection's share of the bound; given back when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl ConnectionLimit {
    pub fn new(most: usize) -> Self {
        Self { count: Arc::default(), most }
    }

    /// A place, unless all are taken. Only the acceptor asks, so there is no race between looking and taking.
    pub fn enter(&self) -> Option<Place> {
        if self.count.load(Ordering::Relaxed) >= self.most {
            return None;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(Place(Arc::clone(&self.count)))
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let connections = ConnectionLimit::new(2);
        let first = connections.enter().unwrap();
        let _second = connections.enter().unwrap();
        assert!(connections.enter().is_none());
        drop(first);
        assert!(connections.enter().is_some());
        assert_eq!(connections.count(), 1);
    }
}
