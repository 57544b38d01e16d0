//! What a crowd has seen, and how it says so in one line.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Tally {
    /// Clients that are where their kind wants to be.
    pub held: usize,
    pub statuses: BTreeMap<u16, u64>,
    /// How long those who were answered with 200 waited, and everybody.
    pub served: Vec<Duration>,
    pub longest: Duration,
    /// How long events were on their way.
    pub delays: Vec<Duration>,
    /// Connections that ended: before they were one, at an unanswered request, while only held.
    pub refused: u64,
    pub broken: u64,
    pub cut: u64,
    /// Requests whose client lost patience.
    pub unanswered: u64,
    /// Connections on which other bytes came than should have.
    pub wrong: u64,
    /// Answers to the first flight of one.
    pub handshakes: u64,
    /// How long the clients that were told to go on took to finish.
    pub finished: Vec<Duration>,
}

impl Tally {
    pub fn answered(&mut self, status: u16, wait: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        self.longest = self.longest.max(wait);
        if status == 200 {
            self.served.push(wait);
        }
    }
}

/// `NAME=NUMBER ...`; times in microseconds.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { held, refused, broken, cut, unanswered, .. } = self;
        write!(f, "held={held} refused={refused} broken={broken} cut={cut} unanswered={unanswered}")?;
        for (status, count) in &self.statuses {
            write!(f, " {status}={count}")?;
        }
        let (served, delays) = (Times::of(&self.served), Times::of(&self.delays));
        write!(f, " longest={} p95={}", self.longest.as_micros(), served.p95.as_micros())?;
        write!(f, " events={} delay={}", self.delays.len(), delays.p95.as_micros())?;
        write!(f, " worst={} wrong={}", delays.worst.as_micros(), self.wrong)?;
        let within = |time: Duration| self.finished.iter().filter(|wait| **wait <= time).count();
        let (first, second) = (within(Duration::from_secs(1)), within(Duration::from_secs(2)));
        let slowest = self.finished.iter().max().copied().unwrap_or_default();
        write!(f, " done={} done-1s={first} done-2s={second}", self.finished.len())?;
        write!(f, " slowest={} handshakes={}", slowest.as_micros(), self.handshakes)
    }
}

/// The line, understood.
pub fn parse(line: &str) -> HashMap<String, u64> {
    let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?))).collect()
}

/// Percentiles.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub p50: Duration,
    pub p95: Duration,
    pub worst: Duration,
}

impl Times {
    pub fn of(times: &[Duration]) -> Self {
        let mut times = times.to_vec();
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
        let at = |percent| at(percent).copied().unwrap_or_default();
        Self { p50: at(50), p95: at(95), worst: at(100) }
    }
}
