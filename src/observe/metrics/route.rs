//! What is counted of the requests of one route.
//!
//! The problem: nearly all requests succeed, and counting those must cost nothing; those that fail have one of eighty
//! causes each, and a cell for each cause and status, of each route and worker, would be megabytes of zeros. So there are
//! two ways: a success is counted in the worker's own block, a failure under a lock, in a map of what has occurred.
//!
//! Not here: which requests a route has.

use super::histogram::{Distribution, Histogram};
use super::shard::{Count, Shard, Sharded};
use crate::observe::access::{Record, Timings};
use crate::observe::failure::Failure;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct RouteCounts {
    /// The route as it is configured; no client has a say in it.
    pub label: Arc<str>,
    shards: Sharded<Block>,
    failures: Mutex<BTreeMap<(Failure, Class), u64>>,
}

/// What one thread counts.
#[derive(Debug, Default)]
struct Block {
    /// Of requests that did not fail.
    classes: [Count; Class::ALL.len()],
    first_byte: Histogram,
    total: Histogram,
    waits: OnceLock<Box<Waits>>,
}

/// What only a new connection brings, and a backend that is busy. Made when there is one: of a thousand routes, most see
/// most of their workers on kept connections alone.
#[derive(Debug, Default)]
struct Waits {
    queued: Histogram,
    connect: Histogram,
}

/// The status that the client got, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It got no response.
    None,
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
}

impl Class {
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    pub fn of(status: Option<u16>) -> Self {
        match status.map(|status| status / 100) {
            None => Self::None,
            Some(0 | 1) => Self::Informational,
            Some(2) => Self::Success,
            Some(3) => Self::Redirection,
            Some(4) => Self::ClientError,
            // A backend may invent statuses beyond 599; a client treats them as 5xx (RFC 9110 §15).
            Some(_) => Self::ServerError,
        }
    }

    /// The word for it, as a label.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// How long the parts of requests took; each only of the requests that had it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// Of new connections, and of requests for a backend that was at its limit.
    pub queued: Distribution,
    /// Of requests that needed a new connection to a backend.
    pub connect: Distribution,
    /// Of requests that a backend answered.
    pub first_byte: Distribution,
    pub total: Distribution,
}

/// What was counted of a route.
#[derive(Clone, Debug)]
pub struct RouteTotals {
    pub label: Arc<str>,
    /// Each class without a failure, and what failed as far as it did.
    pub requests: Vec<(Class, Option<Failure>, u64)>,
    pub durations: Durations,
}

impl RouteCounts {
    pub(super) fn new(label: &str, workers: usize) -> Self {
        Self { label: label.into(), shards: Sharded::new(workers), failures: Mutex::default() }
    }

    /// Counts a request that has ended.
    pub(super) fn note(&self, shard: &Shard, record: &Record) {
        let block = self.shards.of(shard);
        let class = Class::of(record.status);
        match record.failure {
            None => block.classes[class as usize].add(1),
            Some(failure) => *self.failures().entry((failure, class)).or_default() += 1,
        }
        let Timings { queued, connect, first_byte, total } = record.timings;
        if queued != Duration::ZERO {
            block.waits().queued.record(queued);
        }
        if connect != Duration::ZERO {
            block.waits().connect.record(connect);
        }
        // An answer that was there already took no time.
        if record.backend.is_some() {
            block.first_byte.record(first_byte);
        }
        block.total.record(total);
    }

    /// Counts what failed before it was a request.
    pub(super) fn note_failure(&self, failure: Failure) {
        *self.failures().entry((failure, Class::None)).or_default() += 1;
    }

