//! Whether a backend that keeps requests waiting is only slow, or answers nobody.
//!
//! The problem: of sixty-four busy clients all are with a backend that hangs after three milliseconds, and of few
//! visitors every other one is. A timeout tells after a minute, and nothing that was sent can be asked for elsewhere. But
//! the others tell: all are asked by turns, so those that are well answer by turns. Who gives no answer while the others
//! give one after the other makes a pause at least, and somebody else is asked until it is over.
//!
//! Unless pauses are its way: answers that take a tenth of a second to five hundred who ask at once come at once, and then
//! not for a while. Silence counts when it is longer than what the backend takes; but not even then may it have more than
//! three of four who wait, or nobody would be left to whom the others could answer.
//!
//! Not here: who is asked instead (`backend`). No lock; the clock is the caller's.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Requests that may wait while the others answer as many, or a quarter of them if they are many. Fewer, and every pause
/// would look like a hang; more, and too few of the clients would be left to keep the others busy. (The shares of two
/// nginx differ by one request in three hundred then, at most, with 64 clients.)
const CAUGHT: usize = 8;

/// Turns that may be left unanswered once one of them has waited for long, when the others answer as many: so that few
/// visitors find it out, too, who may not wait to the end.
const IGNORED: usize = 4;

/// How long a request must have waited before the silence of its backend counts although few wait for it.
const SILENT: Duration = Duration::from_secs(1);

/// How many answers all backends have given.
#[derive(Debug)]
pub struct Answers {
    given: AtomicUsize,
    /// From which moments are counted.
    begun: Instant,
}

/// What one backend has answered.
#[derive(Debug, Default)]
pub struct Progress {
    /// How many answers all had given when it gave its last.
    last: AtomicUsize,
    /// How long it took at the most lately, in milliseconds.
    takes: AtomicU64,
    /// The moment until which its silence tells nothing.
    until: AtomicU64,
    /// Turns since then.
    unanswered: AtomicUsize,
    /// Since when the first of those has been waiting; zero if none is, or since it gave its last answer.
    silent_since: AtomicU64,
}

impl Default for Answers {
    fn default() -> Self {
        Self { given: AtomicUsize::new(0), begun: Instant::now() }
    }
}

impl Answers {
    /// Milliseconds since the beginning; never zero.
    fn moment(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.begun).as_millis() as u64 + 1
    }
}

