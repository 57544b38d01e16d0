//! What one request is worked on with: two buffers and two heads.
//!
//! The problem: buffers belong to workers and not to connections, since ten thousand idle ones need none; but a request
//! that was sent ahead, and waits for its answer while its worker serves others, needs what lies on its worker's desk.
//! So it keeps the desk, and the worker takes a spare one. How many spares there are bounds how many requests are sent
//! ahead, and the memory for them.
//!
//! Not here: who sends ahead, and when (`exchange`).

use crate::buffer::Buffer;
use crate::config::Config;
use crate::head;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A request body up to this is read whole before a backend is chosen: the round then follows complete requests,
/// and a slow small upload holds neither a worker nor a backend. 64 KiB is nearly every form and API call.
pub const COLLECTED_BODY: usize = 64 * 1024;

/// What one read of a body takes at most. From 64 KiB on, a larger buffer gains nothing on loopback and loses
/// cache.
const RELAY: usize = 64 * 1024;

/// See the module.
pub struct Desk {
    /// What the client sent: a head, and a body that is collected, or a body in passing.
    pub from_client: Buffer,
    /// What the backend sent.
    pub from_backend: Buffer,
    /// The head that goes to the backend; kept until there is a response, since it may have to be sent again.
    pub request: Vec<u8>,
    /// The head that goes to the client.
    pub response: Vec<u8>,
}

impl Desk {
    pub fn new(config: &Config) -> Self {
        Self {
            from_client: Buffer::new(head::EMPTY_LINES + config.max_head + COLLECTED_BODY),
            from_backend: Buffer::new(config.max_head.max(RELAY)),
            request: Vec::new(),
            response: Vec::new(),
        }
    }

    /// The memory of one desk, in bytes, when every page of it was used.
    pub fn size(config: &Config) -> usize {
        // The heads are written afresh: as long as they came, and what ronde adds.
        config.max_head + COLLECTED_BODY + config.max_head.max(RELAY) + 2 * config.max_head
    }
}

/// Boxed, because a desk is handed from one to another and never copied.
type Spares = Vec<Box<Desk>>;

/// The spare desks.
pub struct Desks {
    idle: Mutex<Spares>,
    /// Spares that lie here, or were never needed so far.
    left: AtomicUsize,
}

impl Desks {
    pub fn new(count: usize) -> Self {
        Self { idle: Mutex::default(), left: AtomicUsize::new(count) }
    }

    /// Whether there was a spare one a moment ago.
    pub fn has_spare(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    /// A spare desk, the one that was used last, or a new one as long as there are not too many.
    pub fn take(&self, config: &Config) -> Option<Box<Desk>> {
        let less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok()?;
        let used = self.idle().pop();
        Some(used.unwrap_or_else(|| Box::new(Desk::new(config))))
    }

    pub fn put(&self, desk: Box<Desk>) {
        self.idle().push(desk);
        self.left.fetch_add(1, Ordering::AcqRel);
    }

    fn idle(&self) -> MutexGuard<'_, Spares> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_than_so_many() {
        let (desks, config) = (Desks::new(2), Config::default());
        let (first, second) = (desks.take(&config).unwrap(), desks.take(&config).unwrap());
        assert!(!desks.has_spare() && desks.take(&config).is_none());
        desks.put(first);
        assert!(desks.has_spare() && desks.take(&config).is_some());
        drop(second);
    }
}
