//! What is counted of one backend.
//!
//! The problem: the time to the first byte comes with every answer, so each thread counts it for itself. The rest is rare,
//! or changes a word that all workers write with each turn anyway (the round's own).
//!
//! Not here: the health that follows from it (`backend`).

use super::shard::{Count, Shard, Sharded};
use crate::observe::activity::nanoseconds;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct BackendCounts {
    turns: AtomicU64,
    failures: AtomicU64,
    answers: Sharded<Answers>,
    checks_passed: AtomicU64,
    checks_failed: AtomicU64,
}

/// What one thread has got.
#[derive(Debug, Default)]
struct Answers {
    count: Count,
    /// To the first byte, in nanoseconds.
    took: Count,
}

/// What was counted of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendTotals {
    /// Requests that were given to it, repeated ones included.
    pub turns: u64,
    /// Those of them that failed by its own fault.
    pub failures: u64,
    /// Responses that have begun.
    pub answers: u64,
    /// From the dispatch to the first byte of the response, all of these together.
    pub first_byte: Duration,
    /// Active checks.
    pub checks_passed: u64,
    pub checks_failed: u64,
}

impl BackendCounts {
    pub fn new(workers: usize) -> Self {
        Self {
            turns: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            answers: Sharded::new(workers),
            checks_passed: AtomicU64::new(0),
            checks_failed: AtomicU64::new(0),
        }
    }

    /// It was given a turn.
    pub fn asked(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Its response has begun.
    pub fn answered(&self, shard: &Shard, took: Duration) {
        let answers = self.answers.of(shard);
        answers.count.add(1);
        answers.took.add(nanoseconds(took));
    }

    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// An active check has ended.
    pub fn checked(&self, has_passed: bool) {
        let count = if has_passed { &self.checks_passed } else { &self.checks_failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn totals(&self) -> BackendTotals {
        BackendTotals {
            turns: self.turns.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            answers: self.answers.sum(|answers| &answers.count),
            first_byte: Duration::from_nanos(self.answers.sum(|answers| &answers.took)),
            checks_passed: self.checks_passed.load(Ordering::Relaxed),
            checks_failed: self.checks_failed.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_has_its_counts() {
        let backend = BackendCounts::new(2);
        (0..3).for_each(|_| backend.asked());
        backend.failed();
        backend.answered(&Shard::at(1), Duration::from_millis(2));
        backend.answered(&Shard::at(2), Duration::from_millis(3));
        backend.checked(true);
        backend.checked(false);
        backend.checked(false);
        let (first_byte, checks_passed, checks_failed) = (Duration::from_millis(5), 1, 2);
        let expected =
            BackendTotals { turns: 3, failures: 1, answers: 2, first_byte, checks_passed, checks_failed };
        assert_eq!(backend.totals(), expected);
    }
}
