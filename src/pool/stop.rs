//! The end, as every wait sees it.
//!
//! The problem: threads that block cannot be told anything while they block. So every wait ends within a slice,
//! and looks here before the next one.
//!
//! Not here: waking anybody. Whoever ends a phase wakes those who sleep without a slice (`server`).

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

    pub fn is_running(&self) -> bool {
        self.phase() == Phase::Running
    }

    pub fn is_over(&self) -> bool {
        self.phase() == Phase::Over
    }
}
