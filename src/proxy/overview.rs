//! Everything that is known at one time, collected.
//!
//! The problem: what is known stands in ten places, and not one of them may wait for those who look on. So each is asked in
//! turn, with its lock for as long as a copy takes; the parts of a snapshot may be microseconds apart.
//!
//! Not here: the forms in which it goes out (`observe::metrics`).

use crate::observe::metrics::Snapshot;
use crate::observe::metrics::snapshot::Connections;
use crate::proxy::shared::Shared;
use std::time::SystemTime;

impl Shared {
    /// See the module.
    pub fn snapshot(&self) -> Snapshot {
        let (site, metrics) = (self.site.get(), &self.metrics);
        let (parked, parked_bytes) = self.waiter.census();
        let backends = site.routes.all().iter().flat_map(|route| route.backends.states(&route.counts.label));
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            started: metrics.started(),
            at: SystemTime::now(),
            routes: metrics.routes(),
            workers: metrics.workers(),
            connections: Connections {
                open: self.connections.count(),
                most: site.config.max_connections,
                queued: self.waiter.newcomers(),
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
