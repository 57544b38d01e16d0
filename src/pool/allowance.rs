//! How long a worker may block in one call: the one place where that is decided.
//!
//! The problem: blocking is fast, because it saves the trip through the waiter; and it holds a thread. Which of the two
//! counts depends on what else waits. A stage of an exchange that is alone in its batch, while another worker is idle, may
//! wait for [`waits::ONE_CALL`]: nothing else waits for this worker. Otherwise the rest of its batch waits for it, which no
//! idle worker can help, or all that is ready in the epoll. So a batch may wait for as long as has paid lately (`Patience`).
//!
//! What was parked once is not waited for again in the same stage: it will mostly be slow again, and waiting 10 ms for each of
//! five hundred event streams would take five seconds.
//!
//! What is known to be slow is parked at once. But how long parked bytes have lain there nobody knows; whether the
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
    patience: Patience,
    /// When it last waited for what is known to be slow.
    sampled: Instant,
}

/// How long the waits of one batch may take together.
///
/// No number fits. On a busy machine a prompt backend takes milliseconds, because it waits for a core, and nothing is lost
/// meanwhile: a wait saves the trips through the waiter. But if responses take a few milliseconds of their own, or one in ten
/// does, all workers wait and the cores are idle. So a worker tries: after waits that bring what they are for, those of the
/// next batch may last half as long again, and after one in vain half as long. (A lock that spins before it sleeps has the same
/// question and the same answer: Karlin et al., "Empirical Studies of Competitive Spinning", SOSP 1991.)
#[derive(Clone, Copy, Debug)]
struct Patience(Duration);

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
        Self { batch, stage, company, now, patience: Patience(waits::BATCH_MOST), sampled: now }
    }

    /// A batch of so many begins.
    pub fn begin_batch(&mut self, size: usize) {
        let company = if size > 1 { Company::Others } else { Company::Alone };
        let patience = self.patience.after(self.batch);
        *self = Self { company, patience, sampled: self.sampled, ..Self::new() };
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

    /// Makes a call that may wait as long as this stage and this batch may. Returns how long it took, or zero if it was not
    /// allowed to wait.
    pub fn spend<T: Park, R>(&mut self, waiter: &Waiter<T>, call: impl FnOnce(Block) -> R) -> (R, Duration) {
        let block = match self.company {
            _ if self.stage >= waits::ONE_CALL => Block::Never,
            Company::Alone if waiter.has_idle_workers() => Block::Briefly,
            Company::Alone | Company::Others => self.patience.left(self.batch),
        };
        if block == Block::Never {
            return (call(block), Duration::ZERO);
        }
        let begun = Instant::now();
        let result = call(block);
        self.now = Instant::now();
        let waited = self.now.saturating_duration_since(begun);
        self.stage += waited;
        self.batch += waited;
        (result, waited)
    }
}

impl Patience {
    /// That for the next batch, after one that `waited` so long.
    fn after(self, waited: Duration) -> Self {
        Self(match waited {
            Duration::ZERO => self.0,
            _ if waited >= self.0 => (self.0 / 2).max(waits::BATCH_LEAST),
            _ => (self.0 + self.0 / 2).min(waits::BATCH_MOST),
        })
    }

    /// How long the next call may wait, after so much.
    fn left(self, waited: Duration) -> Block {
        match self.0.saturating_sub(waited) {
            Duration::ZERO => Block::Never,
            // One call is longer than this, and cheaper than a poll(2) beside it. If it is in vain, that is over.
            _ if self.0 == waits::BATCH_MOST => Block::Briefly,
            left => Block::For(left),
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
    fn waits_that_pay_may_become_longer_and_one_in_vain_makes_them_shorter() {
        let patience = Patience(Duration::from_micros(400));
        let micros = |patience: Patience| patience.0.as_micros();
        assert_eq!(micros(patience.after(Duration::from_micros(399))), 600);
        assert_eq!(micros(patience.after(Duration::from_micros(400))), 200);
        assert_eq!(micros(patience.after(Duration::ZERO)), 400, "nothing was waited for");
        let after_many = |waited| (0..100).fold(patience, |patience, _| patience.after(waited)).0;
        assert_eq!(after_many(Duration::from_micros(10)), waits::BATCH_MOST);
        assert_eq!(after_many(waits::ONE_CALL), waits::BATCH_LEAST);
    }

    #[test]
    fn two_batches_in_five_that_wait_in_vain_are_too_many() {
        let mut patience = Patience(waits::BATCH_MOST);
        for batch in 0..400 {
            patience =
                patience.after(if batch % 5 < 2 { waits::ONE_CALL } else { Duration::from_micros(20) });
        }
        assert!(patience.0 < waits::BATCH_MOST / 2, "{patience:?}");
    }

    #[test]
    fn the_waits_of_a_batch_have_a_limit_together() {
        let (patience, ms) = (Patience(Duration::from_millis(2)), Duration::from_millis);
        assert_eq!(patience.left(ms(0)), Block::For(ms(2)));
        assert_eq!(patience.left(Duration::from_micros(500)), Block::For(Duration::from_micros(1500)));
        assert_eq!((patience.left(ms(2)), patience.left(ms(3))), (Block::Never, Block::Never));
        assert_eq!(Patience(waits::BATCH_MOST).left(ms(1)), Block::Briefly);
        assert_eq!(Patience(waits::BATCH_MOST).left(waits::BATCH_MOST), Block::Never);
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
