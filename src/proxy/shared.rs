//! What all threads share, as long as the process lives.
//!
//! The problem: a worker needs settings, routes, the waiter and the log. Globals would hide which code uses what; a dozen
//! arguments would too.
//!
//! Not here: the threads themselves (`server`), what each has alone (`scratch`), and what a reload swaps (`site`).

use crate::config::{Config, Explain, Peer};
use crate::observe::access::{Access, Line, Record};
use crate::observe::explain::Explanation;
use crate::observe::logger::Logger;
use crate::observe::metrics::{Metrics, Recorder, RouteCounts};
use crate::pool::patience::Patience;
use crate::pool::stop::Phase;
use crate::pool::waiter::Waiter;
use crate::proxy::client::ConnectionLimit;
use crate::proxy::conversation::Task;
use crate::proxy::per_client::PerClient;
use crate::proxy::site::InForce;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// See the module.
pub struct Shared {
    pub site: InForce,
    pub waiter: Waiter<Task>,
    pub patience: Patience,
    pub connections: ConnectionLimit,
    pub per_client: PerClient,
    pub logger: Logger,
    /// Shared with the thread that prepares a reload, which nothing joins.
    pub metrics: Arc<Metrics>,
    /// Requests that were explained, or would be if there were no bound.
    pub explained: AtomicU64,
    /// ronde's name in the requests that it forwards, unlike that of any other ronde: a chain of two is no loop.
    pub pseudonym: String,
}

impl Shared {
    /// Begins to explain a request of which the first byte was read at `begun`, if it is to be explained.
    pub fn explain(&self, config: &Config, line: &[u8], begun: Instant) -> Option<Box<Explanation>> {
        let most = match config.explain {
            Explain::Nothing => return None,
            Explain::First(most) => most,
            Explain::Everything => u64::MAX,
        };
        let number = self.explained.fetch_add(1, Ordering::Relaxed) + 1;
        (number <= most).then(|| Box::new(Explanation::begin(number, line, begun)))
    }

    pub fn is_running(&self) -> bool {
        self.waiter.phase() == Phase::Running
    }

    /// Whether the grace of the shutdown is over.
    pub fn is_over(&self) -> bool {
        self.waiter.phase() == Phase::Over
    }

    /// Counts what became of a request that ends now, and has its line written. `None` is a request that came to no route.
    pub fn note(
        &self,
        recorder: &Recorder<'_>,
        peer: Peer,
        route: Option<&RouteCounts>,
        record: Record,
        line: impl FnOnce() -> Line,
    ) {
        recorder.note(route, &record);
        if self.logger.wants_access() {
            let line = line();
            self.logger.access(Access { ended: SystemTime::now(), peer, line, record });
        }
    }
}
