//! Whether a backend takes turns.
//!
//! The problem: a failing backend must stop getting requests soon and get them again soon after it works, without any
//! configuration and without sacrificing many requests to find out. How to test it depends on how it failed. If
//! connects fail, a test costs nothing, so a thread connects every second. If responses fail, only a request can tell.
//! So *one* request is let through after a pause, and the pause doubles each time. A killed process fails in both ways:
//! it resets some requests and refuses others. It counts as a connect failure, because the process that replaces it has
//! failed nothing yet.
//!
//! Every failure reported here is the backend's own (`failure::Blame`): an aborted upload, a stale kept connection or a
//! lack of descriptors in ronde is not.
//!
//! Not here: logging (`backend`), connecting (`backend::checks`). This is a state machine; the caller passes the time.

use crate::observe::failure::Failure;
use crate::observe::metrics::snapshot::Standing;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// The longest pause between two trials of a backend whose responses fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When a backend goes out and when it comes back.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `--max-fails`: this many failures in a row, all within `fail_timeout`, take it out; `None`: failures never do. A
    /// complete response between them ends the row.
    pub max_fails: Option<NonZeroU32>,
    /// `--fail-timeout`: the window of such a row, from its first failure on, and the first pause before a trial (at most
    /// 30 s).
    pub fail_timeout: Duration,
    /// `--health-rise`: passed checks in a row that bring it back.
    pub rise: u32,
    /// `--health-fall`: failed checks in a row that take it out.
    pub fall: u32,
}

/// The kind of a failure, which decides how a backend may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connect failed, or the TLS handshake behind it.
    Connect,
    /// The connect succeeded, but the response failed. An alert is among these: with TLS 1.3 a handshake has succeeded for ronde before
    /// the backend refuses it, as one does that wants a certificate, and so the next handshake would prove nothing.
    Answer,
}

impl Trouble {
    pub fn of(failure: Failure) -> Self {
        match failure {
            Failure::Refused
            | Failure::SocketMissing
            | Failure::SocketForbidden
            | Failure::Unreachable
            | Failure::ConnectTimeout
            | Failure::BackendCertificate
            | Failure::BackendTls
            | Failure::BackendTlsTimeout => Self::Connect,
            _ => Self::Answer,
        }
    }
}

/// A change that the log reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Out,
    In,
}

/// One backend's health.
#[derive(Debug)]
pub struct Health {
    state: State,
    checked: Checked,
    /// Whether it ever answered a request or passed a check. The failure of an address that never worked is no warning.
    pub has_worked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the round. So many `failures` came in a row, from `since`, the first of them; `refused` tells whether a
    /// connect was among them.
    In { failures: u32, since: Option<Instant>, refused: bool },
    /// Out until a connect succeeds.
    AwaitsConnect,
    /// Out until a trial request succeeds; the next trial may start at `next`.
    AwaitsTrial { pause: Duration, next: Instant },
    /// Out, and a trial request is in flight.
    InTrial { pause: Duration },
}

const HEALTHY: State = State::In { failures: 0, since: None, refused: false };

/// The result of the active checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    /// There are none. One that was under way when a reload ended them says nothing any more.
    Never,
    /// No check has ended yet; a backend that was never seen to work gets no requests.
    Awaited,
    Up {
        failed: u32,
    },
    Down {
        passed: u32,
    },
}

impl Health {
    pub fn new() -> Self {
        Self { state: HEALTHY, checked: Checked::Never, has_worked: false }
    }

    /// For a backend that takes no turns before its first check.
    pub fn unchecked() -> Self {
        Self { checked: Checked::Awaited, ..Self::new() }
    }

    /// Whether it may take the next turn: it is in, or a trial is due.
    pub fn takes_turns(&self, now: Instant) -> bool {
        self.passes_checks()
            && match self.state {
                State::In { .. } => true,
                State::AwaitsTrial { next, .. } => next <= now,
                State::AwaitsConnect | State::InTrial { .. } => false,
            }
    }

    /// Whether it is in the round, by its requests and by its checks.
    pub fn is_in(&self) -> bool {
        self.passes_checks() && matches!(self.state, State::In { .. })
    }

    fn passes_checks(&self) -> bool {
        matches!(self.checked, Checked::Never | Checked::Up { .. })
    }

    /// Whether a success would change nothing, so that callers can skip the lock.
    pub fn is_sound(&self) -> bool {
        self.is_in() && self.has_worked && self.state == HEALTHY
    }

    /// As an admin sees it.
    pub fn standing(&self) -> Standing {
        match (self.checked, self.state) {
            (Checked::Awaited, _) => Standing::Unchecked,
            (Checked::Down { .. }, _) => Standing::Unwell,
            (_, State::AwaitsConnect) => Standing::Unreachable,
            (_, State::AwaitsTrial { .. } | State::InTrial { .. }) => Standing::OnTrial,
            (_, State::In { .. }) => Standing::In,
        }
    }

