//! The bytes that a connection has moved, until somebody counts them.
//!
//! The problem: bytes pass in a dozen places, by receives, sends and splice(2), and none of these knows for whom they are to be
//! counted. So the connection itself keeps two plain sums, and the worker that has served it takes them, once, when it puts
//! the connection away.
//!
//! Not here: the counters (`observe::metrics`).

use std::cell::Cell;

/// Bytes that came and bytes that went; over TLS, what is inside.
#[derive(Debug, Default)]
pub struct Moved {
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl Moved {
    pub(super) fn add_received(&self, count: usize) {
        self.received.set(self.received.get() + count as u64);
    }

    pub(super) fn add_sent(&self, count: usize) {
        self.sent.set(self.sent.get() + count as u64);
    }

    /// So many of those that came were not the peer's own words.
    pub(super) fn discount(&self, count: usize) {
        self.received.set(self.received.get().saturating_sub(count as u64));
    }

    /// How many came and went since this was called last.
    pub fn take(&self) -> (u64, u64) {
        (self.received.take(), self.sent.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_taken_once() {
        let moved = Moved::default();
        moved.add_received(10);
        moved.add_sent(3);
        moved.discount(4);
        assert_eq!((moved.take(), moved.take()), ((6, 3), (0, 0)));
    }
}
