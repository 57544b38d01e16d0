//! Everything that is known at one time, collected.
//!
//! The problem: what is known stands in ten places, and not one of them may wait for those who look on. So each is asked in
//! turn, with its lock for as long as a copy takes; the parts of a snapshot may be microseconds apart.
//!
//! Not here: the forms in which it goes out (`observe::metrics`).

use crate::backend::Report;
use crate::observe::metrics::Snapshot;
use crate::observe::metrics::snapshot::{BackendState, Connections};
use crate::proxy::shared::Shared;
use std::sync::Arc;
use std::time::SystemTime;

impl Shared {
    /// See the module.
    pub fn snapshot(&self) -> Snapshot {
        let (site, metrics) = (self.site.get(), &self.metrics);
        let (parked, parked_bytes) = self.waiter.census();
        let backends = site.routes.all().iter().flat_map(|route| {
            let label = &route.counts.label;
            route.backends.report().into_iter().map(|report| state(label, report))
        });
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            started: metrics.started(),
            at: SystemTime::now(),
            routes: metrics.routes(),
            workers: metrics.workers(),
            connections: Connections {
                open: self.connections.count(),
                most: self.connections.most(),
                queued: self.waiter.offered(),
                parked,
                parked_bytes,
            },
            traffic: metrics.traffic(),
            backends: backends.collect(),
            handshakes: metrics.handshakes(),
            certificates: site.certificates.as_ref().map(|shown| shown.ends()).unwrap_or_default(),
            lines_lost: self.logger.lost(),
            latest: metrics.latest(),
        }
    }
}

fn state(route: &Arc<str>, report: Report) -> BackendState {
    let Report { name, address, state: standing, active, totals, .. } = report;
    BackendState { route: Arc::clone(route), name, address, standing, active, totals }
}