    pub(super) fn totals(&self) -> RouteTotals {
        let succeeded = Class::ALL.into_iter().map(|class| {
            let count = self.shards.sum(|block| &block.classes[class as usize]);
            (class, None, count)
        });
        let failed = self.failures().clone();
        let failed = failed.into_iter().map(|((failure, class), count)| (class, Some(failure), count));
        let sum = |histogram: fn(&Block) -> Option<&Histogram>| {
            self.shards.all().filter_map(histogram).map(Histogram::read).sum::<Distribution>()
        };
        RouteTotals {
            label: Arc::clone(&self.label),
            requests: succeeded.chain(failed).collect(),
            durations: Durations {
                queued: sum(|block| Some(&block.waits.get()?.queued)),
                connect: sum(|block| Some(&block.waits.get()?.connect)),
                first_byte: sum(|block| Some(&block.first_byte)),
                total: sum(|block| Some(&block.total)),
            },
        }
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<(Failure, Class), u64>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    fn waits(&self) -> &Waits {
        self.waits.get_or_init(Box::default)
    }
}

impl RouteTotals {
    /// How many requests there were.
    pub fn count(&self) -> u64 {
        self.requests.iter().map(|(_, _, count)| count).sum()
    }

    /// What failed, and how often; a failure is there once for each class.
    pub fn failures(&self) -> impl Iterator<Item = (Failure, u64)> {
        self.requests.iter().filter_map(|(_, failure, count)| Some(((*failure)?, *count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn record(status: Option<u16>, failure: Option<Failure>, timings: Timings) -> Record {
        Record { status, failure, timings, ..Record::default() }
    }

    #[test]
    fn requests_are_counted_by_class_and_cause() {
        let route = RouteCounts::new("a.example/api", 2);
        let (one, other) = (Shard::at(1), Shard::at(2));
        let outcomes = [
            (Some(200), None),
            (Some(204), None),
            (Some(503), None),
            (Some(502), Some(Failure::Refused)),
            (Some(502), Some(Failure::Refused)),
            (Some(200), Some(Failure::ResponseIncomplete)),
            (None, Some(Failure::ClientGone)),
        ];
        for (index, (status, failure)) in outcomes.into_iter().enumerate() {
            let shard = if index % 2 == 0 { &one } else { &other };
            route.note(shard, &record(status, failure, Timings::default()));
        }
        let totals = route.totals();
        let counted: Vec<_> = totals.requests.iter().filter(|(_, _, count)| *count > 0).copied().collect();
        let mut expected = vec![
            (Class::Success, None, 2),
            (Class::ServerError, None, 1),
            (Class::ServerError, Some(Failure::Refused), 2),
            (Class::Success, Some(Failure::ResponseIncomplete), 1),
            (Class::None, Some(Failure::ClientGone), 1),
        ];
        expected.sort_by_key(|(class, failure, _)| (failure.is_some(), *failure, *class));
        assert_eq!(counted, expected);
        assert_eq!((totals.count(), totals.durations.total.count()), (7, 7));
    }

    #[test]
    fn a_part_that_a_request_did_not_have_is_not_counted() {
        let route = RouteCounts::new("default", 1);
        let shard = Shard::at(1);
        let (took, first_byte) = (Duration::from_millis(3), Duration::from_millis(2));
        let kept = Timings { first_byte, total: took, ..Timings::default() };
        let new = Timings { queued: took, connect: took, ..kept };
        let backend = Some(SocketAddr::from(([127, 0, 0, 1], 8001)).into());
        let answered = |timings| Record { backend: backend.clone(), ..record(Some(200), None, timings) };
        let at_once = Timings { first_byte: Duration::ZERO, ..kept };
        for timings in [kept, new, at_once] {
            route.note(&shard, &answered(timings));
        }
        route.note(&shard, &record(Some(404), None, Timings { total: Duration::ZERO, ..Timings::default() }));
        let Durations { queued, connect, first_byte, total } = route.totals().durations;
        let counts = [queued, connect, first_byte, total].map(|distribution| distribution.count());
        assert_eq!(counts, [1, 1, 3, 4]);
        assert_eq!(total.sum, 3 * took);
    }

    #[test]
    fn every_class_has_its_place() {
        for (place, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, place);
        }
        for (status, class) in
            [(99, "1xx"), (101, "1xx"), (204, "2xx"), (304, "3xx"), (499, "4xx"), (999, "5xx")]
        {
            assert_eq!(Class::of(Some(status)).word(), class);
        }
        assert_eq!(Class::of(None), Class::None);
    }
}
