//! How far a shutdown has come.
//!
//! The problem: a shutdown has phases, and every place that parks, reads or accepts has to know the present one. And a client
//! that looks idle when the shutdown begins may have sent its next request just now: closed at once, it would be reset.
//!
//! Not here: waking threads (`waiter`, `server`).

use std::sync::OnceLock;
use std::time::Instant;

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Running,
    /// Nothing new begins; what is in flight is finished.
    Draining,
    /// The grace is over; what is still in flight is cut.
    Over,
}

/// The phase, shared by every thread. It only ever moves forward: each step is a cell that is set once, so there is no
/// other order to get wrong, and to look costs a load.
#[derive(Debug, Default)]
pub struct Stop {
    /// Until when clients without a request under way are waited for; set when the shutdown begins.
    idle_end: OnceLock<Instant>,
    /// Set when the grace is over.
    over: OnceLock<()>,
}

impl Stop {
    pub fn phase(&self) -> Phase {
        match (self.over.get(), self.idle_end.get()) {
            (Some(()), _) => Phase::Over,
            (None, Some(_)) => Phase::Draining,
            (None, None) => Phase::Running,
        }
    }

    /// The shutdown begins. Clients without a request under way are waited for until `idle_end`.
    pub fn begin(&self, idle_end: Instant) {
        self.idle_end.get_or_init(|| idle_end);
    }

    /// The grace is over, even if the shutdown had not begun.
    pub fn cut(&self) {
        self.over.get_or_init(|| ());
    }

    /// Until when such a client is waited for, if it would be until `deadline` without a shutdown.
    pub fn bound_idle(&self, deadline: Instant) -> Instant {
        self.idle_end.get().map_or(deadline, |end| deadline.min(*end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_shutdown_moves_forward_only() {
        let (stop, now) = (Stop::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        assert_eq!((stop.phase(), stop.bound_idle(later)), (Phase::Running, later));
        stop.begin(now);
        stop.begin(later);
        assert_eq!((stop.phase(), stop.bound_idle(later)), (Phase::Draining, now), "the first word counts");
        stop.cut();
        stop.begin(later);
        assert_eq!(stop.phase(), Phase::Over);
    }
}
