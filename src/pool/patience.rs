//! How long the waits of one batch may take together. That is tried, because it cannot be known.
//!
//! The problem: no number fits. On a busy machine a prompt backend takes milliseconds, because it waits for a core. Nothing
//! is lost if workers wait meanwhile, and the trips through the waiter are saved: with 256 or 1,000 busy clients, patient
//! workers give a fifth more responses. But where all responses take 2 ms of their own, patient workers wait while the cores
//! are idle, and give half of what they could; where one in ten takes 5 ms, a fifth. A worker cannot tell:
//! a backend that takes 2 ms looks to it like a prompt one on a busy machine, in the response times and in the share of waits
//! in vain. A worker that learns from its own waits makes them too short on the busy machine.
//!
//! What differs is the throughput: how many responses all workers give in the same time. So the other length is tried
//! from time to time, for some hundredths of a second, and the better one stays. (The thread pool of .NET finds its number of
//! threads so: Hellerstein, Morrison and Eilebrecht, "Optimizing Concurrency Levels in the .NET ThreadPool", FeBID 2008.)
//!
//! Not here: who may wait at all (`allowance`).

use crate::config::waits;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// With fewer responses per second there is no trial: chance would decide it, with fifty of them in a window. Six workers give
/// as many even if each batch is one request that waits for [`waits::BATCH_LONG`].
const ENOUGH: f64 = 2000.0;

/// How many times the throughput of the other makes one length the better. With 64 clients, two windows of the same length
/// mostly differ by some 3 %.
const CLEARLY: f64 = 1.07;

/// Waits pay if a smaller share of batches waits in vain. Long waits before prompt backends were in vain for a few percent; where
/// one response in ten takes 5 ms, for more than half.
const PAYS: f64 = 0.1;

/// The share of the expected throughput below which the other length is tried at once: backends have become slow, or clients
/// fewer.
const FALLEN: f64 = 0.7;

/// What all workers have found.
#[derive(Debug)]
pub struct Patience(Mutex<Trial>);

/// What one worker has done in a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch {
    /// The responses that came to their end.
    pub responses: u32,
    /// How long it has waited.
    pub waited: Duration,
}

/// How long the waits of a batch may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Long,
    Short,
}

/// Where the workers are in a trial.
#[derive(Debug)]
struct Trial {
    best: Length,
    period: Period,
    /// When the period began.
    begun: Instant,
    /// What was done since then.
    count: Count,
    /// From one trial to the next.
    pause: Duration,
}

/// What is in force, and what was measured before it.
#[derive(Clone, Copy, Debug)]
enum Period {
    /// The best one is in force until then, or until its throughput falls far below the `expected` one, in responses per
    /// second.
    Best { until: Instant, expected: f64, recent: Measured },
    /// The other one is in force, and requests that were begun before it come to their end.
    Settle { best: Measured },
    /// The other one is measured.
    Other { best: Measured },
}

/// What was done in one period.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    responses: u32,
    waits: u32,
    in_vain: u32,
}

/// What was measured while one length was in force.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Responses per second.
    rate: f64,
    /// The share of batches that have waited for all the time they had, of those that have waited.
    in_vain: f64,
}

impl Patience {
    /// Of workers that begin: backends are taken for prompt.
    pub fn new() -> Self {
        Self(Mutex::new(Trial::new(Instant::now())))
    }

    /// How long the waits of a batch that begins `now` may take together. `last` is the one before, of the same worker.
    pub fn begin_batch(&self, now: Instant, last: Batch) -> Length {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).go_on(now, last)
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

impl Trial {
    fn new(now: Instant) -> Self {
        let pause = waits::TRIAL_PAUSE_LEAST;
        let period = Period::rest(Measured { rate: 0.0, in_vain: 0.0 }, now + pause);
        Self { best: Length::Long, period, begun: now, count: Count::default(), pause }
    }

    fn go_on(&mut self, now: Instant, last: Batch) -> Length {
        self.count.note(last, self.in_force());
        if now >= self.begun + self.period.lasts() {
            self.end_period(now);
        }
        self.in_force()
    }

    fn in_force(&self) -> Length {
        match self.period {
            Period::Best { .. } => self.best,
            Period::Settle { .. } | Period::Other { .. } => self.best.other(),
        }
    }

    fn end_period(&mut self, now: Instant) {
        let found = self.count.over(now.saturating_duration_since(self.begun));
        self.period = match self.period {
            // What comes after a lull is a beginning.
            Period::Best { .. } if found.rate < ENOUGH => Period::rest(found, now + waits::TRIAL_PAUSE_LEAST),
            Period::Best { until, expected, recent } => {
                let recent = recent.followed_by(found);
                match now < until && recent.rate > expected * FALLEN {
                    true => Period::Best { until, expected, recent },
                    false => Period::Settle { best: recent },
                }
            }
            Period::Settle { best } => Period::Other { best },
            Period::Other { best } => self.decide(best, found, now),
        };
        (self.begun, self.count) = (now, Count::default());
    }

    /// Which one is the best from now on. One that has won again and again is in doubt less often.
    fn decide(&mut self, best: Measured, other: Measured, now: Instant) -> Period {
        let (long, short) = if self.best == Length::Long { (best, other) } else { (other, best) };
        let better = Length::better(long, short);
        let (found, pause) = match better == self.best {
            true => (best, self.pause * 4),
            false => (other, waits::TRIAL_PAUSE_LEAST),
        };
        (self.best, self.pause) = (better, pause.min(waits::TRIAL_PAUSE_MOST));
        Period::rest(found, now + self.pause)
    }
}

impl Period {
    /// No trial `until` then, unless the throughput falls below what was `found`.
    fn rest(found: Measured, until: Instant) -> Self {
        Self::Best { until, expected: found.rate, recent: found }
    }

