//! Counts open sockets against the limit.
//!
//! The problem: both sides of the proxy take descriptors from one limit, which the system sets for the process
//! (RLIMIT_NOFILE). A fixed split would refuse clients while half of the descriptors are unused; without a count, the
//! last descriptor goes to a client, and then neither a name nor a backend can be asked anything.
//!
//! The limit is the process's, so the count is one static.
//!
//! Not here: what gives way when none is left (`server::acceptor`, `proxy::exchange`).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Descriptors for everything that is not counted: listeners, epoll, standard streams, look-ups.
const RESERVED: usize = 24;

static OPEN: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// One open socket's share of the limit, or that of an end of a pipe; given back when it is dropped.
#[derive(Debug)]
pub struct Descriptor(());

impl Descriptor {
    /// For a socket that is still to be opened, unless none is left.
    pub fn take() -> Option<Self> {
        let descriptor = Self::count();
        (OPEN.load(Ordering::Relaxed) <= LIMIT.load(Ordering::Relaxed)).then_some(descriptor)
    }

    /// For a socket that is open already.
    pub fn count() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether another socket can be opened: the connection to a backend of a client that was just accepted.
pub fn has_room_for_one_more() -> bool {
    OPEN.load(Ordering::Relaxed) < LIMIT.load(Ordering::Relaxed)
}

/// Raises the soft limit to the hard one, and keeps a few descriptors back. Returns how many sockets there may be; `None`
/// is any number.
pub fn raise_limit() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Any process may do this; should it fail, the soft limit holds.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let descriptors = getrlimit(Resource::Nofile).current?;
    let usable = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(RESERVED).max(2);
    LIMIT.store(usable, Ordering::Relaxed);
    Some(usable)
}
