//! Everything that is known at one time, as plain data.
//!
//! The problem: the same facts go out as Prometheus' text, as JSON, as events for the live page and as a table in a
//! terminal. Collected four times they would be four stories. So they are collected once, and each form is a pure function
//! of this.
//!
//! Not here: the collecting (`proxy::overview`), and the forms (`text` is one).

use super::{BackendTotals, Failed, RouteTotals};
use crate::config::Address;
use crate::observe::activity::Doing;
use crate::observe::parked::Census;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// See the module.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// As in `ronde --version`, without the name.
    pub version: &'static str,
    pub started: SystemTime,
    /// When this was collected.
    pub at: SystemTime,
    pub routes: Vec<RouteTotals>,
    pub workers: Vec<WorkerState>,
    pub connections: Connections,
    pub traffic: Traffic,
    pub backends: Vec<BackendState>,
    pub handshakes: Handshakes,
    pub certificates: Vec<CertificateEnd>,
    pub lines_lost: Vec<LinesLost>,
    /// The last one first.
    pub latest: Vec<Failed>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerState {
    /// From 1 on, as in the thread's name.
    pub number: usize,
    pub doing: Doing,
    /// For how long.
    pub lasts: Duration,
}

/// Where the clients' connections are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections {
    /// All that count for `--max-connections`.
    pub open: usize,
    /// How many there may be.
    pub most: usize,
    /// New ones that wait for a worker.
    pub queued: usize,
    pub parked: Census,
    /// Bytes of memory that what is parked keeps.
    pub parked_bytes: usize,
}

impl Connections {
    /// How many are with a worker. The others are counted one after the other, so this is a little off at times.
    pub fn with_workers(&self) -> usize {
        self.open.saturating_sub(self.queued + self.parked.clients())
    }
}

/// Bytes from and to clients; over TLS, what is inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received: u64,
    pub sent: u64,
}

/// One address that takes turns in the round of one route.
#[derive(Clone, Debug)]
pub struct BackendState {
    /// The label of the route.
    pub route: Arc<str>,
    /// As it stands in the configuration.
    pub name: String,
    pub address: Address,
    pub standing: Standing,
    /// Requests and tunnels that are under way.
    pub active: usize,
    pub totals: BackendTotals,
}

/// Whether a backend takes turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    In,
    Out,
    /// An admin has taken it out.
    Drained,
    /// Its first check has not ended yet.
    Checking,
}

impl Standing {
    pub const ALL: [Self; 4] = [Self::In, Self::Out, Self::Drained, Self::Checking];

    /// The word for it, as a label and for a person.
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Drained => "drained",
            Self::Checking => "checking",
        }
    }
}

/// How the TLS handshakes of clients ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    pub full: u64,
    pub resumed: u64,
    pub failed: u64,
}

/// Until when a certificate is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateEnd {
    pub file: PathBuf,
    pub until: SystemTime,
}

/// Lines that were not written, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinesLost {
    pub output: &'static str,
    pub lines: u64,
}
