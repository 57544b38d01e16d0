//! Whether a backend that keeps requests waiting is slow or stuck.
//!
//! The problem: with 64 busy clients, a hung backend has caught all of them within 3 ms, and with few clients it
//! catches every other request. The response timeout notices after a minute, and a request that timed out is not sent
//! elsewhere. But the other backends tell earlier. Requests go to all backends by turns, so healthy backends answer by
//! turns. A backend that answers nothing while the others answer again and again is at least pausing, and the round
//! passes it over until it answers.
//!
//! Some backends pause by nature: if 500 requests arrive at once and each takes 100 ms, all responses come together,
//! and then none for a while. So silence counts only once it is longer than twice the backend's recent response time.
//! But even a backend within that time may not hold three quarters of the waiting requests: too few would be left for
//! the others to answer.
//!
//! Not here: which backend is asked instead (`backend`). No lock; the caller passes the time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A backend is stuck when all of this is true:
///
/// - at least so many requests wait for it;
/// - the others have given so many answers since it has owed one, or a quarter of its waiting requests if that is more;
/// - its silence is longer than it is allowed, or it holds three quarters of all requests that wait.
///
/// With a lower limit every pause would look like a hang; with a higher one too few clients would be left to keep the others busy.
/// (With this one, and 64 clients, the shares of two nginx backends differ by at most one request in 300.)
const CAUGHT: usize = 8;

/// The limit once a request has waited for a second: this many turns unanswered while the others gave as many answers.
/// A few clients never reach [`CAUGHT`], and they may leave before the timeout.
const IGNORED: usize = 4;

/// How long a request must have waited before the silence of its backend counts although few requests wait for it.
const SILENT: Duration = Duration::from_secs(1);

/// Counts the answers of all backends.
#[derive(Debug)]
pub struct Answers {
    given: AtomicUsize,
    /// Times are in milliseconds since then.
    begun: Instant,
}

/// The answers of one backend.
#[derive(Debug, Default)]
pub struct Progress {
    /// The total of [`Answers`] at its last answer, or at the first turn after it. What the others gave before it was asked, or
    /// was there at all, says nothing about it.
    owes_since: AtomicUsize,
    /// Its longest recent response time, in milliseconds; it decays by an eighth per answer.
    slowest: AtomicU64,
    /// Until this time, in milliseconds, its silence means nothing: its last answer plus twice `slowest`.
    silence_allowed_until: AtomicU64,
    /// Turns since its last answer.
    unanswered: AtomicUsize,
    /// Since when a request has been waiting, in milliseconds; zero if none has since its last answer.
    silent_since: AtomicU64,
}

impl Default for Answers {
    fn default() -> Self {
        Self { given: AtomicUsize::new(0), begun: Instant::now() }
    }
}

impl Answers {
    /// Milliseconds since the start; never zero.
    fn milliseconds(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.begun).as_millis() as u64 + 1
    }
}

impl Progress {
    /// From now on its answers are counted among these.
    pub fn begin_among(&self, all: &Answers) {
        self.owe(all);
        let times = [&self.slowest, &self.silence_allowed_until, &self.silent_since];
        times.iter().for_each(|time| time.store(0, Ordering::Relaxed));
        self.unanswered.store(0, Ordering::Relaxed);
    }

    /// A request is given to the backend.
    pub fn asked(&self, all: &Answers) {
        if self.unanswered.fetch_add(1, Ordering::Relaxed) == 0 {
            self.owe(all);
        }
    }

