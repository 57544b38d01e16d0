//! Idle connections to one backend, kept for reuse.
//!
//! The problem: a new connection costs a handshake and seven system calls, from socket(2) to close(2), so it is kept.
//! But the backend may close a kept connection at any time, or send bytes without a request, which the next client
//! would receive as its response. So a connection is checked before reuse, and it is never kept for long.
//!
//! Routes that name the same address share its connections. Each for itself, a thousand routes would keep a thousand of them
//! at one backend, none with warm caches. With 1,000 routes and 64 clients there were 2,000 connections instead of 130, and a
//! request took a third more processor time. Over TLS they share them where the backend has proved the same to both.
//!
//! Not here: a connection that turns out to be stale in spite of the check (`proxy::exchange`).

use crate::config::Address;
use crate::net::conn::{Conn, Received};
use crate::net::tls::Identity;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The idle connections of all routes, by address, and over TLS by what the other end has proved.
#[derive(Debug, Default)]
pub struct AllKept(Mutex<HashMap<Place, Weak<KeptConnections>>>);

type Place = (Address, Option<Identity>);

impl AllKept {
    /// Those to this address. They live as long as some backend has them. One that was closed may still be had by a tunnel to a
    /// backend that is gone, and is not taken up again.
    pub fn to(
        &self,
        address: &Address,
        identity: Option<&Identity>,
        timeout: Duration,
    ) -> Arc<KeptConnections> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (address.clone(), identity.cloned());
        if let Some(known) = all.get(&place).and_then(Weak::upgrade)
            && known.stack().is_open
        {
            return known;
        }
        all.retain(|_, kept| kept.strong_count() > 0);
        let kept = Arc::new(KeptConnections::new(timeout));
        all.insert(place, Arc::downgrade(&kept));
        kept
    }
}

/// Tells one stack from all others that there are.
pub type KeptId = *const KeptConnections;

/// A stack of idle connections. The connection used last is on top, because its caches are warm; the ones below grow
/// old and are closed. So only as many are kept as are needed, and never more than were in use at once.
#[derive(Debug)]
pub struct KeptConnections {
    stack: Mutex<Stack>,
}

#[derive(Debug)]
struct Stack {
    idle: Vec<Idle>,
    timeout: Duration,
    /// Whether more are kept: not when its backends are gone.
    is_open: bool,
}

#[derive(Debug)]
struct Idle {
    conn: Conn,
    since: Instant,
}

impl KeptConnections {
    /// `timeout` is `--backend-keep-alive-timeout`.
    fn new(timeout: Duration) -> Self {
        Self { stack: Mutex::new(Stack { idle: Vec::new(), timeout, is_open: true }) }
    }

    /// Keeps connections from now on, for so long.
    pub fn open(&self, timeout: Duration) {
        let mut stack = self.stack();
        (stack.timeout, stack.is_open) = (timeout, true);
    }

    /// Closes all connections, and keeps none from now on: those that are in use may be so for hours, and then nothing
    /// would look after them.
    pub fn close(&self) {
        self.stack().is_open = false;
        self.clear();
    }

    /// Takes a connection on which the backend has neither closed nor sent anything since it became idle. The check is
    /// one recv(2) per connection. It costs 1 % of a request, and keeps one client's response from going
    /// to another. What TLS itself says in between, such as a session ticket, is taken and is no byte of a response.
    pub fn take(&self, now: Instant) -> Option<Conn> {
        loop {
            let (Idle { conn, since }, timeout) = {
                let mut stack = self.stack();
                (stack.idle.pop()?, stack.timeout)
            };
            let is_fresh = now.saturating_duration_since(since) < timeout;
            if is_fresh && matches!(conn.peek(), Ok(Received::Nothing)) {
                return Some(conn);
            }
            conn.say_end();
        }
    }

    /// Keeps a connection that has been idle since `since`, unless none are kept any more.
    pub fn put(&self, conn: Conn, since: Instant) {
        let mut stack = self.stack();
        if stack.is_open {
            return stack.idle.push(Idle { conn, since });
        }
        drop(stack);
        conn.say_end();
    }

    /// Closes the connections that have been idle for longer than the timeout.
    pub fn sweep(&self) {
        let mut stack = self.stack();
        let old = stack.idle.iter().take_while(|idle| idle.since.elapsed() >= stack.timeout).count();
        let closed: Vec<_> = stack.idle.drain(..old).collect();
        drop(stack);
        closed.iter().for_each(|idle| idle.conn.say_end());
    }

    /// Closes all connections, after the backend was restarted or removed, or to free descriptors. Returns how many
    /// there were.
    pub fn clear(&self) -> usize {
        let closed = std::mem::take(&mut self.stack().idle);
        closed.iter().for_each(|idle| idle.conn.say_end());
        closed.len()
    }

    pub fn count(&self) -> usize {
        self.stack().idle.len()
    }

    fn stack(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tunnel to a backend that a reload has removed holds its closed stack. When a name led to its address again, nothing was
    /// kept there for as long as the tunnel lasted.
    #[test]
    fn a_stack_that_was_closed_is_not_taken_up_again() {
        let (all, address) =
            (AllKept::default(), Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1))));
        let to = || all.to(&address, None, Duration::from_secs(1));
        let held = to();
        assert!(Arc::ptr_eq(&held, &to()), "routes share it");
        held.close();
        let anew = to();
        assert!(!Arc::ptr_eq(&held, &anew) && anew.stack().is_open);
        assert!(Arc::ptr_eq(&anew, &to()));
    }
}
