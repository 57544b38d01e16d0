//! What ronde counts, for `GET /metrics`, for the live page, and for the summary at the stop.
//!
//! The problem: everything is to be known, at any time, and a request takes 20 microseconds, of which counting may cost a
//! hundredth. So counting waits for nobody, allocates nothing and shares no cache line: each thread has a
//! [`Recorder`], which writes to blocks of its own (`shard`). A reader adds them up; what it sees may be a few requests
//! old, and never falls.
//!
//! Labels are what the admin has configured: the route, the backend, the address it resolves to. No client chooses one, so
//! none can make a thousand of them.
//!
//! The counts of a route outlive a reload, since they stand here under its label, and the route holds an [`Arc`] of them.
//! Those of a route that is gone stay, or a sum over all routes would fall.
//!
//! Reading order: `shard`, `histogram`, `route`, `backend`, `latest` (what is counted), this module (who counts),
//! `snapshot` (all of it at one time), `families` and `text` (as Prometheus reads it).
//!
//! Not here: who asks for it.

mod backend;
mod families;
mod histogram;
mod latest;
mod route;
mod shard;
pub mod snapshot;
pub mod text;

pub use backend::{BackendCounts, BackendTotals, Checks, LastCheck};
pub use histogram::{BOUNDS, Distribution};
pub use latest::Failed;
pub use route::{Class, Durations, RouteCounts, RouteTotals};
pub use snapshot::Snapshot;

use crate::config::value::count_text;
use crate::observe::access::Record;
use crate::observe::activity::{Activity, Doing};
use crate::observe::failure::Failure;
use latest::Latest;
use shard::{Count, Shard, Sharded};
use snapshot::{Handshakes, Traffic, WorkerState};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// See the module.
#[derive(Debug)]
pub struct Metrics {
    started: SystemTime,
    /// The same time; what workers tell of is counted from then on.
    epoch: Instant,
    /// How many there are; a reload does not change that.
    workers: usize,
    routes: Mutex<BTreeMap<Arc<str>, Arc<RouteCounts>>>,
    unrouted: Arc<RouteCounts>,
    threads: Sharded<Block>,
    latest: Latest,
}

/// What one thread counts beside its requests. It fits into one cache line.
#[derive(Debug, Default)]
struct Block {
    activity: Activity,
    received: Count,
    sent: Count,
    full_handshakes: Count,
    resumed_handshakes: Count,
    failed_handshakes: Count,
}

/// The label of requests that came to no route: their head was no request, or they were refused before.
const UNROUTED: &str = "none";

impl Metrics {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        let unrouted = Arc::new(RouteCounts::new(UNROUTED, workers));
        Self {
            started: SystemTime::now(),
            epoch: Instant::now(),
            workers,
            routes: Mutex::new(BTreeMap::from([(Arc::clone(&unrouted.label), Arc::clone(&unrouted))])),
            unrouted,
            threads: Sharded::new(workers),
            latest: Latest::default(),
        }
    }

    /// The counts of the route with this label: those from before a reload, if there was one.
    pub fn route(&self, label: &str) -> Arc<RouteCounts> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = routes.get(label).cloned();
        known.unwrap_or_else(|| {
            let counts = Arc::new(RouteCounts::new(label, self.workers));
            routes.insert(Arc::clone(&counts.label), Arc::clone(&counts));
            counts
        })
    }

    /// For the worker with this number, from 1 on; once in the life of its thread.
    pub fn of_worker(&self, number: usize) -> Recorder<'_> {
        Recorder::new(self, number)
    }

    /// For the acceptor; once in the life of its thread.
    pub fn of_acceptor(&self) -> Recorder<'_> {
        Recorder::new(self, 0)
    }

    /// `12 requests, 3 failed: the client is gone (2), the backend refused the connection (1)`
    pub fn summary(&self) -> String {
        let (mut requests, mut failures) = (0, BTreeMap::<Failure, u64>::new());
        for route in self.routes() {
            requests += route.count();
            for (failure, count) in route.failures() {
                *failures.entry(failure).or_default() += count;
            }
        }
        let failed: u64 = failures.values().sum();
        let causes: Vec<_> = failures.iter().map(|(failure, count)| format!("{failure} ({count})")).collect();
        let requests = count_text(requests, "request");
        match failed {
            0 => format!("{requests}, none failed"),
            _ => format!("{requests}, {failed} failed: {}", causes.join(", ")),
        }
    }

    /// What was counted of each route, by its label.
    pub fn routes(&self) -> Vec<RouteTotals> {
        let routes: Vec<_> =
            self.routes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        routes.iter().map(|route| route.totals()).collect()
    }

    /// What each worker does, in the order of their numbers.
    pub fn workers(&self) -> Vec<WorkerState> {
        let uptime = self.epoch.elapsed();
        let state = |number| {
            let told = self.threads.at(number).map(|block| block.activity.read(uptime));
            // A worker that has not begun yet.
            let (doing, lasts) = told.unwrap_or((Doing::Resting, uptime));
            WorkerState { number, doing, lasts }
        };
        (1..=self.workers).map(state).collect()
    }

    /// The latest failures, the last one first.
    pub fn latest(&self) -> Vec<Failed> {
        self.latest.all()
    }

    pub fn traffic(&self) -> Traffic {
        Traffic {
            received: self.threads.sum(|block| &block.received),
            sent: self.threads.sum(|block| &block.sent),
        }
    }

    pub fn handshakes(&self) -> Handshakes {
        Handshakes {
            full: self.threads.sum(|block| &block.full_handshakes),
            resumed: self.threads.sum(|block| &block.resumed_handshakes),
            failed: self.threads.sum(|block| &block.failed_handshakes),
        }
    }

    /// When ronde was started.
    pub fn started(&self) -> SystemTime {
        self.started
    }
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secured {
    Afresh,
    /// The client has come back, with a session of an earlier connection.
    Again,
}

