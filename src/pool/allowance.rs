//! How long a worker may block in one call: the one place where that is decided.
//!
//! The problem: blocking is fast, because it saves the trip through the waiter; and it holds a thread. Which of the two
//! counts depends on the others. While another worker is idle, a wait costs nothing. While none is, the rest of this
//! worker's batch and all that is ready in the epoll wait, too; then all waits of one batch together may last
//! [`waits::ONE_BATCH`], by when an answer that is on its way is there. What has not come by then is parked. And what was
//! parked once within a stage of its exchange is not waited for again in that stage: it will mostly be slow again, and
//! five hundred event streams that a worker waits for, each for a moment, are five hundred moments.
//!
//! Not here: the length of one blocking call, which is the socket's ([`waits::ONE_CALL`]).

use crate::config::waits;
use crate::net::conn::Block;
use crate::pool::waiter::{Park, Waiter};
use std::time::{Duration, Instant};

/// What is left of one batch's time for waiting.
#[derive(Debug)]
pub struct Allowance {
    left: Duration,
    stage: Stage,
}

/// What the stage that is served now has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    WasParked,
}

impl Allowance {
    /// Of a batch that begins.
    pub fn new() -> Self {
        Self { left: waits::ONE_BATCH, stage: Stage::Fresh }
    }

    /// What is served next was parked in the middle of a stage.
    pub fn goes_on(&mut self) {
        self.stage = Stage::WasParked;
    }

    /// A stage begins.
    pub fn begins(&mut self) {
        self.stage = Stage::Fresh;
    }

    /// Makes a call that may wait, for as long as this batch may; returns whether it might have.
    pub fn spend<T: Park, R>(&mut self, waiter: &Waiter<T>, call: impl FnOnce(Block) -> R) -> (R, Block) {
        if self.stage == Stage::WasParked {
            return (call(Block::Never), Block::Never);
        }
        if waiter.has_idle_workers() {
            return (call(Block::Briefly), Block::Briefly);
        }
        if self.left.is_zero() {
            return (call(Block::Never), Block::Never);
        }
        let begun = Instant::now();
        let result = call(Block::Briefly);
        self.left = self.left.saturating_sub(begun.elapsed());
        (result, Block::Briefly)
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self::new()
    }
}
