//! How long the waits of one batch may take together. That is tried, because it cannot be known.
//!
//! The problem: no number fits. On a busy machine a prompt backend takes milliseconds, because it waits for a core. Nothing
//! is lost if workers wait meanwhile, and the trips through the waiter are saved: with 256 or 1,000 busy clients, patient
//! workers give a fifth more responses. But where responses take a few milliseconds of their own, or one in ten does,
//! patient workers all wait while the cores are idle, and give a fifth of what they could. From within a worker both look
//! alike: the response times are the same, and so is the share of waits in vain. A worker that learns from its own waits
//! makes them too short on the busy machine.
//!
//! What differs is what comes of it: how many responses all workers give in the same time. So the other length is tried
//! from time to time, for some hundredths of a second, and the better one stays. (The thread pool of .NET finds its number of
//! threads so: Hellerstein, Morrison and Eilebrecht, "Optimizing Concurrency Levels in the .NET ThreadPool", FeBID 2008.)
//!
//! Not here: who may wait at all (`allowance`).

use crate::config::waits;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// With fewer responses per second there is no trial: chance would decide it, and so few are no load that waits could bound.
const ENOUGH: f64 = 2000.0;

/// How much more one length has to bring than the other. From one window to the next the same one brings 3 % more or less.
const CLEARLY: f64 = 1.07;

/// Waits pay if fewer of them are in vain, for one that does not gives up thirty that do.
const PAYS: f64 = 0.1;

/// What is left of the responses when backends have become slow, or clients fewer: the other length is tried at once.
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
enum Length {
    Long,
    Short,
}

/// Where the workers are in a trial.
#[derive(Debug)]
struct Trial {
    best: Length,
    step: Step,
    /// When the step began, and when it ends.
    begun: Instant,
    ends: Instant,
    count: Count,
    /// From one trial to the next.
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The best one is in force, until the next trial, or as long as it brings about as much as it did: so many responses
    /// per second. `recent` is what it brings now.
    Best { until: Instant, rate: f64, recent: Yield },
    /// The other one is in force, and what was begun before it comes to its end.
    Settle { best: Yield },
    /// What it brings is counted.
    Other { best: Yield },
}

/// What was done in one step.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    responses: u32,
    waits: u32,
    in_vain: u32,
}

/// What one length brings.
#[derive(Clone, Copy, Debug)]
struct Yield {
    /// Responses per second.
    rate: f64,
    /// The share of batches that have waited for longer than they may, of those that have waited.
    in_vain: f64,
}

impl Patience {
    /// Of workers that begin: backends are taken for prompt.
    pub fn new() -> Self {
        Self(Mutex::new(Trial::new(Instant::now())))
    }

    /// How long the waits of a batch that begins `now` may take together. `last` is the one before, of the same worker.
    pub fn begin_batch(&self, now: Instant, last: Batch) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).go_on(now, last).duration()
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

impl Trial {
    fn new(now: Instant) -> Self {
        let (pause, count) = (waits::TRIAL_PAUSE_LEAST, Count::default());
        let step = Step::rest(Yield { rate: 0.0, in_vain: 0.0 }, now + pause);
        Self { best: Length::Long, step, begun: now, ends: now + waits::TRIAL_WINDOW, count, pause }
    }

    fn go_on(&mut self, now: Instant, last: Batch) -> Length {
        self.count.note(last, self.in_force());
        if now >= self.ends {
            self.take_step(now);
        }
        self.in_force()
    }

    fn in_force(&self) -> Length {
        match self.step {
            Step::Best { .. } => self.best,
            Step::Settle { .. } | Step::Other { .. } => self.best.other(),
        }
    }

    fn take_step(&mut self, now: Instant) {
        let found = self.count.over(now.saturating_duration_since(self.begun));
        self.step = match self.step {
            // What comes after a lull is a beginning.
            Step::Best { .. } if found.rate < ENOUGH => Step::rest(found, now + waits::TRIAL_PAUSE_LEAST),
            Step::Best { until, rate, recent } => {
                let recent = recent.followed_by(found);
                match now < until && recent.rate > rate * FALLEN {
                    true => Step::Best { until, rate, recent },
                    false => Step::Settle { best: recent },
                }
            }
            Step::Settle { best } => Step::Other { best },
            Step::Other { best } => self.decide(best, found, now),
        };
        let lasts = match self.step {
            Step::Best { .. } | Step::Other { .. } => waits::TRIAL_WINDOW,
            Step::Settle { .. } => waits::TRIAL_SETTLING,
        };
        (self.begun, self.ends, self.count) = (now, now + lasts, Count::default());
    }

    /// Which one is the best from now on. One that was found to be the best again and again is in doubt less often.
    fn decide(&mut self, best: Yield, other: Yield, now: Instant) -> Step {
        let (long, short) = if self.best == Length::Long { (best, other) } else { (other, best) };
        let better = Length::better(long, short);
        let (found, pause) = match better == self.best {
            true => (best, self.pause * 4),
            false => (other, waits::TRIAL_PAUSE_LEAST),
        };
        (self.best, self.pause) = (better, pause.min(waits::TRIAL_PAUSE_MOST));
        Step::rest(found, now + self.pause)
    }
}

impl Step {
    /// No trial `until` then, unless what was `found` comes to less.
    fn rest(found: Yield, until: Instant) -> Self {
        Self::Best { until, rate: found.rate, recent: found }
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

    fn over(self, time: Duration) -> Yield {
        let rate = f64::from(self.responses) / time.as_secs_f64().max(f64::EPSILON);
        Yield { rate, in_vain: f64::from(self.in_vain) / f64::from(self.waits.max(1)) }
    }
}

impl Yield {
    /// What is brought lately. One window says little: with 1,000 clients, it may bring a third less than the next.
    fn followed_by(self, found: Self) -> Self {
        let mean = |before: f64, now: f64| f64::midpoint(before, now);
        Self { rate: mean(self.rate, found.rate), in_vain: mean(self.in_vain, found.in_vain) }
    }
}

impl Length {
    fn other(self) -> Self {
        match self {
            Self::Long => Self::Short,
            Self::Short => Self::Long,
        }
    }

    /// Where both bring the same, clients are the bound: then waits save work if they pay, and else they keep the rest of a
    /// batch waiting.
    fn better(long: Yield, short: Yield) -> Self {
        match (long.rate / short.rate, long.in_vain) {
            (more, _) if more > CLEARLY => Self::Long,
            (more, _) if more < 1.0 / CLEARLY => Self::Short,
            (_, in_vain) if in_vain < PAYS => Self::Long,
            _ => Self::Short,
        }
    }

    fn duration(self) -> Duration {
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
        assert!(world.work(60_000, 50_000, 51_000, waits::ONE_CALL) < 0.1);
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
