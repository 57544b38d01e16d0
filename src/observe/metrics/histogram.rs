//! How durations are distributed.
//!
//! The problem: an average hides the one request in a hundred that takes a second, and an exact percentile needs all of
//! them. A histogram counts how many took at most so long, for a few bounds; those of several threads, routes and machines
//! can be added, which percentiles cannot.
//!
//! The bounds are in steps of about 2.5, from a millisecond, which a backend on the same network takes, to 30 s, which is
//! half of `--response-timeout`.
//!
//! Not here: which durations.

use super::shard::Count;
use crate::observe::activity::nanoseconds;
use std::time::Duration;

/// The upper bounds of the buckets, in microseconds. The last bucket has none.
pub const BOUNDS: [u64; 14] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// A histogram with one writer.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Count; BOUNDS.len() + 1],
    /// In nanoseconds.
    sum: Count,
}

/// What a histogram, or several together, have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// How many were in each bucket, and above the bound before it.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// Of all durations.
    pub sum: Duration,
}

impl Histogram {
    pub fn record(&self, duration: Duration) {
        let nanoseconds = nanoseconds(duration);
        // From the shortest on: where there are many requests, they are short.
        let bucket = BOUNDS.iter().position(|bound| nanoseconds <= bound * 1000).unwrap_or(BOUNDS.len());
        self.buckets[bucket].add(1);
        self.sum.add(nanoseconds);
    }

    pub fn read(&self) -> Distribution {
        Distribution {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].get()),
            sum: Duration::from_nanos(self.sum.get()),
        }
    }
}

impl Distribution {
    /// How many durations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl std::iter::Sum for Distribution {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut total, one| {
            total.buckets.iter_mut().zip(one.buckets).for_each(|(total, one)| *total += one);
            total.sum = total.sum.saturating_add(one.sum);
            total
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        for (microseconds, bucket) in [(0, 0), (1_000, 0), (1_001, 1), (30_000_000, 13), (30_000_001, 14)] {
            let histogram = Histogram::default();
            histogram.record(Duration::from_micros(microseconds));
            let read = histogram.read();
            assert_eq!(read.buckets.iter().position(|count| *count == 1), Some(bucket), "{microseconds}");
            assert_eq!((read.count(), read.sum), (1, Duration::from_micros(microseconds)));
        }
    }

    #[test]
    fn histograms_can_be_added() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_millis(3));
        other.record(Duration::from_millis(4));
        other.record(Duration::from_secs(60));
        let total: Distribution = [one.read(), other.read()].into_iter().sum();
        assert_eq!((total.count(), total.sum), (3, Duration::from_millis(60_007)));
        assert_eq!((total.buckets[2], total.buckets[14]), (2, 1));
    }
}
