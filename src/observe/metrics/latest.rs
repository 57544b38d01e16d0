//! The latest failures.
//!
//! The problem: a counter says that something fails, and the next question is what and when. The log knows, if it is
//! written and not rotated away; the last few are worth keeping in memory.
//!
//! Failures are rare, so a lock is good enough. A flood of them takes it for the copy of a few words.
//!
//! Not here: handshakes that fail. The internet tries ports all day, and nothing else would be seen.

use crate::config::Address;
use crate::observe::failure::Failure;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// How many are kept.
pub const KEPT: usize = 32;

/// A request that has failed, or a connection that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// When it ended.
    pub at: SystemTime,
    /// What the client was told; `None`: it got no response.
    pub status: Option<u16>,
    pub failure: Failure,
    /// The label of its route.
    pub route: Arc<str>,
    /// The backend that answered, or the last that was tried.
    pub backend: Option<Address>,
}

/// The last [`KEPT`] of them.
#[derive(Debug, Default)]
pub struct Latest(Mutex<VecDeque<Failed>>);

impl Latest {
    pub fn note(&self, failed: Failed) {
        let mut all = self.lock();
        if all.len() == KEPT {
            all.pop_front();
        }
        all.push_back(failed);
    }

    /// The latest first.
    pub fn all(&self) -> Vec<Failed> {
        self.lock().iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Failed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_latest_stay() {
        let latest = Latest::default();
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        for second in 0..40 {
            let (status, failure, route) = (Some(502), Failure::Refused, "default".into());
            latest.note(Failed { at: at(second), status, failure, route, backend: None });
        }
        let all = latest.all();
        assert_eq!((all.len(), all[0].at, all[KEPT - 1].at), (KEPT, at(39), at(8)));
    }
}
