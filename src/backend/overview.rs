//! What is known of the backends, for those who look on.
//!
//! Not here: how it is shown (`observe::metrics`).

use super::{Backend, Backends, Rank, lock};
use crate::observe::metrics::snapshot::BackendState;
use std::sync::Arc;

impl Backends {
    /// Each address as it is now, for the route with this label.
    pub fn states(&self, route: &Arc<str>) -> impl Iterator<Item = BackendState> {
        self.all().into_iter().map(move |backend| backend.state(route))
    }
}

impl Backend {
    fn state(&self, route: &Arc<str>) -> BackendState {
        BackendState {
            route: Arc::clone(route),
            name: self.name.clone(),
            address: self.address.clone(),
            weight: self.weight,
            is_backup: self.rank == Rank::Backup,
            standing: lock(&self.health).standing(),
            active: self.active(),
            most: self.most,
            totals: self.counts.totals(),
        }
    }
}
