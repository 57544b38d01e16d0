//! The programs that the benches run: proxies and backends, as processes that end with the bench.
//!
//! Every program listens on 127.0.0.1 and runs only as long as it is needed. nginx and HAProxy get two processes or
//! threads and ronde its defaults; all have a backlog of 4096, kept connections to the backends and no access log.
//!
//! Not here: the load and the measurements (`versus`, `hazards`).

pub mod account;
#[path = "../../tests/integration/harness/anybody.rs"]
mod anybody;
pub mod backends;
pub mod http;
pub mod ports;
pub mod process;
pub mod proxies;
pub mod site;
pub mod tls;
pub mod tools;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For ten thousand clients with two sockets each, with some room.
const DESCRIPTORS: u64 = 65_536;

/// Raises the limit of descriptors, for this process and all that it starts, as far as the system allows; returns it.
/// Root may raise the hard limit too.
///
/// # Errors
/// The system refuses.
pub fn raise_descriptor_limit() -> Result<u64> {
    let most = getrlimit(Resource::Nofile).maximum;
    let raise = |limit| setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit });
    if most.is_some_and(|most| most < DESCRIPTORS) && raise(Some(DESCRIPTORS)).is_ok() {
        return Ok(DESCRIPTORS);
    }
    raise(most).context("raising the descriptor limit")?;
    Ok(most.unwrap_or(u64::MAX))
}
