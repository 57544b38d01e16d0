//! Whether a backend takes turns.
//!
//! The problem: a backend that fails must stop getting requests soon, and get them again soon after it works, without
//! anybody configuring anything, and without a connections of requests being sacrificed to find out. What may be tried
//! depends on how it failed. If connects fail, trying costs nothing, and a thread tries every second. If answers
//! fail, only a request can tell, so *one* is let through after a pause, and the pause doubles each time. A process
//! that is killed does both: some see it reset, some are refused. It counts as the first kind, because what is started
//! in its place has nothing to do with it.
//!
//! A failure here is always the backend's own (`failure::Blame`): an aborted upload, a kept connection that had gone
//! stale, a lack of descriptors on our side are not.
//!
//! Not here: what is logged about it and who connects (`watch`). A state machine whose clock is the caller's.

use crate::observe::failure::Failure;
use std::time::{Duration, Instant};

/// The longest pause between two trials of a backend whose answers fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When a backend is out.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Failures within `fail_timeout` that take it out; zero: none ever do.
    pub max_fails: u32,
    pub fail_timeout: Duration,
    /// Active checks in a row that bring it back, and that take it out.
    pub rise: u32,
    pub fall: u32,
}

/// What a failure was about, which decides how a backend may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot be connected to.
    Connect,
    /// It can, but does not answer as it should.
    Answer,
}

impl Trouble {
    pub fn of(failure: Failure) -> Self {
        match failure {
            Failure::Refused | Failure::Unreachable | Failure::ConnectTimeout => Self::Connect,
            _ => Self::Answer,
        }
    }
}

/// A change that is worth a line in the log.
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
    /// Whether it ever answered: an address that never worked is no news when it does not work.
    pub has_worked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the round, with so many failures since the first of them, and whether one of them was a connect's.
    In { failures: u32, since: Option<Instant>, refused: bool },
    /// Until a connect succeeds.
    Unconnectable,
    /// Until a trial request succeeds, of which the next may go at this moment.
    OnTrial { pause: Duration, next: Instant },
    /// The trial request is on its way.
    Tried { pause: Duration },
}

const HALE: State = State::In { failures: 0, since: None, refused: false };

