//! One request's claim on one backend, from the choice to the end of the response.
//!
//! The problem: whoever forgets to give back what was counted for it takes a little of the backend away, for ever. So a
//! claim is a value: a [`Turn`] until the backend has answered, a [`ActiveResponse`] from then on, and whatever becomes of it, a
//! panic included, dropping it gives back what it holds.
//!
//! Not here: whose turn it is (`backend`).

use super::progress::Last;
use super::{Backend, Backends, connect_failure, lock};
use crate::config::waits;
use crate::net::conn::Conn;
use crate::observe::failure::Failure;
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A backend's turn with one request.
///
/// It ends by [`Turn::answered`] or [`Turn::failed`]; dropping it tells nothing about the backend.
pub struct Turn {
    /// When it was taken.
    pub since: Instant,
    /// The backend's last answer at that time.
    last: Last,
    /// Taken when it ends.
    active: Option<ActiveResponse>,
    /// Whether the backend is out and this request is to tell whether it is well again.
    is_trial: bool,
    holds: Cell<Holds>,
}

/// What a turn holds while its backend has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Its request waits for its client.
    Nothing,
    /// A worker for a moment, or only a place with the waiter.
    Moment,
    /// A worker for a moment soon: its request was left with the backend, and will be picked up.
    Place,
    /// A worker, for as long as the backend likes.
    Worker,
}

impl Turn {
    pub(super) fn new(backend: Arc<Backend>, is_trial: bool, since: Instant) -> Self {
        backend.active_responses.fetch_add(1, Ordering::Relaxed);
        let last = backend.progress.asked();
        let (active, holds) = (Some(ActiveResponse { backend }), Cell::new(Holds::Nothing));
        let turn = Self { since, last, active, is_trial, holds };
        turn.holds(Holds::Moment);
        turn
    }

    pub(super) fn backend(&self) -> Option<Arc<Backend>> {
        self.active.as_ref().map(|active| Arc::clone(&active.backend))
    }

    /// Says what it holds from now on; from the start it is a moment.
    pub fn holds(&self, now: Holds) {
        let Some(ActiveResponse { backend }) = &self.active else { return };
        let before = self.holds.replace(now);
        if before == now {
            return;
        }
        let counts = [
            (&backend.waiting, before != Holds::Nothing, now != Holds::Nothing),
            (&backend.left, before == Holds::Place, now == Holds::Place),
            (&backend.held, before == Holds::Worker, now == Holds::Worker),
        ];
        for (count, was_counted, is_counted) in counts {
            match (was_counted, is_counted) {
                (false, true) => count.fetch_add(1, Ordering::Relaxed),
                (true, false) => count.fetch_sub(1, Ordering::Relaxed),
                (false, false) | (true, true) => 0,
            };
        }
    }

    /// It has waited in vain so far; after a slice that is told of the backend.
    pub fn waited(&self) {
        if let Some(ActiveResponse { backend }) = &self.active
            && self.since.elapsed() >= waits::ONE_CALL
        {
            backend.progress.waited(self.last);
        }
    }

    /// A worker has waited for a moment in vain: the next should not.
    pub fn lost_a_moment(&self) {
        if let Some(ActiveResponse { backend }) = &self.active {
            backend.is_slow.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the backend's last answer was one that no worker should have waited for.
    pub fn is_slow(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.backend.is_slow.load(Ordering::Relaxed))
    }

    /// A connection that was used before and seems to be alive.
    pub fn kept(&self) -> Option<Conn> {
        self.active.as_ref()?.backend.kept.take(self.since)
    }

    /// Whether its worker may leave it with the backend without knowing that it is slow: only as long as few are, or all clients
    /// of a burst would be with a backend before it shows that it hangs.
    pub fn may_be_left(&self, backends: &Backends) -> bool {
        let few = |active: &ActiveResponse| active.backend.left.load(Ordering::Relaxed) < backends.most_left;
        self.active.as_ref().is_some_and(few)
    }

    /// A fresh connection, until `deadline`. `give_up` is asked every second.
    ///
    /// # Errors
    /// Why there is none. What is ronde's own lack is not the backend's failure.
    pub fn connect(&self, deadline: Instant, give_up: impl FnMut() -> bool) -> Result<Conn, Failure> {
        let active = self.active.as_ref().ok_or(Failure::Internal)?;
        self.holds(Holds::Worker);
        let connected = Conn::connect(active.backend.address, deadline, give_up);
        self.holds(Holds::Moment);
        connected.map_err(|error| connect_failure(&error))
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.active.as_ref().map(ActiveResponse::address)
    }

    /// The response head is there, since `now`, and it `took` so long.
    pub fn answered(mut self, backends: &Backends, now: Instant, took: Duration) -> Option<ActiveResponse> {
        self.holds(Holds::Nothing);
        let active = self.active.take()?;
        let is_slow = took > waits::PROMPT_RESPONSE;
        // Nearly always it is as it was, and a look is cheaper than taking the line from another core.
        if active.backend.is_slow.load(Ordering::Relaxed) != is_slow {
            active.backend.is_slow.store(is_slow, Ordering::Relaxed);
        }
        backends.note_success(&active.backend, now, took);
        Some(active)
    }

    /// There is no response, and this is why.
    pub fn failed(self, backends: &Backends, failure: Failure) {
        if let Some(active) = &self.active {
            backends.note_failure(&active.backend, failure, self.is_trial);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.holds(Holds::Nothing);
        if let Some(ActiveResponse { backend }) = &self.active
            && self.is_trial
        {
            lock(&backend.health).learned_nothing(Instant::now());
        }
    }
}

/// A backend that has answered and whose response is under way.
#[derive(Debug)]
pub struct ActiveResponse {
    backend: Arc<Backend>,
}

impl ActiveResponse {
    pub fn address(&self) -> SocketAddr {
        self.backend.address
    }

    /// Ends the active, and keeps the connection, which is idle since then, for the next.
    pub fn keep(self, conn: Conn, since: Instant) {
        self.backend.kept.put(conn, since);
    }
}

impl Drop for ActiveResponse {
    fn drop(&mut self) {
        self.backend.active_responses.fetch_sub(1, Ordering::Relaxed);
    }
}
