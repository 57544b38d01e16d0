//! Whether a body comes fast enough.
//!
//! The problem: an average since the beginning lets whoever was fast once be slow for ever; 50 MB at once would pay for a
//! day of one byte every half a minute. But one pause is no trickle: a radio link comes back after it. So what is long ago
//! weighs less and less: whenever ten seconds of waiting have come together, the bytes and the time so far are halved. The
//! 50 MB are forgotten within four minutes, and whoever was fast a moment ago may pause.
//!
//! Not here: whose fault a wait was. Only a wait for the client is told, never one for a slow backend.

use std::time::Duration;

/// Nobody is judged by less than this: the first packets of a bad connection may take seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// One body's rate.
#[derive(Clone, Copy, Debug)]
pub struct MinRate {
    /// Bytes a second; zero for any.
    least: u64,
    /// All that came so far.
    total: u64,
    bytes: u64,
    waited: Duration,
}

impl MinRate {
    /// `least` is `--min-rate`.
    pub fn new(least: u64) -> Self {
        Self { least, total: 0, bytes: 0, waited: Duration::ZERO }
    }

    /// After another wait, `total` bytes have come. Returns whether that is enough.
    pub fn is_kept(&mut self, total: u64, waited: Duration) -> bool {
        self.bytes += total.saturating_sub(self.total);
        self.total = total;
        self.waited += waited;
        let is_enough = self.waited < WINDOW
            || u128::from(self.bytes) >= u128::from(self.least) * self.waited.as_millis() / 1000;
        while self.waited >= WINDOW {
            self.bytes /= 2;
            self.waited /= 2;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Seconds until a body is too slow that begins with so many bytes and goes on with a byte at a time.
    fn endures(beginning: u64, between: Duration) -> u64 {
        let mut rate = MinRate::new(500);
        assert!(rate.is_kept(beginning, Duration::ZERO));
        let mut bytes = 1;
        while rate.is_kept(beginning + bytes, between) {
            bytes += 1;
        }
        bytes * between.as_secs()
    }

    #[test]
    fn what_was_fast_once_is_soon_forgotten() {
        assert!((10..=11).contains(&endures(0, SECOND)));
        for between in [SECOND, 29 * SECOND] {
            let endured = endures(50_000_000, between);
            assert!((60..240).contains(&endured), "{endured} s");
        }
        let terabyte = endures(1 << 40, 29 * SECOND);
        assert!(terabyte < 420, "{terabyte} s");
    }

    #[test]
    fn who_was_fast_a_moment_ago_may_pause() {
        let mut rate = MinRate::new(500);
        for round in 1..100 {
            assert!(rate.is_kept(round * 100_000, SECOND));
            assert!(rate.is_kept(round * 100_000 + 1, 29 * SECOND), "{round}");
        }
    }

    #[test]
    fn who_is_always_just_fast_enough_may_go_on_for_ever() {
        let mut rate = MinRate::new(500);
        assert!((1..100_000).all(|second| rate.is_kept(second * 501, SECOND)));
        let mut rate = MinRate::new(500);
        assert!(!(1..100).all(|second| rate.is_kept(second * 499, SECOND)));
        let mut unbound = MinRate::new(0);
        assert!((1..1000).all(|second| unbound.is_kept(second, 29 * SECOND)));
    }
}