/// What one thread counts with. It stays with that thread.
#[derive(Debug)]
pub struct Recorder<'a> {
    shard: Shard,
    block: &'a Block,
    metrics: &'a Metrics,
}

impl<'a> Recorder<'a> {
    fn new(metrics: &'a Metrics, place: usize) -> Self {
        let shard = Shard::at(place);
        Self { block: metrics.threads.of(&shard), shard, metrics }
    }

    /// A request of this route has ended; `None`: it came to no route.
    pub fn note(&self, route: Option<&RouteCounts>, record: &Record) {
        let route = route.unwrap_or(&self.metrics.unrouted);
        route.note(&self.shard, record);
        if let Some(failure) = record.failure {
            self.metrics.latest.note(Failed {
                at: SystemTime::now(),
                status: record.status,
                failure,
                route: Arc::clone(&route.label),
                backend: record.backend.as_ref().or(record.tried.last()).cloned(),
            });
        }
    }

    /// A handshake has ended well.
    pub fn note_secured(&self, secured: Secured) {
        match secured {
            Secured::Afresh => self.block.full_handshakes.add(1),
            Secured::Again => self.block.resumed_handshakes.add(1),
        }
    }

    /// A handshake has failed. It is among the failures, and not among the latest.
    pub fn note_unsecured(&self, failure: Failure) {
        self.block.failed_handshakes.add(1);
        self.metrics.unrouted.note_failure(failure);
    }

    /// So many bytes came from a client, and so many went to it.
    pub fn note_bytes(&self, received: u64, sent: u64) {
        self.block.received.add(received);
        self.block.sent.add(sent);
    }

    /// This thread does this since then.
    pub fn begin(&self, doing: Doing, since: Instant) {
        self.block.activity.begin(doing, since.saturating_duration_since(self.metrics.epoch));
    }

    /// This thread does this since the time that it told last.
    pub fn go_on(&self, doing: Doing) {
        self.block.activity.go_on(doing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;
    use crate::observe::access::Timings;
    use std::net::SocketAddr;
    use std::time::Duration;

    fn record(status: Option<u16>, failure: Option<Failure>) -> Record {
        let timings = Timings { total: Duration::from_millis(1), ..Timings::default() };
        Record { status, failure, timings, ..Record::default() }
    }

    #[test]
    fn a_summary_counts() {
        let metrics = Metrics::new(1);
        let (worker, acceptor) = (metrics.of_worker(1), metrics.of_acceptor());
        let route = metrics.route("default");
        worker.note(Some(&route), &record(Some(200), None));
        assert_eq!(metrics.summary(), "1 request, none failed");
        worker.note(Some(&route), &record(Some(502), Some(Failure::Refused)));
        acceptor.note(None, &record(Some(503), Some(Failure::Overloaded)));
        worker.note(Some(&metrics.route("b.example")), &record(Some(504), Some(Failure::Refused)));
        assert_eq!(
            metrics.summary(),
            "4 requests, 3 failed: all workers are busy (1), the backend refused the connection (2)"
        );
    }

    #[test]
    fn of_the_backends_that_were_tried_the_last_has_failed() {
        let metrics = Metrics::new(1);
        let worker = metrics.of_worker(1);
        let at = |port| Address::from(SocketAddr::from(([127, 0, 0, 1], port)));
        let failed = Record { tried: vec![at(1), at(2)], ..record(Some(502), Some(Failure::Refused)) };
        worker.note(None, &failed);
        worker.note(None, &Record { backend: Some(at(3)), ..failed });
        let backends: Vec<_> = metrics.latest().into_iter().map(|failed| failed.backend).collect();
        assert_eq!(backends, [Some(at(3)), Some(at(2))]);
    }

    #[test]
    fn a_route_finds_its_counts_again_after_a_reload() {
        let metrics = Metrics::new(1);
        let worker = metrics.of_worker(1);
        let before = metrics.route("a.example/api");
        worker.note(Some(&before), &record(Some(200), None));
        drop(before);
        let after = metrics.route("a.example/api");
        worker.note(Some(&after), &record(Some(200), None));
        assert_eq!(metrics.routes().iter().map(RouteTotals::count).collect::<Vec<_>>(), [2, 0]);
    }

    #[test]
    fn each_worker_has_its_activity() {
        let metrics = Metrics::new(2);
        let second = metrics.of_worker(2);
        second.begin(Doing::Waiting, Instant::now());
        let doing: Vec<_> = metrics.workers().iter().map(|worker| (worker.number, worker.doing)).collect();
        assert_eq!(doing, [(1, Doing::Resting), (2, Doing::Waiting)]);
    }

    #[test]
    fn failed_handshakes_are_counted_and_not_listed() {
        let metrics = Metrics::new(1);
        let worker = metrics.of_worker(1);
        worker.note_secured(Secured::Again);
        worker.note_unsecured(Failure::TlsHandshake);
        assert_eq!(metrics.handshakes(), Handshakes { full: 0, resumed: 1, failed: 1 });
        assert_eq!(metrics.latest(), []);
        assert_eq!(metrics.summary(), "1 request, 1 failed: the TLS handshake failed (1)");
    }

    #[test]
    fn a_thread_writes_one_cache_line() {
        assert!(size_of::<Block>() <= 64);
    }
}
