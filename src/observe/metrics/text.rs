//! A snapshot in Prometheus' text format (version 0.0.4).
//!
//! The problem: names, types and help are what dashboards and alerts depend on, and what a table in a manual is out of date
//! about. So each metric is one row of one table: what it is called, what it means, and where its samples come from. The text
//! and the manual are both written from it.
//!
//! Names keep to Prometheus' conventions: base units at the end, `_total` on what only grows.
//!
//! Not here: who asks for it (`server::admin`). Pure.

use super::Snapshot;
use super::families::TABLE;
use super::histogram::{BOUNDS, Distribution};
use crate::observe::failure::Failure;
use std::fmt::{Display, Write};
use std::time::{Duration, SystemTime};

/// Of the response that has this text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What there is to say, metric by metric.
pub fn write(snapshot: &Snapshot) -> String {
    let mut text = String::with_capacity(16 * 1024);
    for family in TABLE {
        let Family { name, kind, help, .. } = family;
        // Writing to a `String` cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.word());
        (family.samples)(snapshot, &mut Samples { family, text: &mut text });
    }
    text
}

/// The same table for the manual.
pub fn markdown() -> String {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for Family { name, kind, labels, help, .. } in TABLE {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(table, "| `{name}` | {} | {} | {help} |", kind.word(), labels.join(", "));
    }
    table
}

/// The values of the label `cause`, for the manual.
pub fn markdown_of_causes() -> String {
    let mut table = "| cause | status | what happened |\n|---|---|---|\n".to_owned();
    for failure in Failure::ALL {
        let _ = writeln!(table, "| `{}` | {} | {failure} |", failure.label(), failure.status());
    }
    table
}

/// One metric.
pub(super) struct Family {
    pub name: &'static str,
    pub kind: Kind,
    /// The names of its labels, in the order in which samples give their values.
    pub labels: &'static [&'static str],
    pub help: &'static str,
    pub samples: fn(&Snapshot, &mut Samples<'_>),
}

/// What can be done with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Takes the samples of one metric.
pub(super) struct Samples<'a> {
    family: &'a Family,
    text: &'a mut String,
}

impl Samples<'_> {
    pub fn add(&mut self, labels: &[&dyn Display], value: impl Display) {
        self.line("", labels, None, &value);
    }

    /// Its buckets count what is in those before them, too.
    pub fn add_distribution(&mut self, labels: &[&dyn Display], distribution: &Distribution) {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|bound| seconds(Duration::from_micros(*bound)).to_string());
        for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(distribution.buckets) {
            count += bucket;
            self.line("_bucket", labels, Some(&bound), &count);
        }
        self.add_sum(labels, distribution.sum, count);
    }

    pub fn add_sum(&mut self, labels: &[&dyn Display], sum: Duration, count: u64) {
        self.line("_sum", labels, None, &seconds(sum));
        self.line("_count", labels, None, &count);
    }

    fn line(&mut self, suffix: &str, labels: &[&dyn Display], bound: Option<&str>, value: &dyn Display) {
        let _ = write!(self.text, "{}{suffix}", self.family.name);
        let labels = self.family.labels.iter().zip(labels).map(|(name, value)| (*name, value.to_string()));
        let mut opening = '{';
        for (name, value) in labels.chain(bound.map(|bound| ("le", bound.to_owned()))) {
            let _ = write!(self.text, "{opening}{name}=\"{}\"", escaped(&value));
            opening = ',';
        }
        let closing = if opening == ',' { "}" } else { "" };
        let _ = writeln!(self.text, "{closing} {value}");
    }
}

