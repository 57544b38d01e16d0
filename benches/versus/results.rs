//! The numbers of all runs, and the ratios between them.
//!
//! A ratio is taken within a round, to the better peer of that round, for each metric on its own; the result is the
//! median over the rounds. So a change of the machine's load between two rounds does not matter, and no peer is better
//! by luck.

use crate::cells::Cell;
use crate::wrk::Errors;
use std::fmt;

/// The numbers of one run.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Requests per second.
    pub rate: f64,
    /// CPU time of the proxy per request, in microseconds.
    pub cpu: f64,
    /// Latencies, in milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// Proportional set size under load, in MiB.
    pub memory: f64,
    /// Context switches of the proxy per request, voluntary and involuntary.
    pub switches: f64,
    pub errors: Errors,
    /// Share of the machine's CPU time, from 0 to 1, that was used by other processes than the bench and its children.
    pub others: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, cpu, p50, p99, memory, switches, errors, others } = self;
        write!(
            f,
            "{rate:9.0}/s {cpu:9.1} µs  p50 {p50:8.3} ms  p99 {p99:8.3} ms  {memory:6.1} MiB  {switches:6.2} switches  \
             others {:3.0} %  {errors}",
            others * 100.0
        )
    }
}

/// One column of the tables.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub of: fn(&Sample) -> f64,
    pub decimals: usize,
    pub best: Best,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Best {
    Most,
    Least,
}

pub const RATE: Metric =
    Metric { name: "requests/s", of: |sample| sample.rate, decimals: 0, best: Best::Most };
pub const CPU: Metric =
    Metric { name: "CPU µs/request", of: |sample| sample.cpu, decimals: 1, best: Best::Least };

/// Not among those that are compared: a ratio of numbers near zero says nothing.
pub const SWITCHES: Metric =
    Metric { name: "switches/request", of: |sample| sample.switches, decimals: 2, best: Best::Least };

/// Those of which ronde's ratio to its peers is taken.
pub const METRICS: [Metric; 5] = [
    RATE,
    CPU,
    Metric { name: "p50 ms", of: |sample| sample.p50, decimals: 3, best: Best::Least },
    Metric { name: "p99 ms", of: |sample| sample.p99, decimals: 3, best: Best::Least },
    Metric { name: "PSS MiB", of: |sample| sample.memory, decimals: 1, best: Best::Least },
];

impl Metric {
    fn better(&self, one: f64, other: f64) -> f64 {
        match self.best {
            Best::Most => one.max(other),
            Best::Least => one.min(other),
        }
    }

    /// Whether a ratio means that ronde is worse than the peer.
    pub fn is_behind(&self, ratio: f64) -> bool {
        match self.best {
            Best::Most => ratio < 1.0,
            Best::Least => ratio > 1.0,
        }
    }
}

/// The ratios of all rounds: their median and their range.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

#[derive(Debug)]
pub struct Results {
    pub cells: Vec<&'static Cell>,
    pub names: Vec<String>,
    /// Indexed by cell, proxy and round.
    samples: Vec<Vec<Vec<Sample>>>,
}

impl Results {
    pub fn new(cells: Vec<&'static Cell>, names: Vec<String>) -> Self {
        let samples = vec![vec![Vec::new(); names.len()]; cells.len()];
        Self { cells, names, samples }
    }

    pub fn add(&mut self, row: usize, proxy: usize, sample: Sample) {
        self.samples[row][proxy].push(sample);
    }

    /// `None` if the proxy took no part in the cell.
    pub fn median(&self, row: usize, proxy: usize, metric: &Metric) -> Option<f64> {
        median(self.samples[row][proxy].iter().map(metric.of).collect())
    }

    /// The ratio of ronde to the better of `peers`, round by round; `None` if none of them took part in the cell.
    pub fn ratio(&self, row: usize, peers: &[&str], metric: &Metric) -> Option<Ratio> {
        let of = |name: &str| self.samples[row].get(self.names.iter().position(|known| known == name)?);
        let ronde = of("ronde")?;
        let peers: Vec<&Vec<Sample>> = peers.iter().filter_map(|name| of(name)).collect();
        let ratios = ronde.iter().enumerate().map(|(round, sample)| {
            let values = peers.iter().filter_map(|samples| samples.get(round)).map(metric.of);
            Some((metric.of)(sample) / values.reduce(|one, other| metric.better(one, other))?)
        });
        let mut ratios: Vec<f64> = ratios.collect::<Option<_>>()?;
        ratios.sort_by(f64::total_cmp);
        Some(Ratio { least: *ratios.first()?, most: *ratios.last()?, median: median(ratios)? })
    }

    /// The errors of one proxy in all rounds.
    pub fn errors(&self, row: usize, proxy: usize) -> Errors {
        self.samples[row][proxy].iter().map(|sample| sample.errors).sum()
    }

    /// Whether no proxy had an error in this cell.
    pub fn is_valid(&self, row: usize) -> bool {
        (0..self.names.len()).all(|proxy| self.errors(row, proxy) == Errors::default())
    }

    /// The largest share of the machine that other processes used in any run.
    pub fn disturbance(&self) -> f64 {
        self.samples.iter().flatten().flatten().map(|sample| sample.others).fold(0.0, f64::max)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
