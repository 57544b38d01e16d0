//! How long a worker may block in one call: the one place where that is decided.
//!
//! The problem: blocking is fast, because it saves the trip through the waiter; and it holds a thread. Which of the two
//! counts depends on what else waits. A stage of an exchange that is alone in its batch, while another worker is idle, may
//! wait for [`waits::ONE_CALL`]: nothing else waits for this worker. Beside others in the batch, no wait begins once those
//! of the whole batch have lasted as long. What was parked once is not waited for again in the same stage: it will mostly be
//! slow again, and waiting 10 ms for each of five hundred event streams would take five seconds.
//!
//! While no worker is idle, all that is ready in the epoll waits, too. How long is too long then? No number fits: on a busy
//! machine a prompt backend takes milliseconds, because it waits for a core, and nothing is lost meanwhile; and where one
//! response in ten takes 5 ms, waiting for each of these leaves the cores idle. So each batch is measured by itself. Its first
//! wait shows how long a response takes at present; what takes three times as long, and [`waits::AFTER_FIRST`] longer at least,
//! is late, and is parked.
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
    /// How long the first wait of the batch took.
    first: Option<Duration>,
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
        Self { batch, stage, first: None, company, now, sampled: now }
    }

    /// A batch of so many begins.
    pub fn begin_batch(&mut self, size: usize) {
        let company = if size > 1 { Company::Others } else { Company::Alone };
        *self = Self { company, sampled: self.sampled, ..Self::new() };
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
        let block = if waiter.has_idle_workers() { self.beside_idle() } else { self.among_busy() };
        if block == Block::Never {
            return (call(block), Duration::ZERO);
        }
        let begun = Instant::now();
        let result = call(block);
        self.now = Instant::now();
        let waited = self.now.saturating_duration_since(begun);
        self.note(waited);
        (result, waited)
    }

    fn note(&mut self, waited: Duration) {
        self.stage += waited;
        self.batch += waited;
        if waited > waits::NO_WAIT {
            self.first.get_or_insert(waited);
        }
    }

    /// How long the next call may wait while another worker is idle.
    fn beside_idle(&self) -> Block {
        let most = match self.company {
            Company::Alone => Duration::MAX,
            Company::Others => waits::ONE_CALL,
        };
        if self.stage < waits::ONE_CALL && self.batch < most { Block::Briefly } else { Block::Never }
    }

    /// The same while none is.
    fn among_busy(&self) -> Block {
        if self.stage >= waits::ONE_CALL {
            return Block::Never;
        }
        let Some(first) = self.first else { return Block::Briefly };
        let most = first + (2 * first).max(waits::AFTER_FIRST);
        match most.saturating_sub(self.batch) {
            Duration::ZERO => Block::Never,
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
    fn while_none_is_idle_the_first_wait_of_a_batch_is_the_measure_of_the_others() {
        let ms = Duration::from_millis;
        let mut allowance = Allowance::new();
        let mut begin_and_wait = |waits: &[Duration]| {
            allowance.begin_batch(16);
            waits.iter().for_each(|wait| {
                allowance.begin_stage();
                allowance.note(*wait);
            });
            allowance.among_busy()
        };
        let none = Duration::from_micros(2);
        assert_eq!(begin_and_wait(&[]), Block::Briefly);
        assert_eq!(begin_and_wait(&[none, none]), Block::Briefly, "what was there was not waited for");
        assert_eq!(begin_and_wait(&[ms(2)]), Block::For(ms(4)));
        assert_eq!(begin_and_wait(&[ms(2), ms(3)]), Block::For(ms(1)));
        assert_eq!(begin_and_wait(&[ms(2), ms(4)]), Block::Never);
        let short = Duration::from_micros(100);
        assert_eq!(
            begin_and_wait(&[short]),
            Block::For(waits::AFTER_FIRST),
            "some time they get in any case"
        );
    }

    #[test]
    fn beside_an_idle_worker_a_batch_may_wait_for_one_call() {
        let mut allowance = Allowance::new();
        let mut begin_and_wait = |size, wait| {
            allowance.begin_batch(size);
            allowance.begin_stage();
            allowance.note(wait);
            allowance.begin_stage();
            allowance.beside_idle()
        };
        assert_eq!(begin_and_wait(2, waits::ONE_CALL / 2), Block::Briefly);
        assert_eq!(begin_and_wait(2, waits::ONE_CALL), Block::Never);
        assert_eq!(begin_and_wait(1, waits::ONE_CALL), Block::Briefly, "nothing else waits for this worker");
    }

    #[test]
    fn what_was_parked_once_is_not_waited_for() {
        let mut allowance = Allowance::new();
        allowance.begin_batch(1);
        allowance.stop_waiting();
        assert_eq!((allowance.beside_idle(), allowance.among_busy()), (Block::Never, Block::Never));
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
