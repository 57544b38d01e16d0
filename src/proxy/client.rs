//! A client's connection, and how many there may be.
//!
//! The problem: a connection is always in exactly one place: in the channel, with a worker, in the waiter, or closed.
//! It has one owner, and handing it over is the change of state; there is no table of connections that could be out of
//! date. What it takes along is little: ten thousand idle ones are ten thousand of these structs and nothing else.
//!
//! Not here: what is said on it (`session`).

use crate::net::conn::Conn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// One client's connection and the bytes of it that no worker has in its buffer.
#[derive(Debug)]
pub struct Client {
    pub conn: Conn,
    pub address: SocketAddr,
    /// Bytes of a message that is not complete, or of the next ones: only while no worker has this connection.
    pub carried: Vec<u8>,
    pub presence: Presence,
    _permit: Permit,
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
    pub fn new(conn: Conn, address: SocketAddr, permit: Permit) -> Self {
        // A v4 client of a dual-stack listener is a v4 client, in logs, fields and networks.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { conn, address, carried: Vec::new(), presence: Presence::Open, _permit: permit }
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

/// One connection's share of the limit; given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

impl ConnectionLimit {
    pub fn new(most: usize) -> Self {
        Self { count: Arc::default(), most }
    }

    /// A permit, unless all are taken. Only the acceptor asks, so there is no race between looking and taking.
    pub fn enter(&self) -> Option<Permit> {
        if self.count.load(Ordering::Relaxed) >= self.most {
            return None;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(Permit(Arc::clone(&self.count)))
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_free_again_when_it_is_dropped() {
        let limit = ConnectionLimit::new(2);
        let first = limit.enter().unwrap();
        let _second = limit.enter().unwrap();
        assert!(limit.enter().is_none());
        drop(first);
        assert!(limit.enter().is_some());
        assert_eq!(limit.count(), 1);
    }
}