    fn lasts(&self) -> Duration {
        match self {
            Self::Best { .. } | Self::Other { .. } => waits::TRIAL_WINDOW,
            Self::Settle { .. } => waits::TRIAL_SETTLING,
        }
    }
}

impl Count {
    fn note(&mut self, last: Batch, length: Length) {
        self.responses = self.responses.saturating_add(last.responses);
        if last.waited > Duration::ZERO {
            self.waits += 1;
            self.in_vain += u32::from(last.waited >= length.duration());
        }
    }

    fn over(self, time: Duration) -> Measured {
        let rate = f64::from(self.responses) / time.as_secs_f64().max(f64::EPSILON);
        Measured { rate, in_vain: f64::from(self.in_vain) / f64::from(self.waits.max(1)) }
    }
}

impl Measured {
    /// A running mean. One window says little: with 1,000 clients, its throughput may be a third less than that of the next.
    fn followed_by(self, found: Self) -> Self {
        let rate = f64::midpoint(self.rate, found.rate);
        Self { rate, in_vain: f64::midpoint(self.in_vain, found.in_vain) }
    }
}

impl Length {
    fn other(self) -> Self {
        match self {
            Self::Long => Self::Short,
            Self::Short => Self::Long,
        }
    }

    /// Where the throughput of both is the same, clients are the bound: then waits save work if they pay, and else they keep
    /// the rest of a batch waiting.
    fn better(long: Measured, short: Measured) -> Self {
        match (long.rate / short.rate, long.in_vain) {
            (more, _) if more > CLEARLY => Self::Long,
            (more, _) if more < 1.0 / CLEARLY => Self::Short,
            (_, in_vain) if in_vain < PAYS => Self::Long,
            _ => Self::Short,
        }
    }

    pub fn duration(self) -> Duration {
        match self {
            Self::Long => waits::BATCH_LONG,
            Self::Short => waits::BATCH_SHORT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers before backends with which each length brings so many responses per second.
    struct World {
        trial: Trial,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            Self { trial: Trial::new(now), now }
        }

        /// Works for so long, in batches of a millisecond; returns the share of them that might wait for long.
        fn work(&mut self, milliseconds: u32, long: u32, short: u32, waited: Duration) -> f64 {
            let (mut length, mut patient) = (self.trial.in_force(), 0);
            for _ in 0..milliseconds {
                let rate = if length == Length::Long { long } else { short };
                self.now += Duration::from_millis(1);
                length = self.trial.go_on(self.now, Batch { responses: rate / 1000, waited });
                patient += u32::from(length == Length::Long);
            }
            f64::from(patient) / f64::from(milliseconds)
        }
    }

    const BRIEFLY: Duration = Duration::from_micros(20);

    #[test]
    fn long_waits_stay_where_they_bring_more() {
        let mut world = World::new();
        assert!(world.work(60_000, 87_000, 74_000, BRIEFLY) > 0.98);
    }

    #[test]
    fn long_waits_go_where_they_bring_less() {
        let mut world = World::new();
        world.work(400, 15_000, 70_000, BRIEFLY);
        assert_eq!(world.trial.in_force(), Length::Short);
        assert!(world.work(60_000, 15_000, 70_000, BRIEFLY) < 0.02);
    }

    #[test]
    fn backends_that_become_slow_are_noticed_by_what_is_lost() {
        let mut world = World::new();
        world.work(60_000, 87_000, 74_000, BRIEFLY);
        world.work(200, 15_000, 70_000, BRIEFLY);
        assert_eq!(world.trial.in_force(), Length::Short);
        world.work(4_500, 87_000, 74_000, BRIEFLY);
        assert_eq!(world.trial.in_force(), Length::Long, "and those that become prompt by the next trial");
    }

    #[test]
    fn one_bad_window_changes_nothing() {
        let mut world = World::new();
        world.work(10_000, 87_000, 74_000, BRIEFLY);
        let patient: f64 = (0..100)
            .map(|_| world.work(26, 40_000, 74_000, BRIEFLY) + world.work(974, 87_000, 74_000, BRIEFLY))
            .sum();
        assert!(patient > 190.0, "{patient}");
    }

    #[test]
    fn few_responses_decide_nothing() {
        let mut world = World::new();
        assert!((world.work(60_000, 1_000, 1_999, BRIEFLY) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn where_clients_are_the_bound_waits_are_short_if_they_are_in_vain() {
        let mut world = World::new();
        assert!(world.work(60_000, 50_000, 51_000, BRIEFLY) > 0.98);
        world.work(20_000, 50_000, 51_000, waits::ONE_CALL);
        assert!(world.work(60_000, 50_000, 51_000, waits::ONE_CALL) < 0.02);
    }

    #[test]
    fn what_comes_after_a_lull_is_a_beginning() {
        let mut world = World::new();
        world.work(1_000, 50_000, 40_000, BRIEFLY);
        world.now += Duration::from_secs(60);
        let begins = world.work(200, 9_000, 60_000, BRIEFLY);
        assert!((begins - 1.0).abs() < f64::EPSILON, "no trial among the first");
    }
}
