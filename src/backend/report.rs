//! What there is to say about each backend, for an admin.
//!
//! The problem: the state of a backend is spread over counts, health and the round, each under a lock of its own. A report is
//! a copy of what they say at one moment, with no lock held while it is written out.
//!
//! Not here: JSON (`server::admin`).

use super::{Backend, Backends, Rank, choose, lock};
use crate::config::{Address, Balance, Peer};
use crate::observe::metrics::BackendTotals;
pub use crate::observe::metrics::snapshot::Standing as State;
use std::time::{Duration, Instant};

/// One backend.
#[derive(Clone, Debug)]
pub struct Report {
    /// As it stands in the configuration.
    pub name: String,
    pub address: Address,
    pub state: State,
    /// Why it is out.
    pub why: Option<String>,
    /// Whether the next turn is its, as far as that does not depend on the client.
    pub is_next: bool,
    pub weight: u32,
    pub is_backup: bool,
    /// Requests and tunnels that are under way.
    pub active: usize,
    /// Idle connections that are kept, those of other routes to the same address included.
    pub kept: usize,
    /// The last health check, if there is one.
    pub check: Option<CheckReport>,
    pub totals: BackendTotals,
}

/// How a health check ended.
#[derive(Clone, Debug)]
pub struct CheckReport {
    pub passed: bool,
    pub ago: Duration,
    /// Why it was not passed.
    pub why: Option<String>,
}

#[derive(Debug)]
pub(super) struct LastCheck {
    at: Instant,
    /// Why it was not passed.
    why: Option<String>,
}

impl LastCheck {
    pub(super) fn note(backend: &Backend, outcome: &Result<(), String>) {
        *lock(&backend.last_check) = Some(Self { at: Instant::now(), why: outcome.clone().err() });
    }

    fn report(&self, now: Instant) -> CheckReport {
        let ago = now.saturating_duration_since(self.at);
        CheckReport { passed: self.why.is_none(), ago, why: self.why.clone() }
    }
}

impl Backends {
    /// All of them, in the order of the configuration.
    pub fn report(&self) -> Vec<Report> {
        let now = Instant::now();
        let next = self.whose_turn(now);
        let report = |backend: &Backend| {
            let state = backend.state();
            Report {
                name: backend.name.clone(),
                address: backend.address.clone(),
                state,
                why: lock(&backend.why_out).clone().filter(|_| matches!(state, State::Out | State::Drained)),
                is_next: next.as_ref() == Some(&backend.address),
                weight: backend.weight,
                is_backup: backend.rank == Rank::Backup,
                active: backend.active(),
                kept: backend.kept.count(),
                check: lock(&backend.last_check).as_ref().map(|check| check.report(now)),
                totals: backend.counts.totals(),
            }
        };
        self.all().iter().map(|backend| report(backend)).collect()
    }

    /// The backend that a request would be given to now; `None` where that is the client's, or none can take it.
    fn whose_turn(&self, now: Instant) -> Option<Address> {
        if self.balance == Balance::ClientAddress {
            return None;
        }
        let mut round = self.membership.round();
        round.skip_missed();
        let may_take = |backend: &Backend| backend.takes_turns(now) && backend.room() > 0;
        let place = choose(&round, self.balance, Peer::Unknown, may_take)?;
        round.get(place).map(|backend| backend.address.clone())
    }
}

impl Backend {
    fn state(&self) -> State {
        if self.is_drained() {
            return State::Drained;
        }
        let health = lock(&self.health);
        match health.is_in() {
            _ if health.awaits_check() => State::Checking,
            true => State::In,
            false => State::Out,
        }
    }
}
