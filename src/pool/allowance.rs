//! How long a worker may block in one call: the one place where that is decided.
//!
//! The problem: blocking is fast, because it saves the trip through the waiter; and it holds a thread. Which of the two
//! counts depends on the others. While another worker is idle, a stage of an exchange may wait for [`waits::ONE_CALL`] in
//! all. While none is, the rest of this worker's batch and all that is ready in the epoll wait, too; then no wait begins
//! once those of the batch have lasted [`waits::ONE_BATCH`]. What has not come by then is parked. And what was parked once
//! is not waited for again in the same stage: it will mostly be slow again, and waiting 10 ms for each of five hundred
//! event streams would take five seconds.
//!
//! Not here: the length of one blocking call, which is the socket's (also [`waits::ONE_CALL`]).

use crate::config::waits;
use crate::net::conn::Block;
use crate::pool::park::Park;
use crate::pool::waiter::Waiter;
use std::time::{Duration, Instant};

/// What one worker has waited for, in its batch and in the stage that it serves.
#[derive(Debug, Default)]
pub struct Allowance {
    batch: Duration,
    stage: Duration,
}

impl Allowance {
    /// Of a batch that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stage begins.
    pub fn begin_stage(&mut self) {
        self.stage = Duration::ZERO;
    }

    /// The stage was parked before, or something of it came: whatever is missing now is not waited for.
    pub fn stop_waiting(&mut self) {
        self.stage = Duration::MAX;
    }

    /// Makes a call that may wait as long as this stage and this batch may. Returns whether it was allowed to.
    pub fn spend<T: Park, R>(&mut self, waiter: &Waiter<T>, call: impl FnOnce(Block) -> R) -> (R, Block) {
        let is_spent =
            self.stage >= waits::ONE_CALL || self.batch >= waits::ONE_BATCH && !waiter.has_idle_workers();
        if is_spent {
            return (call(Block::Never), Block::Never);
        }
        let begun = Instant::now();
        let result = call(Block::Briefly);
        let waited = begun.elapsed();
        self.stage += waited;
        self.batch += waited;
        (result, Block::Briefly)
    }
}
