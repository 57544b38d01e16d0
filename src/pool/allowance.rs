//! How long a worker may block in one call: the one place where that is decided.
//!
//! The problem: blocking is fast, because it saves the trip through the waiter; and it holds a thread. Which of the two
//! counts depends on what else waits. A stage of an exchange that is alone in its batch, while another worker is idle, may
//! wait for [`waits::ONE_CALL`]: nothing else waits for this worker. Beside others in the batch, no wait begins once those
//! of the whole batch have lasted as long. And while no worker is idle, all that is ready in the epoll waits, too: then no
//! wait begins once they have lasted [`waits::ONE_BATCH`]. What has not come by then is parked. What was parked once is not
//! waited for again in the same stage: it will mostly be slow again, and waiting 10 ms for each of five hundred event
//! streams would take five seconds.
//!
//! So what is known to be slow is parked at once. But how long parked bytes have lain there nobody knows; whether the
//! backend is still slow shows only if a worker waits for it. Each worker does so once in [`waits::SLOW_SAMPLE`].
//!
//! Not here: the length of one blocking call, which is the socket's (also [`waits::ONE_CALL`]).

use crate::config::waits;
use crate::net::conn::Block;
use crate::pool::park::Park;
use crate::pool::stop::Phase;
use crate::pool::waiter::Waiter;
use std::time::{Duration, Instant};

/// What one exchange may move before other conversations are served. A millisecond's work.
const MOST_MOVED: usize = 1024 * 1024;

/// What one worker has waited for, in its batch and in the stage that it serves.
#[derive(Debug)]
pub struct Allowance {
    batch: Duration,
    stage: Duration,
    company: Company,
    now: Instant,
    /// When it last waited for what is known to be slow.
    sampled: Instant,
}

/// What else is in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    Alone,
    Others,
}

impl Allowance {
    /// Of a worker that begins.
    pub fn new() -> Self {
        let (batch, stage, company, now) = (Duration::ZERO, Duration::ZERO, Company::Alone, Instant::now());
        Self { batch, stage, company, now, sampled: now }
    }

    /// A batch of so many begins.
    pub fn begin_batch(&mut self, size: usize) {
        let company = if size > 1 { Company::Others } else { Company::Alone };
        let (batch, stage, now) = (Duration::ZERO, Duration::ZERO, Instant::now());
        *self = Self { batch, stage, company, now, ..*self };
    }

    /// The time when the batch began, or a wait ended. Between two waits a worker computes for some microseconds, and time
    /// that is known so well need not be asked for: ten looks at the clock were 2 % of a request.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether nothing else is in the batch.
    pub fn is_alone(&self) -> bool {
        self.company == Company::Alone
    }

    /// A stage begins.
    pub fn begin_stage(&mut self) {
        self.stage = Duration::ZERO;
    }

    /// The stage was parked before, or something of it came: whatever is missing now is not waited for.
    pub fn stop_waiting(&mut self) {
        self.stage = Duration::MAX;
    }

    /// Whether the worker may wait for what is known to be slow, to see whether it still is.
    pub fn may_sample(&mut self) -> bool {
        let is_due = self.now.saturating_duration_since(self.sampled) >= waits::SLOW_SAMPLE;
        if is_due {
            self.sampled = self.now;
        }
        is_due
    }

    /// Whether an exchange that has moved so many bytes in a row is to be parked, so that others are served. While another
    /// worker is idle there are none, and a trip through the waiter for each megabyte would cost a tenth of it.
    pub fn is_used_up<T: Park>(&self, moved: usize, waiter: &Waiter<T>) -> bool {
        let others_wait = self.company == Company::Others || !waiter.has_idle_workers();
        moved >= MOST_MOVED && (others_wait || waiter.phase() == Phase::Over)
    }

    /// Makes a call that may wait as long as this stage and this batch may. Returns whether it was allowed to.
    pub fn spend<T: Park, R>(&mut self, waiter: &Waiter<T>, call: impl FnOnce(Block) -> R) -> (R, Block) {
        let most = match (waiter.has_idle_workers(), self.company) {
            (false, _) => waits::ONE_BATCH,
            (true, Company::Others) => waits::ONE_CALL,
            (true, Company::Alone) => Duration::MAX,
        };
        if self.stage >= waits::ONE_CALL || self.batch >= most {
            return (call(Block::Never), Block::Never);
        }
        let begun = Instant::now();
        let result = call(Block::Briefly);
        self.now = Instant::now();
        let waited = self.now.saturating_duration_since(begun);
        self.stage += waited;
        self.batch += waited;
        (result, Block::Briefly)
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_is_sampled_once_in_a_while() {
        let mut allowance = Allowance::new();
        let mut samples_after = |wait: Duration| {
            allowance.now += wait;
            allowance.may_sample()
        };
        let short = waits::SLOW_SAMPLE / 2;
        let samples = [Duration::ZERO, short, short, Duration::ZERO, short, short].map(&mut samples_after);
        assert_eq!(samples, [false, false, true, false, false, true]);
    }
}