    fn owe(&self, all: &Answers) {
        self.owes_since.store(all.given.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// A whole request was sent, and waits for its answer since `now`.
    pub fn waits(&self, all: &Answers, now: Instant) {
        if self.silent_since.load(Ordering::Relaxed) == 0 {
            self.silent_since.store(all.milliseconds(now), Ordering::Relaxed);
        }
    }

    /// The backend answered `now`, after `took`.
    pub fn answered(&self, all: &Answers, now: Instant, took: Duration) {
        self.owes_since.store(all.given.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let (took, before) = (took.as_millis() as u64, self.slowest.load(Ordering::Relaxed));
        if took > 0 || before > 0 {
            let slowest = took.max(before - before.div_ceil(8));
            self.slowest.store(slowest, Ordering::Relaxed);
            self.silence_allowed_until.store(all.milliseconds(now) + 2 * slowest, Ordering::Relaxed);
        }
        self.unanswered.store(0, Ordering::Relaxed);
        self.silent_since.store(0, Ordering::Relaxed);
    }

    /// Whether the backend seems to answer no request at present. `waiting` requests wait for it, `total` for any
    /// backend; that number is asked for only where it decides.
    pub fn is_stuck(
        &self,
        all: &Answers,
        waiting: usize,
        total: impl FnOnce() -> usize,
        now: Instant,
    ) -> bool {
        let others_gave = |answers| {
            all.given.load(Ordering::Relaxed).wrapping_sub(self.owes_since.load(Ordering::Relaxed)) >= answers
        };
        let is_ignoring = || self.unanswered.load(Ordering::Relaxed) >= IGNORED && others_gave(IGNORED);
        let is_silent = || {
            let since = self.silent_since.load(Ordering::Relaxed);
            since > 0 && all.milliseconds(now).saturating_sub(since) >= SILENT.as_millis() as u64
        };
        let is_overdue = || {
            let total = total();
            waiting >= total - total / 4
                || all.milliseconds(now) >= self.silence_allowed_until.load(Ordering::Relaxed)
        };
        match waiting {
            // No request is left that could notice its recovery, so the next one must try it.
            0 => false,
            CAUGHT.. if others_gave(CAUGHT.max(waiting / 4)) && is_overdue() => true,
            _ => is_ignoring() && is_silent(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(progress: &Progress, all: &Answers, times: usize) {
        (0..times).for_each(|_| progress.asked(all));
    }

    fn answer(progress: &Progress, all: &Answers, times: usize) {
        (0..times).for_each(|_| progress.answered(all, Instant::now(), Duration::ZERO));
    }

    /// Now, and with no request waiting for another backend.
    fn is_stuck(progress: &Progress, all: &Answers, waiting: usize) -> bool {
        progress.is_stuck(all, waiting, || waiting, Instant::now())
    }

    #[test]
    fn a_backend_that_answers_by_turns_is_never_stuck() {
        let (all, one, other) = (Answers::default(), Progress::default(), Progress::default());
        for waiting in 0..1000 {
            ask(&one, &all, 1);
            ask(&other, &all, 1);
            answer(&one, &all, 1);
            answer(&other, &all, 1);
            assert!(!is_stuck(&one, &all, waiting) && !is_stuck(&other, &all, waiting));
        }
    }

    #[test]
    fn a_backend_that_falls_behind_the_others_is_stuck_until_it_answers() {
        for (waiting, answers) in [(8, 8), (32, 8), (100, 25)] {
            let (all, hung, other) = (Answers::default(), Progress::default(), Progress::default());
            ask(&hung, &all, waiting);
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

    /// It is new among backends that have served for long, or was drained, or a backup.
    #[test]
    fn a_backend_that_was_asked_nothing_was_stuck_at_its_eighth_request() {
        let (all, idle, other) = (Answers::default(), Progress::default(), Progress::default());
        for _ in 0..2 {
            answer(&other, &all, 1000);
            ask(&idle, &all, CAUGHT);
            assert!(!idle.is_stuck(&all, CAUGHT, || 500, Instant::now()));
            answer(&other, &all, CAUGHT);
            assert!(idle.is_stuck(&all, CAUGHT, || 500, Instant::now()));
            answer(&idle, &all, CAUGHT);
        }
    }

    #[test]
    fn a_few_requests_are_enough_once_one_has_waited_for_long() {
        let (all, hung, other) = (Answers::default(), Progress::default(), Progress::default());
        let start = Instant::now();
        ask(&hung, &all, IGNORED);
        hung.waits(&all, start);
        answer(&other, &all, IGNORED);
        let is_stuck_after = |wait, waiting| hung.is_stuck(&all, waiting, || waiting, start + wait);
        assert!(!is_stuck_after(SILENT / 2, 1), "no request has waited for long");
        assert!(is_stuck_after(2 * SILENT, 1) && !is_stuck_after(2 * SILENT, 0));
        answer(&hung, &all, 1);
        assert!(!is_stuck_after(2 * SILENT, 1));
    }

    #[test]
    fn a_long_poll_beside_answered_requests_is_no_silence() {
        let (all, polled, other) = (Answers::default(), Progress::default(), Progress::default());
        let start = Instant::now();
        polled.asked(&all);
        polled.waits(&all, start);
        for _ in 0..20 {
            ask(&polled, &all, 1);
            answer(&polled, &all, 1);
            answer(&other, &all, 1);
        }
        ask(&polled, &all, 10);
        answer(&other, &all, 7);
        assert!(!polled.is_stuck(&all, 1, || 1, start + 2 * SILENT));
    }

    #[test]
    fn a_slow_backend_may_pause_longer_unless_nearly_all_requests_wait_for_it() {
        let (all, slow, other) = (Answers::default(), Progress::default(), Progress::default());
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        slow.answered(&all, after(0), Duration::from_millis(100));
        ask(&slow, &all, 30);
        answer(&other, &all, 30);
        assert!(!slow.is_stuck(&all, 30, || 60, after(150)) && slow.is_stuck(&all, 30, || 60, after(202)));
        assert!(!slow.is_stuck(&all, 44, || 60, after(150)) && slow.is_stuck(&all, 45, || 60, after(150)));
        for _ in 0..40 {
            slow.answered(&all, after(300), Duration::ZERO);
        }
        answer(&other, &all, 30);
        assert!(slow.is_stuck(&all, 30, || 60, after(302)), "the slow answer is forgotten");
    }
}
