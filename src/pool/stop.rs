//! How far a shutdown has come.
//!
//! The problem: a shutdown has phases, and every place that parks, reads or accepts has to know the present one.
//!
//! Not here: waking threads (`waiter`, `server`).

use std::sync::atomic::{AtomicU8, Ordering};

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
pub struct Stop(AtomicU8);

impl Stop {
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Over,
        }
    }

    pub fn advance(&self, to: Phase) {
        self.0.fetch_max(to as u8, Ordering::Release);
    }
}
