//! The table of all metrics.
//!
//! Labels are what the admin has configured, or words of ronde's own: no client makes one.
//!
//! Not here: how a row is written (`text`).

use super::route::{Class, RouteTotals};
use super::snapshot::{BackendState, Standing};
use super::text::{Family, Kind, Samples, timestamp};
use super::{Distribution, Snapshot};
use crate::observe::activity::Doing;
use crate::observe::failure::Failure;
use crate::observe::parked;
use std::fmt::Display;

pub(super) const TABLE: &[Family] = &[
    Family {
        name: "ronde_build_info",
        kind: Kind::Gauge,
        labels: &["version"],
        help: "Always 1; the label says which ronde this is.",
        samples: |snapshot, samples| samples.add(&[&snapshot.version], 1),
    },
    Family {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When ronde was started, in seconds since 1970.",
        samples: |snapshot, samples| samples.add(&[], timestamp(snapshot.started)),
    },
    Family {
        name: "ronde_requests_total",
        kind: Kind::Counter,
        labels: &["route", "status", "cause"],
        help: "Requests that have ended, by the class of the status that the client got and by the cause of their failure; \
               an empty cause: none.",
        samples: requests,
    },
    Family {
        name: "ronde_request_duration_seconds",
        kind: Kind::Histogram,
        labels: &["route"],
        help: "From the first byte of a request that was read to the last byte of its response.",
        samples: |snapshot, samples| durations(snapshot, samples, |route| &route.durations.total),
    },
    Family {
        name: "ronde_request_queue_seconds",
        kind: Kind::Histogram,
        labels: &["route"],
        help: "How long the first request of a connection waited for a worker, or a request for room at a backend.",
        samples: |snapshot, samples| durations(snapshot, samples, |route| &route.durations.queued),
    },
    Family {
        name: "ronde_request_connect_seconds",
        kind: Kind::Histogram,
        labels: &["route"],
        help: "How long the connects for a request took, where no kept connection was there.",
        samples: |snapshot, samples| durations(snapshot, samples, |route| &route.durations.connect),
    },
    Family {
        name: "ronde_request_first_byte_seconds",
        kind: Kind::Histogram,
        labels: &["route"],
        help: "From the dispatch of a request to the first byte of the backend's response.",
        samples: |snapshot, samples| durations(snapshot, samples, |route| &route.durations.first_byte),
    },
    Family {
        name: "ronde_connections",
        kind: Kind::Gauge,
        labels: &["place"],
        help: "Connections of clients, by where they are: with a worker, in the queue for one, or parked, and what for.",
        samples: connections,
    },
    Family {
        name: "ronde_connections_limit",
        kind: Kind::Gauge,
        labels: &[],
        help: "How many connections of clients there may be.",
        samples: |snapshot, samples| samples.add(&[], snapshot.connections.most),
    },
    Family {
        name: "ronde_parked_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "What all that is parked keeps of --parked-memory.",
        samples: |snapshot, samples| samples.add(&[], snapshot.connections.parked_bytes),
    },
    Family {
        name: "ronde_workers",
        kind: Kind::Gauge,
        labels: &["activity"],
        help: "Workers, by what they do; all that do not rest are busy.",
        samples: |snapshot, samples| {
            for doing in Doing::ALL {
                let count = snapshot.workers.iter().filter(|worker| worker.doing == doing).count();
                samples.add(&[&doing.word()], count);
            }
        },
    },
    Family {
        name: "ronde_client_received_bytes_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Bytes from clients, heads included; over TLS, what is inside.",
        samples: |snapshot, samples| samples.add(&[], snapshot.traffic.received),
    },
    Family {
        name: "ronde_client_sent_bytes_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Bytes to clients, heads included; over TLS, what is inside.",
        samples: |snapshot, samples| samples.add(&[], snapshot.traffic.sent),
    },
    Family {
        name: "ronde_backend_state",
        kind: Kind::Gauge,
        labels: &["route", "backend", "address", "state"],
        help: "1 for the state that a backend is in: in the round, or why it takes no turns.",
        samples: |snapshot, samples| {
            for backend in &snapshot.backends {
                let [route, name, address] = labels(backend);
                for standing in Standing::ALL {
                    let is_in_it = u8::from(backend.standing == standing);
                    samples.add(&[route, name, address, &standing.word()], is_in_it);
                }
            }
        },
    },
    Family {
        name: "ronde_backend_active_requests",
        kind: Kind::Gauge,
        labels: BACKEND,
        help: "Requests and tunnels that are under way at a backend.",
        samples: |snapshot, samples| backends(snapshot, samples, |backend| backend.active as u64),
    },
    Family {
        name: "ronde_backend_requests_total",
        kind: Kind::Counter,
        labels: BACKEND,
        help: "Turns of the round that a backend got: requests, and those that were repeated.",
        samples: |snapshot, samples| backends(snapshot, samples, |backend| backend.totals.turns),
    },
    Family {
        name: "ronde_backend_failures_total",
        kind: Kind::Counter,
        labels: BACKEND,
        help: "Requests that failed at a backend by its own fault.",
        samples: |snapshot, samples| backends(snapshot, samples, |backend| backend.totals.failures),
    },
    Family {
        name: "ronde_backend_first_byte_seconds",
        kind: Kind::Summary,
        labels: BACKEND,
        help: "From the dispatch of a request to the first byte of its response, for each backend.",
        samples: |snapshot, samples| {
            for backend in &snapshot.backends {
                samples.add_sum(&labels(backend), backend.totals.first_byte, backend.totals.answers);
            }
        },
    },
    Family {
        name: "ronde_backend_checks_total",
        kind: Kind::Counter,
        labels: &["route", "backend", "address", "result"],
        help: "Active health checks of a backend that have ended.",
        samples: |snapshot, samples| {
            for backend in &snapshot.backends {
                let ([route, name, address], checks) = (labels(backend), &backend.totals.checks);
                samples.add(&[route, name, address, &"passed"], checks.passed);
                samples.add(&[route, name, address, &"failed"], checks.failed);
            }
        },
    },
    Family {
        name: "ronde_tls_handshakes_total",
        kind: Kind::Counter,
        labels: &["outcome"],
        help: "TLS handshakes of clients: full ones, those that resumed a session, and those that failed.",
        samples: |snapshot, samples| {
            let handshakes = &snapshot.handshakes;
            samples.add(&[&"full"], handshakes.full);
            samples.add(&[&"resumed"], handshakes.resumed);
            samples.add(&[&"failed"], handshakes.failed);
        },
    },
    Family {
        name: "ronde_tls_certificate_expiry_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["file"],
        help: "When a certificate that clients are shown ends, in seconds since 1970.",
        samples: |snapshot, samples| {
            for certificate in &snapshot.certificates {
                samples.add(&[&certificate.file.display()], timestamp(certificate.until));
            }
        },
    },
    Family {
        name: "ronde_log_lines_lost_total",
        kind: Kind::Counter,
        labels: &["output"],
        help: "Lines of the log that an output did not take.",
        samples: |snapshot, samples| {
            for lost in &snapshot.lines_lost {
                samples.add(&[&lost.output], lost.lines);
            }
        },
    },
];