/// What active checks say, if there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    /// Nothing yet, and nobody should be sent to a backend that was never seen to work.
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
        Self { state: HALE, checked: Checked::Up { failed: 0 }, has_worked: false }
    }

    /// Of one that takes no turns before its first check.
    pub fn unchecked() -> Self {
        Self { checked: Checked::Awaited, ..Self::new() }
    }

    /// Whether it may have the next turn: it is in, or its trial is due.
    pub fn takes_turns(&self, now: Instant) -> bool {
        let is_up = matches!(self.checked, Checked::Up { .. });
        is_up
            && match self.state {
                State::In { .. } => true,
                State::OnTrial { next, .. } => next <= now,
                State::Unconnectable | State::Tried { .. } => false,
            }
    }

    /// Whether it is in the round without reserve.
    pub fn is_in(&self) -> bool {
        matches!((self.state, self.checked), (State::In { .. }, Checked::Up { .. }))
    }

    /// Whether a success would be no news.
    pub fn is_sound(&self) -> bool {
        self.is_in() && self.has_worked
    }

    pub fn awaits_check(&self) -> bool {
        self.checked == Checked::Awaited
    }

    /// Whether it is out because of its answers.
    pub fn waits_for_trial(&self) -> bool {
        matches!(self.state, State::OnTrial { .. } | State::Tried { .. })
    }

    /// A connect was refused between two trials: whoever failed there is gone, and who comes next is another.
    pub fn vanished(&mut self) {
        if self.waits_for_trial() {
            self.state = State::Unconnectable;
        }
    }

    /// Whether its trial request is on its way.
    pub fn is_tried(&self) -> bool {
        matches!(self.state, State::Tried { .. })
    }

    /// Whether only a connect can bring it back.
    pub fn waits_for_connect(&self) -> bool {
        self.state == State::Unconnectable
    }

    /// It was given a turn. Whether that is its trial: the others do not wait for the outcome.
    pub fn was_chosen(&mut self) -> bool {
        let State::OnTrial { pause, .. } = self.state else { return false };
        self.state = State::Tried { pause };
        true
    }

    /// A trial ended without telling anything, as when the client went away: another may be the trial.
    pub fn learned_nothing(&mut self, now: Instant) {
        if let State::Tried { pause } = self.state {
            self.state = State::OnTrial { pause, next: now };
        }
    }

    pub fn succeeded(&mut self) -> Option<Change> {
        self.has_worked = true;
        match self.state {
            State::In { .. } => None,
            State::Unconnectable | State::OnTrial { .. } | State::Tried { .. } => {
                self.state = HALE;
                Some(Change::In)
            }
        }
    }

    /// A connect succeeded, which says nothing about answers.
    pub fn connected(&mut self) -> Option<Change> {
        if self.state != State::Unconnectable {
            return None;
        }
        self.state = HALE;
        Some(Change::In)
    }

    pub fn failed(&mut self, trouble: Trouble, rules: &Rules, now: Instant) -> Option<Change> {
        match (self.state, trouble) {
            (State::In { failures, since, refused }, _) => {
                let (failures, since, refused) =
                    match since.filter(|since| now.duration_since(*since) < rules.fail_timeout) {
                        Some(since) => (failures + 1, since, refused),
                        None => (1, now, false),
                    };
                // A process that is killed resets what it has and then refuses: one refusal tells the two apart.
                let refused = refused || trouble == Trouble::Connect;
                if rules.max_fails == 0 || failures < rules.max_fails {
                    self.state = State::In { failures, since: Some(since), refused };
                    return None;
                }
                self.state = if refused {
                    State::Unconnectable
                } else {
                    let pause = rules.fail_timeout.min(LONGEST_PAUSE);
                    State::OnTrial { pause, next: now + pause }
                };
                Some(Change::Out)
            }
            (State::Tried { .. } | State::OnTrial { .. }, Trouble::Connect) => {
                self.vanished();
                None
            }
            (State::Tried { pause }, Trouble::Answer) => {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                self.state = State::OnTrial { pause, next: now + pause };
                None
            }
            // Requests that were on their way when it went out: what they say is known.
            (State::OnTrial { .. }, Trouble::Answer) | (State::Unconnectable, _) => None,
        }
    }

    /// An active check passed or failed. `trouble` is what it can tell of: one that only connects says nothing about
    /// answers.
    pub fn checked(&mut self, passed: bool, trouble: Trouble, rules: &Rules) -> Option<Change> {
        let (checked, change) = match (self.checked, passed) {
            (Checked::Awaited, _) => {
                self.first_checked(passed);
                return None;
            }
            (Checked::Up { .. }, true) => (Checked::Up { failed: 0 }, None),
            (Checked::Up { failed }, false) if failed + 1 < rules.fall => {
                (Checked::Up { failed: failed + 1 }, None)
            }
            (Checked::Up { .. }, false) => (Checked::Down { passed: 0 }, Some(Change::Out)),
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
                Trouble::Answer => self.succeeded(),
            };
            self.has_worked = true;
            return if self.is_in() { change.or(back) } else { None };
        }
        change
    }

    /// The very first check decides alone.
    pub fn first_checked(&mut self, passed: bool) {
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

    const RULES: Rules = Rules { max_fails: 3, fail_timeout: Duration::from_secs(10), rise: 2, fall: 3 };

    fn after(seconds: u64) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    fn out(trouble: Trouble) -> Health {
        let mut health = Health::new();
        assert_eq!(health.failed(trouble, &RULES, after(0)), None);
        assert_eq!(health.failed(trouble, &RULES, after(1)), None);
        assert!(health.takes_turns(after(1)));
        assert_eq!(health.failed(trouble, &RULES, after(2)), Some(Change::Out));
        assert!(!health.takes_turns(after(2)));
        health
    }

    #[test]
    fn failures_that_are_far_apart_take_nobody_out() {
        let mut health = Health::new();
        for second in (0..100).step_by(6) {
            assert_eq!(health.failed(Trouble::Answer, &RULES, after(second)), None, "{second}");
        }
        let never = Rules { max_fails: 0, ..RULES };
        assert!((0..100).all(|second| health.failed(Trouble::Connect, &never, after(second)).is_none()));
    }

    #[test]
    fn a_connect_brings_back_what_could_not_be_connected_to() {
        let mut health = out(Trouble::Connect);
        assert!(!health.takes_turns(after(1000)), "time alone does not");
        assert!(health.waits_for_connect());
        assert_eq!(health.connected(), Some(Change::In));
        assert!(health.is_in());
    }

    #[test]
    fn one_that_was_restarted_needs_no_trial() {
        let mut health = Health::new();
        health.failed(Trouble::Connect, &RULES, after(0));
        health.failed(Trouble::Answer, &RULES, after(0));
        assert_eq!(health.failed(Trouble::Answer, &RULES, after(0)), Some(Change::Out));
        assert!(health.waits_for_connect(), "what was refused and what was reset is one and the same death");
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
        assert!(!health.takes_turns(after(100)), "the others do not wait for the trial");
        assert_eq!(health.failed(Trouble::Answer, &RULES, after(100)), None);
        assert!(!health.takes_turns(after(119)) && health.takes_turns(after(120)));
        health.was_chosen();
        health.learned_nothing(after(121));
        assert!(health.takes_turns(after(121)), "a trial that told nothing is tried again");
        health.was_chosen();
        health.failed(Trouble::Answer, &RULES, after(130));
        assert!(!health.takes_turns(after(159)) && health.takes_turns(after(160)), "30 s at the most");
        health.was_chosen();
        assert_eq!(health.succeeded(), Some(Change::In));
        assert!(health.is_in());
    }

    #[test]
    fn late_news_from_before_change_nothing() {
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
        let told: Vec<_> = [true, true, false, false, true, false, false, false, true, false, true, true]
            .into_iter()
            .map(|passed| health.checked(passed, Trouble::Answer, &RULES))
            .collect();
        let mut expected = vec![None; 12];
        (expected[1], expected[7], expected[11]) = (Some(Change::In), Some(Change::Out), Some(Change::In));
        assert_eq!(told, expected);
    }

    #[test]
    fn a_check_vouches_only_for_what_it_saw() {
        let mut health = out(Trouble::Answer);
        assert_eq!(health.checked(true, Trouble::Connect, &RULES), None);
        assert!(!health.takes_turns(after(3)), "it accepts connections, and always did");
        assert_eq!(health.checked(true, Trouble::Answer, &RULES), Some(Change::In));
        let mut health = out(Trouble::Connect);
        assert_eq!(health.checked(true, Trouble::Connect, &RULES), Some(Change::In));
    }
}
