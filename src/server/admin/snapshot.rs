//! The state that is told, made of all that is known.
//!
//! The problem: what is known is named as the program is built, and what is told is named for a page and for scripts, which
//! must not change with the program. This is where the one becomes the other.
//!
//! Not here: how it is collected (`proxy::overview`).

use super::status::{
    Backend, Bytes, Certificate, Check, Connections, Failure, Limits, Listener, Requests, Route, Status,
    Worker,
};
use crate::config::{self, Address, Balance};
use crate::http1::forward::Scheme;
use crate::observe::date::Date;
use crate::observe::metrics::snapshot::{BackendState, Snapshot, Standing};
use crate::observe::metrics::{Failed, RouteTotals, snapshot};
use crate::observe::parked::Kind;
use crate::pool::stop::Phase;
use crate::proxy::route;
use crate::proxy::shared::Shared;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What `shared` is now.
pub fn status(shared: &Shared, listening: &[(Address, Scheme)], per_second: f64) -> Status {
    let (site, known) = (shared.site.get(), shared.snapshot());
    let limits = Limits { connections: known.connections.most, parked_memory: site.config.parked_memory };
    let requests = Requests { per_second, ..requests(&known) };
    Status {
        version: config::VERSION.to_owned(),
        uptime: seconds(age(known.started, &known)),
        phase: if shared.waiter.phase() == Phase::Running { "running" } else { "draining" }.to_owned(),
        listeners: listening.iter().map(listener).collect(),
        workers: known.workers.iter().map(worker).collect(),
        connections: connections(&known.connections),
        limits,
        parked_memory: known.connections.parked_bytes,
        requests,
        bytes: Bytes { to_clients: known.traffic.sent, from_clients: known.traffic.received },
        failures: failures(&known),
        certificates: certificates(&known),
        routes: routes(site.routes.all(), known),
    }
}

fn requests(known: &Snapshot) -> Requests {
    let counts = known.routes.iter().flat_map(|route| &route.requests);
    let failed = counts.filter(|(_, failure, _)| failure.is_some()).map(|(_, _, count)| count).sum();
    Requests { total: known.routes.iter().map(RouteTotals::count).sum(), failed, per_second: 0.0 }
}

/// In whole milliseconds: more digits would say more than is known.
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

/// How long ago that was. A clock that was set back makes it now.
fn age(then: SystemTime, known: &Snapshot) -> Duration {
    known.at.duration_since(then).unwrap_or_default()
}

fn listener((address, scheme): &(Address, Scheme)) -> Listener {
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    Listener { address: address.to_string(), scheme: scheme.to_owned() }
}

fn worker(state: &snapshot::WorkerState) -> Worker {
    let doing = state.doing.word().to_owned();
    Worker { number: state.number, doing, since: seconds(state.lasts) }
}

fn connections(known: &snapshot::Connections) -> Connections {
    let parked = Kind::ALL.into_iter().map(|kind| (kind.word().to_owned(), known.parked.of(kind)));
    Connections {
        clients: known.open,
        with_worker: known.with_workers(),
        queued: known.queued,
        parked: parked.collect(),
    }
}

fn failures(known: &Snapshot) -> Vec<Failure> {
    let failure = |failed: &Failed| Failure {
        ago: seconds(age(failed.at, known)),
        status: failed.status,
        cause: failed.failure.to_string(),
        route: failed.route.to_string(),
        backend: failed.backend.as_ref().map(Address::to_string),
    };
    known.latest.iter().map(failure).collect()
}

fn certificates(known: &Snapshot) -> Vec<Certificate> {
    let certificate = |end: &snapshot::CertificateEnd| Certificate {
        names: end.names.clone(),
        ends: Date::from(end.until).iso().to_string(),
    };
    known.certificates.iter().map(certificate).collect()
}

/// The routes in their order, each with its backends and what was counted under its label.
fn routes(all: &[Arc<route::Route>], known: Snapshot) -> Vec<Route> {
    let counts: HashMap<_, _> =
        known.routes.iter().map(|totals| (Arc::clone(&totals.label), totals.count())).collect();
    let at = known.at;
    let mut backends: HashMap<Arc<str>, Vec<Backend>> = HashMap::new();
    for state in known.backends {
        backends.entry(Arc::clone(&state.route)).or_default().push(backend(state, at));
    }
    let route = |route: &Arc<route::Route>| Route {
        name: route.counts.label.to_string(),
        balance: balance(route.config.balance).to_owned(),
        requests: counts.get(&route.counts.label).copied().unwrap_or_default(),
        backends: backends.remove(&route.counts.label).unwrap_or_default(),
    };
    all.iter().map(route).collect()
}

fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "round-robin",
        Balance::LeastConnections => "least-connections",
        Balance::ClientAddress => "client-address",
    }
}

fn backend(state: BackendState, now: SystemTime) -> Backend {
    let totals = state.totals;
    let standing = match state.standing {
        Standing::In => "in",
        Standing::Unchecked => "checking",
        Standing::Drained => "drained",
        Standing::Unwell | Standing::Unreachable | Standing::OnTrial | Standing::Absent => "out",
    };
    let answers = u32::try_from(totals.answers).unwrap_or(u32::MAX);
    // To the tenth of a millisecond: a backend nearby answers within one.
    let mean = totals.first_byte.checked_div(answers).map(|mean| mean.as_micros() / 100);
    let check = totals.checks.last.map(|last| Check {
        passed: last.fault.is_none(),
        ago: seconds(now.duration_since(last.at).unwrap_or_default()),
        why: last.fault,
    });
    Backend {
        name: state.name,
        address: state.address.map(|address| address.to_string()).unwrap_or_default(),
        state: standing.to_owned(),
        why: state.why_out,
        next: state.is_next,
        weight: state.weight,
        backup: state.is_backup,
        active: state.active,
        kept: state.kept,
        turns: totals.turns,
        failures: totals.failures,
        first_byte: mean.map(|tenths| tenths as f64 / 10_000.0),
        check,
    }
}
