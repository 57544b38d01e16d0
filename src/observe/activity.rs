//! What each worker does, and since when.
//!
//! The problem: whether a fixed pool is well shows in its workers, one by one: a worker that waits for one backend for a
//! second is a fault, and the count of busy ones does not show it. So each worker says what it does, several times a
//! request; it must cost next to nothing.
//!
//! One atomic word a worker holds both halves, so that a reader never sees the time of one activity beside the name of
//! another. Only the worker writes it, with a plain store. It reads no clock for it: the times are the
//! beginning of its batch and the end of each request, which it knows anyway. In between, what it does goes on from the last of these: the
//! times of what may last are right to the few milliseconds that a worker may wait in one call (`pool::allowance`).
//!
//! Not here: who shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// It waits in the epoll: there is nothing for it to do.
    #[default]
    Resting,
    /// It reads what a client sends, or goes on with what was parked.
    Reading,
    /// It waits for a backend: it connects, sends the request, or waits for the first byte of the response.
    Waiting,
    /// It passes on what has come.
    Relaying,
}

impl Doing {
    pub const ALL: [Self; 4] = [Self::Resting, Self::Reading, Self::Waiting, Self::Relaying];

    /// The word for it, as a label and for a person.
    pub fn word(self) -> &'static str {
        match self {
            Self::Resting => "resting",
            Self::Reading => "reading",
            Self::Waiting => "waiting",
            Self::Relaying => "relaying",
        }
    }
}

/// A worker's word: the low two bits are what it does, the others the nanoseconds from the start of ronde to the beginning
/// of that. They last for 146 years.
#[derive(Debug, Default)]
pub struct Activity(AtomicU64);

/// The bits of [`Doing`].
const BITS: u32 = 2;

impl Activity {
    /// From `since` on, counted from the start of ronde, the worker does this.
    pub(super) fn begin(&self, doing: Doing, since: Duration) {
        self.store(doing, nanoseconds(since));
    }

    /// The worker does this since the time that it told last.
    pub(super) fn go_on(&self, doing: Doing) {
        self.store(doing, self.0.load(Ordering::Relaxed) >> BITS);
    }

    fn store(&self, doing: Doing, since: u64) {
        self.0.store(since << BITS | doing as u64, Ordering::Relaxed);
    }

    /// What the worker does, and for how long, when ronde has run for `uptime`.
    pub(super) fn read(&self, uptime: Duration) -> (Doing, Duration) {
        let word = self.0.load(Ordering::Relaxed);
        let doing = Doing::ALL[(word & ((1 << BITS) - 1)) as usize];
        (doing, uptime.saturating_sub(Duration::from_nanos(word >> BITS)))
    }
}

/// `Duration::as_nanos` multiplies in 128 bits. 64 hold 584 years.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_tells_what_it_does_and_since_when() {
        let activity = Activity::default();
        let (start, later) = (Duration::from_millis(1500), Duration::from_secs(4));
        assert_eq!(activity.read(later), (Doing::Resting, later), "since the start");
        for doing in Doing::ALL {
            activity.begin(doing, start);
            assert_eq!(activity.read(later), (doing, later - start));
        }
        activity.go_on(Doing::Resting);
        assert_eq!(activity.read(later), (Doing::Resting, later - start));
        assert_eq!(
            activity.read(Duration::ZERO).1,
            Duration::ZERO,
            "a reader that looked at the clock before"
        );
    }

    #[test]
    fn years_of_nanoseconds_have_room() {
        let activity = Activity::default();
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        activity.begin(Doing::Relaying, century);
        assert_eq!(activity.read(century), (Doing::Relaying, Duration::ZERO));
    }
}
