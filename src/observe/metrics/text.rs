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