    /// There are active checks from now on. A backend that was in without them stays in until one fails.
    pub fn begin_checks(&mut self) {
        if self.checked == Checked::Never {
            self.checked = Checked::Up { failed: 0 };
        }
    }

    /// There are no active checks any more, so none keeps it out.
    pub fn end_checks(&mut self) {
        self.checked = Checked::Never;
    }

    pub fn awaits_check(&self) -> bool {
        self.checked == Checked::Awaited
    }

    /// Whether it is out because its responses failed.
    pub fn waits_for_trial(&self) -> bool {
        matches!(self.state, State::AwaitsTrial { .. } | State::InTrial { .. })
    }

    /// A connect was refused while it waited for a trial: the process that failed is gone, and its successor needs no
    /// trial.
    pub fn vanished(&mut self) {
        if self.waits_for_trial() {
            self.state = State::AwaitsConnect;
        }
    }

    /// Whether its trial request is in flight.
    pub fn is_tried(&self) -> bool {
        matches!(self.state, State::InTrial { .. })
    }

    /// Whether only a connect can bring it back.
    pub fn waits_for_connect(&self) -> bool {
        self.state == State::AwaitsConnect
    }

    /// It was given a turn. Returns whether this turn is its trial. Other requests do not wait for the outcome; they
    /// pass it over.
    pub fn was_chosen(&mut self) -> bool {
        let State::AwaitsTrial { pause, .. } = self.state else { return false };
        self.state = State::InTrial { pause };
        true
    }

    /// A trial ended without a result, for example because the client left: the next request may be the trial, at once.
    pub fn learned_nothing(&mut self, now: Instant) {
        if let State::InTrial { pause } = self.state {
            self.state = State::AwaitsTrial { pause, next: now };
        }
    }

    /// The head of a response came. It ends no row of failures, for every body that breaks off had one. A backend that
    /// was out is back, on probation: until a response is complete, one more failure takes it out again. Otherwise a
    /// backend whose bodies all break off would cost `max_fails` requests at each trial.
    pub fn answered(&mut self, rules: &Rules, now: Instant) -> Option<Change> {
        self.has_worked = true;
        if let State::In { .. } = self.state {
            return None;
        }
        let failures = rules.max_fails.map_or(0, |max| max.get() - 1);
        self.state = State::In { failures, since: (failures > 0).then_some(now), refused: false };
        self.is_in().then_some(Change::In)
    }

    /// A response is complete, which ends a row of failures.
    pub fn completed(&mut self) {
        if let State::In { .. } = self.state {
            self.state = HEALTHY;
        }
    }

    /// A connect succeeded. It brings back a backend whose connects failed; about responses it says nothing.
    pub fn connected(&mut self) -> Option<Change> {
        if self.state != State::AwaitsConnect {
            return None;
        }
        self.state = HEALTHY;
        self.is_in().then_some(Change::In)
    }

    /// A request or a connect failed `now`, by the backend's own fault.
    pub fn failed(&mut self, trouble: Trouble, rules: &Rules, now: Instant) -> Option<Change> {
        match (self.state, trouble) {
            (State::In { failures, since, refused }, _) => {
                let (failures, since, refused) =
                    match since.filter(|since| now.duration_since(*since) < rules.fail_timeout) {
                        Some(since) => (failures + 1, since, refused),
                        None => (1, now, false),
                    };
                // A killed process resets its connections and then refuses new ones. One refusal is enough to tell it
                // from a process that runs and answers badly.
                let refused = refused || trouble == Trouble::Connect;
                if rules.max_fails.is_none_or(|max| failures < max.get()) {
                    self.state = State::In { failures, since: Some(since), refused };
                    return None;
                }
                self.state = if refused {
                    State::AwaitsConnect
                } else {
                    let pause = rules.fail_timeout.min(LONGEST_PAUSE);
                    State::AwaitsTrial { pause, next: now + pause }
                };
                self.passes_checks().then_some(Change::Out)
            }
            (State::InTrial { .. } | State::AwaitsTrial { .. }, Trouble::Connect) => {
                self.vanished();
                None
            }
            (State::InTrial { pause }, Trouble::Answer) => {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                self.state = State::AwaitsTrial { pause, next: now + pause };
                None
            }
            // These requests were in flight when it went out, so they report the failure that is known already.
            (State::AwaitsTrial { .. }, Trouble::Answer) | (State::AwaitsConnect, _) => None,
        }
    }

