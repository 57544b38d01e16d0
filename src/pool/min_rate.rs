//! Whether a body arrives fast enough.
//!
//! The problem: an average since the start lets a body that was fast once be slow for ever. At 500 bytes a second, 50
//! MB sent at once would pay for a day of one byte every half a minute. A single pause, on the other hand, is not a
//! trickle: a radio link recovers after it. So the average forgets: once ten seconds of waiting are counted, bytes and
//! time are halved, and again after each five seconds more. The 50 MB are forgotten within four minutes, and a body that
//! was fast until now may pause.
//!
//! Not here: whose fault a wait was. The caller reports only waits for the client, never for a slow backend.

use std::time::Duration;

/// No verdict before this much waiting: the first packets on a bad connection may take seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// The minimum rate of one body.
#[derive(Clone, Copy, Debug)]
pub struct MinRate {
    /// Bytes a second; zero allows any rate.
    least: u64,
    /// Bytes received since the start.
    total: u64,
    /// Bytes and waiting time in the decaying average.
    bytes: u64,
    waited: Duration,
}

impl MinRate {
    /// `least` is `--min-rate`, in bytes a second.
    pub fn new(least: u64) -> Self {
        Self { least, total: 0, bytes: 0, waited: Duration::ZERO }
    }

    /// Counts a wait of `waited`, after which `total` bytes have arrived since the start. Returns whether the rate is
    /// kept.
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

    /// Seconds until a body is judged too slow that starts with `first` bytes at once and then sends single bytes.
    fn lasts(first: u64, between: Duration) -> u64 {
        let mut rate = MinRate::new(500);
        assert!(rate.is_kept(first, Duration::ZERO));
        let mut bytes = 1;
        while rate.is_kept(first + bytes, between) {
            bytes += 1;
        }
        bytes * between.as_secs()
    }

    #[test]
    fn a_fast_start_is_soon_forgotten() {
        assert!((10..=11).contains(&lasts(0, SECOND)));
        for between in [SECOND, 29 * SECOND] {
            let lasted = lasts(50_000_000, between);
            assert!((60..240).contains(&lasted), "{lasted} s");
        }
        let terabyte = lasts(1 << 40, 29 * SECOND);
        assert!(terabyte < 420, "{terabyte} s");
    }

    #[test]
    fn a_body_that_was_fast_until_now_may_pause() {
        let mut rate = MinRate::new(500);
        for round in 1..100 {
            assert!(rate.is_kept(round * 100_000, SECOND));
            assert!(rate.is_kept(round * 100_000 + 1, 29 * SECOND), "{round}");
        }
    }

    #[test]
    fn a_body_at_just_the_minimum_rate_is_never_too_slow() {
        let mut rate = MinRate::new(500);
        assert!((1..100_000).all(|second| rate.is_kept(second * 501, SECOND)));
        let mut rate = MinRate::new(500);
        assert!(!(1..100).all(|second| rate.is_kept(second * 499, SECOND)));
        let mut unbound = MinRate::new(0);
        assert!((1..1000).all(|second| unbound.is_kept(second, 29 * SECOND)));
    }
}