impl Progress {
    /// It is asked.
    pub fn asked(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was sent whole, and waits for its answer since `now`.
    pub fn waits(&self, all: &Answers, now: Instant) {
        // Nearly always one waits already, or none did: then a look is cheaper than an exchange.
        if self.silent_since.load(Ordering::Relaxed) == 0 {
            self.silent_since.store(all.moment(now), Ordering::Relaxed);
        }
    }

    /// It has answered `now`, and it took so long.
    pub fn answered(&self, all: &Answers, now: Instant, took: Duration) {
        self.last.store(all.given.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let (took, before) = (took.as_millis() as u64, self.takes.load(Ordering::Relaxed));
        if took > 0 || before > 0 {
            let takes = took.max(before - before.div_ceil(8));
            self.takes.store(takes, Ordering::Relaxed);
            self.until.store(all.moment(now) + 2 * takes, Ordering::Relaxed);
        }
        self.unanswered.store(0, Ordering::Relaxed);
        self.silent_since.store(0, Ordering::Relaxed);
    }

    /// Whether it answers nobody for the time being, as far as can be seen `now`. `waiting` requests wait for it, `of` those
    /// that wait for any.
    pub fn is_stuck(&self, all: &Answers, waiting: usize, of: usize, now: Instant) -> bool {
        let others_gave = |answers| {
            all.given.load(Ordering::Relaxed).wrapping_sub(self.last.load(Ordering::Relaxed)) >= answers
        };
        let is_ignoring = || self.unanswered.load(Ordering::Relaxed) >= IGNORED && others_gave(IGNORED);
        let is_silent = || {
            let since = self.silent_since.load(Ordering::Relaxed);
            since > 0 && all.moment(now).saturating_sub(since) >= SILENT.as_millis() as u64
        };
        let is_overdue = || waiting >= of - of / 4 || all.moment(now) >= self.until.load(Ordering::Relaxed);
        match waiting {
            // Whoever found out that it is stuck is gone: somebody has to try again.
            0 => false,
            CAUGHT.. if others_gave(CAUGHT.max(waiting / 4)) && is_overdue() => true,
            _ => is_silent() && is_ignoring(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(progress: &Progress, times: usize) {
        for _ in 0..times {
            progress.asked();
        }
    }

    fn answer(progress: &Progress, all: &Answers, times: usize) {
        (0..times).for_each(|_| progress.answered(all, Instant::now(), Duration::ZERO));
    }

    /// Now, and with nobody waiting elsewhere.
    fn is_stuck(progress: &Progress, all: &Answers, waiting: usize) -> bool {
        progress.is_stuck(all, waiting, waiting, Instant::now())
    }

    #[test]
    fn who_answers_by_turns_is_never_stuck_however_many_wait() {
        let (all, one, other) = (Answers::default(), Progress::default(), Progress::default());
        for waiting in 0..1000 {
            ask(&one, 1);
            ask(&other, 1);
            answer(&one, &all, 1);
            answer(&other, &all, 1);
            assert!(!is_stuck(&one, &all, waiting) && !is_stuck(&other, &all, waiting));
        }
    }

    #[test]
    fn who_is_passed_by_others_with_requests_waiting_is_stuck_until_it_answers() {
        for (waiting, answers) in [(8, 8), (32, 8), (100, 25)] {
            let (all, hung, other) = (Answers::default(), Progress::default(), Progress::default());
            ask(&hung, waiting);
            answer(&other, &all, answers - 1);
            assert!(!is_stuck(&hung, &all, waiting));
            answer(&other, &all, 1);
            assert!(
                is_stuck(&hung, &all, waiting)
                    && !is_stuck(&hung, &all, 7)
                    && !is_stuck(&other, &all, waiting)
            );
            answer(&hung, &all, 1);
            assert!(!is_stuck(&hung, &all, waiting));
        }
    }

    #[test]
    fn a_few_visitors_find_it_out_once_one_has_waited_for_long() {
        let (all, hung, other) = (Answers::default(), Progress::default(), Progress::default());
        let start = Instant::now();
        ask(&hung, IGNORED);
        hung.waits(&all, start);
        answer(&other, &all, IGNORED);
        let is_stuck_after = |wait, waiting| hung.is_stuck(&all, waiting, waiting, start + wait);
        assert!(!is_stuck_after(SILENT / 2, 1), "none has waited for long");
        assert!(is_stuck_after(SILENT * 2, 1) && !is_stuck_after(SILENT * 2, 0));
        answer(&hung, &all, 1);
        assert!(!is_stuck_after(SILENT * 2, 1));
    }

    #[test]
    fn one_long_poll_beside_others_that_are_answered_is_no_silence() {
        let (all, polled, other) = (Answers::default(), Progress::default(), Progress::default());
        let start = Instant::now();
        polled.asked();
        polled.waits(&all, start);
        for _ in 0..20 {
            ask(&polled, 1);
            answer(&polled, &all, 1);
            answer(&other, &all, 1);
        }
        ask(&polled, 10);
        answer(&other, &all, 7);
        assert!(!polled.is_stuck(&all, 1, 1, start + 2 * SILENT));
    }

    #[test]
    fn who_takes_its_time_may_pause_for_longer_but_never_with_nearly_all_who_wait() {
        let (all, slow, other) = (Answers::default(), Progress::default(), Progress::default());
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        slow.answered(&all, after(0), Duration::from_millis(100));
        ask(&slow, 30);
        answer(&other, &all, 30);
        assert!(!slow.is_stuck(&all, 30, 60, after(150)) && slow.is_stuck(&all, 30, 60, after(202)));
        assert!(!slow.is_stuck(&all, 44, 60, after(150)) && slow.is_stuck(&all, 45, 60, after(150)));
        for _ in 0..40 {
            slow.answered(&all, after(300), Duration::ZERO);
        }
        answer(&other, &all, 30);
        assert!(slow.is_stuck(&all, 30, 60, after(302)), "what it took once is forgotten");
    }
}
