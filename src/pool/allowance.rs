//! How long a worker may block in one call: the one place where that is decided.
//!
//! The problem: blocking is fast, because it saves the trip through the waiter; and it holds a thread. Which of the two
//! counts depends on what else waits. A stage of an exchange that is alone in its batch, while another worker is idle, may
//! wait for [`waits::ONE_CALL`]: nothing else waits for this worker. Otherwise the rest of its batch waits for it, which no
//! idle worker can help, or all that is ready in the epoll. For how long a batch may wait is tried (`patience`).
//!
//! What was parked once is not waited for again in the same stage: it will mostly be slow again, and waiting 10 ms for each of
//! five hundred event streams would take five seconds.
//!
//! What is known to be slow is parked at once. But parked bytes do not tell how long they have lain there: only a
//! worker that waits for a backend learns whether it is still slow. Each worker does so once in [`waits::SLOW_SAMPLE`].
//!
//! Not here: the length of one blocking call, which is the socket's (also [`waits::ONE_CALL`]).

use crate::config::waits;
use crate::net::conn::Block;
use crate::pool::park::Park;
use crate::pool::patience::{Batch, Length, Patience};
use crate::pool::stop::Phase;
use crate::pool::waiter::Waiter;
use std::mem::take;
use std::time::{Duration, Instant};

/// What one exchange may move before other conversations are served. A millisecond's work.
const MOST_MOVED: usize = 1024 * 1024;

/// What one worker has waited for, in its batch and in the stage that it serves.
#[derive(Debug)]
pub struct Allowance {
    batch: Batch,
    stage: Duration,
    company: Company,
    now: Instant,
    /// How long the waits of the batch may take together.
    patience: Length,
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
        let (batch, stage, now) = (Batch::default(), Duration::ZERO, Instant::now());
        Self { batch, stage, company: Company::Alone, now, patience: Length::Short, sampled: now }
    }

    /// A batch of so many begins.
    pub fn begin_batch(&mut self, size: usize, patience: &Patience) {
        self.now = Instant::now();
        self.patience = patience.begin_batch(self.now, take(&mut self.batch));
        self.company = if size > 1 { Company::Others } else { Company::Alone };
        self.stage = Duration::ZERO;
    }

    /// A response has come to its end.
    pub fn note_response(&mut self) {
        self.batch.responses += 1;
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
        self.stage = waits::ONE_CALL;
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

    /// Makes a call that may wait as long as this stage and this batch may. Returns how long it took, or zero if it was not
    /// allowed to wait.
    pub fn spend<T: Park, R>(&mut self, waiter: &Waiter<T>, call: impl FnOnce(Block) -> R) -> (R, Duration) {
        let block = match self.company {
            _ if self.stage >= waits::ONE_CALL => Block::Never,
            Company::Alone if waiter.has_idle_workers() => Block::Briefly,
            Company::Alone | Company::Others => self.left(),
        };
        if block == Block::Never {
            return (call(block), Duration::ZERO);
        }
        let begun = Instant::now();
        let result = call(block);
        self.now = Instant::now();
        let waited = self.now.saturating_duration_since(begun);
        self.stage += waited;
        self.batch.waited += waited;
        (result, waited)
    }

    /// How long the next call may wait.
    fn left(&self) -> Block {
        match (self.patience, self.patience.duration().saturating_sub(self.batch.waited)) {
            (_, Duration::ZERO) => Block::Never,
            // The timeout of the socket is longer than what is left, but costs no poll(2). A call that uses all of it ends the
            // patience of this batch.
            (Length::Long, _) => Block::Briefly,
            (Length::Short, left) => Block::For(left),
        }
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
    fn the_waits_of_a_batch_have_a_limit_together() {
        let left = |patience, waited| {
            let batch = Batch { waited, responses: 0 };
            Allowance { patience, batch, ..Allowance::new() }.left()
        };
        let micros = Duration::from_micros;
        assert_eq!(left(Length::Short, micros(0)), Block::For(waits::BATCH_SHORT));
        assert_eq!(left(Length::Short, micros(20)), Block::For(waits::BATCH_SHORT - micros(20)));
        assert_eq!(left(Length::Short, waits::BATCH_SHORT), Block::Never);
        assert_eq!(left(Length::Long, micros(1000)), Block::Briefly);
        assert_eq!(left(Length::Long, waits::BATCH_LONG), Block::Never);
    }

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