/// A configured name may be a path, with whatever is in one.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// Since 1970.
pub(super) fn timestamp(time: SystemTime) -> f64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => -seconds(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;
    use crate::observe::access::{Record, Timings};
    use crate::observe::activity::Doing;
    use crate::observe::metrics::snapshot::{
        BackendState, CertificateEnd, Connections, LinesLost, Standing, Traffic, WorkerState,
    };
    use crate::observe::metrics::{BackendTotals, Checks, Metrics, Secured};
    use crate::observe::parked::{Census, Kind as Parked};
    use std::path::Path;

    /// Something of everything, with a path that has all that must be escaped.
    fn snapshot() -> Snapshot {
        let metrics = Metrics::new(2);
        let worker = metrics.of_worker(1);
        let route = metrics.route("a.example/api");
        let timings = Timings {
            queued: Duration::from_micros(20),
            connect: Duration::from_micros(700),
            first_byte: Duration::from_millis(30),
            total: Duration::from_millis(40),
        };
        let failed =
            Record { status: Some(504), failure: Some(Failure::ResponseTimeout), ..Record::default() };
        let backend = Some(Address::Unix(Path::new("/run/a.sock").into()));
        worker.note(Some(&route), &Record { status: Some(204), backend, timings, ..Record::default() });
        worker.note(Some(&route), &failed);
        worker.note_secured(Secured::Again);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_millis(seconds);
        let mut parked = Census::default();
        parked.enter(Parked::Idle);
        parked.enter(Parked::Probe);
        let checks = Checks { passed: 5, failed: 1, last: None };
        let first_byte = Duration::from_millis(30);
        Snapshot {
            version: "0.1.0",
            started: at(1_500),
            at: at(2_000),
            routes: metrics.routes(),
            workers: [Doing::Resting, Doing::Relaying]
                .into_iter()
                .map(|doing| WorkerState { number: 1, doing, lasts: Duration::ZERO })
                .collect(),
            connections: Connections { open: 4, most: 100, queued: 1, parked, parked_bytes: 512 },
            traffic: Traffic { received: 10, sent: 20 },
            backends: vec![BackendState {
                route: route.label.clone(),
                name: "unix:/run/\"a\\b\n".to_owned(),
                address: Some(Address::Unix(Path::new("/run/a.sock").into())),
                weight: 1,
                is_backup: false,
                standing: Standing::OnTrial,
                why_out: None,
                is_next: false,
                active: 3,
                most: None,
                kept: 0,
                totals: BackendTotals { turns: 9, failures: 2, answers: 1, first_byte, checks },
            }],
            handshakes: metrics.handshakes(),
            certificates: vec![CertificateEnd {
                file: "/etc/a.pem".into(),
                names: Vec::new(),
                until: at(4_000_000_000_000),
            }],
            lines_lost: vec![LinesLost { output: "standard output".to_owned(), lines: 7 }],
            latest: metrics.latest(),
        }
    }

    #[test]
    fn each_fact_has_its_line() {
        let text = write(&snapshot());
        let backend = r#"route="a.example/api",backend="unix:/run/\"a\\b\n",address="unix:/run/a.sock""#;
        for line in [
            "# TYPE ronde_build_info gauge".to_owned(),
            r#"ronde_build_info{version="0.1.0"} 1"#.to_owned(),
            "process_start_time_seconds 1.5".to_owned(),
            r#"ronde_requests_total{route="a.example/api",status="2xx",cause=""} 1"#.to_owned(),
            r#"ronde_requests_total{route="a.example/api",status="5xx",cause=""} 0"#.to_owned(),
            r#"ronde_requests_total{route="a.example/api",status="5xx",cause="response_timeout"} 1"#
                .to_owned(),
            "# TYPE ronde_request_duration_seconds histogram".to_owned(),
            r#"ronde_request_duration_seconds_bucket{route="a.example/api",le="0.001"} 1"#.to_owned(),
            r#"ronde_request_duration_seconds_bucket{route="a.example/api",le="0.025"} 1"#.to_owned(),
            r#"ronde_request_duration_seconds_bucket{route="a.example/api",le="0.05"} 2"#.to_owned(),
            r#"ronde_request_duration_seconds_bucket{route="a.example/api",le="+Inf"} 2"#.to_owned(),
            r#"ronde_request_duration_seconds_sum{route="a.example/api"} 0.04"#.to_owned(),
            r#"ronde_request_duration_seconds_count{route="a.example/api"} 2"#.to_owned(),
            r#"ronde_request_queue_seconds_count{route="a.example/api"} 1"#.to_owned(),
            r#"ronde_request_connect_seconds_sum{route="a.example/api"} 0.0007"#.to_owned(),
            r#"ronde_request_first_byte_seconds_count{route="a.example/api"} 1"#.to_owned(),
            r#"ronde_connections{place="worker"} 2"#.to_owned(),
            r#"ronde_connections{place="queue"} 1"#.to_owned(),
            r#"ronde_connections{place="idle"} 1"#.to_owned(),
            "ronde_connections_limit 100".to_owned(),
            "ronde_parked_memory_bytes 512".to_owned(),
            r#"ronde_workers{activity="relaying"} 1"#.to_owned(),
            r#"ronde_workers{activity="waiting"} 0"#.to_owned(),
            "ronde_client_received_bytes_total 10".to_owned(),
            "ronde_client_sent_bytes_total 20".to_owned(),
            format!(r#"ronde_backend_state{{{backend},state="on_trial"}} 1"#),
            format!(r#"ronde_backend_state{{{backend},state="in"}} 0"#),
            format!("ronde_backend_active_requests{{{backend}}} 3"),
            format!("ronde_backend_requests_total{{{backend}}} 9"),
            format!("ronde_backend_failures_total{{{backend}}} 2"),
            format!("ronde_backend_first_byte_seconds_sum{{{backend}}} 0.03"),
            format!("ronde_backend_first_byte_seconds_count{{{backend}}} 1"),
            format!(r#"ronde_backend_checks_total{{{backend},result="failed"}} 1"#),
            r#"ronde_tls_handshakes_total{outcome="resumed"} 1"#.to_owned(),
            r#"ronde_tls_certificate_expiry_timestamp_seconds{file="/etc/a.pem"} 4000000000"#.to_owned(),
            r#"ronde_log_lines_lost_total{output="standard output"} 7"#.to_owned(),
        ] {
            assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("probe"), "a look at a backend is no connection of a client");
        assert!(!text.contains(r#"seconds_count{route="none"}"#), "what never was has no histogram");
    }

    #[test]
    fn every_sample_has_the_labels_that_its_row_names() {
        let text = write(&snapshot());
        let sections: Vec<_> = text.split("# HELP ").skip(1).collect();
        assert_eq!(sections.len(), TABLE.len());
        for (Family { name, kind, labels, .. }, section) in TABLE.iter().zip(sections) {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            let samples: Vec<_> = section.lines().skip(2).collect();
            assert!(!samples.is_empty(), "{name}");
            for sample in samples {
                let bounds = usize::from(sample.contains("_bucket{"));
                assert!(sample.starts_with(name), "{sample}");
                assert_eq!(sample.matches("=\"").count(), labels.len() + bounds, "{sample}");
            }
        }
    }

    #[test]
    fn the_manual_has_a_line_for_each() {
        assert_eq!(markdown().lines().count(), TABLE.len() + 2);
    }
}
