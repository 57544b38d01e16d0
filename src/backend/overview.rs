//! What is known of the backends, for those who look on.
//!
//! Not here: how it is shown (`observe::metrics`).

use super::choice::choose;
use super::{Backend, Backends, Rank};
use crate::config::{self, Balance, Peer};
use crate::observe::metrics::BackendTotals;
use crate::observe::metrics::snapshot::{BackendState, Standing};
use std::sync::Arc;
use std::time::Instant;

impl Backends {
    /// Each address as it is now, and each name that has none, for the route with this label.
    pub fn states(&self, route: &Arc<str>) -> impl Iterator<Item = BackendState> {
        let next = self.whose_turn(Instant::now());
        let present = self.all().into_iter().map(move |backend| {
            let is_next = next.as_ref().is_some_and(|next| Arc::ptr_eq(next, &backend));
            BackendState { is_next, ..backend.state(route) }
        });
        present.chain(self.membership.absent().map(|spec| self.absent(spec, route)))
    }

    /// A name without an address, which would otherwise be seen nowhere but in the log.
    fn absent(&self, spec: &config::Backend, route: &Arc<str>) -> BackendState {
        let name = spec.to_string();
        let is_drained = self.membership.drained().has(&name);
        BackendState {
            route: Arc::clone(route),
            name,
            address: None,
            weight: spec.weight,
            is_backup: spec.backup,
            standing: if is_drained { Standing::Drained } else { Standing::Absent },
            why_out: Some("its name has no address now".to_owned()),
            is_next: false,
            active: 0,
            most: spec.max_connections,
            kept: 0,
            totals: BackendTotals::default(),
        }
    }

    /// The backend that a request would be given to now; `None` where that is the client's, or none can take it.
    fn whose_turn(&self, now: Instant) -> Option<Arc<Backend>> {
        if self.balance == Balance::ClientAddress {
            return None;
        }
        let mut round = self.membership.round();
        round.skip_missed();
        let may_take = |backend: &Backend| backend.standing.takes_turns(now) && backend.room() > 0;
        let place = choose(&round, self.balance, Peer::Unknown, may_take)?;
        round.get(place).cloned()
    }
}

impl Backend {
    fn state(&self, route: &Arc<str>) -> BackendState {
        let (standing, why_out) = self.standing.shown();
        BackendState {
            route: Arc::clone(route),
            name: self.name.clone(),
            address: Some(self.address.clone()),
            weight: self.weight,
            is_backup: self.rank == Rank::Backup,
            standing,
            why_out,
            is_next: false,
            active: self.standing.active(),
            most: self.most,
            kept: self.kept.count(),
            totals: self.standing.counts.totals(),
        }
    }
}
