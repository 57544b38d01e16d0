//! Where the state that is told comes from.
//!
//! The problem: the counts change while they are read, and no lock holds them all still. Each is right for some moment of the
//! last millisecond, so a difference of two of them may be short by what moved meanwhile; none is ever below zero.
//!
//! Not here: how it is told (`status`), and the answers (`answers`).

use super::status::{Backend, Bytes, Check, Connections, Limits, Listener, Parked, Requests, Route, Status};
use crate::backend::{Report, State};
use crate::config::{self, Address, Balance, Config};
use crate::http1::forward::Scheme;
use crate::observe::parked::{Census, Kind};
use crate::pool::stop::Phase;
use crate::proxy::shared::Shared;
use crate::proxy::site::Site;
use std::time::Duration;

/// What `shared` is now.
pub fn status(
    shared: &Shared,
    site: &Site,
    listening: &[(Address, Scheme)],
    uptime: Duration,
    per_second: f64,
) -> Status {
    let (total, failed) = shared.metrics.totals();
    let (census, parked_memory) = shared.waiter.census();
    Status {
        version: config::VERSION.to_owned(),
        uptime: seconds(uptime),
        phase: if shared.waiter.phase() == Phase::Running { "running" } else { "draining" }.to_owned(),
        listeners: listening.iter().map(listener).collect(),
        workers: Vec::new(),
        connections: connections(shared, census),
        limits: Limits { connections: site.config.max_connections, parked_memory: site.config.parked_memory },
        parked_memory,
        requests: Requests { total, failed, per_second },
        bytes: Bytes::default(),
        routes: routes(site),
        failures: Vec::new(),
        certificates: Vec::new(),
    }
}

/// In whole milliseconds: more digits would say more than is known.
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

fn listener((address, scheme): &(Address, Scheme)) -> Listener {
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    Listener { address: address.to_string(), scheme: scheme.to_owned() }
}

fn connections(shared: &Shared, census: Census) -> Connections {
    let clients = shared.connections.count();
    let queued = shared.waiter.offered();
    let mut parked = Parked::default();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.has_client()) {
        *match kind {
            Kind::Idle | Kind::Handshake => &mut parked.idle,
            Kind::Request | Kind::Upload | Kind::SlowClient => &mut parked.slow,
            Kind::Room => &mut parked.at_limit,
            Kind::Closing => &mut parked.closing,
            Kind::Connect | Kind::Response | Kind::Body | Kind::Tunnel | Kind::Probe => &mut parked.late,
        } += census.of(kind);
    }
    let Parked { idle, slow, at_limit, late, closing } = parked;
    let with_worker = clients.saturating_sub(idle + slow + at_limit + late + closing + queued);
    Connections { clients, with_worker, queued, parked }
}

fn routes(site: &Site) -> Vec<Route> {
    let named = site.config.route.iter().map(|route| (route.to_string(), &route.config));
    // What is left over: all requests, where there are no routes.
    let rest = if site.config.route.is_empty() { "everything" } else { "everything else" };
    let named = named.chain([(rest.to_owned(), &site.config)]);
    let all = named.zip(site.routes.backends());
    all.map(|((name, config), backends)| Route {
        name,
        balance: balance(config).to_owned(),
        requests: 0,
        backends: backends.report().into_iter().map(backend).collect(),
    })
    .collect()
}

fn balance(config: &Config) -> &'static str {
    match config.balance {
        Balance::RoundRobin => "round-robin",
        Balance::LeastConnections => "least-connections",
        Balance::ClientAddress => "client-address",
    }
}

fn backend(report: Report) -> Backend {
    let state = match report.state {
        State::In => "in",
        State::Out => "out",
        State::Drained => "drained",
        State::Checking => "checking",
    };
    Backend {
        name: report.name,
        address: report.address.to_string(),
        state: state.to_owned(),
        why: report.why,
        next: report.is_next,
        weight: report.weight,
        backup: report.is_backup,
        active: report.active,
        kept: report.kept,
        turns: 0,
        failures: 0,
        first_byte: None,
        check: report.check.map(|it| Check { passed: it.passed, ago: seconds(it.ago), why: it.why }),
    }
}
