//! The state of ronde at one moment, as `GET /status` tells it and `ronde status` reads it.
//!
//! The problem: a page, a script and a command read the same answer, and may be of another version than the ronde that gives
//! it. So it is one type for both ends, every member has a default, and members that are unknown are skipped.
//!
//! Times are in seconds, sizes in bytes. Texts may contain what a client or a backend sent.
//!
//! Not here: where the values come from (`snapshot`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// `ronde 0.1.0`
    pub version: String,
    /// Since the start.
    pub uptime: f64,
    /// `running` or `draining`.
    pub phase: String,
    pub listeners: Vec<Listener>,
    pub workers: Vec<Worker>,
    pub connections: Connections,
    pub limits: Limits,
    pub parked_memory: usize,
    pub requests: Requests,
    pub bytes: Bytes,
    /// In the order of the configuration; what no route takes is the last.
    pub routes: Vec<Route>,
    /// The latest first.
    pub failures: Vec<Failure>,
    pub certificates: Vec<Certificate>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Listener {
    pub address: String,
    /// `http` or `https`.
    pub scheme: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// That in the name of its thread, from 1 on.
    pub number: usize,
    /// `resting`, `reading`, `waiting` or `relaying`.
    pub doing: String,
    /// For how long.
    #[serde(rename = "for")]
    pub since: f64,
}

/// Connections to clients, by where they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Connections {
    pub clients: usize,
    pub with_worker: usize,
    /// Accepted, and not taken by a worker yet.
    pub queued: usize,
    /// What is parked, by what it waits for: the words of [`Kind`](crate::observe::parked::Kind).
    pub parked: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub connections: usize,
    pub parked_memory: usize,
}

/// Since the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Requests {
    pub total: u64,
    pub failed: u64,
    /// In the last second.
    pub per_second: f64,
}

/// Since the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Bytes {
    pub to_clients: u64,
    pub from_clients: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Its hosts and its path.
    pub name: String,
    /// As `--balance`.
    pub balance: String,
    pub requests: u64,
    pub backends: Vec<Backend>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Backend {
    /// As it stands in the configuration.
    pub name: String,
    pub address: String,
    /// `in`, `out`, `drained` or `checking`.
    pub state: String,
    /// Why it is out.
    pub why: Option<String>,
    /// Whether the next turn is its.
    pub next: bool,
    pub weight: u32,
    pub backup: bool,
    /// Requests and tunnels that are under way.
    pub active: usize,
    /// Idle connections.
    pub kept: usize,
    pub turns: u64,
    pub failures: u64,
    /// From a request that was sent to the first byte of its response: the mean since the start.
    pub first_byte: Option<f64>,
    pub check: Option<Check>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Check {
    pub passed: bool,
    pub ago: f64,
    pub why: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    pub ago: f64,
    /// `null` if no response was sent.
    pub status: Option<u16>,
    pub cause: String,
    /// `none` if it came to no route.
    pub route: String,
    /// The address of the one that answered, or of the last that was tried.
    pub backend: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    pub names: Vec<String>,
    /// RFC 3339, in UTC.
    pub ends: String,
}

/// The answer to a change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Changed {
    /// The addresses that it concerns.
    pub backends: Vec<String>,
}
