//! What has become of a backend so far: its health, its counts, how it answers.
//!
//! The problem: a reload makes every backend anew, perhaps with another weight or limit, and requests are under way to
//! the one before. What is known of the server behind both is the same, and so is the load on it. So what is configured
//! and what is known are two values: a backend has the first and shares the second with the one that it follows.
//!
//! Not here: its idle connections, which even routes share (`kept`), and whose turn it is (`balance`).

use super::health::{Change, Health};
use super::lock;
use super::progress::{Answers, Progress};
use super::retry_budget::RetryBudget;
use crate::config::Address;
use crate::observe::metrics::BackendCounts;
use crate::observe::metrics::snapshot::Standing as Shown;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) struct Standing {
    /// Requests that wait for a connection or a response head.
    pub waiting: AtomicUsize,
    /// Whether workers park requests to it at once. A wait of more than `PROMPT_RESPONSE` says so, and a prompt sample
    /// that it is over.
    pub is_slow: AtomicBool,
    /// Whether it is on this host or network: its address says so at first, and then the connects.
    pub is_near: AtomicBool,
    /// Requests that wait, and those whose response is under way.
    pub active: AtomicUsize,
    pub progress: Progress,
    health: Mutex<Health>,
    /// Whether its first check is under way.
    pub in_first_check: AtomicBool,
    /// Whether a success would change nothing, so that the usual path takes no lock.
    is_sound: AtomicBool,
    /// Connects that looked for its return and failed; see `never_up`.
    pub failed_returns: AtomicUsize,
    /// Whether an admin has taken it out.
    pub is_drained: AtomicBool,
    /// Why it went out of the round the last time: for an admin alone.
    why_out: Mutex<Option<String>>,
    pub counts: BackendCounts,
}

impl Standing {
    /// Of a backend at this address of which nothing else is known.
    pub fn new(address: &Address, health: Health) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            is_slow: AtomicBool::new(false),
            is_near: AtomicBool::new(is_local(address)),
            active: AtomicUsize::new(0),
            progress: Progress::default(),
            health: Mutex::new(health),
            in_first_check: AtomicBool::new(false),
            is_sound: AtomicBool::new(false),
            failed_returns: AtomicUsize::new(0),
            is_drained: AtomicBool::new(false),
            why_out: Mutex::default(),
            counts: BackendCounts::default(),
        }
    }

    pub fn takes_turns(&self, now: Instant) -> bool {
        !self.is_drained() && (self.is_sound() || lock(&self.health).takes_turns(now))
    }

    pub fn is_drained(&self) -> bool {
        self.is_drained.load(Ordering::Relaxed)
    }

    /// As an admin sees it: whether it takes turns, and why it went out if it is.
    pub fn shown(&self) -> (Shown, Option<String>) {
        let health = lock(&self.health).standing();
        let why_out = lock(&self.why_out).clone().filter(|_| health != Shown::In);
        (if self.is_drained() { Shown::Drained } else { health }, why_out)
    }

    pub fn set_why_out(&self, why: Option<&str>) {
        *lock(&self.why_out) = why.map(str::to_owned);
    }

    /// Whether a success would change nothing.
    pub fn is_sound(&self) -> bool {
        self.is_sound.load(Ordering::Acquire)
    }

    /// Whether it ever answered a request or passed a check.
    pub fn has_worked(&self) -> bool {
        lock(&self.health).has_worked
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    pub fn awaits_check(&self) -> bool {
        !self.is_sound() && lock(&self.health).awaits_check()
    }

    pub fn waits_for_trial(&self) -> bool {
        !self.is_sound() && lock(&self.health).waits_for_trial()
    }

    pub fn waits_for_connect(&self) -> bool {
        !self.is_sound() && lock(&self.health).waits_for_connect()
    }

    /// It was given a turn. Returns whether this turn is its trial.
    pub fn was_chosen(&self) -> bool {
        !self.is_sound() && lock(&self.health).was_chosen()
    }

    /// Changes the health, and keeps `is_sound` true to it.
    pub fn change(&self, change: impl FnOnce(&mut Health) -> Option<Change>) -> Option<Change> {
        let mut health = lock(&self.health);
        let changed = change(&mut health);
        self.is_sound.store(health.is_sound(), Ordering::Release);
        changed
    }
}

/// What has become of all backends of a route together; the route that follows has it, too.
pub(super) struct History {
    pub retry_budget: RetryBudget,
    pub answers: Answers,
    /// Whether it has been said that all are out.
    pub said_all_out: AtomicBool,
    /// The names of which was said that none of their addresses was ever up.
    pub never_up: Mutex<HashSet<String>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            retry_budget: RetryBudget::new(RETRIES),
            answers: Answers::default(),
            said_all_out: AtomicBool::new(false),
            never_up: Mutex::default(),
        }
    }
}

/// Requests that may be sent again at once: so many may well be under way to one backend when it is restarted.
const RETRIES: usize = 100;

/// Whether an address can only be one of this host or of a private network, as containers have.
fn is_local(address: &Address) -> bool {
    match address.ip().map(|ip| ip.to_canonical()) {
        None => true,
        Some(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Some(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