    /// An active check passed or failed. `trouble` is the kind of failure it can detect: a check that only connects
    /// says nothing about responses.
    pub fn checked(&mut self, passed: bool, trouble: Trouble, rules: &Rules) -> Option<Change> {
        let (checked, change) = match (self.checked, passed) {
            (Checked::Never, _) => return None,
            (Checked::Awaited, _) => {
                self.first_checked(passed);
                return None;
            }
            (Checked::Up { .. }, true) => (Checked::Up { failed: 0 }, None),
            (Checked::Up { failed }, false) if failed + 1 < rules.fall => {
                (Checked::Up { failed: failed + 1 }, None)
            }
            (Checked::Up { .. }, false) => (Checked::Down { passed: 0 }, self.is_in().then_some(Change::Out)),
            (Checked::Down { .. }, false) => (Checked::Down { passed: 0 }, None),
            (Checked::Down { passed }, true) if passed + 1 < rules.rise => {
                (Checked::Down { passed: passed + 1 }, None)
            }
            (Checked::Down { .. }, true) => (Checked::Up { failed: 0 }, Some(Change::In)),
        };
        self.checked = checked;
        if passed {
            let back = match trouble {
                Trouble::Connect => self.connected(),
                Trouble::Answer => self.answered_check(),
            };
            self.has_worked = true;
            return if self.is_in() { change.or(back) } else { None };
        }
        change
    }

    /// A check was answered well, which brings back a backend that was out. It ends no row of failed requests, or a cheap
    /// check would speak for expensive requests.
    fn answered_check(&mut self) -> Option<Change> {
        if let State::In { .. } = self.state {
            return None;
        }
        self.state = HEALTHY;
        Some(Change::In)
    }

