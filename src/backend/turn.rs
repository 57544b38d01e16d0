//! One request's claim on one backend, from the choice to the end of the response.
//!
//! The problem: a count that is not given back takes a little of the backend away, for ever. So the claim is a value, and
//! whatever becomes of the request, a panic included, dropping it gives back what it counts.
//!
//! Not here: whose turn it is (`backend`).

use super::progress::Answers;
use super::{Backend, Backends};
use crate::config::{Address, waits};
use crate::net::conn::{Block, Conn, Connected, Window};
use crate::net::tls::{Identity, Refusal};
use crate::observe::failure::{Blame, Failure};
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub struct Turn {
    backend: Arc<Backend>,
    /// Its number among all turns of the round.
    pub number: u64,
    /// When it was taken.
    pub since: Instant,
    awaited: Cell<Side>,
    trial: Cell<Trial>,
    verdict: Cell<Verdict>,
}

/// How a backend answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So that a worker does well to wait for it.
    Prompt,
    Slow,
}

/// Which side the request waits for. Only the backend's silence says something about the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Backend,
}

/// Whether this request is the trial of a backend that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    No,
    Undecided,
}

/// Whether what becomes of the response says any more about the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Open,
    /// Its status was a failure, and this is one failure, however the body ends.
    Failed,
}

impl Pace {
    /// Of a response that took so long.
    pub fn of(took: Duration) -> Self {
        if took > waits::PROMPT_RESPONSE { Self::Slow } else { Self::Prompt }
    }
}

impl Turn {
    pub(super) fn new(
        backend: Arc<Backend>,
        answers: &Answers,
        trial: Trial,
        number: u64,
        since: Instant,
    ) -> Self {
        backend.standing.active.fetch_add(1, Ordering::Relaxed);
        backend.standing.waiting.fetch_add(1, Ordering::Relaxed);
        backend.standing.progress.asked(answers);
        backend.standing.counts.asked();
        let (awaited, verdict) = (Cell::new(Side::Backend), Cell::new(Verdict::Open));
        let trial = Cell::new(trial);
        Self { backend, number, since, awaited, trial, verdict }
    }

    pub fn address(&self) -> Address {
        self.backend.address.clone()
    }

    /// Takes a connection that was used before and seems to be alive, if there is one.
    pub fn take_kept(&self) -> Option<Conn> {
        self.backend.kept.take(self.since)
    }

    /// Begins a connection of its own, with this window if the backend is near.
    ///
    /// # Errors
    /// As [`Conn::connect`].
    pub fn connect(&self, near: Window, block: Block) -> io::Result<(Conn, Connected)> {
        let window =
            if self.backend.standing.is_near.load(Ordering::Relaxed) { near } else { Window::Automatic };
        Conn::connect(&self.backend.address, window, block)
    }

    /// What the backend has to prove on it, if it speaks TLS.
    pub fn identity(&self) -> Option<&Identity> {
        self.backend.identity.as_ref()
    }

    /// It has not. The failure is yet to be told of ([`Self::failed`]).
    pub fn note_refusal(&self, refusal: &Refusal) {
        Backends::note_refusal(&self.backend, refusal);
    }

    /// A connect has succeeded, and `took` so long: about a round trip.
    pub fn was_connected(&self, took: Duration) {
        if took < waits::NEAR_CONNECT || took > waits::FAR_CONNECT {
            self.backend.standing.is_near.store(took < waits::NEAR_CONNECT, Ordering::Relaxed);
        }
    }

    /// It is the client that is waited for.
    pub fn await_client(&self) {
        if self.awaited.replace(Side::Client) == Side::Backend {
            self.backend.standing.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// It is the backend that is waited for.
    pub fn await_backend(&self) {
        if self.awaited.replace(Side::Backend) == Side::Client {
            self.backend.standing.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The whole request is with the backend, since `now`.
    pub fn was_sent(&self, backends: &Backends, now: Instant) {
        self.await_backend();
        self.backend.standing.progress.waits(&backends.history.answers, now);
    }

    /// How the backend answers at present. Nearly always it is as it was, and reading it is cheaper than taking the cache
    /// line from another core.
    pub fn note_pace(&self, pace: Pace) {
        let is_slow = pace == Pace::Slow;
        if self.is_slow() != is_slow {
            self.backend.standing.is_slow.store(is_slow, Ordering::Relaxed);
        }
    }

    /// Whether no worker should wait for the backend's next response: its request is parked as soon as it is sent.
    pub fn is_slow(&self) -> bool {
        self.backend.standing.is_slow.load(Ordering::Relaxed)
    }

    /// The response head is there, since `now`, and it `took` so long. Its status may be a `failure`.
    pub fn answered(&self, backends: &Backends, now: Instant, took: Duration, failure: Option<Failure>) {
        self.await_client();
        self.backend.standing.counts.answered(took);
        let trial = self.trial.replace(Trial::No);
        self.backend.standing.progress.answered(&backends.history.answers, now, took);
        match failure {
            None => backends.note_success(&self.backend, now),
            Some(failure) => {
                self.verdict.set(Verdict::Failed);
                backends.note_failure(&self.backend, failure, trial);
            }
        }
    }

    /// The response is complete, or is one that ends at will and has begun.
    pub fn completed(&self) {
        if !self.backend.standing.is_sound() && self.verdict.get() == Verdict::Open {
            self.backend.standing.change(|health| {
                health.completed();
                None
            });
        }
    }

    /// There is no response, or only a part of it, and this is why. If the backend is not to blame, nothing was learned of it.
    pub fn failed(self, backends: &Backends, failure: Failure) {
        if failure.blame() != Blame::Backend {
            return;
        }
        let trial = self.trial.replace(Trial::No);
        if self.verdict.get() == Verdict::Open {
            backends.note_failure(&self.backend, failure, trial);
        }
    }

    /// The response is complete: ends the turn, and keeps the connection, which is idle since then, for the next.
    pub fn keep(self, conn: Conn, since: Instant) {
        self.completed();
        match self.backend.standing.is_drained() {
            true => conn.say_end(),
            false => self.backend.kept.put(conn, since),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.await_client();
        self.backend.standing.active.fetch_sub(1, Ordering::Relaxed);
        if self.trial.get() == Trial::Undecided {
            self.backend.standing.change(|health| {
                health.learned_nothing(Instant::now());
                None
            });
        }
    }
}
