//! How far a shutdown has come.
//!
//! The problem: a shutdown has phases, and every place that parks, reads or accepts has to know the present one. And a client
//! that looks idle when the shutdown begins may have sent its next request just now: closed at once, it would be reset.
//!
//! Not here: waking threads (`waiter`, `server`).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Running,
    /// Nothing new begins; what is in flight is finished.
    Draining,
    /// The grace is over; what is still in flight is cut.
    Over,
}

/// The phase, shared by every thread. It only ever moves forward.
#[derive(Debug, Default)]
pub struct Stop {
    phase: AtomicU8,
    /// Set when the shutdown begins.
    idle_end: OnceLock<Instant>,
}

impl Stop {
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Over,
        }
    }

    /// The shutdown begins. Clients without a request under way are waited for until `idle_end`.
    pub fn begin(&self, idle_end: Instant) {
        let _ = self.idle_end.set(idle_end);
        self.advance(Phase::Draining);
    }

    pub fn advance(&self, to: Phase) {
        self.phase.fetch_max(to as u8, Ordering::Release);
    }

    /// Until when such a client is waited for, if it would be until `deadline` without a shutdown.
    pub fn bound_idle(&self, deadline: Instant) -> Instant {
        self.idle_end.get().map_or(deadline, |end| deadline.min(*end))
    }
}
