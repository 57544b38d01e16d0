//! Connections to one backend that are not in use.
//!
//! The problem: a connection costs three round trips of packets and five system calls, so it is kept; but a kept
//! one may be closed by the backend at any moment, or hold bytes nobody asked for, which the next client would get
//! for an answer. So it is looked at before it is used again, and it is never kept for long.
//!
//! Not here: what happens when one turns out to be stale all the same (`exchange`).

use crate::net::conn::{Received, Conn};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The idle connections of one backend, the last one used on top: its caches are warm, and the rest grow old and
/// go, so that as many are kept as are needed, and never more than were in use at once.
#[derive(Debug)]
pub struct KeptConnections {
    idle: Mutex<Vec<Idle>>,
    timeout: Duration,
}

#[derive(Debug)]
struct Idle {
    conn: Conn,
    since: Instant,
}

impl KeptConnections {
    pub fn new(timeout: Duration) -> Self {
        Self { idle: Mutex::default(), timeout }
    }

    /// A connection that was neither closed nor written to since it was put here. One call of recv(2) a time: it
    /// costs 1 % of a request, and what it prevents is one client's answer going to another.
    pub fn take(&self, now: Instant) -> Option<Conn> {
        loop {
            let Idle { conn, since } = self.idle().pop()?;
            let is_fresh = now.saturating_duration_since(since) < self.timeout;
            if is_fresh && matches!(conn.peek(), Ok(Received::Nothing)) {
                return Some(conn);
            }
        }
    }

    pub fn put(&self, conn: Conn, since: Instant) {
        self.idle().push(Idle { conn, since });
    }

    /// Closes those that have been here too long.
    pub fn sweep(&self) {
        let mut all = self.idle();
        let old = all.iter().take_while(|idle| idle.since.elapsed() >= self.timeout).count();
        let closed: Vec<_> = all.drain(..old).collect();
        drop(all);
        drop(closed);
    }

    /// Closes all of them: the backend was restarted or is gone, or descriptors are needed elsewhere. Returns how many
    /// there were.
    pub fn clear(&self) -> usize {
        let closed = std::mem::take(&mut *self.idle());
        closed.len()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