const BACKEND: &[&str] = &["route", "backend", "address"];

fn requests(snapshot: &Snapshot, samples: &mut Samples<'_>) {
    for RouteTotals { label, requests, .. } in &snapshot.routes {
        for (class, failure, count) in requests {
            // Without a response and without a failure there is hardly any.
            if (*class, *failure, *count) != (Class::None, None, 0) {
                let cause = failure.map(Failure::label).unwrap_or_default();
                samples.add(&[label, &class.word(), &cause], count);
            }
        }
    }
}

fn durations(snapshot: &Snapshot, samples: &mut Samples<'_>, of: fn(&RouteTotals) -> &Distribution) {
    for route in &snapshot.routes {
        // Of a thousand routes, most would be zeros.
        if of(route).count() > 0 {
            samples.add_distribution(&[&route.label], of(route));
        }
    }
}

fn connections(snapshot: &Snapshot, samples: &mut Samples<'_>) {
    let connections = &snapshot.connections;
    samples.add(&[&"worker"], connections.with_workers());
    samples.add(&[&"queue"], connections.queued);
    for kind in parked::Kind::ALL.into_iter().filter(|kind| kind.has_client()) {
        samples.add(&[&kind.word()], connections.parked.of(kind));
    }
}

fn backends(snapshot: &Snapshot, samples: &mut Samples<'_>, of: fn(&BackendState) -> u64) {
    for backend in &snapshot.backends {
        samples.add(&labels(backend), of(backend));
    }
}

/// The values of [`BACKEND`].
fn labels(backend: &BackendState) -> [&dyn Display; 3] {
    let address: &dyn Display = backend.address.as_ref().map_or(&"", |address| address);
    [&backend.route, &backend.name, address]
}
