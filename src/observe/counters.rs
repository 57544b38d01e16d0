//! Counts of requests and failures since the start.
//!
//! Not here: the outcome of one request (`access`).

use crate::observe::failure::Failure;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of requests, and of each failure, since the start. All threads share it.
#[derive(Debug)]
pub struct Counters {
    requests: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
}

impl Counters {
    pub fn new() -> Self {
        Self { requests: AtomicU64::new(0), failures: [const { AtomicU64::new(0) }; Failure::ALL.len()] }
    }

    /// Counts a request, and its failure if it failed.
    pub fn count(&self, failure: Option<Failure>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = failure {
            self.failures[failure as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many requests there were, and how many of them failed.
    pub fn totals(&self) -> (u64, u64) {
        let failed = self.failures.iter().map(|failures| failures.load(Ordering::Relaxed)).sum();
        (self.requests.load(Ordering::Relaxed), failed)
    }

    /// `12 requests, 3 failed: the client is gone (2), the backend refused the connection (1)`
    pub fn summary(&self) -> String {
        let requests = self.requests.load(Ordering::Relaxed);
        let failed: Vec<_> = Failure::ALL
            .iter()
            .map(|failure| (failure, self.failures[*failure as usize].load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let total: u64 = failed.iter().map(|(_, count)| count).sum();
        let causes: Vec<_> = failed.iter().map(|(failure, count)| format!("{failure} ({count})")).collect();
        match total {
            0 => format!("{requests} requests, none failed"),
            _ => format!("{requests} requests, {total} failed: {}", causes.join(", ")),
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts() {
        let counters = Counters::new();
        counters.count(None);
        assert_eq!(counters.summary(), "1 requests, none failed");
        counters.count(Some(Failure::Refused));
        assert_eq!(counters.summary(), "2 requests, 1 failed: the backend refused the connection (1)");
    }
}
