//! What is counted of one backend.
//!
//! The problem: a thousand routes may have thousands of backends, each with its counts, and every worker a part in all of
//! them. Counts for each worker would be megabytes. They are not needed: a turn changes words that all workers write
//! anyway (how many requests are under way), so two more beside them travel with the same cache line.
//!
//! Not here: the health that follows from it (`backend`).

use crate::observe::activity::nanoseconds;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// See the module.
#[derive(Debug, Default)]
pub struct BackendCounts {
    turns: AtomicU64,
    failures: AtomicU64,
    answers: AtomicU64,
    /// To the first byte of these, in nanoseconds.
    took: AtomicU64,
    checks: Mutex<Checks>,
}

/// The active checks of a backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checks {
    pub passed: u64,
    pub failed: u64,
    pub last: Option<LastCheck>,
}

/// The last active check that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LastCheck {
    pub at: SystemTime,
    /// Why it was not passed.
    pub fault: Option<String>,
}

/// What was counted of a backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackendTotals {
    /// Requests that were given to it, repeated ones included.
    pub turns: u64,
    /// Those of them that failed by its own fault.
    pub failures: u64,
    /// Responses that have begun.
    pub answers: u64,
    /// From the dispatch to the first byte of the response, all of these together.
    pub first_byte: Duration,
    pub checks: Checks,
}

impl BackendCounts {
    /// It was given a turn.
    pub fn asked(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Its response has begun.
    pub fn answered(&self, took: Duration) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.took.fetch_add(nanoseconds(took), Ordering::Relaxed);
    }

    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// An active check has ended; a fault is why it was not passed.
    pub fn checked(&self, at: SystemTime, fault: Option<&str>) {
        let mut checks = self.checks();
        match fault {
            None => checks.passed += 1,
            Some(_) => checks.failed += 1,
        }
        checks.last = Some(LastCheck { at, fault: fault.map(str::to_owned) });
    }

    pub fn totals(&self) -> BackendTotals {
        BackendTotals {
            turns: self.turns.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            answers: self.answers.load(Ordering::Relaxed),
            first_byte: Duration::from_nanos(self.took.load(Ordering::Relaxed)),
            checks: self.checks().clone(),
        }
    }

    fn checks(&self) -> MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_has_its_counts() {
        let backend = BackendCounts::default();
        (0..3).for_each(|_| backend.asked());
        backend.failed();
        backend.answered(Duration::from_millis(2));
        backend.answered(Duration::from_millis(3));
        let now = SystemTime::now();
        backend.checked(now, None);
        backend.checked(now, Some("the backend refused the connection"));
        let last = LastCheck { at: now, fault: Some("the backend refused the connection".into()) };
        let checks = Checks { passed: 1, failed: 1, last: Some(last) };
        let first_byte = Duration::from_millis(5);
        assert_eq!(backend.totals(), BackendTotals { turns: 3, failures: 1, answers: 2, first_byte, checks });
    }
}
