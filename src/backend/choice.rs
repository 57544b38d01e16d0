//! Which backend is next for a request.
//!
//! The problem: whose turn it is, whether it is well, whether it has room and whether this request was there before change
//! with every other request. So all of it is looked at under the lock of the round, and the turn is given there, too. A backend
//! that is chosen and not asked in the end loses no turn.
//!
//! Not here: the order (`balance`, `affinity`), how well a backend is (`health`), and another backend for a request that has an
//! answer (`instead`).

use super::balance::Place;
use super::membership::Members;
use super::turn::Trial;
use super::{Backend, Backends, Rank, Tried, Turn, affinity};
use crate::config::{Balance, Peer};
use crate::observe::failure::Failure;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Whether a request may be with a backend already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Nothing of it was sent to a backend that may have taken it.
    First,
    /// It is a retry, which has a budget, after this failure.
    Again(Failure),
}

/// Why a request gets no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTurn {
    /// No backend can take it, for this reason.
    Nobody(Failure),
    /// It would be one retry too many after this failure.
    OverBudget(Failure),
}

impl Backends {
    /// The next backend for a request of this client: the one whose turn it is, then the fallbacks, each at most once.
    ///
    /// A backend that is stuck gets no more requests: what it does not answer others can. Where all of them are stuck,
    /// that is no reason to refuse anything.
    ///
    /// # Errors
    /// Why none is asked. Then no turn is taken, and none of the budget.
    pub fn next(
        &self,
        tried: &mut Tried,
        client: Peer,
        now: Instant,
        attempt: Attempt,
    ) -> Result<Turn, NoTurn> {
        let mut round = self.membership.round();
        round.skip_missed();
        let is_well = |backend: &Backend| backend.standing.takes_turns(now);
        let is_free = |backend: &Backend| tried.is_free(backend) && backend.room() > 0;
        let is_candidate = |backend: &Backend| is_free(backend) && is_well(backend);
        let mut chosen = self
            .choose_prompt(&round, client, now, is_candidate)
            .or_else(|| choose(&round, self.balance, client, is_candidate));
        // No backend that is well is left to try: asking one that is out is better than refusing. The news may be old.
        if chosen.is_none() && !round.iter().any(|backend| tried.is_free(backend) && is_well(backend)) {
            chosen = round.first(|backend| is_free(backend));
            if chosen.is_some()
                && tried.is_first()
                && !self.history.said_all_out.swap(true, Ordering::Relaxed)
            {
                log::warn!("all backends{} are out: ronde asks them all the same", self.of_route);
            }
        }
        let chosen = chosen.ok_or_else(|| nobody(&round))?;
        // A turn that is taken in vain passes over a backend that would have answered.
        match attempt {
            Attempt::Again(failure) if !self.spend_retry() => Err(NoTurn::OverBudget(failure)),
            _ => self.give(&mut round, chosen, tried, now).ok_or_else(|| nobody(&round)),
        }
    }

    /// The next of these that is not stuck.
    pub(super) fn choose_prompt(
        &self,
        round: &Members,
        client: Peer,
        now: Instant,
        may_take: impl Fn(&Backend) -> bool,
    ) -> Option<Place> {
        let waiting = || round.iter().map(|backend| backend.standing.waiting()).sum();
        let is_stuck = |backend: &Backend| {
            backend.standing.progress.is_stuck(
                &self.history.answers,
                backend.standing.waiting(),
                waiting,
                now,
            )
        };
        choose(round, self.balance, client, |backend| may_take(backend) && !is_stuck(backend))
    }

    /// Gives a turn to the one that was chosen.
    pub(super) fn give(
        &self,
        round: &mut Members,
        chosen: Place,
        tried: &mut Tried,
        now: Instant,
    ) -> Option<Turn> {
        let backend = Arc::clone(round.take(chosen)?);
        tried.note(&backend);
        // Still under the lock of the round: of two requests at once only one may be the trial.
        let trial = if backend.standing.was_chosen() { Trial::Undecided } else { Trial::No };
        Some(Turn::new(backend, &self.history.answers, trial, round.turns(), now))
    }

    /// Takes a retry out of the budget, if one is left: a request that was sent once is sent again. Returns whether there was one.
    pub fn spend_retry(&self) -> bool {
        self.history.retry_budget.spend()
    }
}

/// Why there is no turn: no backend is known, or all are drained, or those that are not are at their limit.
fn nobody(round: &Members) -> NoTurn {
    NoTurn::Nobody(match round.count() {
        0 => Failure::NoBackend,
        _ if round.iter().all(|backend| backend.standing.is_drained()) => Failure::BackendsDrained,
        _ => Failure::BackendsBusy,
    })
}

/// The next of those that may take a turn: a backup only when no primary can.
pub(super) fn choose(
    round: &Members,
    balance: Balance,
    client: Peer,
    may_take: impl Fn(&Backend) -> bool,
) -> Option<Place> {
    [Rank::Primary, Rank::Backup].into_iter().find_map(|rank| {
        let takes = |backend: &Arc<Backend>| backend.rank == rank && may_take(backend);
        match balance {
            Balance::RoundRobin => round.first(takes),
            Balance::LeastConnections => round.cheapest(|backend| {
                takes(backend).then(|| affinity::load(backend.standing.active(), backend.weight))
            }),
            Balance::ClientAddress => round.cheapest(|backend| {
                takes(backend).then(|| affinity::distance(client, &backend.address, backend.weight))
            }),
        }
    })
}