    /// The result of the very first check, which counts alone, without `rise` and `fall`.
    pub fn first_checked(&mut self, passed: bool) {
        if self.checked == Checked::Never {
            return;
        }
        self.checked = if passed { Checked::Up { failed: 0 } } else { Checked::Down { passed: 0 } };
        self.has_worked |= passed;
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules =
        Rules { max_fails: NonZeroU32::new(3), fail_timeout: Duration::from_secs(10), rise: 2, fall: 3 };

    fn after(seconds: u64) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    fn out(trouble: Trouble) -> Health {
        let mut health = Health::new();
        health.begin_checks();
        assert_eq!(health.failed(trouble, &RULES, after(0)), None);
        assert_eq!(health.failed(trouble, &RULES, after(1)), None);
        assert!(health.takes_turns(after(1)));
        assert_eq!(health.failed(trouble, &RULES, after(2)), Some(Change::Out));
        assert!(!health.takes_turns(after(2)));
        health
    }

    #[test]
    fn failures_that_are_far_apart_take_no_backend_out() {
        let mut health = Health::new();
        for second in (0..100).step_by(6) {
            assert_eq!(health.failed(Trouble::Answer, &RULES, after(second)), None, "{second}");
        }
        let never = Rules { max_fails: None, ..RULES };
        assert!((0..100).all(|second| health.failed(Trouble::Connect, &never, after(second)).is_none()));
    }

    /// It was said to be in the round while its checks failed, and out of it twice.
    #[test]
    fn only_a_change_of_both_together_is_news() {
        let now = Instant::now();
        let mut health = Health::new();
        health.begin_checks();
        health.first_checked(true);
        let out =
            (0..RULES.max_fails.unwrap().get()).filter_map(|_| health.failed(Trouble::Connect, &RULES, now));
        assert_eq!(out.collect::<Vec<_>>(), [Change::Out]);
        let fall = (0..RULES.fall).filter_map(|_| health.checked(false, Trouble::Answer, &RULES));
        assert_eq!(fall.count(), 0, "it is out already");
        assert_eq!(health.connected(), None, "its checks fail");
        let rise = (0..RULES.rise).filter_map(|_| health.checked(true, Trouble::Answer, &RULES));
        assert_eq!(rise.collect::<Vec<_>>(), [Change::In]);
    }

    #[test]
    fn a_connect_brings_back_a_backend_whose_connects_failed() {
        let mut health = out(Trouble::Connect);
        assert!(!health.takes_turns(after(1000)), "time alone does not");
        assert!(health.waits_for_connect());
        assert_eq!(health.connected(), Some(Change::In));
        assert!(health.is_in());
    }

    #[test]
    fn a_restarted_backend_needs_no_trial() {
        let mut health = Health::new();
        health.failed(Trouble::Connect, &RULES, after(0));
        health.failed(Trouble::Answer, &RULES, after(0));
        assert_eq!(health.failed(Trouble::Answer, &RULES, after(0)), Some(Change::Out));
        assert!(health.waits_for_connect(), "the refusal and the resets come from the same killed process");
        let mut health = out(Trouble::Answer);
        health.vanished();
        assert!(health.waits_for_connect());
        health.connected();
        health.vanished();
        assert!(health.is_in());
    }

    #[test]
    fn one_trial_at_a_time_and_the_pause_doubles() {
        let mut health = out(Trouble::Answer);
        assert!(!health.takes_turns(after(11)) && health.takes_turns(after(12)));
        health.was_chosen();
        assert!(!health.takes_turns(after(100)), "other requests do not wait for the trial");
        assert_eq!(health.failed(Trouble::Answer, &RULES, after(100)), None);
        assert!(!health.takes_turns(after(119)) && health.takes_turns(after(120)));
        health.was_chosen();
        health.learned_nothing(after(121));
        assert!(health.takes_turns(after(121)), "a trial without a result is repeated");
        health.was_chosen();
        health.failed(Trouble::Answer, &RULES, after(130));
        assert!(!health.takes_turns(after(159)) && health.takes_turns(after(160)), "at most 30 s");
        health.was_chosen();
        assert_eq!(health.answered(&RULES, after(161)), Some(Change::In));
        assert!(health.is_in() && !health.is_sound());
        health.completed();
        assert!(health.is_sound());
    }

    #[test]
    fn a_complete_response_ends_a_row_of_failures() {
        let mut health = Health::new();
        for _ in 0..10 {
            for trouble in [Trouble::Answer, Trouble::Connect] {
                assert_eq!(health.failed(trouble, &RULES, after(0)), None);
            }
            assert_eq!(health.answered(&RULES, after(0)), None);
            assert!(!health.is_sound(), "the next success must be told");
            health.completed();
            assert!(health.is_sound());
        }
    }

    #[test]
    fn a_head_ends_no_row_and_ends_a_trial_on_probation() {
        let mut health = Health::new();
        for change in [None, None, Some(Change::Out)] {
            assert_eq!(health.answered(&RULES, after(0)), None);
            assert_eq!(health.failed(Trouble::Answer, &RULES, after(0)), change);
        }
        assert!(health.takes_turns(after(10)) && health.was_chosen());
        assert_eq!(health.answered(&RULES, after(10)), Some(Change::In));
        assert_eq!(health.failed(Trouble::Answer, &RULES, after(11)), Some(Change::Out), "one is enough");
        let mut health = out(Trouble::Answer);
        assert_eq!(health.checked(true, Trouble::Answer, &RULES), Some(Change::In));
        assert!(health.is_sound(), "a passed check is no trial");
    }

    #[test]
    fn a_passed_check_ends_no_row_of_failed_requests() {
        let mut health = Health::new();
        for change in [None, None, Some(Change::Out)] {
            assert_eq!(health.checked(true, Trouble::Answer, &RULES), None);
            assert_eq!(health.failed(Trouble::Answer, &RULES, after(0)), change);
        }
    }

    #[test]
    fn late_failures_of_earlier_requests_change_nothing() {
        let mut health = out(Trouble::Answer);
        assert_eq!(health.failed(Trouble::Answer, &RULES, after(3)), None);
        assert!(health.takes_turns(after(12)));
        let mut health = out(Trouble::Connect);
        assert_eq!(health.failed(Trouble::Answer, &RULES, after(3)), None);
        assert!(health.waits_for_connect());
    }

    #[test]
    fn active_checks_rise_and_fall() {
        let mut health = Health::unchecked();
        assert!(health.awaits_check() && !health.takes_turns(after(0)));
        health.first_checked(false);
        assert!(!health.takes_turns(after(0)));
        let changes: Vec<_> = [true, true, false, false, true, false, false, false, true, false, true, true]
            .into_iter()
            .map(|passed| health.checked(passed, Trouble::Answer, &RULES))
            .collect();
        let mut expected = vec![None; 12];
        (expected[1], expected[7], expected[11]) = (Some(Change::In), Some(Change::Out), Some(Change::In));
        assert_eq!(changes, expected);
    }

    #[test]
    fn a_check_that_ends_after_the_checks_have_ended_says_nothing() {
        let mut health = Health::unchecked();
        health.first_checked(false);
        health.end_checks();
        assert!(
            [true, false, false, false]
                .iter()
                .all(|passed| health.checked(*passed, Trouble::Answer, &RULES).is_none())
        );
        health.first_checked(false);
        assert!(health.takes_turns(after(0)), "no later check could bring it back");
        health.begin_checks();
        assert!(health.takes_turns(after(0)));
    }

    #[test]
    fn a_check_counts_only_for_the_failures_it_can_detect() {
        let mut health = out(Trouble::Answer);
        assert_eq!(health.checked(true, Trouble::Connect, &RULES), None);
        assert!(!health.takes_turns(after(3)), "it accepted connections all the time");
        assert_eq!(health.checked(true, Trouble::Answer, &RULES), Some(Change::In));
        let mut health = out(Trouble::Connect);
        assert_eq!(health.checked(true, Trouble::Connect, &RULES), Some(Change::In));
    }
}
