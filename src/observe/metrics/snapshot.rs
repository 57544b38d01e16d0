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

/// One address that takes turns in the round of one route; or a name that has none.
#[derive(Clone, Debug)]
pub struct BackendState {
    /// The label of the route.
    pub route: Arc<str>,
    /// As it stands in the configuration.
    pub name: String,
    /// `None` with [`Standing::Absent`]: its name has no address now.
    pub address: Option<Address>,
    pub weight: u32,
    /// Whether it serves only when no other can.
    pub is_backup: bool,
    pub standing: Standing,
    /// Why it went out of the round; `None` while it is in.
    pub why_out: Option<String>,
    /// Whether the next turn is its, as far as that does not depend on the client.
    pub is_next: bool,
    /// Requests that it has.
    pub active: usize,
    /// How many it may have.
    pub most: Option<usize>,
    /// Idle connections that are kept, those of other routes to the same address included.
    pub kept: usize,
    pub totals: BackendTotals,
}

/// Whether a backend is in the round, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    In,
    /// No check has ended yet.
    Unchecked,
    /// Its active checks fail.
    Unwell,
    /// Its connects fail.
    Unreachable,
    /// Its responses fail; a request will try it, or does.
    OnTrial,
    /// An admin has taken it out, whatever its health is.
    Drained,
    /// Its name has no address.
    Absent,
}

impl Standing {
    pub const ALL: [Self; 7] = [
        Self::In,
        Self::Unchecked,
        Self::Unwell,
        Self::Unreachable,
        Self::OnTrial,
        Self::Drained,
        Self::Absent,
    ];

    /// The word for it, as a label and for a person.
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Unchecked => "unchecked",
            Self::Unwell => "unwell",
            Self::Unreachable => "unreachable",
            Self::OnTrial => "on_trial",
            Self::Drained => "drained",
            Self::Absent => "absent",
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
    pub names: Vec<String>,
    pub until: SystemTime,
}

/// Lines that were not written, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinesLost {
    /// `standard output`, `standard error`, or the path of a file.
    pub output: String,
    pub lines: u64,
}
